//! A capture from the first ring to the last: one consumer, and everyone whom it hands packets to.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use polycube_layout::ring::{BELL, RINGS};
use polycube_plugin_api::{Cube, Level, Map, Maps, Refusal};
use serde_json::json;

use crate::consumer::Consumer;
use crate::drain::{Drain, Source};
use crate::format::Format;
use crate::log::Log;
use crate::outcome::Outcome;
use crate::ring::{Bell, Reader, RingError, Rings};
use crate::settings::Settings;
use crate::sink::{Chores, End, Files, Journal, OnEnd, Queue, Readers, Router};
use crate::store::Roots;
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
        "capture directory {} cannot be written: {source}; set `--capture-dir` or `dump`, or make it writable",
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

/// What outlives the sessions of a cube.
#[derive(Clone)]
pub(crate) struct Lasting {
    pub(crate) cube: Cube,
    pub(crate) roots: Roots,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) chores: Arc<Chores>,
    /// What addresses are hidden with.
    pub(crate) key: [u8; 32],
}

impl Lasting {
    pub(crate) fn new(cube: Cube, key: [u8; 32]) -> Self {
        let outcome = Arc::<Outcome>::default();
        let readers = Arc::new(Readers::new(cube.name(), outcome.clone(), log_of(&cube)));
        let chores = Arc::new(Chores::new(outcome.clone(), log_of(&cube)));
        let roots = Roots::new(cube.capture_dir(), cube.capture_roots());
        Self { cube, roots, outcome, queue: Arc::default(), readers, chores, key }
    }

    /// The end that a capture sets itself is a change of its configuration.
    fn on_end(&self) -> OnEnd {
        let host = self.cube.clone();
        Box::new(move || host.configure(&json!({ "capture": "off" })))
    }

    fn router(&self, settings: Arc<Settings>) -> io::Result<Router> {
        let Self { cube, roots, outcome, chores, .. } = self;
        let journal = Journal::new(roots.capture_dir(), cube.uuid());
        let (files, log) = (settings.clone(), log_of(cube));
        let files = Files::new(cube.name(), journal, files, outcome.clone(), chores.clone(), log);
        let end = End::new(settings.stop, outcome.clone(), log_of(cube), self.on_end());
        let outcome = outcome.clone();
        Router::new(settings, outcome, self.queue.clone(), self.readers.clone(), end, files, self.key)
    }
}

/// Rings that the consumer empties, as everyone else sees them.
pub(crate) struct Opened {
    id: u64,
    identity: Identity,
    rings: Arc<Rings>,
}

impl Opened {
    fn map(id: u64, maps: CaptureMaps, format: Format, outcome: &Outcome) -> Result<(Self, Source), SessionError> {
        let CaptureMaps { rings: map, bell, identity } = maps;
        let (rings, reader): (_, Reader) = Rings::map(map.fd.as_fd(), map.value_size, map.max_entries)?;
        rings.set_utc_offset(sys::utc_offset());
        let bell = Bell::map(bell.fd).map_err(SessionError::Bell)?;
        outcome.open_rings(rings.clone());
        Ok((Self { id, identity, rings }, Source { id, format, reader, bell }))
    }
}

/// A capture that runs, or is about to.
pub(crate) struct Session {
    consumer: Consumer,
    lasting: Lasting,
    current: Opened,
    opened: u64,
}

impl Session {
    /// Checks that a file can be made, and starts to empty the rings.
    pub(crate) fn start(lasting: &Lasting, maps: CaptureMaps, settings: Arc<Settings>) -> Result<Self, SessionError> {
        check_directory(&settings)?;
        lasting.outcome.begin_session();
        lasting.readers.describe(&settings.section);
        let format = settings.format;
        let router = lasting.router(settings).map_err(SessionError::Thread)?;
        let consumer = Consumer::start(lasting.cube.name(), Drain::new(router, log_of(&lasting.cube)));
        let consumer = consumer.map_err(SessionError::Thread)?;
        let (current, source) = Opened::map(0, maps, format, &lasting.outcome)?;
        consumer.open(source);
        let kib = current.rings.size() >> 10;
        lasting.cube.log(Level::Debug, &format!("a session begins, with rings of {kib} KiB"));
        Ok(Self { consumer, lasting: lasting.clone(), current, opened: 1 })
    }

    /// Whether it reads these maps already.
    pub(crate) fn reads(&self, maps: &CaptureMaps) -> bool {
        self.current.identity == maps.identity
    }

    /// Empties other rings as well.
    pub(crate) fn open(&mut self, maps: CaptureMaps, format: Format) -> Result<Opened, SessionError> {
        let (opened, source) = Opened::map(self.opened, maps, format, &self.lasting.outcome)?;
        self.opened += 1;
        self.consumer.open(source);
        Ok(opened)
    }

    /// Lets packets come that `settings` describe, before there is one.
    pub(crate) fn announce(&self, settings: &Settings) -> Result<(), SessionError> {
        match check_directory(settings) {
            // The capture waits for room, and may be changed meanwhile.
            Err(SessionError::Directory { source, .. })
                if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&source.kind()) => {}
            checked => checked?,
        }
        self.consumer.describe(settings.section.clone());
        Ok(())
    }

    /// From now on programs write what `settings` say, into `opened` if that is given.
    pub(crate) fn settle(&mut self, settings: Arc<Settings>, opened: Option<Opened>) {
        if let Some(opened) = opened {
            let former = std::mem::replace(&mut self.current, opened);
            self.close(&former);
        }
        self.consumer.apply(settings);
    }

    /// Forgets what was announced, and `opened`: `settings` hold on.
    pub(crate) fn forget(&self, settings: Arc<Settings>, opened: Option<&Opened>) {
        if let Some(opened) = opened {
            self.close(opened);
        }
        self.consumer.apply(settings);
    }

    /// Hands on what the rings hold. What is returned ends when it is written.
    pub(crate) fn flush(&self) -> mpsc::Receiver<()> {
        self.consumer.flush()
    }

    /// Hands on what the rings hold, and ends.
    pub(crate) fn end(self) {
        let Self { consumer, lasting, current, .. } = self;
        drop(consumer);
        lasting.outcome.close_rings(&current.rings);
        lasting.cube.log(Level::Debug, "the session has ended, and what the rings held is handed on");
    }

    /// Has everyone look at the clock.
    pub(crate) fn tick(&self) {
        self.consumer.tick();
    }

    /// Bytes of a ring.
    pub(crate) fn ring_size(&self) -> usize {
        self.current.rings.size()
    }

    /// Sets how far UTC is from `CLOCK_TAI`, in nanoseconds. Returns what it was.
    pub(crate) fn set_utc_offset(&self, nanos: i64) -> i64 {
        self.current.rings.set_utc_offset(nanos)
    }

    fn close(&self, opened: &Opened) {
        self.consumer.close(opened.id);
        self.lasting.outcome.close_rings(&opened.rings);
    }
}

fn log_of(cube: &Cube) -> Log {
    let host = cube.clone();
    Box::new(move |level, message| host.log(level, message))
}

/// Network mode makes no files.
fn check_directory(settings: &Settings) -> Result<(), SessionError> {
    if settings.network {
        return Ok(());
    }
    let location = &settings.files.directory;
    let result = location.open().and_then(|directory| directory.probe());
    result.map_err(|source| SessionError::Directory { directory: location.path(), source })
}
