//! The manual page of polycubectl, made from the forms: a golden, so that the program need not bring it.

use std::fmt::Write as _;
use std::path::Path;

use super::{CONFIGURATION, FLAGS, STATUSES};
use crate::grammar::{CAPTURE_FLAGS, FORMS};

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
        ".SH \"SEE ALSO\"\n\\fBpolycubed\\fR(8), \\fBpolycubed.toml\\fR(5), \\fBpcap\\-filter\\fR(7) for filters, \
         \\fBtcpdump\\fR(8)\n",
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man/polycubectl.1");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == golden,
        "packaging/man/polycubectl.1 differs: UPDATE_GOLDENS=1 cargo test -p polycubectl rewrites it"
    );
}
