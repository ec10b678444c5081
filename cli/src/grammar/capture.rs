//! `capture PLACE... [EXPRESSION]`: packets in one line.
//!
//! The words of `capture` are not those of other commands: an expression may contain `=`, `[` and the names of verbs. So they
//! have a reader of their own. Places come first, and the expression begins at the first word that can begin one: a word
//! of pcap-filter(7), or one with a blank, a bracket or an operator. A place that has such a name is given with `-i`; then
//! all other words are the expression, as in tcpdump. Nothing depends on which netdevs exist: a place that is misspelt is
//! refused by its name, and does not turn into an expression.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use polycube_api::{EPHEMERAL, Unit, Verb};
use serde_json::{Value, json};

use super::capture_flags::{Direction, Flags, KEYWORDS};
use super::error::UsageError;
use super::forms::Topic;
use super::packets::{Destination, check_keys};
use super::path;
use super::request::Request;
use super::view::Clock;
use super::words::{utf8, without_flags};
use crate::endpoint::Endpoint;

/// The word that this begins with.
const CAPTURE: &str = "capture";

/// The stream of a cube that records packets.
const STREAM: &str = "stream";
/// Milliseconds that packets on their way to a file wait for TLS keys.
const KEYS_WAIT: u32 = 1_000;
/// The snap length that is a word.
const HEADERS: &str = "headers";
/// What stands before the colon of places that are not ports.
const SELECTORS: [&str; 4] = ["netns", "pid", "container", "pod"];

/// A short-lived capture, and where its packets go.
#[derive(Debug, PartialEq)]
pub(crate) struct Capture {
    pub(crate) places: Vec<String>,
    /// Empty for all packets.
    pub(crate) expression: String,
    pub(crate) direction: Direction,
    pub(crate) snaplen: Option<SnapLen>,
    pub(crate) destination: Destination,
    pub(crate) format: RecordFormat,
    pub(crate) limits: Limits,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) comment: Option<String>,
    /// Whether the file says what surrounds the capture.
    pub(crate) bundle: bool,
    /// A TLS key log that is followed.
    pub(crate) keys: Option<PathBuf>,
    /// Where a daemon for this capture asks container runtimes, instead of where they usually are.
    pub(crate) container_sockets: Vec<PathBuf>,
    /// Neither a live line nor a summary.
    pub(crate) quiet: bool,
    pub(crate) clock: Clock,
}

/// How much of a packet is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SnapLen {
    Bytes(u64),
    Headers { whole_dns: bool },
}

/// What a file of packets is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RecordFormat {
    Pcap,
    PcapNanos,
    Pcapng,
}

impl RecordFormat {
    /// Its name on the command line, and the daemon's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pcap => "pcap",
            Self::PcapNanos => "pcap-nanos",
            Self::Pcapng => "pcapng",
        }
    }
}

/// When it is enough; the first limit that is reached counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) packets: Option<u64>,
    /// Of packets, as far as they are recorded.
    pub(crate) bytes: Option<u64>,
    pub(crate) time: Option<Duration>,
}

/// When the next file begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotation {
    pub(crate) every: Extent,
    /// How many files are kept; all if it is not given.
    pub(crate) keep: Option<usize>,
}

/// The extent of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    Bytes(u64),
    Time(Duration),
}

/// What words after `capture` mean.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    Capture(Box<Capture>),
    Help,
}

/// Whether a command line is about `capture`. With a verb after it, it is about a cube that is called so.
pub(super) fn is_meant(args: &[OsString]) -> bool {
    let mut words = without_flags(args);
    words.next() == Some(Some(CAPTURE)) && words.next().is_none_or(|word| word.and_then(Verb::parse).is_none())
}

