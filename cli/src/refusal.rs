//! What the daemon says when it refuses, in the words of a command line.
//!
//! A refusal has fields (`error-info`), and its lines are made of these: names that could be meant, methods as commands,
//! requests as command lines. What is wrong is a sentence of the daemon's; it is printed as it is and never parsed.

use hyper::StatusCode;
use polycube_api::{Candidates, Error, ErrorBody, ErrorTag, Instead, Method, Verb, Word};
use serde_json::Value;

use crate::client::Answer;
use crate::grammar::typed;
use crate::terminal::{escape, escape_text};

/// Commands that the daemon does not know as verbs.
const LOCAL_COMMANDS: [&str; 2] = ["dump", "watch"];

/// What the user asked for, as far as it decides how a refusal is worded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Asked<'a> {
    /// Something with a verb, or help.
    Verb,
    /// An action: a word in the wrong place may be a verb that is misspelt.
    Action,
    /// A capture in one line, whose cube the user has not named.
    Capture,
    /// The packets of a cube, with this command.
    Packets { cube: &'a str, command: &'static str },
}

/// An answer with an error status.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    text: String,
}

impl Refusal {
    pub(crate) fn new(answer: &Answer, asked: Asked<'_>) -> Self {
        let mut lines = lines(answer, asked);
        if answer.status == StatusCode::UNAUTHORIZED {
            lines.push("polycubectl: give the daemon's token with --token-file or POLYCUBECTL_TOKEN".to_owned());
        }
        Self { text: lines.join("\n") }
    }

    /// A refusal of a document: `place` says, for a path in it, where that was written.
    pub(crate) fn of_document(answer: &Answer, place: impl Fn(&str) -> Option<String>) -> Self {
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&answer.body) else { return Self::new(answer, Asked::Verb) };
        let lines = body.errors.error.iter().map(|error| {
            let place = place(&error.error_path).map(|place| format!("{place}: ")).unwrap_or_default();
            format!("polycubectl: {}", escape(&format!("{place}{}", line(error, Asked::Verb))))
        });
        match lines.collect::<Vec<_>>() {
            lines if lines.is_empty() => Self::new(answer, Asked::Verb),
            lines => Self { text: lines.join("\n") },
        }
    }

    /// Whether what an answer refuses is that there is no service of this name.
    pub(crate) fn lacks(answer: &Answer, service: &str) -> bool {
        let errors =
            serde_json::from_slice::<ErrorBody>(&answer.body).map(|body| body.errors.error).unwrap_or_default();
        let is_it = |error: &Error| error.error_tag == ErrorTag::UnknownElement && error.error_info.name == service;
        errors.iter().any(is_it)
    }

    /// The same, with the log that the answer has.
    pub(crate) fn with_log(mut self, answer: &Answer) -> Self {
        let errors = serde_json::from_slice::<ErrorBody>(&answer.body).map(|body| body.errors.error);
        for line in errors.unwrap_or_default().iter().flat_map(|error| &error.error_info.log) {
            self.text.push('\n');
            self.text.push_str(&escape(line));
        }
        self
    }
}

fn lines(answer: &Answer, asked: Asked<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_end();
    if text.is_empty() {
        return vec![format!("polycubectl: {}", answer.status)];
    }
    match serde_json::from_slice::<ErrorBody>(&answer.body) {
        Ok(body) if !body.errors.error.is_empty() => {
            body.errors.error.iter().map(|error| format!("polycubectl: {}", escape(&line(error, asked)))).collect()
        }
        _ => vec![escape_text(text)],
    }
}

/// One error in a line.
fn line(error: &Error, asked: Asked<'_>) -> String {
    let Error { error_tag, error_path: path, error_info: info, .. } = error;
    if !info.allow.is_empty() {
        return methods(path, info.method, &info.allow, asked);
    }
    if let Asked::Packets { cube, command } = asked
        && *error_tag == ErrorTag::UnknownElement
        && path.strip_prefix(cube) == Some("/stream")
    {
        return format!("cube `{cube}` has no packets to {command}");
    }
    let advice = match (&info.candidates, misspelt_command(&info.name)) {
        (Some(Candidates { nearest: None, .. }), Some(command)) if asked == Asked::Action => {
            format!("; did you mean `{command}`?")
        }
        (Some(candidates), _) => candidates.to_string(),
        (None, _) => String::new(),
    };
    let more = if info.log.is_empty() { "" } else { "; -v shows the whole log" };
    let line = format!("{}{advice}{}{more}", reason(error), instead(&info.instead));
    let typed = typed(path);
    if asked == Asked::Capture && is_of_capture(path) {
        return line;
    }
    // A sentence about the first word of a path names it.
    if typed.is_empty() || *path == info.name { line } else { format!("{typed}: {line}") }
}

/// Whether a path is one that `capture` has made of its words: places, the expression, and the stream.
fn is_of_capture(path: &str) -> bool {
    ["parents", "filter", "stream"].contains(&path.rsplit('/').next().unwrap_or_default())
}

/// What is wrong. Other daemons say less, down to the tag alone.
fn reason(error: &Error) -> String {
    let Error { error_tag, error_message: message, error_info: info, .. } = error;
    match (info.reason.as_str(), message.as_str()) {
        ("", "") => {
            serde_json::to_value(error_tag).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        ("", message) => message.to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

/// A method that does not work, and those that do, as commands.
fn methods(path: &str, method: Option<Method>, allow: &[Method], asked: Asked<'_>) -> String {
    let path = path.replace('/', " ");
    let verbs: Vec<&str> = allow.iter().filter_map(|method| method.verb()).map(Verb::as_str).collect();
    match method.and_then(Method::verb) {
        // What can only be run.
        Some(_) if allow == [Method::Post] => format!("`{path}` takes no command"),
        Some(verb) if asked != Asked::Action => {
            format!("{verb} does not work on `{path}`: it takes {}", verbs.join(", "))
        }
        _ => format!("`{path}` takes a command: {}", verbs.join(", ")),
    }
}

/// Requests as command lines, as far as a command line can make them.
fn instead(requests: &[Instead]) -> String {
    let line = |request: &Instead| {
        let is_config = request.path == Word::Config.as_str();
        let verb = if is_config && request.method == Method::Patch { "apply" } else { request.method.verb()?.as_str() };
        Some(format!("`{} {verb}`", request.path.replace('/', " ")))
    };
    let lines: Vec<String> = requests.iter().filter_map(line).collect();
    if lines.is_empty() { String::new() } else { format!("; use {}", lines.join(" or ")) }
}

fn misspelt_command(word: &str) -> Option<&'static str> {
    let commands = Verb::ALL.map(Verb::as_str).into_iter().chain(LOCAL_COMMANDS);
    commands.into_iter().find(|command| strsim::damerau_levenshtein(word, command) == 1)
}

#[cfg(test)]
mod tests;
