//! Names of cubes and ports: parsed once, where they come in.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use polycube_api::{COMMAND_LINE, Verb, Word};

use crate::problem::Problem;

/// Bytes of a name at most.
pub const LONGEST: usize = 64;

/// What [`check`] lets pass, as a schema says it; words that mean something else apart.
pub const PATTERN: &str =
    r#"^[^\s\u0000-\u001f\u007f-\u009f/:,=?%#\\"'`.-][^\s\u0000-\u001f\u007f-\u009f/:,=?%#\\"'`]*$"#;

/// Checks what names of cubes and ports have in common.
fn check(kind: &str, name: &str) -> Result<(), Problem> {
    let reason = if name.is_empty() {
        "is empty: give one of 1 to 64 bytes".to_owned()
    } else if name.len() > LONGEST {
        format!("has {} bytes: {LONGEST} are the most", name.len())
    } else if let Some(bad) = name.chars().find(|c| c.is_control() || c.is_whitespace() || "/:,=?%#\\\"'`".contains(*c))
    {
        format!("contains {bad:?}: use letters, digits, `-`, `_` and `.`")
    } else if name.starts_with(['-', '.']) {
        "begins with `-` or `.`: begin with a letter, a digit or `_`".to_owned()
    } else if Verb::parse(name).is_some() {
        "is a word of the command line: choose another".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::bad(kind, format!("{kind} name {name:?} {reason}")))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $is_reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// # Errors
            /// What is wrong with the name, and what one looks like.
            pub fn parse(name: &str) -> Result<Self, Problem> {
                check($kind, name)?;
                if $is_reserved(name) {
                    return Err(Problem::bad($kind, format!("{} name {name:?} is a word of the API: choose another", $kind)));
                }
                Ok(Self(name.into()))
            }

            pub fn as_str(&self) -> &str {
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
    fn names_that_cannot_be_told_apart_from_something_else_are_refused() {
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
    fn the_pattern_says_what_the_check_does() {
        let schema = serde_json::json!({ "type": "string", "pattern": PATTERN, "maxLength": LONGEST });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let odd = (0..=0xff_u8).map(|byte| format!("a{}", char::from(byte)));
        let begin = (0..=0x7f_u8).map(|byte| format!("{}a", char::from(byte)));
        for name in
            odd.chain(begin).chain(["".to_owned(), "\u{2028}".to_owned(), "\u{2603}".to_owned(), "x".repeat(65)])
        {
            assert_eq!(validator.is_valid(&name.as_str().into()), check("port", &name).is_ok(), "{name:?}");
        }
    }
}