/// Reads the words of a command line that is about `capture`.
pub(super) fn parse(args: Vec<OsString>) -> Result<(Meaning, Endpoint, bool), UsageError> {
    let mut flags = Flags::default();
    let mut words = Vec::new();
    let mut args = args.into_iter().map(utf8);
    while let Some(word) = args.next().transpose()? {
        match word.as_str() {
            "--" => words.extend(args.by_ref().collect::<Result<Vec<_>, _>>()?),
            "-" => words.push(word),
            "-h" | "--help" => flags.help = true,
            flag if flag.starts_with('-') => flags.take(flag, || args.next().transpose())?,
            _ => words.push(word),
        }
    }
    words.remove(0);
    if words.last().is_some_and(|word| word == "?") {
        flags.help = true;
    }
    let (endpoint, verbose) = (std::mem::take(&mut flags.endpoint), flags.verbose);
    let meaning = if flags.help { Meaning::Help } else { Meaning::Capture(Box::new(Capture::of(words, flags)?)) };
    Ok((meaning, endpoint, verbose))
}

/// What a command line that is being typed has so far.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) endpoint: Endpoint,
    /// Whether a place can follow.
    pub(super) takes_place: bool,
}

/// Reads the words before the cursor; `None` where the value of a flag follows that is not a place.
pub(super) fn begun(words: &[String]) -> Option<Begun> {
    let mut flags = Flags::default();
    let (mut words, mut is_expression, mut takes_place) = (words.iter().skip(1), false, false);
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            match flags.take(word, || Ok(words.next().cloned())) {
                Err(UsageError::FlagWithoutValue { flag: "-i", .. }) => takes_place = true,
                taken => taken.ok()?,
            }
        } else {
            is_expression |= begins_expression(word);
        }
    }
    takes_place |= !is_expression && flags.places.is_empty();
    Some(Begun { endpoint: flags.endpoint, takes_place })
}

impl Capture {
    /// The service whose cubes record packets.
    pub(crate) const SERVICE: &str = "packetcapture";

    fn of(mut words: Vec<String>, flags: Flags) -> Result<Self, UsageError> {
        let mut places = flags.places;
        // Scripts mean no expression by an empty last word.
        let _ = words.pop_if(|word| word.is_empty());
        if places.is_empty() {
            let first = words.iter().position(|word| begins_expression(word)).unwrap_or(words.len());
            places = words.drain(..first).collect();
        } else if let Some(word) = words.first().filter(|word| !begins_expression(word)) {
            return Err(UsageError::WordBesidePlaces { word: word.clone() });
        }
        if places.is_empty() {
            return Err(UsageError::NoPlace);
        }
        if let Some(word) = places.iter().find(|place| place.contains(',')) {
            return Err(UsageError::Comma { word: word.clone() });
        }
        if let Some(twice) =
            places.iter().enumerate().find_map(|(at, place)| places[..at].contains(place).then_some(place))
        {
            return Err(UsageError::PlaceTwice { place: twice.clone() });
        }
        let destination = match flags.write {
            None => Destination::Lines,
            Some(path) if path == "-" => Destination::Records,
            Some(path) => Destination::File { path: path.into(), force: flags.force },
        };
        if flags.force && !matches!(destination, Destination::File { .. }) {
            return Err(UsageError::NeedsFile { flag: "--force" });
        }
        let number = |flag, value: Option<String>| value.map(|value| positive(flag, &value)).transpose();
        let limits = Limits {
            packets: number("-c", flags.count)?,
            bytes: flags.bytes.map(|value| bytes("--bytes", &value)).transpose()?,
            time: flags.time.map(|value| time("--for", &value)).transpose()?,
        };
        let keep = number("--keep", flags.keep)?.map(|files| usize::try_from(files).unwrap_or(usize::MAX));
        let rotation = match (flags.rotate, keep) {
            (Some(value), keep) => Some(Rotation { every: extent(&value)?, keep }),
            (None, Some(_)) => return Err(UsageError::KeepWithoutRotate),
            (None, None) => None,
        };
        if rotation.is_some() && !matches!(destination, Destination::File { .. }) {
            return Err(UsageError::NeedsFile { flag: "--rotate" });
        }
        let format = format(flags.format.as_deref(), &destination)?;
        let is_pcapng = destination != Destination::Lines && format == RecordFormat::Pcapng;
        let part = [("--bundle", flags.bundle), ("--comment", flags.comment.is_some())].into_iter().find(|(_, is)| *is);
        if let Some((flag, _)) = part.filter(|_| !is_pcapng) {
            return Err(UsageError::PartOfPcapng { flag, topic: Topic::Capture });
        }
        if flags.format.is_some() && destination == Destination::Lines {
            return Err(UsageError::NeedsFile { flag: "--format" });
        }
        if let Destination::File { path, .. } = &destination {
            check_name(path, rotation.is_some())?;
        }
        let keys = flags.keys.map(PathBuf::from);
        check_keys(keys.as_deref(), &destination, (format != RecordFormat::Pcapng).then_some("pcap"))?;
        Ok(Self {
            places,
            expression: words.join(" "),
            direction: flags.direction.map(|(_, direction)| direction).unwrap_or_default(),
            snaplen: snaplen(flags.snaplen, flags.whole_dns)?,
            format,
            destination,
            limits,
            rotation,
            comment: flags.comment,
            bundle: flags.bundle,
            keys,
            container_sockets: flags.container_sockets.into_iter().map(PathBuf::from).collect(),
            quiet: flags.quiet,
            clock: flags.clock.map(|(_, clock)| clock).unwrap_or_default(),
        })
    }

