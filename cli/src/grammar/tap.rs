//! `NAME dump` and `NAME watch`: a capture's packets, to keep or to look at.

use std::path::PathBuf;

use hyper::Method;

use super::words::Words;
use super::{Request, UsageError, path, refuse_view};

/// A stream of packets, and where it goes.
#[derive(Debug, PartialEq)]
pub(crate) struct Tap {
    pub(crate) cube: String,
    pub(crate) form: Form,
    /// Packets from now on, instead of what there is.
    pub(crate) follow: bool,
    /// The cube's own when it is not given.
    pub(crate) format: Option<String>,
}

/// What becomes of the packets.
#[derive(Debug, PartialEq)]
pub(crate) enum Form {
    /// Capture records, on standard output.
    Records,
    /// Capture records, in a new file; over an old one with `force`.
    File { path: PathBuf, force: bool },
    /// Capture records, in a named pipe that is there.
    Pipe(PathBuf),
    /// A line each.
    Lines,
}

/// Names of the flags of `dump`.
pub(super) const FLAGS: [&str; 4] = ["-w", "--follow", FORMAT_FLAG, "--force"];
pub(crate) const FORMAT_FLAG: &str = "--format";
/// Forms of a stream that can be asked for; the daemon knows which of them the cube has.
pub(crate) const FORMATS: [&str; 3] = ["pcap", "pcap-nanos", "pcapng"];

/// Flags of `dump`, as they were given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) write: Option<String>,
    pub(super) format: Option<String>,
    pub(super) follow: bool,
    pub(super) force: bool,
}

impl Flags {
    /// One that was given.
    pub(super) fn any(&self) -> Option<&'static str> {
        let given = [self.write.is_some(), self.follow, self.format.is_some(), self.force];
        FLAGS.into_iter().zip(given).find_map(|(flag, given)| given.then_some(flag))
    }
}

impl Tap {
    /// `None` when the words ask for something else: with a verb, `dump` is a leaf that tells where the file is.
    pub(super) fn parse(words: &mut Words) -> Result<Option<Self>, UsageError> {
        let (cube, lines) = match (words.path.as_slice(), words.command) {
            ([cube, verb], None) if verb == "dump" => (cube.clone(), false),
            ([cube, verb], None) if verb == "watch" => (cube.clone(), true),
            _ => return words.tap.any().map_or(Ok(None), |flag| Err(UsageError::FlagWithoutDump { flag })),
        };
        refuse_view(words)?;
        if let Some(pair) = words.pairs.first() {
            return Err(UsageError::PairWithTap { key: pair.name.clone() });
        }
        let Flags { write, format, follow, force } = std::mem::take(&mut words.tap);
        if lines {
            let flags = Flags { write, format, follow: false, force };
            return match flags.any() {
                Some(flag) => Err(UsageError::FlagWithoutDump { flag }),
                None => Ok(Some(Self { cube, form: Form::Lines, follow: true, format: Some("pcapng".to_owned()) })),
            };
        }
        let form = match write {
            Some(path) if path != "-" => Form::File { path: path.into(), force },
            _ => Form::Records,
        };
        Ok(Some(Self { cube, form, follow, format }))
    }

    /// Asks for the stream.
    pub(crate) fn request(&self) -> Request {
        let follow = self.follow;
        let format = self.format.iter().map(|format| format!("format={}&", path::segment(format))).collect::<String>();
        self.get(&format!("stream?{format}follow={follow}"))
    }

    /// Asks how reader `id` of the streams fares.
    pub(crate) fn reader(&self, id: &str) -> Request {
        self.get(&format!("streams/{}/", path::segment(id)))
    }

    fn get(&self, rest: &str) -> Request {
        Request { method: Method::GET, path: format!("{}/{rest}", path::segment(&self.cube)), body: None }
    }
}
