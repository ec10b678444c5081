//! What the daemon says when it refuses.

use std::fmt;

use hyper::StatusCode;
use serde_json::Value;

use crate::client::Answer;
use crate::show::{escape, escape_text};

/// An answer with an error status.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    text: String,
}

impl From<&Answer> for Refusal {
    fn from(answer: &Answer) -> Self {
        let mut lines = lines(answer);
        if answer.status == StatusCode::UNAUTHORIZED {
            lines.push("polycubectl: give the daemon's token with --token-file or POLYCUBECTL_TOKEN".to_owned());
        }
        Self { text: lines.join("\n") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn lines(answer: &Answer) -> Vec<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_end();
    if text.is_empty() {
        return vec![format!("polycubectl: {}", answer.status)];
    }
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let errors = body.pointer("/ietf-restconf:errors/error").and_then(Value::as_array);
    match errors {
        Some(errors) if !errors.is_empty() => {
            errors.iter().map(|error| format!("polycubectl: {}", escape(&message(error)))).collect()
        }
        _ => vec![escape_text(text)],
    }
}

/// One RESTCONF error (RFC 8040 section 7.1) in a line; a bare `error-tag` has to do when nothing else is said.
fn message(error: &Value) -> String {
    let field = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = match (field("error-message"), field("error-info"), field("error-tag")) {
        (Some(message), _, _) => message.to_owned(),
        (None, Some(info), Some(tag)) => format!("{info}: {tag}"),
        (None, Some(only), None) | (None, None, Some(only)) => only.to_owned(),
        (None, None, None) => error.to_string(),
    };
    match field("error-path") {
        Some(path) if !message.contains(path) => format!("{path}: {message}"),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: StatusCode, body: &str, expected: &str) {
        let answer = Answer { status, body: body.to_owned().into() };
        assert_eq!(Refusal::from(&answer).to_string(), expected);
    }

    #[track_caller]
    fn check_errors(errors: &Value, expected: &str) {
        let body = json!({"ietf-restconf:errors": {"error": errors}}).to_string();
        check(StatusCode::BAD_REQUEST, &body, expected);
    }

    #[test]
    fn each_error_has_a_line() {
        check_errors(
            &json!([
                {"error-tag": "bad-attribute", "error-path": "/filters/sport", "error-message": "70000 is too large"},
                {"error-tag": "invalid-value", "error-path": "/x", "error-message": "unknown key /x"},
                {"error-tag": "data-missing", "error-message": "no cube\nbr9"},
            ]),
            "polycubectl: /filters/sport: 70000 is too large\npolycubectl: unknown key /x\npolycubectl: no cube\\nbr9",
        );
    }

    #[test]
    fn an_error_without_message_shows_what_it_has() {
        check_errors(
            &json!([{"error-type": "application", "error-tag": "missing-attribute", "error-info": "port"}]),
            "polycubectl: port: missing-attribute",
        );
        check_errors(&json!([{"error-tag": "data-exists", "error-path": "/s"}]), "polycubectl: /s: data-exists");
        check_errors(&json!([{"code": 7}]), "polycubectl: {\"code\":7}");
    }

    #[test]
    fn other_bodies_are_printed_as_they_are() {
        check(StatusCode::BAD_REQUEST, "Cube does not exist\n", "Cube does not exist");
        check(StatusCode::BAD_REQUEST, "two\nlines\u{1b}[2J", "two\nlines\\u{1b}[2J");
        check(StatusCode::BAD_REQUEST, "{\"reason\":1}", "{\"reason\":1}");
        check(StatusCode::NOT_FOUND, "", "polycubectl: 404 Not Found");
    }

    #[test]
    fn a_missing_token_is_explained() {
        check(
            StatusCode::UNAUTHORIZED,
            "",
            "polycubectl: 401 Unauthorized\n\
             polycubectl: give the daemon's token with --token-file or POLYCUBECTL_TOKEN",
        );
    }
}