    /// Asks for a cube that goes with its stream, and for that stream. Whatever the file is to be, the stream is pcapng: it
    /// says where packets come from, and ends with the counters. Where the daemon writes the file by itself, it is as the file
    /// is to be. The cube's format says what places the file has room for.
    pub(crate) fn request(&self, is_written_there: bool) -> Request {
        let format = if is_written_there { self.format } else { RecordFormat::Pcapng }.name();
        let packets = self.limits.packets.map_or_else(String::new, |packets| format!("&packets={packets}"));
        let directions = match self.direction {
            Direction::Both => "bidirectional",
            Direction::In => "ingress",
            Direction::Out => "egress",
        };
        let mut body = json!({
            "parents": self.places,
            "capture": directions,
            "format": self.format.name(),
            "store": "none",
        });
        if !self.expression.is_empty() {
            body["filter"] = Value::from(self.expression.as_str());
        }
        if let Some(comment) = &self.comment {
            body["comment"] = Value::from(comment.as_str());
        }
        // A file may have its packets later than a reader.
        if self.keys.is_some() && matches!(self.destination, Destination::File { .. }) {
            body["keys-wait"] = KEYS_WAIT.into();
        }
        match self.snaplen {
            Some(SnapLen::Bytes(bytes)) => body["snaplen"] = bytes.into(),
            Some(SnapLen::Headers { whole_dns }) => {
                body["snaplen"] = HEADERS.into();
                if whole_dns {
                    body["whole-dns"] = true.into();
                }
            }
            None => {}
        }
        let path = format!("{}/?{EPHEMERAL}={STREAM}&format={format}{packets}", Self::SERVICE);
        Request { method: Method::POST, path, body: Some(body) }
    }

    /// A place that is a port of a cube, if there is one.
    pub(crate) fn port(&self) -> Option<&str> {
        let is_port = |place: &&str| place.split_once(':').is_some_and(|(owner, _)| !SELECTORS.contains(&owner));
        self.places.iter().map(String::as_str).find(is_port)
    }

    /// Asks for all about the cube.
    pub(crate) fn state(cube: &str) -> Request {
        Request { method: Method::GET, path: format!("{}/", path::segment(cube)), body: None }
    }

    /// Ends the capture; the stream then has what is left, and the counters.
    pub(crate) fn end(cube: &str) -> Request {
        Request { method: Method::DELETE, path: format!("{}/", path::segment(cube)), body: None }
    }
}

