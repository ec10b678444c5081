//! `NAME dump` and `NAME watch`: a capture's packets, to keep or to look at.

use std::path::{Path, PathBuf};

use hyper::Method;
use polycube_api::IDLE;
use serde_json::json;

use super::error::UsageError;
use super::flags::{BUNDLE, Flags};
use super::forms::{CAPTURES, Topic};
use super::path;
use super::request::Request;
use super::view::Clock;
use super::words::Words;

/// The action that takes TLS keys.
const KEYS: &str = "keys";
/// The format that has a place for keys.
const PCAPNG: &str = "pcapng";

/// A stream of packets, and where it goes.
#[derive(Debug, PartialEq)]
pub(crate) struct PacketStream {
    pub(crate) source: PacketSource,
    pub(crate) destination: Destination,
    /// Packets from now on, instead of what there is.
    pub(crate) follow: bool,
    /// The cube's own when neither it nor the file's name says which.
    pub(crate) format: Option<String>,
    /// How many; all if it is not given.
    pub(crate) packets: Option<u64>,
    /// The clock of lines.
    pub(crate) clock: Clock,
    /// Whether the file says what surrounds the capture.
    pub(crate) bundle: bool,
    /// A TLS key log that is followed.
    pub(crate) keys: Option<PathBuf>,
}

/// Streams of several cubes, as one.
#[derive(Debug, PartialEq)]
pub(crate) struct Joined {
    pub(crate) cubes: Vec<String>,
    pub(crate) destination: Destination,
    pub(crate) follow: bool,
    pub(crate) packets: Option<u64>,
    /// Whether the file says what surrounds the captures.
    pub(crate) bundle: bool,
    /// A TLS key log that is followed.
    pub(crate) keys: Option<PathBuf>,
}

/// Where packets come from.
#[derive(Debug, PartialEq)]
pub(crate) enum PacketSource {
    /// The capture of this name.
    Cube(String),
    /// The files of all captures, of which this expression chooses packets; `path` asks for them.
    Query { path: String, expression: String },
}

/// Where packets go, and as what.
#[derive(Debug, PartialEq)]
pub(crate) enum Destination {
    /// Capture records, on standard output.
    Records,
    /// Capture records, in a new file; over an old one with `force`.
    File { path: PathBuf, force: bool },
    /// Capture records, in a named pipe that exists.
    Pipe(PathBuf),
    /// A line each.
    Lines,
}

impl Joined {
    /// `None` when the words ask for something else.
    pub(super) fn parse(words: &mut Words) -> Result<Option<Self>, UsageError> {
        let ([first, cubes @ ..], None) = (words.path.as_slice(), words.command) else { return Ok(None) };
        // `dump watch` looks at a cube that is called so.
        if first != "dump" || cubes.is_empty() || cubes == ["watch"] || cubes == ["dump"] {
            return Ok(None);
        }
        let cubes = cubes.to_vec();
        words.refuse_view()?;
        if let Some(pair) = words.pairs.first() {
            return Err(UsageError::PairWithPackets { key: pair.name.clone() });
        }
        if let Some(twice) = cubes.iter().enumerate().find_map(|(at, cube)| cubes[..at].contains(cube).then_some(cube))
        {
            return Err(UsageError::CubeTwice { cube: twice.clone() });
        }
        let Flags { write, format, follow, force, count, bundle, keys, .. } = std::mem::take(&mut words.packets);
        let destination = destination(write, force);
        // Neither other format says where a packet comes from.
        match format.as_deref().or(destination.ending()) {
            None | Some("pcapng") => {}
            Some(format) => return Err(UsageError::JoinedFormat { format: format.to_owned() }),
        }
        let (packets, keys) = (self::count(count)?, keys.map(PathBuf::from));
        Ok(Some(Self { cubes, destination, follow, packets, bundle, keys }))
    }

    /// The stream of each.
    pub(crate) fn streams(&self) -> impl Iterator<Item = PacketStream> {
        self.cubes.iter().map(|cube| PacketStream {
            source: PacketSource::Cube(cube.clone()),
            destination: Destination::Records,
            follow: self.follow,
            format: Some("pcapng".to_owned()),
            packets: None,
            clock: Clock::default(),
            bundle: false,
            keys: None,
        })
    }
}

fn destination(write: Option<String>, force: bool) -> Destination {
    match write {
        Some(path) if path != "-" => Destination::File { path: path.into(), force },
        _ => Destination::Records,
    }
}

impl Destination {
    /// The format that a file's name names.
    fn ending(&self) -> Option<&'static str> {
        let Self::File { path, .. } = self else { return None };
        let ending = path.extension()?;
        ["pcapng", "pcap"].into_iter().find(|known| ending.eq_ignore_ascii_case(known))
    }

    /// The format that a file's name asks for. `.pcap` may be either resolution: the cube's own is best.
    fn format(&self) -> Option<&'static str> {
        self.ending().filter(|ending| *ending == "pcapng")
    }
}

