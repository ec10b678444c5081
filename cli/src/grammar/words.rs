//! The words of the command line, classified: command, flag, pair, question mark or path.

use std::ffi::OsString;
use std::iter;

use polycube_api::{Verb, Word};

use super::error::UsageError;
use super::flags::{BUNDLE, Flags};
use super::forms::{CAPTURES, Topic};
use super::path;
use super::plugin_flags::PluginFlags;
use super::view::{Clock, Detail};
use crate::endpoint::Endpoint;

/// The letters of flags that have a value.
const SHORT: &str = "wco";

/// The words by kind.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) path: Vec<String>,
    pub(super) command: Option<Verb>,
    pub(super) pairs: Vec<Pair>,
    pub(super) help: bool,
    pub(super) own_version: bool,
    pub(super) verbose: bool,
    pub(super) style: Option<Style>,
    /// The flag that gave the style.
    style_flag: &'static str,
    pub(super) all: bool,
    /// `--utc` or `--local`.
    pub(super) clock: Option<(&'static str, Clock)>,
    pub(super) hide: Option<Vec<String>>,
    pub(super) endpoint: Endpoint,
    pub(super) packets: Flags,
    pub(super) plugin: PluginFlags,
    /// `--prune`.
    pub(super) prune: bool,
    /// `-`: standard input has the body.
    pub(super) dash: bool,
}

/// `name=value`; `key` is the name, split at its dots.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) key: Vec<String>,
    pub(super) value: String,
}

/// How `show` prints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Style {
    Json,
    Yaml,
    Names,
    Text(Detail),
}

/// What has come before a word.
#[derive(Debug, Default)]
struct Before {
    pair: Option<String>,
    question: bool,
}

impl Words {
    /// Classifies words. The first mistake comes beside what the others are, so that it is known what they are about.
    pub(super) fn classify(args: impl IntoIterator<Item = OsString>) -> (Self, Option<UsageError>) {
        let (mut words, mut before, mut mistake) = (Self::default(), Before::default(), None);
        let mut args = args.into_iter().map(utf8);
        while let Some(word) = args.next() {
            let taken = word.and_then(|word| words.take(word, &mut before, || args.next().transpose()));
            let Err(error) = taken else { continue };
            // What follows may be the value of a flag that is not known.
            let is_last = matches!(error, UsageError::UnknownFlag { .. });
            mistake.get_or_insert(error);
            if is_last {
                break;
            }
        }
        words.help |= before.question;
        (words, mistake)
    }

    /// Takes a word; `next` is the one after it.
    fn take(
        &mut self,
        word: String,
        before: &mut Before,
        next: impl FnOnce() -> Result<Option<String>, UsageError>,
    ) -> Result<(), UsageError> {
        if before.question {
            return Err(UsageError::HelpNotLast);
        }
        if word == "-" {
            self.dash = true;
        } else if word.starts_with('-') {
            self.flag(&word, next)?;
        } else if let Some((name, value)) = word.split_once('=') {
            self.pair(name, value)?;
            before.pair = Some(word);
        } else if word == "?" {
            before.question = true;
        } else if let Some(pair) = &before.pair {
            return Err(UsageError::AfterPair { word, pair: pair.clone() });
        } else if let Some(command) = Verb::parse(&word) {
            if let Some(first) = self.command.replace(command) {
                return Err(UsageError::TwoCommands { first: first.as_str(), second: command.as_str() });
            }
        } else {
            path::check(&word)?;
            self.path.push(word);
        }
        Ok(())
    }

