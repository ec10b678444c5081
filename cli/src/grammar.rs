//! The command line's grammar: argv words in, one [`Order`] out. Pure.
//!
//! `[path...] [command] [path...] [key=value...] [flags] [?]`: the command may stand anywhere among the path words, so
//! `del br1` is `br1 del`. The words of the path make the URL, the command makes the method, the pairs make the body.

mod body;
mod error;
mod partial;
mod path;
mod tap;
mod words;

use std::ffi::OsString;

use hyper::Method;
use serde_json::{Map, Value};

pub(crate) use self::error::UsageError;
pub(crate) use self::partial::Partial;
pub(crate) use self::path::segment;
pub(crate) use self::tap::{FORMAT_FLAG, FORMATS, Form, Tap};
pub(crate) use self::words::{Command, Way};
use self::words::{Pair, Style, Words};
use crate::complete::Shell;
use crate::help::Topic;
use crate::show::{Detail, View};

/// What the user typed, understood.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) order: Order,
    pub(crate) way: Way,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    Help(Question),
    OwnVersion,
    /// Print a shell's completion script.
    Script(Shell),
    /// Take a capture's packets.
    Tap(Tap),
    Call(Call),
}

/// What the reader wants to know about: the words before the question mark.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) topic: Topic,
    pub(crate) path: Vec<String>,
    pub(crate) command: Option<Command>,
}

/// A request, and what becomes of its answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) output: Output,
    pub(crate) input: Input,
}

/// Whether standard input has the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Input {
    No,
    /// If there is something.
    Optional,
    /// There has to be something.
    Required,
}

/// A request to the daemon; `path` is relative to the base path and ends with a slash.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

/// What a successful answer prints.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    Nothing,
    /// The result of an action, if it has one.
    Result,
    View(View),
    /// The daemon's version, below our own.
    Versions(View),
}

impl Question {
    /// Asks the daemon; `None` about words that only the command line knows.
    pub(crate) fn request(&self) -> Option<Request> {
        if matches!(self.topic, Topic::Completion | Topic::Dump | Topic::Watch) {
            return None;
        }
        let command = self.command.map_or("NONE", Command::help);
        let path = format!("{}?help={command}", path::encode(&self.path));
        Some(Request { method: Method::OPTIONS, path, body: None })
    }

    /// Whether the command line has an answer of its own.
    pub(crate) fn is_ours(&self) -> bool {
        self.path.is_empty()
            || !matches!(self.topic, Topic::General | Topic::Add | Topic::Set | Topic::Show | Topic::Del)
    }
}

/// Reads the words of a command line, without the program's name.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Line, UsageError> {
    let mut words = Words::classify(args)?;
    let way = std::mem::take(&mut words.way);
    let order = if words.own_version {
        Order::OwnVersion
    } else if words.help || words.is_empty() {
        Order::Help(Question { topic: topic(&words), path: words.path, command: words.command })
    } else if words.path.first().is_some_and(|word| word == "completion") {
        Order::Script(script(&words)?)
    } else if let Some(tap) = Tap::parse(&mut words)? {
        Order::Tap(tap)
    } else {
        Order::Call(call(&words)?)
    };
    Ok(Line { order, way })
}

fn topic(words: &Words) -> Topic {
    let first = words.path.first().map_or("", String::as_str);
    match (first, words.command) {
        ("connect", _) => Topic::Connect,
        ("disconnect", _) => Topic::Disconnect,
        ("attach", _) => Topic::Attach,
        ("detach", _) => Topic::Detach,
        ("version", _) => Topic::Version,
        ("completion", _) => Topic::Completion,
        (_, None) if words.path.len() == 2 && words.path[1] == "dump" => Topic::Dump,
        (_, None) if words.path.len() == 2 && words.path[1] == "watch" => Topic::Watch,
        (_, Some(command)) => command.topic(),
        _ => Topic::General,
    }
}

fn script(words: &Words) -> Result<Shell, UsageError> {
    match (words.path.as_slice(), words.command, words.pairs.as_slice()) {
        ([_, shell], None, []) => Shell::parse(shell).ok_or_else(|| UsageError::Shell { word: shell.clone() }),
        _ => Err(UsageError::Form { topic: Topic::Completion }),
    }
}

fn call(words: &Words) -> Result<Call, UsageError> {
    let path: Vec<&str> = words.path.iter().map(String::as_str).collect();
    match (path.as_slice(), words.command) {
        ([], command) => Err(UsageError::NoPath { command: command.map_or("key=value", Command::word) }),
        ([link @ ("connect" | "disconnect"), rest @ ..], command) => {
            let topic = if *link == "connect" { Topic::Connect } else { Topic::Disconnect };
            let (&[a, b], None, []) = (rest, command, words.pairs.as_slice()) else {
                return Err(UsageError::Form { topic });
            };
            framework(words, link, [("peer1", a), ("peer2", b)], None)
        }
        (["attach", rest @ ..], command) => {
            let (&[cube, port], None) = (rest, command) else { return Err(UsageError::Form { topic: Topic::Attach }) };
            framework(words, "attach", [("cube", cube), ("port", port)], attach_option(&words.pairs)?)
        }
        (["detach", rest @ ..], command) => {
            let (&[cube, port], None, []) = (rest, command, words.pairs.as_slice()) else {
                return Err(UsageError::Form { topic: Topic::Detach });
            };
            framework(words, "detach", [("cube", cube), ("port", port)], None)
        }
        (["version", rest @ ..], command) => {
            if !rest.is_empty() || !matches!(command, None | Some(Command::Show)) {
                return Err(UsageError::Form { topic: Topic::Version });
            }
            let Call { request, output, input } = resource(words, Some(Command::Show))?;
            let output = match output {
                Output::View(view) => Output::Versions(view),
                output => output,
            };
            Ok(Call { request, output, input })
        }
        (["cubes" | "netdevs" | "services" | "topology"], None) if words.pairs.is_empty() => {
            resource(words, Some(Command::Show))
        }
        (_, command) => resource(words, command),
    }
}

