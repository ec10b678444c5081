//! A capture from the first ring to the last: one consumer, one file.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use polycube_layout::ring::{BELL, RINGS};
use polycube_plugin_api::{Cube, Map, Maps, Refusal};

use crate::consumer::Consumer;
use crate::drain::{Drain, Log, Losses, Source};
use crate::ring::{Bell, Counters, Reader, RingError, Rings};
use crate::sink::{CaptureFile, Target, probe};
use crate::sys::{self, Identity};

/// Why a capture cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the host handed over no map `{0}`")]
    NoMap(&'static str),
    #[error("the map `{map}` cannot be told from others: {source}")]
    Identity { map: &'static str, source: io::Error },
    #[error(transparent)]
    Rings(#[from] RingError),
    #[error("the doorbell cannot be mapped: {0}")]
    Bell(#[source] io::Error),
    #[error(
        "capture directory {} cannot be written: {source}; set `--capture-dir` or make it writable",
        directory.display()
    )]
    Directory { directory: PathBuf, source: io::Error },
    #[error("the capture thread cannot start: {0}")]
    Thread(#[source] io::Error),
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        Self::failed(error.to_string())
    }
}

/// The maps that a session reads.
pub(crate) struct CaptureMaps {
    rings: Map,
    bell: Map,
    identity: Identity,
}

impl CaptureMaps {
    /// Finds them among the `maps` of the cube. There are none while nothing is captured.
    pub(crate) fn find(mut maps: Maps) -> Result<Option<Self>, SessionError> {
        let Some(rings) = maps.take(RINGS) else { return Ok(None) };
        let bell = maps.take(BELL).ok_or(SessionError::NoMap(BELL))?;
        let identity =
            Identity::of(rings.fd.as_fd()).map_err(|source| SessionError::Identity { map: RINGS, source })?;
        Ok(Some(Self { rings, bell, identity }))
    }
}

/// Rings that the consumer empties, as everyone else sees them.
pub(crate) struct Opened {
    id: u64,
    identity: Identity,
    rings: Arc<Rings>,
}

impl Opened {
    fn map(id: u64, maps: CaptureMaps) -> Result<(Self, Source), SessionError> {
        let CaptureMaps { rings: map, bell, identity } = maps;
        let (rings, reader): (_, Reader) = Rings::map(map.fd.as_fd(), map.value_size, map.max_entries)?;
        rings.set_utc_offset(sys::utc_offset());
        let bell = Bell::map(bell.fd).map_err(SessionError::Bell)?;
        Ok((Self { id, identity, rings }, Source { id, reader, bell }))
    }
}

/// A capture that runs, or is about to.
pub(crate) struct Session {
    consumer: Consumer,
    target: Arc<Target>,
    current: Opened,
    /// Snap length of the configuration in force.
    snaplen: u32,
    opened: u64,
}

impl Session {
    /// Checks that a file can be made, and starts to empty the rings.
    pub(crate) fn start(
        cube: &Cube,
        maps: CaptureMaps,
        snaplen: u32,
        losses: Arc<Losses>,
    ) -> Result<Self, SessionError> {
        let directory = cube.capture_dir().to_owned();
        if let Err(source) = probe(&directory, cube.name()) {
            return Err(SessionError::Directory { directory, source });
        }
        let (current, source) = Opened::map(0, maps)?;
        let target = Arc::new(Target {
            directory,
            cube: cube.name().to_owned(),
            snaplen: AtomicU32::new(snaplen),
            path: Mutex::default(),
        });
        let host = cube.clone();
        let log: Log = Box::new(move |level, message| host.log(level, message));
        let drain = Drain::new(CaptureFile::new(target.clone()), losses, log);
        let consumer = Consumer::start(cube.name(), drain).map_err(SessionError::Thread)?;
        consumer.open(source);
        Ok(Self { consumer, target, current, snaplen, opened: 1 })
    }

    /// Whether it reads these maps already.
    pub(crate) fn reads(&self, maps: &CaptureMaps) -> bool {
        self.current.identity == maps.identity
    }

    /// Empties other rings as well.
    pub(crate) fn open(&mut self, maps: CaptureMaps) -> Result<Opened, SessionError> {
        let (opened, source) = Opened::map(self.opened, maps)?;
        self.opened += 1;
        self.consumer.open(source);
        Ok(opened)
    }

    /// Lets the file have records of `snaplen` bytes, before there is one.
    pub(crate) fn announce(&self, snaplen: u32) {
        self.target.snaplen.fetch_max(snaplen, Ordering::AcqRel);
    }

    /// From now on programs write no more than `snaplen` bytes, into `opened` if that is given.
    pub(crate) fn settle(&mut self, snaplen: u32, opened: Option<Opened>) -> Counters {
        let closed = match opened {
            Some(opened) => {
                let former = std::mem::replace(&mut self.current, opened);
                self.close(&former)
            }
            None => Counters::default(),
        };
        if snaplen < self.target.snaplen.load(Ordering::Acquire) {
            // Longer records that are still in the rings go into a file that allows them.
            self.consumer.flush();
        }
        self.snaplen = snaplen;
        self.target.snaplen.store(snaplen, Ordering::Release);
        closed
    }

    /// Forgets what was announced, and `opened`.
    pub(crate) fn forget(&self, opened: Option<&Opened>) -> Counters {
        let closed = opened.map(|opened| self.close(opened)).unwrap_or_default();
        self.target.snaplen.store(self.snaplen, Ordering::Release);
        closed
    }

    /// Writes what the rings hold, and ends. Returns what the programs counted, and the file if there was a packet.
    pub(crate) fn end(self) -> (Counters, Option<PathBuf>) {
        let Self { consumer, target, current, .. } = self;
        drop(consumer);
        (current.rings.counters(), target.path())
    }

    pub(crate) fn counters(&self) -> Counters {
        self.current.rings.counters()
    }

    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.target.path()
    }

    /// Bytes of a ring.
    pub(crate) fn ring_size(&self) -> usize {
        self.current.rings.size()
    }

    /// Sets how far UTC is from `CLOCK_TAI`, in nanoseconds. Returns what it was.
    pub(crate) fn set_utc_offset(&self, nanos: i64) -> i64 {
        self.current.rings.set_utc_offset(nanos)
    }

    fn close(&self, opened: &Opened) -> Counters {
        self.consumer.close(opened.id);
        opened.rings.counters()
    }
}
