//! The command line's grammar: argv words in, one [`Order`] out. Pure.
//!
//! `[path...] [command] [path...] [key=value...] [flags] [?]`: the command may come anywhere among the path words, so
//! `del br1` is `br1 del`. The words of the path make the URL, the command makes the method, the pairs make the body.

mod body;
mod capture;
mod capture_flags;
mod captures;
mod configuration;
mod error;
mod flags;
mod forms;
mod habits;
mod manual;
mod order;
mod packets;
mod partial;
mod path;
mod plugin;
mod plugin_flags;
mod request;
mod settings;
mod view;
mod words;

use std::ffi::OsString;

use hyper::Method;
use polycube_api::{Verb, Word};
use serde_json::{Map, Value};

use self::capture::Meaning;
pub(crate) use self::capture::{Capture, Extent, Limits, RecordFormat, Rotation};
pub(crate) use self::capture_flags::FLAGS as CAPTURE_FLAGS;
pub(crate) use self::captures::{Captures, model, subject, typed};
pub(crate) use self::configuration::{Applying, Configuration, Source};
pub(crate) use self::error::{Mistake, UsageError};
pub(crate) use self::flags::{FORMAT_FLAG, FORMATS};
pub(crate) use self::forms::{CAPTURES_WORDS, CONFIG_WORDS, FORMS, Form, PLUGIN_WORDS, Shell, Topic, about};
pub(crate) use self::manual::{Explanation, PAGES, Page};
pub(crate) use self::order::{Call, Input, Line, Order, Output, Question};
pub(crate) use self::packets::{Destination, Joined, PacketSource, PacketStream, keys_of};
pub(crate) use self::partial::Partial;
pub(crate) use self::path::segment;
pub(crate) use self::plugin::{Development, NewPlugin, PluginOrder};
pub(crate) use self::plugin_flags::{CubeKind, Language};
pub(crate) use self::request::Request;
use self::settings::{Kind, Settings};
pub(crate) use self::view::{Clock, Detail, View};
use self::words::{Pair, Style, Words};
use crate::endpoint::Endpoint;

/// What can be done with a service besides the verbs; the word stands before its name or after it.
const RELOAD: &str = "reload";

/// Reads the words of a command line, without the program's name.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Line, Mistake> {
    let args: Vec<OsString> = args.into_iter().collect();
    if capture::is_meant(&args) {
        let parsed = capture::parse(args).map_err(|error| Mistake::new(error, Topic::Capture));
        let (meaning, endpoint, verbose) = parsed?;
        let order = match meaning {
            Meaning::Capture(capture) => Order::Capture(capture),
            Meaning::Help => Order::Help(Question { topic: Topic::Capture, path: Vec::new(), command: None }),
        };
        return Ok(Line { order, endpoint, verbose, clock: Clock::default() });
    }
    if let Some(asked) = Explanation::asked(&args)? {
        return Ok(Line {
            order: Order::Explanation(asked),
            endpoint: Endpoint::default(),
            verbose: false,
            clock: Clock::default(),
        });
    }
    if captures::is_meant(&args) {
        let parsed = captures::parse(args).map_err(|error| Mistake::new(error, Topic::Captures));
        let (asked, Words { endpoint, verbose, .. }) = parsed?;
        let order = match asked {
            Captures::Help => Order::Help(Question { topic: Topic::Captures, path: Vec::new(), command: None }),
            asked => Order::Captures(asked),
        };
        return Ok(Line { order, endpoint, verbose, clock: Clock::default() });
    }
    let (mut words, mistake) = Words::classify(args);
    let topic = words.topic();
    let about = |error| Mistake::new(error, topic);
    if let Some(error) = mistake {
        return Err(about(error));
    }
    captures::locate(&mut words).map_err(about)?;
    let (endpoint, verbose) = (std::mem::take(&mut words.endpoint), words.verbose);
    let clock = words.clock.map(|(_, clock)| clock).unwrap_or_default();
    let order = order(words).map_err(about)?;
    Ok(Line { order, endpoint, verbose, clock })
}

