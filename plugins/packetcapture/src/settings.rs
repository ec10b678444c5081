//! The configuration as the consumer needs it: sizes in bytes, resolved paths, unset limits as infinite ones.

#![forbid(unsafe_code)]

use std::time::Duration;

use polycube_filter::joined;
use polycube_plugin_api::{Refusal, Tag};

use crate::config::{Config, Direct, Fsync, Mebibytes, OverIp, Priority, RingMemory, SnapLen, Store};
use crate::format::Format;
use crate::format::pcapng::{Interface, Section};
use crate::keys;
use crate::machine::{Asked, Machine};
use crate::pattern::{Pattern, PatternError};
use crate::store::{Location, RootError, Roots};

/// How a capture is written, stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Of what the kernel writes, and so of files.
    pub(crate) format: Format,
    /// Of streams whose readers ask for none.
    pub(crate) stream_format: Format,
    pub(crate) section: Section,
    /// Whether packets go to the queue instead of to files.
    pub(crate) network: bool,
    /// Whether packets go to files, unless they go to the queue.
    pub(crate) store: Store,
    pub(crate) anonymize: bool,
    pub(crate) ring_memory: RingMemory,
    pub(crate) priority: Priority,
    pub(crate) files: FileSettings,
    pub(crate) stop: Extent,
    /// Maximum bytes that wait for a slow disk.
    pub(crate) memory: usize,
    pub(crate) queue: QueueLimits,
    /// How long packets wait for TLS keys.
    pub(crate) keys_wait: Duration,
    /// Maximum bytes that wait for a slow reader of a stream.
    pub(crate) stream_buffer: usize,
    /// Where readers of PCAP-over-IP connect, if they can.
    pub(crate) over_ip: Option<OverIp>,
}

/// Where files are created, and when the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSettings {
    pub(crate) directory: Location,
    /// Start of the file names; `None` for the cube's name and the time.
    pub(crate) stem: Option<Pattern>,
    pub(crate) overwrite: bool,
    pub(crate) rotate: Extent,
    /// Number of files to keep; `None` for all.
    pub(crate) keep: Option<usize>,
    pub(crate) fsync: Fsync,
    pub(crate) compress: bool,
    /// Whether to write past the page cache.
    pub(crate) direct: Direct,
    /// Maximum bytes of all files in the directory.
    pub(crate) ceiling: Option<u64>,
}

/// Limits; a limit that is `None` does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) packets: Option<u64>,
    /// Bytes of files.
    pub(crate) bytes: Option<u64>,
    pub(crate) time: Option<Duration>,
}

/// Limits of network mode's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

impl Settings {
    /// For a capture at the points that were asked about.
    ///
    /// # Errors
    /// A `dump` that is not a valid path, or contains a part of the time that is not known.
    pub(crate) fn new(
        config: &Config,
        cube: &str,
        asked: Asked,
        roots: &Roots,
        over_ip: Option<OverIp>,
    ) -> Result<Self, Refusal> {
        let memory = |size: Mebibytes| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let seconds = |count: u32| Duration::from_secs(count.into());
        let (directory, stem) = match config.dump.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => {
                let (directory, stem) = dump(path, roots)?;
                (directory, Some(stem))
            }
            None => (roots.capture_dir(), None),
        };
        let (rotate, stop, storage) = (&config.rotate, &config.stop_after, &config.storage);
        Ok(Self {
            format: config.recorded(),
            stream_format: config.format,
            section: section(cube, asked, config)?,
            network: config.networkmode,
            store: config.store,
            anonymize: config.anonimize,
            ring_memory: config.ring_memory,
            priority: config.priority,
            files: FileSettings {
                directory,
                stem,
                overwrite: storage.overwrite,
                rotate: Extent {
                    packets: None,
                    bytes: rotate.size.map(Mebibytes::bytes),
                    time: rotate.seconds.map(seconds),
                },
                keep: rotate.files.map(|files| files as usize),
                fsync: storage.fsync,
                compress: storage.compress,
                direct: storage.direct,
                ceiling: storage.ceiling.map(Mebibytes::bytes),
            },
            stop: Extent { packets: stop.packets, bytes: stop.bytes, time: stop.seconds.map(seconds) },
            memory: memory(storage.memory),
            queue: QueueLimits { packets: config.queue.packets as usize, bytes: memory(config.queue.size) },
            keys_wait: Duration::from_millis(config.keys_wait.into()),
            stream_buffer: memory(config.stream_buffer),
            over_ip,
        })
    }

    /// Whether packets go to files.
    pub(crate) fn keeps_files(&self) -> bool {
        !self.network && self.store == Store::Files
    }

    /// Whether anything depends on the passing of time. Files always do: another program may remove them.
    pub(crate) fn watches_the_clock(&self) -> bool {
        self.keeps_files() || self.stop.time.is_some()
    }
}

