//! The body of a request from standard input: a file, a here-document or a pipe, in JSON or YAML.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat, tell};
use serde_json::Value;

use crate::grammar::Input;

/// How long a pipe may take to deliver something, where a body is optional. Over ssh, or run by a service, standard
/// input is a pipe that nothing is ever written into.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(100).subsec_nanos() as i64 };

/// Standard input that is not a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot read standard input: {0}")]
    Read(#[from] io::Error),
    #[error("standard input is not valid JSON: {0}")]
    Json(serde_json::Error),
    #[error("standard input is not valid YAML: {0}")]
    Yaml(yaml_serde::Error),
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
        Input::Required => !io::stdin().is_terminal(),
        Input::Optional => is_offered()?,
    };
    if !is_ours {
        return Ok(None);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    let value = parse(&text)?;
    match value {
        Some(scalar) if input == Input::Optional && !scalar.is_object() && !scalar.is_array() => {
            Err(InputError::Scalar(scalar))
        }
        value => Ok(value),
    }
}

/// Whether standard input is meant for us, where a body is optional.
fn is_offered() -> io::Result<bool> {
    let stdin = io::stdin();
    Ok(match FileType::from_raw_mode(fstat(&stdin)?.st_mode) {
        // The file of a shell loop, `while read line`, has been read from, and the rest belongs to the loop.
        FileType::RegularFile => tell(&stdin)? == 0,
        FileType::Fifo | FileType::Socket => {
            let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
            poll(&mut fds, Some(&PATIENCE))? > 0
        }
        _ => false,
    })
}

/// Reads JSON, or else YAML, which is nearly a superset: it forbids tabs as indentation.
fn parse(text: &str) -> Result<Option<Value>, InputError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let json = match serde_json::from_str(text) {
        Ok(value) => return Ok(Some(value)),
        Err(error) => error,
    };
    // Through YAML's own value, which refuses a key that is given twice.
    let yaml =
        yaml_serde::from_str::<yaml_serde::Value>(text).map_err(|error| match text.trim_start().as_bytes()[0] {
            b'{' | b'[' => InputError::Json(json),
            _ => InputError::Yaml(error),
        })?;
    match serde_json::to_value(yaml) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(InputError::Json(error)),
    }
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
        check_refused("a: b: c\n", "standard input is not valid YAML: mapping values are not allowed");
        check_refused("a: 1\na: 2\n", "standard input is not valid YAML: duplicate entry with key \"a\"");
        check_refused("[1, 2]: 3\n", "standard input is not valid JSON: ");
    }
}
