//! Topics as text: paragraphs are wrapped, headings stand out, and indented lines stay as they are.

use std::fmt::Write as _;

use crate::grammar::{Explanation, FORMS, Form, PAGES, Page};
use crate::show::paragraph;

/// A line of a page.
pub(super) enum Line<'a> {
    Heading(&'a str),
    /// To be printed as it is.
    Fixed(&'a str),
    Paragraph(&'a str),
    Empty,
}

pub(super) fn lines(page: &Page) -> impl Iterator<Item = Line<'static>> {
    page.text.lines().map(|line| match line.strip_prefix("# ") {
        Some(heading) => Line::Heading(heading),
        None if line.starts_with("  ") => Line::Fixed(line),
        None if line.is_empty() => Line::Empty,
        None => Line::Paragraph(line),
    })
}

/// What `help` prints, in lines of `width` columns.
pub(crate) fn explain(explanation: &Explanation, width: usize) -> String {
    match explanation {
        Explanation::Topics => topics(width),
        Explanation::Page(page) => text(page, width),
        Explanation::Form(topic) => super::text(*topic, width),
    }
}

fn topics(width: usize) -> String {
    let mut text = "Topics:\n".to_owned();
    text.extend(PAGES.iter().map(|page| paragraph(&format!("  {:<15}", page.name), 17, page.about, width)));
    let commands: Vec<_> = FORMS.iter().filter(|form| form.is_a_word()).map(Form::name).collect();
    text.push_str("\nCommands:\n");
    text.push_str(&paragraph("  ", 2, &commands.join(", "), width));
    let more = "polycubectl help TOPIC explains one of them. --help after any words shows what can follow: polycubectl \
                sniffer set --help.";
    text + "\n" + &paragraph("", 0, more, width)
}

fn text(page: &Page, width: usize) -> String {
    let mut text = String::new();
    for line in lines(page) {
        match line {
            Line::Heading(heading) => {
                let _ = writeln!(text, "{}", heading.to_uppercase());
            }
            Line::Fixed(line) => {
                let _ = writeln!(text, "{line}");
            }
            Line::Paragraph(line) => text.push_str(&paragraph("", 0, line, width)),
            Line::Empty => text.push('\n'),
        }
    }
    text
}

#[cfg(test)]
mod tests;