    /// Whether there is nothing to ask the daemon for.
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_empty() && self.command.is_none() && self.pairs.is_empty()
    }

    /// What the words are about.
    pub(super) fn topic(&self) -> Topic {
        let first = self.path.first().map_or("", String::as_str);
        match (Word::parse(first), self.command) {
            (Some(Word::Connect), _) => Topic::Connect,
            (Some(Word::Disconnect), _) => Topic::Disconnect,
            (Some(Word::Attach), _) => Topic::Attach,
            (Some(Word::Detach), _) => Topic::Detach,
            (Some(Word::Version), _) => Topic::Version,
            (Some(Word::Config), _) => Topic::Config,
            _ if first == "completion" => Topic::Completion,
            _ if first == "plugin" => Topic::Plugin,
            (_, None) if first == "help" => Topic::Help,
            _ if first == CAPTURES => Topic::Captures,
            (_, None) if first == "capture" => Topic::Capture,
            (_, None) if first == "top" && self.pairs.is_empty() => Topic::Top,
            (_, None) if first == "dump" && self.path.len() > 1 && self.path[1] != "watch" => Topic::Dump,
            (_, None) if self.path.len() >= 2 && self.path[1] == "dump" => Topic::Dump,
            (_, None) if self.path.len() >= 2 && self.path[1] == "watch" => Topic::Watch,
            (_, None) if self.path.len() == 2 && first == "watch" => Topic::Watch,
            (_, Some(verb)) => Topic::of(verb),
            _ => Topic::General,
        }
    }

    /// Refuses flags of `show` where nothing is shown.
    pub(super) fn refuse_view(&self) -> Result<(), UsageError> {
        match (self.style, &self.hide) {
            (Some(_), _) => Err(UsageError::ViewWithoutShow { flag: self.style_flag }),
            (None, Some(_)) => Err(UsageError::ViewWithoutShow { flag: "-hide" }),
            (None, None) if self.all => Err(UsageError::ViewWithoutShow { flag: "--all" }),
            (None, None) if let Some((flag, _)) = self.clock => Err(UsageError::ClockWithoutTimes { flag }),
            (None, None) => Ok(()),
        }
    }

    fn pair(&mut self, name: &str, value: &str) -> Result<(), UsageError> {
        let key: Vec<String> = name.split('.').map(str::to_owned).collect();
        if key.iter().any(String::is_empty) {
            return Err(UsageError::EmptyKey { pair: format!("{name}={value}") });
        }
        if self.pairs.iter().any(|pair| pair.key == key) {
            return Err(UsageError::DuplicateKey { key: name.to_owned() });
        }
        self.pairs.push(Pair { name: name.to_owned(), key, value: value.to_owned() });
        Ok(())
    }

    /// Takes a flag; `next` is the word after it.
    pub(super) fn flag(
        &mut self,
        word: &str,
        next: impl FnOnce() -> Result<Option<String>, UsageError>,
    ) -> Result<(), UsageError> {
        let (name, value) = split_flag(word, SHORT);
        match (name, value) {
            ("-h" | "--help", None) => self.help = true,
            ("-V" | "--version", None) => self.own_version = true,
            ("-v" | "--verbose", None) => self.verbose = true,
            ("--url", _) => set_once(&mut self.endpoint.url, "--url", "URL", value, next)?,
            ("--token-file", _) => set_once(&mut self.endpoint.token_file, "--token-file", "FILE", value, next)?,
            ("--cacert", _) => set_once(&mut self.endpoint.tls.cacert, "--cacert", "FILE", value, next)?,
            ("--cert", _) => set_once(&mut self.endpoint.tls.cert, "--cert", "FILE", value, next)?,
            ("--key", _) => set_once(&mut self.endpoint.tls.key, "--key", "FILE", value, next)?,
            ("-w", _) => set_once(&mut self.packets.write, "-w", "FILE", value, next)?,
            ("--format", _) => set_once(&mut self.packets.format, "--format", "FORMAT", value, next)?,
            ("--sdk", _) => set_once(&mut self.plugin.sdk, "--sdk", "DIR", value, next)?,
            ("--plugin-dir", _) => set_once(&mut self.plugin.plugin_dir, "--plugin-dir", "DIR", value, next)?,
            ("--prune", None) => self.prune = true,
            ("-c", _) => set_once(&mut self.packets.count, "-c", "PACKETS", value, next)?,
            ("--keys", _) => set_once(&mut self.packets.keys, "--keys", "FILE", value, next)?,
            ("--follow", None) => self.packets.follow = true,
            ("-n" | "-nn", None) => self.packets.numeric = true,
            ("--force", None) => self.packets.force = true,
            (BUNDLE, None) => self.packets.bundle = true,
            ("--all", None) => self.all = true,
            ("--utc", None) => one(&mut self.clock, ("--utc", Clock::Utc))?,
            ("--local", None) => one(&mut self.clock, ("--local", Clock::Local))?,
            ("-json", None) => self.style(Style::Json)?,
            ("-brief", None) => self.style(Style::Text(Detail::Brief))?,
            ("-normal", None) => self.style(Style::Text(Detail::Normal))?,
            ("-verbose", None) => self.style(Style::Text(Detail::Verbose))?,
            ("-o", _) => {
                let mut form = None;
                set_once(&mut form, "-o", "FORM", value, next)?;
                self.style(Style::parse(&form.unwrap_or_default())?)?;
                self.style_flag = "-o";
            }
            ("-yaml", None) => self.style(Style::Yaml)?,
            ("-hide", None | Some("")) => return Err(UsageError::HideWithoutNames),
            ("-hide", Some(names)) => {
                self.hide.get_or_insert_default().extend(names.split(',').map(str::to_owned));
            }
            (_, None) if self.plugin.take(name) => {}
            _ => return Err(UsageError::UnknownFlag { word: word.to_owned() }),
        }
        Ok(())
    }

    fn style(&mut self, style: Style) -> Result<(), UsageError> {
        self.style_flag = style.flag();
        match self.style.replace(style) {
            Some(first) if first != style => {
                Err(UsageError::StylesTogether { first: first.flag(), second: style.flag() })
            }
            _ => Ok(()),
        }
    }
}