/// What classified words ask for.
fn order(mut words: Words) -> Result<Order, UsageError> {
    let order = if words.own_version {
        Order::OwnVersion
    } else if words.help || words.is_empty() {
        Order::Help(Question { topic: words.topic(), path: words.path, command: words.command })
    } else if words.path.first().is_some_and(|word| word == "completion") {
        Order::Script(script(&words)?)
    } else if let Some(once) = top(&words)? {
        Order::Top { once }
    } else if let Some(plugin) = PluginOrder::parse(&words)? {
        Order::Plugin(plugin)
    } else if let Some(configuration) = Configuration::parse(&words)? {
        Order::Configuration(configuration)
    } else if let Some(joined) = Joined::parse(&mut words)? {
        Order::Joined(joined)
    } else if let Some(stream) = PacketStream::parse(&mut words)? {
        Order::Packets(stream)
    } else {
        Order::Call(call(&words)?)
    };
    match order {
        Order::Packets(_) | Order::Joined(_) | Order::Top { .. } | Order::Script(_) | Order::Plugin(_)
            if words.dash =>
        {
            Err(UsageError::Dash)
        }
        order => Ok(order),
    }
}

fn script(words: &Words) -> Result<Shell, UsageError> {
    match (words.path.as_slice(), words.command, words.pairs.as_slice()) {
        ([_, shell], None, []) => Shell::parse(shell).ok_or_else(|| UsageError::Shell { word: shell.clone() }),
        _ => Err(UsageError::Form { topic: Topic::Completion }),
    }
}

/// `top`, and whether it ends at once; `None` when the words ask for something else.
fn top(words: &Words) -> Result<Option<bool>, UsageError> {
    if words.topic() != Topic::Top {
        return Ok(None);
    }
    words.refuse_view()?;
    let flag = words.packets.any().or(words.plugin.of_new()).or(words.plugin.of_dev());
    match (words.path.as_slice(), flag) {
        ([_], None | Some("--once")) => Ok(Some(words.plugin.once)),
        _ => Err(UsageError::Form { topic: Topic::Top }),
    }
}

fn call(words: &Words) -> Result<Call, UsageError> {
    let call = request(words)?;
    match call.input {
        Input::No if words.dash => Err(UsageError::Dash),
        _ if words.dash => Ok(Call { input: Input::Dash, ..call }),
        _ => Ok(call),
    }
}