/// `connect` and its like: their operands are names, so they are never read as numbers.
fn framework(
    words: &Words,
    verb: &str,
    operands: [(&str, &str); 2],
    option: Option<(&str, &str)>,
) -> Result<Call, UsageError> {
    refuse_view(words)?;
    let fields: Map<String, Value> =
        operands.into_iter().chain(option).map(|(key, value)| (key.to_owned(), value.into())).collect();
    let request = Request { method: Method::POST, path: format!("{verb}/"), body: Some(fields.into()) };
    Ok(Call { request, output: Output::Nothing, input: Input::No })
}

fn attach_option(pairs: &[Pair]) -> Result<Option<(&str, &str)>, UsageError> {
    let pair = match pairs {
        [] => return Ok(None),
        [pair] => pair,
        [..] => return Err(UsageError::AttachOptions),
    };
    match (pair.name.as_str(), pair.value.as_str()) {
        ("position", "auto" | "first" | "last") | ("before" | "after", _) => Ok(Some((&pair.name, &pair.value))),
        ("position", value) => Err(UsageError::AttachPosition { value: value.to_owned() }),
        (name, _) => Err(UsageError::AttachOption { name: name.to_owned() }),
    }
}

/// Anything in the tree of the daemon's resources.
fn resource(words: &Words, command: Option<Command>) -> Result<Call, UsageError> {
    let here = path::encode(&words.path);
    match command {
        Some(command @ (Command::Show | Command::Del)) if !words.pairs.is_empty() => {
            Err(UsageError::PairsNotTaken { command: command.word(), topic: command.topic() })
        }
        Some(Command::Show) => {
            let request = Request { method: Method::GET, path: here, body: None };
            Ok(Call { request, output: Output::View(view(words)?), input: Input::No })
        }
        Some(Command::Del) => quiet(words, Request { method: Method::DELETE, path: here, body: None }),
        Some(Command::Add) if here == "cubes/" => {
            if !words.pairs.is_empty() {
                return Err(UsageError::CubesWithPairs);
            }
            let call = quiet(words, Request { method: Method::POST, path: here, body: None })?;
            Ok(Call { input: Input::Required, ..call })
        }
        Some(Command::Add) => {
            let call = quiet(words, Request { method: Method::POST, path: here, body: body_of(words)? })?;
            Ok(Call { input: optional(words), ..call })
        }
        Some(Command::Set) => match words.pairs.as_slice() {
            [] => {
                let call = quiet(words, Request { method: Method::PATCH, path: here, body: None })?;
                Ok(Call { input: Input::Required, ..call })
            }
            [pair] => {
                let path = here + &path::encode(&pair.key);
                quiet(words, Request { method: Method::PATCH, path, body: Some(body::scalar(&pair.value)) })
            }
            [..] => quiet(words, Request { method: Method::PATCH, path: here, body: body_of(words)? }),
        },
        None => {
            let call = quiet(words, Request { method: Method::POST, path: here, body: body_of(words)? })?;
            Ok(Call { output: Output::Result, input: optional(words), ..call })
        }
    }
}

fn body_of(words: &Words) -> Result<Option<Value>, UsageError> {
    body::object(&words.pairs).map(Some)
}

fn quiet(words: &Words, request: Request) -> Result<Call, UsageError> {
    refuse_view(words)?;
    Ok(Call { request, output: Output::Nothing, input: Input::No })
}

/// Pairs on the command line are a body already.
fn optional(words: &Words) -> Input {
    if words.pairs.is_empty() { Input::Optional } else { Input::No }
}

fn refuse_view(words: &Words) -> Result<(), UsageError> {
    match (words.style, &words.hide) {
        (Some(style), _) => Err(UsageError::ViewWithoutShow { flag: style.flag() }),
        (None, Some(_)) => Err(UsageError::ViewWithoutShow { flag: "-hide" }),
        (None, None) => Ok(()),
    }
}

fn view(words: &Words) -> Result<View, UsageError> {
    let hide = words.hide.clone().unwrap_or_default();
    let detail = match words.style {
        Some(style @ (Style::Json | Style::Yaml)) if !hide.is_empty() => {
            return Err(UsageError::HideWith { flag: style.flag() });
        }
        Some(Style::Json) => return Ok(View::Json),
        Some(Style::Yaml) => return Ok(View::Yaml),
        Some(Style::Text(detail)) => detail,
        None if hide.is_empty() && words.path == ["topology"] => return Ok(View::Topology),
        None => Detail::Normal,
    };
    Ok(View::Text { detail, hide })
}

#[cfg(test)]
mod tests;
