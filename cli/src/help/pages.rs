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
mod tests {
    use super::*;
    use crate::grammar;

    #[test]
    fn every_line_fits_a_narrow_terminal() {
        for page in &PAGES {
            let found = text(page, super::super::WIDTH);
            assert!(found.lines().all(|line| line.len() <= super::super::WIDTH), "{found}");
        }
    }

    /// The words that a shell makes of a command, up to a pipe or a file.
    fn words(command: &str) -> Vec<String> {
        let (mut words, mut is_quoted) = (vec![String::new()], false);
        for letter in command.chars().filter(|letter| *letter != '\\') {
            match letter {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(letter),
            }
        }
        let is_end = |word: &String| ["|", "<", ">", "&&"].contains(&word.as_str());
        words.into_iter().take_while(|word| !is_end(word)).filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn every_command_of_a_page_is_one() {
        let mut checked = 0;
        for line in PAGES.iter().flat_map(lines) {
            let Line::Fixed(line) = line else { continue };
            let Some(command) = line.trim_start().strip_prefix("polycubectl ") else { continue };
            let order = grammar::parse(words(command).into_iter().map(Into::into));
            assert!(order.is_ok(), "{line}: {order:?}");
            checked += 1;
        }
        assert!(checked > 30, "{checked}");
    }
}
