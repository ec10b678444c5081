//! `NAME dump` and `NAME watch`: a capture's packets, to keep or to look at.

use std::path::PathBuf;

use hyper::Method;
use polycube_api::IDLE;

use super::error::UsageError;
use super::flags::Flags;
use super::forms::CAPTURES;
use super::path;
use super::request::Request;
use super::words::Words;

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
}

/// Where packets come from.
#[derive(Debug, PartialEq)]
pub(crate) enum PacketSource {
    /// The capture of this name.
    Cube(String),
    /// The files of all captures, of which this request chooses packets.
    Query(Request),
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

impl Destination {
    /// The format that a file's name asks for. `.pcap` may be either resolution: the cube's own is best.
    fn format(&self) -> Option<&'static str> {
        let Self::File { path, .. } = self else { return None };
        path.extension().filter(|ending| ending.eq_ignore_ascii_case("pcapng")).map(|_| "pcapng")
    }
}

impl PacketStream {
    /// `None` when the words ask for something else: with a verb, `dump` is a leaf that says where the file is.
    pub(super) fn parse(words: &mut Words) -> Result<Option<Self>, UsageError> {
        let (cube, lines) = match (words.path.as_slice(), words.command) {
            ([cube, verb], None) if verb == "dump" => (cube.clone(), false),
            ([cube, verb], None) if verb == "watch" => (cube.clone(), true),
            _ => return words.packets.any().map_or(Ok(None), |flag| Err(UsageError::FlagWithoutDump { flag })),
        };
        words.refuse_view()?;
        if let Some(pair) = words.pairs.first() {
            return Err(UsageError::PairWithPackets { key: pair.name.clone() });
        }
        let Flags { write, format, follow, force, count } = std::mem::take(&mut words.packets);
        let packets = self::count(count)?;
        if lines {
            let flags = Flags { write, format, force, ..Flags::default() };
            return match flags.any() {
                Some(flag) => Err(UsageError::FlagWithoutDump { flag }),
                None => Ok(Some(Self {
                    source: PacketSource::Cube(cube),
                    destination: Destination::Lines,
                    follow: true,
                    format: Some("pcapng".to_owned()),
                    packets,
                })),
            };
        }
        let destination = match write {
            Some(path) if path != "-" => Destination::File { path: path.into(), force },
            _ => Destination::Records,
        };
        let format = format.or_else(|| destination.format().map(str::to_owned));
        Ok(Some(Self { source: PacketSource::Cube(cube), destination, follow, format, packets }))
    }

    /// What the user calls the source.
    pub(crate) fn name(&self) -> &str {
        match &self.source {
            PacketSource::Cube(cube) => cube,
            PacketSource::Query(_) => CAPTURES,
        }
    }

    /// Asks for the stream.
    pub(crate) fn request(&self) -> Request {
        if let PacketSource::Query(request) = &self.source {
            return request.clone();
        }
        let follow = self.follow;
        let format = self.format.iter().map(|format| format!("format={}&", path::segment(format))).collect::<String>();
        let packets = self.packets.map_or_else(String::new, |packets| format!("&packets={packets}"));
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

/// The number of packets that `-c` gives.
pub(super) fn count(given: Option<String>) -> Result<Option<u64>, UsageError> {
    let packets = given.map(|given| match given.parse() {
        Ok(packets) if packets > 0 => Ok(packets),
        _ => Err(UsageError::Count { value: given }),
    });
    packets.transpose()
}
