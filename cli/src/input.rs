//! The body of a request from standard input: a file, a here-document or a pipe, in JSON or YAML.

mod offer;

use std::io::{self, IsTerminal, Read};

use polycube_document::{Document, ParseError};
use serde_json::Value;

use crate::grammar::Input;

/// What standard input is called in messages.
pub(crate) const NAME: &str = "standard input";

/// Standard input or a file that is not a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot read standard input: {0}")]
    Read(#[source] io::Error),
    #[error("cannot read {name}: {source}")]
    File { name: String, source: io::Error },
    #[error("standard input is not valid {}: {source}", .source.language)]
    Invalid { source: ParseError },
    #[error("{name}:{}:{}: not valid {}: {}", .source.line, .source.column, .source.language, .source.reason)]
    Document { name: String, source: ParseError },
    #[error("{name} has no configuration in it")]
    Empty { name: String },
    #[error("standard input is a terminal: give a file, or - to type a configuration")]
    Terminal,
    #[error(
        "standard input holds {0}, which is not a configuration: add < /dev/null if it is not meant for this command"
    )]
    Scalar(Value),
}

/// Reads the body; `None` when there is none.
///
/// # Errors
///
/// There is something, and it is not a configuration.
pub(crate) fn read(input: Input) -> Result<Option<Value>, InputError> {
    let is_ours = match input {
        Input::No => false,
        Input::Dash => true,
        Input::Required => !io::stdin().is_terminal(),
        Input::Optional => offer::is_made().map_err(InputError::Read)?,
    };
    if !is_ours {
        return Ok(None);
    }
    let value = parse(&text()?)?;
    match value {
        Some(scalar) if input == Input::Optional && !scalar.is_object() && !scalar.is_array() => {
            Err(InputError::Scalar(scalar))
        }
        value => Ok(value),
    }
}

/// All of standard input.
///
/// # Errors
///
/// It cannot be read, or is not text.
pub(crate) fn text() -> Result<String, InputError> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(InputError::Read)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Option<Value>, InputError> {
    let value = Document::parse(text).map_err(|source| InputError::Invalid { source })?.value;
    Ok(Some(value).filter(|value| !value.is_null()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(parse(text).unwrap().unwrap_or_default(), *expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }

    #[test]
    fn json_and_yaml_are_read() {
        check("{\n\t\"a\": [1, \"x\"]\n}", &json!({"a": [1, "x"]}));
        check("{a: 1}", &json!({"a": 1}));
        check("- name: br1\n  ports:\n  - name: p1\n", &json!([{"name": "br1", "ports": [{"name": "p1"}]}]));
        check(
            "capture: off\nsnaplen: 80\nloud: true\nnone: ~\n",
            &json!({"capture": "off", "snaplen": 80, "loud": true, "none": null}),
        );
        check("veth1\n", &json!("veth1"));
        check("\"veth1\"", &json!("veth1"));
    }

    #[test]
    fn nothing_is_not_a_body() {
        for text in ["", " \n\t", "---\n", "# nothing\n", "~"] {
            assert!(parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        check_refused("{\"a\": 1,,}", "standard input is not valid JSON: key must be a string at line 1");
        check_refused("a: b: c\n", "standard input is not valid YAML: ");
        check_refused(
            "a: 1\na: 2\n",
            "standard input is not valid YAML: `a` is given twice, first in line 1 at line 2",
        );
        check_refused("? [1, 2]\n: 3\n", "standard input is not valid YAML: ");
        check_refused("{\"a\": 1, \"a\": 1}", "standard input is not valid JSON: `a` is given twice");
    }
}
