//! A capture from the first ring to the last: one consumer, and the recipients of its packets.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use polycube_layout::ring::{BELL, LANES, LARGE, RINGS};
use polycube_plugin_api::maps::{OpenError, Slots};
use polycube_plugin_api::{Cube, Level, Map, MapSpec, Maps, Refusal};
use serde_json::json;

use crate::consumer::Consumer;
use crate::drain::{Drain, RingSet};
use crate::format::Format;
use crate::keys::Keys;
use crate::larger::{Larger, LargerError, give};
use crate::lock::lock;
use crate::log::Log;
use crate::memory::{Held, NoRoom, Share, default_limit};
use crate::outcome::{Outcome, Resumption};
use crate::patience::{Errands, PATIENCE};
use crate::ring::{Bell, Found, MapSize, Note, Passed, Reader, RingError, Rings};
use crate::settings::Settings;
use crate::sink::{
    FileContext, FileWorker, Files, Journal, OnStop, Outlets, Queue, Readers, Router, StopCondition, mend, take_back,
};
use crate::store::Roots;
use crate::sys::{self, MapId};
use crate::tally::Tally;

/// Why a capture cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the host did not pass the map `{0}`")]
    NoMap(&'static str),
    #[error("cannot identify the map `{map}`: {source}")]
    MapId { map: &'static str, source: io::Error },
    #[error(transparent)]
    Rings(#[from] RingError),
    #[error(transparent)]
    Slots(#[from] OpenError),
    #[error(transparent)]
    Larger(#[from] LargerError),
    #[error(transparent)]
    Memory(#[from] NoRoom),
    #[error("cannot map the doorbell: {0}")]
    Bell(#[source] io::Error),
    #[error(
        "capture directory {} cannot be written: {source}; set `--capture-dir` or `dump`, or make it writable",
        directory.display()
    )]
    Directory { directory: PathBuf, source: io::Error },
    #[error(
        "the disk of the capture directory {} does not answer: try again when it does, or set `dump` to another disk",
        directory.display()
    )]
    NoAnswer { directory: PathBuf },
    #[error("cannot start the capture thread: {0}")]
    Thread(#[source] io::Error),
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        Self::failed(error.to_string())
    }
}

/// The large lanes that a configuration wants.
pub(crate) struct Wanting {
    /// Bytes of each.
    pub(crate) size: usize,
    /// Their map.
    pub(crate) spec: MapSpec,
}

/// The maps that a session reads.
pub(crate) struct CaptureMaps {
    rings: Map,
    bell: Map,
    map_id: MapId,
    wanting: Wanting,
    /// Where the large lanes are to go. Without it, their maker gives them to the program.
    slots: Option<Slots>,
    /// The large lanes, if they are there.
    large: Option<Map>,
}

impl CaptureMaps {
    /// Finds them among the cube's `maps`. There are none while the capture is off.
    pub(crate) fn find(mut maps: Maps, mut wanting: Wanting) -> Result<Option<Self>, SessionError> {
        let Some(rings) = maps.take(RINGS) else { return Ok(None) };
        let bell = maps.take(BELL).ok_or(SessionError::NoMap(BELL))?;
        let map_id = MapId::of(rings.fd.as_fd()).map_err(|source| SessionError::MapId { map: RINGS, source })?;
        let slots = maps.take(LANES).map(Slots::try_from).transpose()?;
        let large = maps.take(LARGE);
        if let Some(map) = &large {
            wanting.size = size_of(map).large_lane(rings.max_entries);
        }
        Ok(Some(Self { rings, bell, map_id, wanting, slots, large }))
    }

    /// Whether another instance's session has used them.
    pub(crate) fn are_used(&self) -> Result<bool, SessionError> {
        let (rings, _) = self.map()?;
        Ok(rings.found() != Found::Fresh)
    }

    fn map(&self) -> Result<(Arc<Rings>, Reader), RingError> {
        Rings::map(self.rings.fd.as_fd(), size_of(&self.rings), self.wanting.size)
    }
}

/// What outlives the sessions of a cube.
#[derive(Clone)]
pub(crate) struct CubeContext {
    pub(crate) cube: Cube,
    pub(crate) roots: Roots,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) keys: Arc<Keys>,
    worker: Arc<FileWorker>,
    errands: Errands,
    /// Closes when the files of killed daemons are mended.
    mending: Arc<Mutex<mpsc::Receiver<()>>>,
    /// Distinguishes this process from others that have the cube.
    process: u32,
    /// The key for replacing addresses.
    key: [u8; 32],
}

impl CubeContext {
    /// Starts to mend the files of killed daemons, too.
    pub(crate) fn new(cube: Cube, process: u32, key: [u8; 32]) -> Result<Self, SessionError> {
        let limit = cube.capture_memory().unwrap_or_else(default_limit);
        let outcome = Arc::new(Outcome::new(Share::new(cube.name(), limit)));
        let keys = Arc::<Keys>::default();
        let readers = Arc::new(Readers::new(cube.name(), Arc::clone(&outcome), Arc::clone(&keys), log_of(&cube)));
        let worker = Arc::new(FileWorker::new(Arc::clone(&outcome), log_of(&cube)));
        let roots = Roots::new(cube.capture_dir(), cube.capture_roots()).readable_by(cube.capture_group());
        let mending = Arc::new(Mutex::new(start_mending(&cube, &roots).map_err(SessionError::Thread)?));
        let (queue, errands) = (Arc::default(), Errands::default());
        Ok(Self { cube, roots, outcome, queue, readers, keys, worker, errands, mending, process, key })
    }

    /// Whether files can be created, if any are.
    pub(crate) fn check_directory(&self, settings: &Settings) -> Result<(), SessionError> {
        if !settings.keeps_files() {
            return Ok(());
        }
        let location = settings.files.directory.clone();
        let directory = location.path();
        let probe = move || location.open().and_then(|directory| directory.probe());
        match self.errands.run(&directory, probe).map_err(SessionError::Thread)? {
            Some(result) => result.map_err(|source| SessionError::Directory { directory, source }),
            None => Err(SessionError::NoAnswer { directory }),
        }
    }

    /// A capture stops itself by changing its configuration.
    fn on_stop(&self) -> OnStop {
        let host = self.cube.clone();
        Box::new(move || host.configure(&json!({ "capture": "off" })))
    }

    /// Starts to empty the rings of `source`.
    fn consumer(
        &self,
        settings: &Arc<Settings>,
        session: u64,
        source: RingSet,
        resumption: Resumption,
    ) -> Result<Consumer, SessionError> {
        let Resumption { taken, arrived, inherited } = resumption;
        let former = inherited.as_ref().map(|note| note.progress.passed);
        if let Some(written) = inherited.and_then(|note| note.progress.written) {
            let (roots, log) = (self.roots.clone(), log_of(&self.cube));
            let work = move || take_back(&roots, &written, &log);
            self.errands.run(&self.roots.capture_dir().path(), work).map_err(SessionError::Thread)?;
        }
        let router = self.router(Arc::clone(settings), session, former).map_err(SessionError::Thread)?;
        let mut drain = Drain::new(router, log_of(&self.cube));
        drain.resume(taken, arrived);
        drain.open(source);
        Consumer::start(self.cube.name(), drain, Arc::clone(settings)).map_err(SessionError::Thread)
    }

    fn router(&self, settings: Arc<Settings>, session: u64, former: Option<Passed>) -> io::Result<Router> {
        let Self { cube, roots, outcome, queue, readers, keys, worker, process, key, .. } = self;
        let files = Files::new(FileContext {
            cube: cube.name().to_owned(),
            session,
            continues: former.is_some(),
            floor: cube.capture_floor(),
            // The former session may still wait for its disk, and a killed daemon's note for its mending.
            journal: Journal::new(roots.capture_dir(), &format!("{}-{process:08x}-{session}", cube.uuid())),
            settings: Arc::clone(&settings),
            outcome: Arc::clone(outcome),
            keys: Arc::clone(keys),
            worker: Arc::clone(worker),
            log: log_of(cube),
        });
        let stop = StopCondition::new(settings.stop, former, Arc::clone(outcome), log_of(cube), self.on_stop());
        let (outcome, queue, readers) = (Arc::clone(outcome), Arc::clone(queue), Arc::clone(readers));
        Router::new(Outlets { outcome, queue, readers, keys: Arc::clone(keys), key: *key }, settings, stop, files)
    }
}

/// Rings that the consumer empties, as seen by the other threads.
pub(crate) struct OpenRings {
    id: u64,
    map_id: MapId,
    rings: Arc<Rings>,
    _memory: Held,
}

impl OpenRings {
    fn map(
        id: u64,
        maps: CaptureMaps,
        format: Format,
        context: &CubeContext,
    ) -> Result<(Self, RingSet, Resumption), SessionError> {
        let (size, cpus) = (maps.wanting.size, maps.rings.max_entries as usize);
        let bytes = MapSize::of_rings(size, cpus).bytes() + MapSize::of_large_lanes(size, cpus).bytes();
        let memory = context.outcome.memory.hold(bytes)?;
        let (rings, mut reader) = maps.map()?;
        let CaptureMaps { bell, map_id, wanting, slots, large, .. } = maps;
        if let Some(large) = &large {
            give(&rings, large, slots.as_ref())?;
        }
        let larger = slots.map(|slots| Larger::new(&context.cube, wanting.spec, &rings, Arc::new(slots)));
        rings.set_utc_offset(sys::utc_offset());
        let bell = Bell::map(bell.fd).map_err(SessionError::Bell)?;
        let found = rings.found();
        let lost = match &found {
            Found::Known(note) if note.format != format.constant() => {
                let message = "the rings have records of another format, which are lost: a change was interrupted";
                context.cube.log(Level::Warn, message);
                reader.discard(Format::from_constant(note.format))
            }
            Found::Unknown => {
                let message = "the rings were written by another version: the packets in them are lost";
                context.cube.log(Level::Warn, message);
                reader.discard(None)
            }
            Found::Fresh | Found::Known(_) => Tally::default(),
        };
        let mut resumption = context.outcome.open_rings(map_id, Arc::clone(&rings), format);
        context.outcome.disk.add(lost.packets, lost.bytes);
        // Whatever the note says, later packets are not skipped.
        resumption.arrived = resumption.arrived.min(reader.held());
        if let Some(note) = &resumption.inherited {
            context.cube.log(Level::Info, &continues(reader.held(), note));
        }
        Ok((Self { id, map_id, rings, _memory: memory }, RingSet { id, format, reader, bell, larger }, resumption))
    }
}

/// What a capture of an earlier daemon left, for the log.
fn continues(held: u64, note: &Note) -> String {
    let in_memory = match note.progress.waiting[0] {
        0 => String::new(),
        packets => format!("; {packets} packets that waited in its memory for the disk are lost"),
    };
    format!("continues the capture of an earlier daemon, with {held} bytes in the rings{in_memory}")
}

/// A capture that runs, or is about to.
pub(crate) struct Session {
    consumer: Consumer,
    context: CubeContext,
    current: OpenRings,
    opened: u64,
    settings: Arc<Settings>,
}

impl Session {
    /// Checks that files can be created, and starts to empty the rings.
    pub(crate) fn start(
        context: &CubeContext,
        maps: CaptureMaps,
        settings: Arc<Settings>,
    ) -> Result<Self, SessionError> {
        // So that the names of files that are deleted are free.
        if settings.keeps_files() {
            let _ = lock(&context.mending).recv_timeout(PATIENCE);
        }
        context.check_directory(&settings)?;
        context.readers.describe(&settings.section);
        let (current, source, resumption) = OpenRings::map(0, maps, settings.format, context)?;
        let session = context.outcome.begin_session();
        let consumer = context.consumer(&settings, session, source, resumption).inspect_err(|_| {
            context.outcome.close_rings(&current.rings);
        })?;
        let kib = current.rings.size() >> 10;
        context.cube.log(Level::Debug, &format!("a session begins, with rings of {kib} KiB"));
        Ok(Self { consumer, context: context.clone(), current, opened: 1, settings })
    }

    /// Whether the session already reads these maps.
    pub(crate) fn reads(&self, maps: &CaptureMaps) -> bool {
        self.current.map_id == maps.map_id
    }

    /// Starts to empty other rings as well.
    pub(crate) fn open(&mut self, maps: CaptureMaps, format: Format) -> Result<OpenRings, SessionError> {
        let (opened, source, _) = OpenRings::map(self.opened, maps, format, &self.context)?;
        self.opened += 1;
        self.consumer.open(source);
        Ok(opened)
    }

    /// Prepares the recipients for packets that `settings` describe.
    pub(crate) fn announce(&self, settings: &Settings) -> Result<(), SessionError> {
        let place = |settings: &Settings| (settings.keeps_files(), settings.files.directory.clone());
        // Where the capture writes already, it knows itself what is wrong.
        let is_elsewhere = place(settings) != place(&self.settings);
        match if is_elsewhere { self.context.check_directory(settings) } else { Ok(()) } {
            // The capture waits for free space, and may be changed meanwhile.
            Err(SessionError::Directory { source, .. })
                if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&source.kind()) => {}
            checked => checked?,
        }
        self.consumer.describe(settings.section.clone());
        Ok(())
    }

    /// The programs now write according to `settings`, into `opened` if given.
    pub(crate) fn settle(&mut self, settings: Arc<Settings>, opened: Option<OpenRings>) {
        if let Some(opened) = opened {
            let former = std::mem::replace(&mut self.current, opened);
            self.close(&former);
        }
        self.settings = Arc::clone(&settings);
        if !self.consumer.apply(settings) {
            self.report_no_answer("the change is in force, and the file follows when it does");
        }
    }

    /// Drops what was announced, and `opened`; `settings` stay in force.
    pub(crate) fn forget(&self, settings: Arc<Settings>, opened: Option<&OpenRings>) {
        if let Some(opened) = opened {
            self.close(opened);
        }
        self.consumer.apply(settings);
    }

    /// Writes what the rings hold. The returned channel closes when that is done.
    pub(crate) fn flush(&self) -> mpsc::Receiver<()> {
        self.consumer.flush()
    }

    /// Writes what the rings hold, and ends the session.
    pub(crate) fn end(mut self) {
        if self.consumer.end() {
            self.context.cube.log(Level::Debug, "the session has ended, and the rings are empty");
        } else {
            self.report_no_answer("the capture's last packets are written when it does");
        }
        self.context.outcome.close_rings(&self.current.rings);
    }

    /// Lets everything that depends on time check the clock.
    pub(crate) fn tick(&self) {
        self.consumer.tick();
    }

    /// Size of a ring in bytes.
    pub(crate) fn ring_size(&self) -> usize {
        self.current.rings.size()
    }

    /// Sets the offset of UTC from `CLOCK_TAI`, in nanoseconds. Returns the former one.
    pub(crate) fn set_utc_offset(&self, nanos: i64) -> i64 {
        self.current.rings.set_utc_offset(nanos)
    }

    fn report_no_answer(&self, consequence: &str) {
        let directory = self.settings.files.directory.path();
        let message = format!("the disk of {} does not answer: {consequence}", directory.display());
        self.context.cube.log(Level::Warn, &message);
    }

    fn close(&self, opened: &OpenRings) {
        // The settings that follow report what is late.
        let _ = self.consumer.close(opened.id);
        self.context.outcome.close_rings(&opened.rings);
    }
}

fn size_of(map: &Map) -> MapSize {
    MapSize { value_size: map.value_size, count: map.max_entries }
}

pub(crate) fn log_of(cube: &Cube) -> Log {
    let host = cube.clone();
    Box::new(move |level, message| host.log(level, message))
}

/// Mends the files of killed daemons; the receiver closes when that is done.
fn start_mending(cube: &Cube, roots: &Roots) -> io::Result<mpsc::Receiver<()>> {
    let (log, roots) = (log_of(cube), roots.clone());
    let (end, ended) = mpsc::channel();
    thread::Builder::new().name(String::from("capture:mend")).spawn(move || {
        mend(&roots, &log);
        drop::<mpsc::Sender<()>>(end);
    })?;
    Ok(ended)
}
