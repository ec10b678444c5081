//! A command line that is still being typed.

use std::ffi::OsString;

use polycube_api::Verb;

use super::capture::{self, Begun};
use super::forms::Topic;
use super::request::Request;
use super::view::Detail;
use super::words::{Style, Words};
use super::{capture_flags, captures, flags, order::Question, plugin_flags};
use crate::endpoint::Endpoint;

/// The words before the cursor, understood.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) question: Question,
    /// Names of the `key=value` that are there already.
    pub(crate) given: Vec<String>,
    pub(crate) endpoint: Endpoint,
    /// Whether a place can follow.
    pub(crate) takes_place: bool,
}

const FLAGS: [&str; 8] = ["--url", "--token-file", "--cacert", "--cert", "--key", "--help", "--verbose", "--version"];

impl Partial {
    /// `None` when nothing sensible can follow these words.
    pub(crate) fn parse(words: &[String]) -> Option<Self> {
        let args: Vec<OsString> = words.iter().map(Into::into).collect();
        if words.first().is_some_and(|word| word == "capture") && capture::is_meant(&args) {
            let Begun { endpoint, takes_place } = capture::begun(words)?;
            let question = Question { topic: Topic::Capture, path: vec!["capture".to_owned()], command: None };
            return Some(Self { endpoint, given: Vec::new(), takes_place, question });
        }
        let (mut words, mistake) = Words::classify(words.iter().map(Into::into));
        if mistake.is_some() || words.help {
            return None;
        }
        let takes_place = words.topic() == Topic::Attach && words.path.len() == 2;
        Some(Self {
            takes_place,
            endpoint: std::mem::take(&mut words.endpoint),
            given: words.pairs.iter().map(|pair| pair.name.clone()).collect(),
            question: Question { topic: words.topic(), path: words.path, command: words.command },
        })
    }

    /// Asks the daemon for what can follow.
    pub(crate) fn request(&self) -> Option<Request> {
        let Question { topic, path, command } = &self.question;
        let is_file =
            matches!((path.get(1).map(String::as_str), command), (Some("get"), None) | (None, Some(Verb::Del)));
        match topic {
            Topic::Capture if self.takes_place => {
                // Whatever the cube, the places are the same.
                let path = vec!["attach".to_owned(), "capture".to_owned()];
                Question { topic: Topic::Attach, path, command: None }.request()
            }
            Topic::Captures if is_file => Some(captures::list()),
            _ => self.question.request(),
        }
    }

    /// The flags that can follow.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let details = [Detail::Brief, Detail::Normal, Detail::Verbose].map(Style::Text);
        let styles = [Style::Json, Style::Yaml]
            .into_iter()
            .chain(details)
            .map(Style::flag)
            .chain(["--all", "-hide=", "-o", "--utc", "--local"]);
        let shows = self.question.command == Some(Verb::Show);
        let of_packets: &[&str] = match self.question.topic {
            Topic::Dump => &flags::FLAGS,
            Topic::Watch => &flags::OF_WATCH,
            Topic::Captures => match self.question.path.get(1).map(String::as_str) {
                Some("get") => &["-w", "--force"],
                Some("query") => &["-w", "--force", "-c", "-n", "--utc", "--local"],
                _ => &[],
            },
            Topic::Top => &["--once"],
            Topic::Plugin => match self.question.path.get(1).map(String::as_str) {
                Some("new") => &plugin_flags::OF_NEW,
                Some("dev") => &plugin_flags::OF_DEV,
                _ => &[],
            },
            _ => &[],
        };
        let of_capture = capture_flags::FLAGS.iter().map(|(flag, ..)| *flag);
        let of_capture = of_capture.filter(|_| self.question.topic == Topic::Capture);
        let configures = self.question.topic == Topic::Config;
        let applies = configures && matches!(self.question.path.get(1).map(String::as_str), Some("apply" | "diff"));
        let of_config = ["-json", "-yaml"].into_iter().filter(move |_| configures);
        let of_config = of_config.chain(["--prune"].into_iter().filter(move |_| applies));
        FLAGS
            .into_iter()
            .chain(styles.filter(|_| shows))
            .chain(of_packets.iter().copied())
            .chain(of_capture)
            .chain(of_config)
            .collect()
    }
}
