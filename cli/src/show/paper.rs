//! What an answer is printed on: how wide it is, whether it has colours, and whose clock people read.

use std::io;

use crate::clock::Clock;
use crate::grammar;
use crate::terminal::{Colour, Painted, has_colours, paint, width};

/// Where people read it.
#[derive(Clone, Debug)]
pub(crate) struct Paper {
    /// Tables keep to it, if it is given.
    pub(crate) width: Option<usize>,
    pub(crate) colours: bool,
    pub(crate) clock: Clock,
}

/// Without colours, with times as they come.
impl From<Option<usize>> for Paper {
    fn from(width: Option<usize>) -> Self {
        Self { width, colours: false, clock: Clock::Utc }
    }
}

impl Paper {
    /// Standard output.
    pub(crate) fn of_stdout(clock: grammar::Clock) -> Self {
        Self { width: width(), colours: has_colours(&io::stdout()), clock: Clock::new(clock) }
    }

    pub(super) fn title<'a>(&self, text: &'a str) -> Painted<'a> {
        paint(text, self.colours.then_some(Colour::Title))
    }

    /// A value, whose colour its name and the value say.
    pub(super) fn cell<'a>(&self, name: &str, text: &'a str) -> Painted<'a> {
        paint(text, colour(name, text).filter(|_| self.colours))
    }
}

/// Whether a value is good or bad news.
fn colour(name: &str, text: &str) -> Option<Colour> {
    let is_status = name == "status" || name.starts_with("status ");
    match text {
        "UP" => Some(Colour::Good),
        "DOWN" => Some(Colour::Bad),
        "off" if is_status => Some(Colour::Aside),
        "capturing" | "mirroring" if is_status => Some(Colour::Good),
        "0" | "" | "unset" => None,
        _ if ["drops", "dropped", "failure"].contains(&name) => Some(Colour::Bad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_good_or_bad() {
        for (name, text, expected) in [
            ("status", "UP", Some(Colour::Good)),
            ("status (ports)", "DOWN", Some(Colour::Bad)),
            ("status", "off", Some(Colour::Aside)),
            ("capture", "off", None),
            ("drops", "0", None),
            ("drops", "3", Some(Colour::Bad)),
            ("packets", "3", None),
        ] {
            assert_eq!(colour(name, text), expected, "{name} {text}");
        }
        let paper = Paper { colours: true, ..Paper::from(None) };
        assert_eq!(paper.cell("status", "UP").to_string(), "\u{1b}[32mUP\u{1b}[0m");
        assert_eq!(Paper::from(None).cell("status", "UP").to_string(), "UP");
    }
}
