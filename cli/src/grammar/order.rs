//! What a command line means.

use hyper::Method;
use polycube_api::Verb;

use super::capture::Capture;
use super::captures::Captures;
use super::configuration::Configuration;
use super::forms::{Shell, Topic};
use super::manual::Explanation;
use super::packets::{Joined, PacketStream};
use super::path;
use super::plugin::PluginOrder;
use super::request::Request;
use super::settings::Settings;
use super::view::{Clock, View};
use crate::endpoint::Endpoint;

/// What the user typed, understood.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) order: Order,
    pub(crate) endpoint: Endpoint,
    /// Whether a refusal is to be printed with the log that it may have.
    pub(crate) verbose: bool,
    /// The clock of times that are shown.
    pub(crate) clock: Clock,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    Help(Question),
    /// Explain a topic.
    Explanation(Explanation),
    OwnVersion,
    /// Print a shell's completion script.
    Script(Shell),
    /// Capture packets for as long as this runs.
    Capture(Box<Capture>),
    /// Take a file, or packets, of all captures.
    Captures(Captures),
    /// Take a capture's packets.
    Packets(PacketStream),
    /// Take several captures' packets as one stream.
    Joined(Joined),
    /// Show what passes captures and ports.
    Top {
        once: bool,
    },
    Call(Call),
    /// Save, apply or compare the whole configuration.
    Configuration(Configuration),
    /// Write, check or try a plugin.
    Plugin(PluginOrder),
}

/// What the user wants to know about: the words before the question mark.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) topic: Topic,
    pub(crate) path: Vec<String>,
    pub(crate) command: Option<Verb>,
}

/// A request, and what to do with its answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) output: Output,
    pub(crate) input: Input,
    /// What the request's body was made of.
    pub(crate) settings: Settings,
}

/// Whether standard input has the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Input {
    No,
    /// If there is something.
    Optional,
    /// There must be something.
    Required,
    /// There must be something, even if it is typed: `-` was given.
    Dash,
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

impl Call {
    /// Whether its answer is shown in words.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.output, Output::View(View::Text { .. } | View::Topology) | Output::Result)
    }

    /// Whether an answer without entries needs a word: what an action answers may be nothing.
    pub(crate) fn shows_entries(&self) -> bool {
        self.is_for_people() && self.output != Output::Result
    }
}

impl Question {
    /// Asks the daemon; `None` about words that only the command line knows.
    pub(crate) fn request(&self) -> Option<Request> {
        if matches!(
            self.topic,
            Topic::Capture
                | Topic::Captures
                | Topic::Completion
                | Topic::Config
                | Topic::Dump
                | Topic::Help
                | Topic::Plugin
                | Topic::Top
                | Topic::Watch
        ) {
            return None;
        }
        let command = self.command.map_or("NONE".to_owned(), |verb| verb.as_str().to_ascii_uppercase());
        let path = format!("{}?help={command}", path::encode(&self.path));
        Some(Request { method: Method::OPTIONS, path, body: None })
    }

    /// Whether the command line can answer without the daemon.
    pub(crate) fn is_ours(&self) -> bool {
        self.path.is_empty()
            || !matches!(self.topic, Topic::General | Topic::Add | Topic::Set | Topic::Show | Topic::Del)
    }
}
