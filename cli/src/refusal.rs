//! What the daemon says when it refuses.

use std::fmt;

use hyper::StatusCode;
use serde_json::Value;

use crate::client::Answer;
use crate::grammar::{Call, Form, Output, Tap};
use crate::show::{escape, escape_text};

/// Words that can follow a path, and the methods that they stand for.
const COMMANDS: [(&str, &str); 6] =
    [("show", "GET"), ("add", "POST"), ("set", "PATCH"), ("del", "DELETE"), ("dump", ""), ("watch", "")];

/// What the daemon advises, and what we do.
const ADVICE: [(&str, &str); 2] = [
    (": PATCH changes it, PUT replaces its configuration", ": set changes it, show tells of it"),
    (": PATCH ports/NAME", ": ports NAME set KEY=VALUE"),
];

/// An answer with an error status.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    text: String,
}

impl From<&Answer> for Refusal {
    fn from(answer: &Answer) -> Self {
        Self::told(answer, |message| message)
    }
}

impl Refusal {
    /// In the words of a command line.
    pub(crate) fn of_call(answer: &Answer, call: &Call) -> Self {
        let has_command = call.output != Output::Result;
        Self::told(answer, |message| match in_commands(&message, has_command) {
            Some(message) => message,
            None if has_command => message,
            None => with_suggestion(message, &call.request.path),
        })
    }

    /// In the words of who asked for packets.
    pub(crate) fn of_tap(answer: &Answer, tap: &Tap) -> Self {
        let verb = if tap.form == Form::Lines { "watch" } else { "dump" };
        let cube = &tap.cube;
        Self::told(answer, |message| {
            if message.contains(&format!("cube `{cube}` has no `stream`")) {
                format!("cube `{cube}` has no packets to {verb}")
            } else {
                message
            }
        })
    }

    fn told(answer: &Answer, translate: impl Fn(String) -> String) -> Self {
        let mut lines = lines(answer, translate);
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

fn lines(answer: &Answer, translate: impl Fn(String) -> String) -> Vec<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_end();
    if text.is_empty() {
        return vec![format!("polycubectl: {}", answer.status)];
    }
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let errors = body.pointer("/ietf-restconf:errors/error").and_then(Value::as_array);
    match errors {
        Some(errors) if !errors.is_empty() => {
            errors.iter().map(|error| format!("polycubectl: {}", escape(&translate(message(error))))).collect()
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

/// What is said of methods, said of commands; `None` when it is of neither.
fn in_commands(message: &str, has_command: bool) -> Option<String> {
    if let Some((theirs, ours)) = ADVICE.iter().find(|(theirs, _)| message.ends_with(theirs)) {
        return Some(message.replace(theirs, ours));
    }
    let (method, rest) = message.split_once(" does not work on `")?;
    let (path, methods) = rest.split_once("`: it takes ")?;
    let word = |method: &str| COMMANDS.iter().find(|(_, known)| *known == method).map(|(word, _)| *word);
    let path = path.replace('/', " ");
    let takes = methods.split(", ").filter_map(word).collect::<Vec<_>>().join(", ");
    Some(match word(method) {
        // What can only be run.
        Some(_) if methods == "POST" => format!("`{path}` takes no command"),
        Some(command) if has_command => format!("{command} does not work on `{path}`: it takes {takes}"),
        _ => format!("`{path}` takes a command: {takes}"),
    })
}

/// The same, with the command that a word of the path was meant to be, instead of all the names that are known there.
fn with_suggestion(message: String, path: &str) -> String {
    let Some((unknown, _)) = message.split_once("; known: ") else { return message };
    let words = path.split('/').filter(|word| !word.is_empty() && unknown.contains(&format!("`{word}`")));
    let near = |word: &str| COMMANDS.iter().find(|(command, _)| strsim::damerau_levenshtein(word, command) == 1);
    match words.filter_map(near).next() {
        Some((command, _)) => format!("{unknown}; did you mean `{command}`?"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grammar::{self, Order};

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

    #[track_caller]
    fn check_said(line: &str, message: &str, expected: &str) {
        let body = json!({"ietf-restconf:errors": {"error": [{"error-message": message}]}}).to_string();
        let answer = Answer { status: StatusCode::BAD_REQUEST, body: body.into() };
        let refusal = match grammar::parse(line.split(' ').map(Into::into)).unwrap().order {
            Order::Call(call) => Refusal::of_call(&answer, &call),
            Order::Tap(tap) => Refusal::of_tap(&answer, &tap),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(refusal.to_string(), format!("polycubectl: {expected}"), "{line}");
    }

    #[test]
    fn methods_are_told_as_commands() {
        let exists = "cube `s` exists already: PATCH changes it, PUT replaces its configuration";
        check_said("s", exists, "cube `s` exists already: set changes it, show tells of it");
        let ports = "br1/ports: ports are changed one by one";
        check_said("br1 set", &format!("{ports}: PATCH ports/NAME"), &format!("{ports}: ports NAME set KEY=VALUE"));
        check_said(
            "netdevs del veth1",
            "DELETE does not work on `netdevs/veth1`: it takes GET",
            "del does not work on `netdevs veth1`: it takes show",
        );
        check_said(
            "s loglevel",
            "POST does not work on `s/loglevel`: it takes GET, PUT, PATCH, DELETE",
            "`s loglevel` takes a command: show, set, del",
        );
        check_said(
            "br1 fdb flush del",
            "DELETE does not work on `br1/fdb/flush`: it takes POST",
            "`br1 fdb flush` takes no command",
        );
    }

    #[test]
    fn a_command_that_is_typed_wrong_is_suggested() {
        let known = "cube `ad` does not exist; known: br1, br2";
        check_said("packetcapture ad x", known, "cube `ad` does not exist; did you mean `add`?");
        check_said("br1 shwo", "there is no `shwo`; known: name", "there is no `shwo`; did you mean `show`?");
        check_said("packetcapture del ad", known, known);
        check_said(
            "br1 flsh",
            "there is no `flsh`; did you mean `flush`?",
            "there is no `flsh`; did you mean `flush`?",
        );
        check_said("br1 x", "there is no `x`; known: y", "there is no `x`; known: y");
    }

    #[test]
    fn whoever_dumps_is_not_told_of_streams() {
        let message = "br2/stream: cube `br2` has no `stream`; known: name, uuid";
        check_said("br2 dump", message, "cube `br2` has no packets to dump");
        check_said("br2 watch", message, "cube `br2` has no packets to watch");
        check_said("br9 dump", "there is no cube and no service `br9`", "there is no cube and no service `br9`");
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