impl Style {
    /// What follows `-o`.
    fn parse(form: &str) -> Result<Self, UsageError> {
        match form {
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Names),
            "wide" => Ok(Self::Text(Detail::Verbose)),
            _ => Err(UsageError::OutputForm { value: form.to_owned() }),
        }
    }

    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Json => "-json",
            Self::Yaml => "-yaml",
            Self::Names => "-o name",
            Self::Text(Detail::Brief) => "-brief",
            Self::Text(Detail::Normal) => "-normal",
            Self::Text(Detail::Verbose) => "-verbose",
        }
    }
}

/// The words of a command line that are not flags, as far as flags are known that may precede a command; `None` for one that is
/// not UTF-8.
pub(super) fn without_flags(args: &[OsString]) -> impl Iterator<Item = Option<&str>> {
    let mut args = args.iter().map(|word| word.to_str());
    iter::from_fn(move || {
        loop {
            match args.next()? {
                Some("--url" | "--token-file" | "--cacert" | "--cert" | "--key") => drop(args.next()),
                Some(flag) if flag.starts_with('-') => {}
                word => return Some(word),
            }
        }
    })
}

/// A flag and the value that is attached to it: `--keys=FILE`, `-c=5`, or `-c5`, as getopt takes it, where `short` has the
/// letters of flags with a value.
pub(super) fn split_flag<'a>(word: &'a str, short: &str) -> (&'a str, Option<&'a str>) {
    let has_value = word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| short.contains(c)));
    if has_value {
        let (name, value) = word.split_at(2);
        return (name, (!value.is_empty()).then(|| value.strip_prefix('=').unwrap_or(value)));
    }
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

/// Takes one of several flags that exclude each other.
pub(super) fn one<T: Copy + PartialEq>(
    slot: &mut Option<(&'static str, T)>,
    given: (&'static str, T),
) -> Result<(), UsageError> {
    match slot.replace(given) {
        Some((first, value)) if value != given.1 => Err(UsageError::StylesTogether { first, second: given.0 }),
        _ => Ok(()),
    }
}

pub(super) fn set_once(
    slot: &mut Option<String>,
    flag: &'static str,
    metavar: &'static str,
    value: Option<&str>,
    next: impl FnOnce() -> Result<Option<String>, UsageError>,
) -> Result<(), UsageError> {
    let value = match value {
        Some(value) => Some(value.to_owned()),
        None => next()?,
    };
    let value = value.filter(|value| !value.is_empty()).ok_or(UsageError::FlagWithoutValue { flag, metavar })?;
    match slot.replace(value) {
        Some(_) => Err(UsageError::FlagTwice { flag }),
        None => Ok(()),
    }
}

pub(super) fn utf8(word: OsString) -> Result<String, UsageError> {
    word.into_string().map_err(|word| UsageError::NotUtf8 { word: word.to_string_lossy().into_owned() })
}
