//! The terminal: how wide it is, its colours, and text that cannot control it.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

/// Columns of the terminal that standard output goes to; `None` when it goes elsewhere: lines are not broken there.
pub(crate) fn width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok())??;
    // A terminal that does not know its size reports 0.
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Whether to write in colours there: it is a terminal that has some, and the user has not asked for none
/// (<https://no-color.org>).
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !is_set("NO_COLOR")
        && env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}

/// How a text stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Colour {
    /// What is above something.
    Title,
    Good,
    Bad,
    /// What is there to be looked at only if need be.
    Aside,
}

/// A text in a colour, or plain.
pub(crate) struct Painted<'a> {
    text: &'a str,
    colour: Option<Colour>,
}

/// A text in a colour; the text must not control the terminal.
pub(crate) fn paint(text: &str, colour: Option<Colour>) -> Painted<'_> {
    Painted { text, colour: colour.filter(|_| !text.is_empty()) }
}

impl Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Select Graphic Rendition (ECMA-48, 8.3.117).
        let code = match self.colour {
            None => return f.write_str(self.text),
            Some(Colour::Title) => 1,
            Some(Colour::Good) => 32,
            Some(Colour::Bad) => 31,
            Some(Colour::Aside) => 2,
        };
        write!(f, "\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// Escapes control characters, so that a value stays on its line.
pub(crate) fn escape(text: &str) -> String {
    escape_where(text, is_unsafe)
}

/// Escapes control characters except those that a text of several lines needs.
pub(crate) fn escape_text(text: &str) -> String {
    escape_where(text, |c| is_unsafe(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes, inside JSON text, what JSON itself lets through: DEL, C1 controls, bidirectional overrides and their like.
///
/// All of these can only occur in strings, where `\u` is allowed.
pub(crate) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) && c != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn escape_where(text: &str, is_unsafe: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Controls, the bidirectional overrides and isolates that make text read as what it is not (CVE-2021-42574), and what
/// ends a line or does not belong in a text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped() {
        assert_eq!(escape("a\u{1b}[31mb\nc\td\u{9b}e\u{202e}f"), r"a\u{1b}[31mb\nc\td\u{9b}e\u{202e}f");
        assert_eq!(escape("é \\ ünchanged"), "é \\ ünchanged");
        assert_eq!(escape_text("a\n\tb\r\u{1b}"), "a\n\tb\\r\\u{1b}");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let json = "{\n  \"k\": \"\u{9b}\u{7f}\u{2066}\"\n}";
        let escaped = escape_json(json);
        assert_eq!(escaped, "{\n  \"k\": \"\\u009b\\u007f\\u2066\"\n}");
        let parse = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&escaped), parse(json));
    }
}
