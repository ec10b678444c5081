//! Names of cubes and ports: parsed once, where they come in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use polycube_api::{COMMAND_LINE, Verb, Word};
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::problem::Problem;

/// Bytes of a name at most.
pub(crate) const LONGEST: usize = 64;

/// Characters that are invisible, or that change the direction of writing (Default_Ignorable_Code_Point in Unicode's
/// DerivedCoreProperties.txt, interlinear annotations, and U+2800, which is blank): with them, a name could look like
/// another.
const INVISIBLE: [RangeInclusive<char>; 18] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// What [`check`] accepts, as a schema says it. The pattern accepts more: words that mean something else, combining marks
/// at the beginning, names that are not in NFC, and invisible characters beyond U+FFFF, whose escapes differ between the
/// languages that read schemas.
pub(crate) fn pattern() -> String {
    let ranges = INVISIBLE.iter().map(|range| (u32::from(*range.start()), u32::from(*range.end())));
    let ranges = ranges.take_while(|(_, end)| *end <= 0xffff);
    let class = |(start, end)| match start == end {
        true => format!(r"\u{start:04x}"),
        false => format!(r"\u{start:04x}-\u{end:04x}"),
    };
    let invisible: String = ranges.map(class).collect();
    let barred = format!(r#"\s\u0000-\u001f\u007f-\u009f/:,=?%#\\"'`{invisible}"#);
    format!("^[^{barred}.-][^{barred}]*$")
}

/// Checks what names of cubes and ports have in common.
fn check(kind: &str, name: &str) -> Result<(), Problem> {
    let advice = "use letters, digits, `-`, `_` and `.`";
    let is_bad = |c: &char| c.is_control() || c.is_whitespace() || "/:,=?%#\\\"'`".contains(*c);
    let is_invisible = |c: &char| INVISIBLE.iter().any(|range| range.contains(c));
    let reason = if name.is_empty() {
        "is empty: give one of 1 to 64 bytes".to_owned()
    } else if name.len() > LONGEST {
        format!("has {} bytes: {LONGEST} are the most", name.len())
    } else if let Some(bad) = name.chars().find(is_bad) {
        format!("contains {bad:?}: {advice}")
    } else if let Some(bad) = name.chars().find(is_invisible) {
        format!("contains the invisible character U+{:04X}: {advice}", u32::from(bad))
    } else if name.starts_with(is_combining_mark) {
        format!("begins with a combining mark: {advice}")
    } else if !is_nfc(name) {
        format!(
            "is not in Unicode's normalization form C: send it as \"{}\"",
            name.nfc().collect::<String>().escape_default()
        )
    } else if name.starts_with(['-', '.']) {
        "begins with `-` or `.`: begin with a letter, a digit or `_`".to_owned()
    } else if Verb::parse(name).is_some() {
        "is a word of the command line: choose another".to_owned()
    } else {
        return Ok(());
    };
    // Of names that look alike, a message shows what distinguishes them.
    Err(Problem::bad(kind, format!("{kind} name \"{}\" {reason}", name.escape_default())))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $is_reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $type(Arc<str>);

        impl $type {
            /// # Errors
            /// What is wrong with the name, and what one looks like.
            pub(crate) fn parse(name: &str) -> Result<Self, Problem> {
                check($kind, name)?;
                if $is_reserved(name) {
                    return Err(Problem::bad($kind, format!("{} name {name:?} is a word of the API: choose another", $kind)));
                }
                Ok(Self(name.into()))
            }

            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Name of a cube: unique among all cubes, and no service's name.
    CubeName, "cube", |name| Word::parse(name).is_some() || COMMAND_LINE.contains(&name)
}
name! {
    /// Name of a port: unique in its cube.
    PortName, "port", |_: &str| false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_paths_commands_and_pins_can_carry_are_taken() {
        for name in ["br1", "toveth1", "a.b-c_d", "7", &"x".repeat(64)] {
            assert_eq!(CubeName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_be_mistaken_for_something_else_are_refused() {
        for (name, reason) in [
            ("", "is empty"),
            ("a/b", "'/'"),
            ("a\nb", "'\\n'"),
            ("a b", "' '"),
            ("br1:p", "':'"),
            ("a,b", "','"),
            ("-x", "begins with"),
            ("..", "begins with"),
            ("set", "command line"),
            ("cubes", "word of the API"),
            (&"x".repeat(65), "65 bytes"),
        ] {
            let message = CubeName::parse(name).unwrap_err().message;
            assert!(message.contains(reason), "{name:?}: {message}");
        }
        assert!(PortName::parse("cubes").is_ok());
    }

    #[test]
    fn names_that_look_like_others_are_refused() {
        for (name, reason) in [
            ("br\u{200b}1", "U+200B"),
            ("br1\u{202e}", "U+202E"),
            ("\u{2066}br1", "U+2066"),
            ("br\u{ad}1", "U+00AD"),
            ("\u{feff}br1", "U+FEFF"),
            ("br1\u{fe0f}", "U+FE0F"),
            ("br1\u{e0041}", "U+E0041"),
            ("\u{3164}", "U+3164"),
            ("\u{301}br1", "combining mark"),
            ("cafe\u{301}", r#"as "caf\u{e9}""#),
            ("\u{212b}", r#"as "\u{c5}""#),
        ] {
            for problem in [CubeName::parse(name).unwrap_err(), PortName::parse(name).unwrap_err()] {
                assert!(problem.message.contains(reason), "{name:?}: {}", problem.message);
                assert!(problem.message.is_ascii(), "{}", problem.message);
            }
        }
        for name in ["caf\u{e9}", "\u{5e9}\u{5dc}", "\u{6f22}\u{5b57}", "\u{1f980}", "x\u{32b}"] {
            assert!(CubeName::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_pattern_says_what_the_check_does() {
        let schema = serde_json::json!({ "type": "string", "pattern": pattern(), "maxLength": LONGEST });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (first, some) = (0..0x1200, (0x1200..0x1_0000).step_by(7));
        let edges = INVISIBLE.iter().map(|range| (u32::from(*range.start()), u32::from(*range.end())));
        let edges = edges.flat_map(|(start, end)| [start - 1, start, end, end + 1]);
        let chars = first.chain(some).chain(edges).filter(|code| *code <= 0xffff).filter_map(char::from_u32);
        let names = chars.flat_map(|c| [format!("a{c}"), format!("{c}a")]);
        for name in names.chain(["".to_owned(), "x".repeat(65), "\u{1f980}".to_owned()]) {
            // What the pattern does not say.
            if is_nfc(&name) && !name.starts_with(is_combining_mark) {
                assert_eq!(validator.is_valid(&name.as_str().into()), check("port", &name).is_ok(), "{name:?}");
            }
        }
    }
}
