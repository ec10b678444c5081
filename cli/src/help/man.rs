//! The manual pages of polycubectl and of the topics, made from forms and texts: goldens, so that the program need not
//! bring them.

use std::fmt::Write as _;
use std::path::Path;

use super::pages::{Line, lines};
use super::{CONFIGURATION, FLAGS, STATUSES};
use crate::grammar::{CAPTURE_FLAGS, FORMS, PAGES, Page};

/// Text that roff takes as it is (groff_char(7)).
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'', '$']) { format!("\\&{escaped}") } else { escaped }
}

#[test]
fn there_is_a_manual_page_with_each_form() {
    let mut page = format!(".TH polycubectl 1 \"\" \"polycubectl {}\"\n", env!("CARGO_PKG_VERSION"));
    page.push_str(
        ".SH NAME\npolycubectl \\- drives polycubed, the daemon that hosts network functions\n.SH SYNOPSIS\n\
         \\fBpolycubectl\\fR [\\fIFLAGS\\fR] \\fIWORD\\fR...\n.SH DESCRIPTION\nThe command may come anywhere among the words: \
         \\fBdel br1\\fR is \\fBbr1 del\\fR. A configuration in YAML or JSON, from a file or pipe, can replace KEY=VALUE; \
         with \\- among the words, it has to be there. \\fB\\-\\-help\\fR after any words shows what can follow them, with \
         the types and defaults that the daemon knows.\n.SH COMMANDS\n",
    );
    for form in &FORMS {
        let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(form.usage), escape(form.about));
        for example in form.examples {
            let _ = writeln!(page, ".IP\npolycubectl {}", escape(example));
        }
    }
    page.push_str(".SH \"OPTIONS OF CAPTURE\"\n");
    for (flag, value, about) in CAPTURE_FLAGS {
        let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(format!("{flag} {value}").trim_end()), escape(about));
    }
    page.push_str(".SH OPTIONS\n");
    for (flag, about) in FLAGS {
        let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(flag), escape(about));
    }
    let _ = writeln!(page, ".SH FILES\n{}\n.SH \"EXIT STATUS\"", escape(CONFIGURATION));
    for (status, about) in STATUSES {
        let _ = writeln!(page, ".TP\n{status}\n{}", escape(about));
    }
    page.push_str(
        ".SH \"SEE ALSO\"\n\\fBpolycubed\\fR(8), \\fBpolycubed.toml\\fR(5), \\fBpolycube\\-filter\\fR(7), \
         \\fBpolycube\\-capture\\fR(7), \\fBpcap\\-filter\\fR(7), \\fBtcpdump\\fR(8)\n",
    );
    check("polycubectl.1", &page);
}

#[test]
fn there_is_a_manual_page_for_each_topic() {
    for page in &PAGES {
        let Page { manual, about, .. } = page;
        let mut text = format!(".TH {manual} 7 \"\" \"polycube {}\"\n", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(text, ".SH NAME\n{} \\- {}\n.SH DESCRIPTION", escape(manual), escape(about));
        let mut is_fixed = false;
        for line in lines(page) {
            if is_fixed != matches!(line, Line::Fixed(_)) {
                is_fixed = !is_fixed;
                text.push_str(if is_fixed { ".RS\n.nf\n" } else { ".fi\n.RE\n" });
            }
            let _ = match line {
                Line::Heading(heading) => writeln!(text, ".SH \"{}\"", escape(&heading.to_uppercase())),
                Line::Fixed(line) => writeln!(text, "{}", escape(line.trim_start_matches("  "))),
                Line::Paragraph(line) => writeln!(text, "{}", escape(line)),
                Line::Empty => writeln!(text, ".PP"),
            };
        }
        text.push_str(if is_fixed { ".fi\n.RE\n" } else { "" });
        text.push_str(".SH \"SEE ALSO\"\n\\fBpolycubectl\\fR(1), \\fBpolycubed\\fR(8), \\fBpcap\\-filter\\fR(7)");
        for other in PAGES.iter().filter(|other| other.manual != *manual) {
            let _ = write!(text, ", \\fB{}\\fR(7)", escape(other.manual));
        }
        check(&format!("{manual}.7"), &format!("{text}\n"));
    }
}

/// Compares a page with its golden file; `UPDATE_GOLDENS=1` writes it.
#[track_caller]
fn check(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == golden, "packaging/man/{name} differs: UPDATE_GOLDENS=1 cargo test -p polycubectl rewrites it");
}