impl PacketStream {
    /// `None` when the words ask for something else: with a verb, `dump` is a leaf that says where the file is.
    pub(super) fn parse(words: &mut Words) -> Result<Option<Self>, UsageError> {
        let (cube, lines) = match (words.path.as_slice(), words.command) {
            ([cube, verb], None) if verb == "dump" => (cube.clone(), false),
            ([cube, verb], None) if verb == "watch" => (cube.clone(), true),
            // As `dump NAME`.
            ([verb, cube], None) if verb == "watch" => (cube.clone(), true),
            ([cube, verb, ..], None) if verb == "dump" || verb == "watch" => {
                let command = if verb == "dump" { "dump" } else { "watch" };
                return Err(UsageError::ExpressionOfCube { command, cube: cube.clone() });
            }
            _ => return words.packets.any().map_or(Ok(None), |flag| Err(UsageError::FlagWithoutDump { flag })),
        };
        let clock = words.clock.take_if(|_| lines).map(|(_, clock)| clock).unwrap_or_default();
        words.refuse_view()?;
        if let Some(pair) = words.pairs.first() {
            return Err(UsageError::PairWithPackets { key: pair.name.clone() });
        }
        let Flags { write, format, follow, force, count, bundle, keys, .. } = std::mem::take(&mut words.packets);
        let packets = self::count(count)?;
        if lines {
            let flags = Flags { write, format, force, bundle, keys, ..Flags::default() };
            return match flags.any() {
                Some(flag) => Err(UsageError::FlagWithoutDump { flag }),
                None => Ok(Some(Self {
                    source: PacketSource::Cube(cube),
                    destination: Destination::Lines,
                    follow: true,
                    format: Some("pcapng".to_owned()),
                    packets,
                    clock,
                    bundle,
                    keys: None,
                })),
            };
        }
        let destination = destination(write, force);
        let keys = keys.map(PathBuf::from);
        // The cube's own format may have no place for these.
        let is_pcapng = bundle || keys.is_some();
        let implied = if is_pcapng { destination.ending().or(Some(PCAPNG)) } else { destination.format() };
        let format = format.or_else(|| implied.map(str::to_owned));
        let other = format.as_deref().filter(|format| *format != PCAPNG);
        if bundle && other.is_some() {
            return Err(UsageError::PartOfPcapng { flag: BUNDLE, topic: Topic::Dump });
        }
        check_keys(keys.as_deref(), &destination, other)?;
        Ok(Some(Self { source: PacketSource::Cube(cube), destination, follow, format, packets, clock, bundle, keys }))
    }

    /// What the user calls the source.
    pub(crate) fn name(&self) -> &str {
        match &self.source {
            PacketSource::Cube(cube) => cube,
            PacketSource::Query { .. } => CAPTURES,
        }
    }

    /// Asks for the stream.
    pub(crate) fn request(&self) -> Request {
        let packets = self.packets.map_or_else(String::new, |packets| format!("&packets={packets}"));
        if let PacketSource::Query { path, expression } = &self.source {
            let path = format!("{path}?expression={}{packets}", path::segment(expression));
            return Request { method: Method::GET, path, body: None };
        }
        let follow = self.follow;
        let format = self.format.iter().map(|format| format!("format={}&", path::segment(format))).collect::<String>();
        self.get(&format!("stream?{format}follow={follow}{packets}"))
    }

    /// Asks why no packets come.
    pub(crate) fn idle(&self) -> Request {
        self.get(&format!("{IDLE}/"))
    }

    /// Asks for the counters of reader `id` of the streams.
    pub(crate) fn reader(&self, id: &str) -> Request {
        self.get(&format!("streams/{}/", path::segment(id)))
    }

    fn get(&self, rest: &str) -> Request {
        let cube = path::segment(self.name());
        Request { method: Method::GET, path: format!("{cube}/{rest}"), body: None }
    }
}

/// Refuses a key log for packets that nobody can decrypt with it: lines, or a file of pcap.
pub(super) fn check_keys(
    keys: Option<&Path>,
    destination: &Destination,
    other: Option<&str>,
) -> Result<(), UsageError> {
    match (keys, other) {
        (Some(_), _) if *destination == Destination::Lines => Err(UsageError::NeedsFile { flag: "--keys" }),
        (Some(_), Some(format)) => Err(UsageError::KeysFormat { format: format.to_owned() }),
        _ => Ok(()),
    }
}

/// Gives lines of a key log to a capture; `first` is the number of the first of them in its file.
pub(crate) fn keys_of(cube: &str, log: &str, first: u64) -> Request {
    let body = json!({ "log": log, "first-line": first });
    Request { method: Method::POST, path: format!("{}/{KEYS}", path::segment(cube)), body: Some(body) }
}

/// The number of packets that `-c` gives.
pub(super) fn count(given: Option<String>) -> Result<Option<u64>, UsageError> {
    let packets = given.map(|given| match given.parse() {
        Ok(packets) if packets > 0 => Ok(packets),
        _ => Err(UsageError::Count { value: given }),
    });
    packets.transpose()
}