impl FileSettings {
    /// Bytes of TLS keys that a file begins with at most. All that are kept may be needed: the daemon does not know which
    /// connections have ended. But a file is there for its packets.
    pub(crate) fn most_keys(&self) -> usize {
        let part = self.rotate.bytes.map(|bytes| bytes / 8);
        part.and_then(|part| usize::try_from(part).ok()).map_or(keys::MOST, |part| part.min(keys::MOST))
    }
}

/// The interfaces, indexed by the ids of their points.
fn section(cube: &str, asked: Asked, config: &Config) -> Result<Section, Refusal> {
    let Asked { points, mut netdevs, .. } = asked;
    let count = points.iter().map(|point| point.id + 1).max().unwrap_or_default();
    // Fields that contradict each other are refused where the filter is compiled.
    let filter = joined(&config.fields()?, config.expression()).ok().flatten().unwrap_or_default();
    let interface = |id| {
        let point = points.iter().find(|point| point.id == id)?;
        Some(Interface {
            name: point.name.clone(),
            is_raw_ip: point.is_raw_ip,
            filter: filter.clone(),
            has_headers_alone: config.snaplen == SnapLen::Headers,
            netdev: netdevs.remove(&id).unwrap_or_default(),
        })
    };
    let interfaces = (0..count).map(interface).collect();
    let machine = Machine::now(config.comment.as_deref().filter(|comment| !comment.is_empty()));
    Ok(Section { cube: cube.to_owned(), interfaces, snaplen: config.snaplen.bytes(), machine })
}

/// Directory and stem of the files at `path`. The extension depends on the format, so one of ours is removed.
fn dump(path: &str, roots: &Roots) -> Result<(Location, Pattern), DumpError> {
    let (location, name) = roots.locate(path)?;
    let stem = ["pcapng", "pcap"].iter().find_map(|ending| name.strip_suffix(&format!(".{ending}")));
    match stem.unwrap_or(&name) {
        "" => Err(RootError::NoFile(path.to_owned()).into()),
        stem => Ok((location, Pattern::parse(stem)?)),
    }
}

/// Why a `dump` is refused.
#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl From<DumpError> for Refusal {
    fn from(error: DumpError) -> Self {
        Self::new(Tag::InvalidValue, error.to_string()).at("dump")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use polycube_plugin_api::Point;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Result<(&str, &str), &str>) {
        let found = dump(path, &Roots::new(Path::new("/tmp"), &[]));
        let found = found.map(|(location, stem)| (location.path().display().to_string(), stem));
        let expected = expected.map(|(directory, stem)| (directory.to_owned(), Pattern::parse(stem).unwrap()));
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_dump_is_a_path_without_its_ending() {
        check("trace", Ok(("/tmp", "trace")));
        check("/tmp/trace.pcap", Ok(("/tmp", "trace")));
        check("/tmp/a/trace.pcapng", Ok(("/tmp/a", "trace")));
        check("trace.tar", Ok(("/tmp", "trace.tar")));
        check("/tmp/", Err("`/tmp/` does not name a file: end it with a file name"));
        check("..", Err("`..` contains `..`: give the path without it"));
        check("trace-%H.pcap", Ok(("/tmp", "trace-%H")));
        let taken = "%Y, %y, %m, %d, %F, %H, %M, %S and %s are the time in UTC, and %% is a percent sign";
        check("trace-%q", Err(&format!("`%q` does not stand for a part of the time: {taken}")));
        check(".pcap", Err("`.pcap` does not name a file: end it with a file name"));
    }

    #[test]
    fn interfaces_stand_at_their_points_ids() {
        let point = |id, name: &str| Point {
            id,
            name: name.to_owned(),
            netdev: None,
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        let config = Config { filter: Some(String::from("udp")), ..Config::default() };
        let section = section("sniffer", Asked::now(&[point(2, "br1:p2"), point(0, "br1:p1")], true), &config).unwrap();
        let expected = [Some("br1:p1"), None, Some("br1:p2")];
        let found = section.interfaces.iter().map(|it| it.as_ref().map(|it| it.name.as_str())).collect::<Vec<_>>();
        assert_eq!(found, expected);
    }
}