/// Whether a word can begin an expression. No place needs one of these characters.
fn begins_expression(word: &str) -> bool {
    KEYWORDS.contains(&word) || word.contains(|c: char| c.is_whitespace() || "()[]!<>=&|".contains(c))
}

fn snaplen(value: Option<String>, whole_dns: bool) -> Result<Option<SnapLen>, UsageError> {
    match value {
        Some(word) if word == HEADERS => Ok(Some(SnapLen::Headers { whole_dns })),
        _ if whole_dns => Err(UsageError::WholeDns),
        // As in tcpdump.
        Some(size) if size == "0" => Ok(None),
        Some(size) => bytes("-s", &size).map(|bytes| Some(SnapLen::Bytes(bytes))),
        None => Ok(None),
    }
}

fn positive(flag: &'static str, value: &str) -> Result<u64, UsageError> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| UsageError::NotPositive { flag, value: value.to_owned() })
}

fn read(unit: Unit, value: &str) -> Option<u64> {
    unit.read(value, true).ok()?.as_u64().filter(|number| *number > 0)
}

fn is_bare(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_digit())
}

fn bytes(flag: &'static str, value: &str) -> Result<u64, UsageError> {
    let plain = || value.parse().ok().filter(|bytes| *bytes > 0);
    let bytes = if is_bare(value) { plain() } else { read(Unit::Bytes, value) };
    bytes.ok_or_else(|| UsageError::Size { flag, value: value.to_owned() })
}

fn time(flag: &'static str, value: &str) -> Result<Duration, UsageError> {
    let text = if is_bare(value) { format!("{value}s") } else { value.to_owned() };
    duration(&text).ok_or_else(|| UsageError::Time { flag, value: value.to_owned() })
}

/// A time of whole milliseconds that is not 0.
fn duration(text: &str) -> Option<Duration> {
    Unit::milliseconds(text).ok().filter(|milliseconds| *milliseconds > 0).map(Duration::from_millis)
}

/// A size or a time. A plain number could be either.
fn extent(value: &str) -> Result<Extent, UsageError> {
    let size = || read(Unit::Bytes, value).map(Extent::Bytes);
    let time = || duration(value).map(Extent::Time);
    let extent = if is_bare(value) { None } else { size().or_else(time) };
    extent.ok_or_else(|| UsageError::Rotate { value: value.to_owned() })
}

/// Endings of files that are compressed.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "zip"];

/// Refuses the name of a file that is not what its name says.
fn check_name(path: &Path, rotates: bool) -> Result<(), UsageError> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if COMPRESSED.contains(&ending.as_str()) {
        return Err(UsageError::Compressed { ending });
    }
    let has_time = path.file_name().is_some_and(|name| name.to_string_lossy().contains('%'));
    if rotates && has_time { Err(UsageError::TimeInName) } else { Ok(()) }
}

/// The format that was asked for, or the one that the file's name asks for.
fn format(given: Option<&str>, destination: &Destination) -> Result<RecordFormat, UsageError> {
    let has_ending = |path: &Path, ending: &str| path.extension().is_some_and(|it| it.eq_ignore_ascii_case(ending));
    match (given, destination) {
        (Some(name), _) => {
            let all = [RecordFormat::Pcap, RecordFormat::PcapNanos, RecordFormat::Pcapng];
            let named = all.into_iter().find(|format| format.name() == name);
            named.ok_or_else(|| UsageError::Format { value: name.to_owned() })
        }
        (None, Destination::File { path, .. }) if has_ending(path, "pcap") || has_ending(path, "cap") => {
            Ok(RecordFormat::Pcap)
        }
        (None, _) => Ok(RecordFormat::Pcapng),
    }
}

impl Rotation {
    /// The name of file number `number`: `trace-000001.pcapng` for `trace.pcapng`.
    pub(crate) fn name(path: &Path, number: u64) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        path.with_file_name(format!("{stem}-{number:06}{ending}"))
    }
}

#[cfg(test)]
mod tests;