fn request(words: &Words) -> Result<Call, UsageError> {
    let Some((first, rest)) = words.path.split_first() else {
        return Err(UsageError::NoPath { command: words.command.map_or("key=value", Verb::as_str) });
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match Word::parse(first) {
        Some(word @ (Word::Connect | Word::Disconnect)) => {
            let topic = if word == Word::Connect { Topic::Connect } else { Topic::Disconnect };
            let (&[a, b], None, []) = (rest.as_slice(), words.command, words.pairs.as_slice()) else {
                return Err(UsageError::Form { topic });
            };
            framework(words, word, [("peer1", a), ("peer2", b)], None)
        }
        Some(Word::Attach) => {
            let (&[cube, port], None) = (rest.as_slice(), words.command) else {
                return Err(UsageError::Form { topic: Topic::Attach });
            };
            framework(words, Word::Attach, [("cube", cube), ("port", port)], attach_option(&words.pairs)?)
        }
        Some(Word::Detach) => {
            let (&[cube, port], None, []) = (rest.as_slice(), words.command, words.pairs.as_slice()) else {
                return Err(UsageError::Form { topic: Topic::Detach });
            };
            framework(words, Word::Detach, [("cube", cube), ("port", port)], None)
        }
        Some(Word::Version) => {
            if !rest.is_empty() || !matches!(words.command, None | Some(Verb::Show)) {
                return Err(UsageError::Form { topic: Topic::Version });
            }
            let call = resource(words, Some(Verb::Show))?;
            let output = match call.output {
                Output::View(view) => Output::Versions(view),
                output => output,
            };
            Ok(Call { output, ..call })
        }
        Some(Word::Services) if rest == [RELOAD] && words.command.is_none() => Err(UsageError::NoService),
        Some(Word::Services) if rest.len() == 2 && rest[0] == RELOAD && words.command.is_none() => {
            let path = path::encode(&[first.clone(), rest[1].to_owned(), RELOAD.to_owned()]);
            quiet(words, Request { method: Method::POST, path, body: body_of(words)? })
        }
        Some(Word::Cubes | Word::Netdevs | Word::Services | Word::Topology)
            if rest.is_empty() && words.command.is_none() && words.pairs.is_empty() =>
        {
            resource(words, Some(Verb::Show))
        }
        _ => resource(words, words.command),
    }
}

/// `connect` and its like: their operands are names, so they are never read as numbers.
fn framework(
    words: &Words,
    word: Word,
    operands: [(&str, &str); 2],
    option: Option<(&str, &str)>,
) -> Result<Call, UsageError> {
    words.refuse_view()?;
    let fields: Map<String, Value> =
        operands.into_iter().chain(option).map(|(key, value)| (key.to_owned(), value.into())).collect();
    let request = Request { method: Method::POST, path: format!("{word}/"), body: Some(fields.into()) };
    Ok(Call { request, output: Output::Nothing, input: Input::No, settings: Settings::default() })
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
fn resource(words: &Words, command: Option<Verb>) -> Result<Call, UsageError> {
    let here = path::encode(&words.path);
    // The framework's own paths have texts only.
    let is_own = words.path.first().is_some_and(|word| Word::parse(word).is_some());
    let settings = |kind| match is_own {
        true => Settings::default(),
        false => Settings::new(&here, &words.pairs, kind),
    };
    match command {
        Some(command @ (Verb::Show | Verb::Del)) if !words.pairs.is_empty() => {
            Err(UsageError::PairsNotTaken { command: command.as_str(), topic: Topic::of(command) })
        }
        Some(Verb::Show) => {
            let request = Request { method: Method::GET, path: here, body: None };
            let output = Output::View(view(words)?);
            Ok(Call { request, output, input: Input::No, settings: Settings::default() })
        }
        Some(Verb::Del) => quiet(words, Request { method: Method::DELETE, path: here, body: None }),
        Some(Verb::Add) if words.path == [Word::Cubes.as_str()] => {
            if !words.pairs.is_empty() {
                return Err(UsageError::CubesWithPairs);
            }
            let call = quiet(words, Request { method: Method::POST, path: here, body: None })?;
            Ok(Call { input: Input::Required, ..call })
        }
        Some(Verb::Add) => {
            let settings = settings(Kind::New);
            let call = quiet(words, Request { method: Method::POST, path: here, body: body_of(words)? })?;
            Ok(Call { input: optional(words), settings, ..call })
        }
        Some(Verb::Set) => match words.pairs.as_slice() {
            [] => {
                let call = quiet(words, Request { method: Method::PATCH, path: here, body: None })?;
                Ok(Call { input: Input::Required, ..call })
            }
            [pair] => {
                let settings = settings(Kind::Single);
                let path = here + &path::encode(&pair.key);
                let request = Request { method: Method::PATCH, path, body: Some(body::scalar(&pair.value)) };
                Ok(Call { settings, ..quiet(words, request)? })
            }
            [..] => {
                let settings = settings(Kind::Change);
                let request = Request { method: Method::PATCH, path: here, body: body_of(words)? };
                Ok(Call { settings, ..quiet(words, request)? })
            }
        },
        None => {
            let settings = settings(Kind::New);
            let call = quiet(words, Request { method: Method::POST, path: here, body: body_of(words)? })?;
            Ok(Call { output: Output::Result, input: optional(words), settings, ..call })
        }
    }
}

fn body_of(words: &Words) -> Result<Option<Value>, UsageError> {
    body::object(words.pairs.iter().map(|pair| (pair, body::scalar(&pair.value)))).map(Some)
}

fn quiet(words: &Words, request: Request) -> Result<Call, UsageError> {
    words.refuse_view()?;
    Ok(Call { request, output: Output::Nothing, input: Input::No, settings: Settings::default() })
}

/// Pairs on the command line are a body already.
fn optional(words: &Words) -> Input {
    if words.pairs.is_empty() { Input::Optional } else { Input::No }
}

fn view(words: &Words) -> Result<View, UsageError> {
    let hide = words.hide.clone().unwrap_or_default();
    let detail = match words.style {
        Some(style @ (Style::Json | Style::Yaml | Style::Names)) if !hide.is_empty() => {
            return Err(UsageError::HideWith { flag: style.flag() });
        }
        Some(Style::Json) => return Ok(View::Json),
        Some(Style::Yaml) => return Ok(View::Yaml),
        Some(Style::Names) => return Ok(View::Names),
        Some(Style::Text(detail)) => detail,
        None if hide.is_empty() && !words.all && words.path == [Word::Topology.as_str()] => return Ok(View::Topology),
        None => Detail::Normal,
    };
    Ok(View::Text { detail, all: words.all, hide })
}

#[cfg(test)]
mod tests;
