//! Reads the lines that programs write, of all cubes, and writes them to the cubes' logs.
//!
//! One thread waits for all rings. It starts with the first of them: where no program writes lines, there is none. How many
//! lines a program may write is limited in the kernel, where the rest costs least, for each CPU; here, for the cube. The rest
//! is reported in one line a second. What makes the thread panic is left out from then on, and the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use polycube_layout::log::{LINES, PER_SECOND, STATE, State};
use polycube_loader::lines::Line;
use polycube_plugin_api::maps::{OpenError, Ring};
use polycube_plugin_api::{Level, Map};

use super::log::CubeLog;
use crate::datapath::CubeMap;
use crate::sys::bpf::Elements;
use crate::sys::wait::Readiness;

/// How long after a line the counters are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the lines of a cube's programs cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinesError {
    #[error(transparent)]
    Ring(#[from] OpenError),
    #[error(transparent)]
    Kernel(#[from] io::Error),
}

/// The maps for the lines of a cube, before they are read.
#[derive(Debug)]
pub(crate) struct Maps {
    ring: CubeMap,
    state: OwnedFd,
}

impl Maps {
    /// Finds them among the maps of a cube, if its programs write lines.
    ///
    /// # Errors
    /// A descriptor cannot be copied.
    pub(crate) fn among(maps: &[(&str, &CubeMap)]) -> io::Result<Option<Self>> {
        let find = |name| maps.iter().find(|(map, _)| *map == name).map(|(_, map)| *map);
        let Some((ring, state)) = find(LINES).zip(find(STATE)) else { return Ok(None) };
        let CubeMap { fd, id, key_size, value_size, max_entries } = ring;
        let ring = CubeMap {
            fd: fd.try_clone()?,
            id: *id,
            key_size: *key_size,
            value_size: *value_size,
            max_entries: *max_entries,
        };
        Ok(Some(Self { ring, state: state.fd.try_clone()? }))
    }
}

/// The lines of one cube, which are read as long as this exists.
#[derive(Debug)]
pub(super) struct Reading {
    reader: &'static Arc<Reader>,
    number: u64,
    /// The kernel's id of the ring.
    map: u32,
}

impl Reading {
    /// Begins to read.
    ///
    /// # Errors
    /// What the kernel says, or what the map is instead.
    pub(super) fn begin(Maps { ring, state }: Maps, log: Arc<CubeLog>) -> Result<Self, LinesError> {
        let CubeMap { fd, id: map, key_size, value_size, max_entries } = ring;
        let ring = Map { name: LINES.to_owned(), key_size, value_size, max_entries, fd };
        let ring = Ring::try_from(ring)?;
        let counted = Counted { since: Instant::now(), written: 0, lost: 0, reported: lost(&state)? };
        let source = Source { ring, state, log, counted: Mutex::new(counted) };
        let reader = Reader::get()?;
        let number = reader.add(source)?;
        Ok(Self { reader, number, map })
    }

    pub(super) fn reads(&self, maps: &Maps) -> bool {
        self.map == maps.ring.id
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(source) = self.reader.remove(self.number) {
            source.read();
        }
    }
}

/// What is read of a cube.
#[derive(Debug)]
struct Source {
    ring: Ring,
    state: OwnedFd,
    log: Arc<CubeLog>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// When the current second began.
    since: Instant,
    /// Lines since then.
    written: u64,
    /// Lines that were read and left out, and not reported yet.
    lost: u64,
    /// Of those that programs left out, how many have been reported.
    reported: u64,
}

impl Source {
    fn read(&self) {
        let mut counted = self.counted();
        self.ring.drain(&mut Vec::new(), |record| {
            if counted.since.elapsed() >= PAUSE {
                (counted.since, counted.written) = (Instant::now(), 0);
            }
            if counted.written >= PER_SECOND {
                counted.lost += 1;
                return;
            }
            counted.written += 1;
            match Line::read(record) {
                Some(Line { level, text }) => self.log.write_number(level, &text),
                None => self.log.write(Level::Error, "a program wrote a line that cannot be read"),
            }
        });
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many lines were left out since the last time.
    fn report(&self) {
        let mut counted = self.counted();
        let lost = match lost(&self.state) {
            Ok(lost) => lost,
            Err(error) => {
                return self.log.write(Level::Error, &format!("cannot count its programs' lines: {error}"));
            }
        };
        let in_kernel = lost.saturating_sub(std::mem::replace(&mut counted.reported, lost));
        let more = std::mem::take(&mut counted.lost) + in_kernel;
        if more > 0 {
            let line = format!("{more} lines of its programs were left out: {PER_SECOND} are written in a second");
            self.log.write(Level::Warn, &line);
        }
    }
}

/// Lines that programs have left out, ever, on all CPUs.
fn lost(state: &OwnedFd) -> io::Result<u64> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let values = Elements::of(state.as_fd(), Some(cpus))?.lookup(&0_u32.to_ne_bytes())?.unwrap_or_default();
    let at = std::mem::offset_of!(State, lost);
    let lost =
        |value: &[u8; size_of::<State>()]| value[at..].first_chunk().map_or(0, |count| u64::from_ne_bytes(*count));
    Ok(values.as_chunks().0.iter().map(lost).sum())
}

/// The thread's side and everybody else's.
#[derive(Debug)]
struct Reader {
    rings: Readiness,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    last: u64,
    all: BTreeMap<u64, Arc<Source>>,
}

impl Reader {
    /// The reader, which starts with the first call.
    fn get() -> io::Result<&'static Arc<Self>> {
        static READER: OnceLock<Arc<Reader>> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = READER.get() {
            return Ok(reader);
        }
        let reader = Arc::new(Self { rings: Readiness::new()?, sources: Mutex::default() });
        let thread = Arc::clone(&reader);
        thread::Builder::new().name("lines".to_owned()).spawn(move || thread.run())?;
        Ok(READER.get_or_init(|| reader))
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, source: Source) -> io::Result<u64> {
        let mut sources = self.sources();
        sources.last += 1;
        let number = sources.last;
        self.rings.add(&source.ring, number)?;
        sources.all.insert(number, Arc::new(source));
        Ok(number)
    }

    fn remove(&self, number: u64) -> Option<Arc<Source>> {
        let source = self.sources().all.remove(&number)?;
        self.rings.remove(&source.ring);
        Some(source)
    }

    fn run(&self) {
        let mut active = BTreeSet::new();
        let mut due = Instant::now();
        loop {
            let patience = (!active.is_empty()).then(|| due.saturating_duration_since(Instant::now()));
            let ready = match self.rings.wait(patience) {
                Ok(ready) => ready,
                Err(error) => return tracing::error!(%error, "cannot wait for the lines of programs"),
            };
            if active.is_empty() {
                due = Instant::now() + PAUSE;
            }
            for number in ready {
                active.insert(number);
                self.with(number, Source::read);
            }
            if Instant::now() >= due {
                for number in std::mem::take(&mut active) {
                    self.with(number, Source::report);
                }
            }
        }
    }

    /// Does something with a source. One that panics is left out from then on.
    fn with(&self, number: u64, work: fn(&Source)) {
        let Some(source) = self.sources().all.get(&number).cloned() else { return };
        if catch_unwind(AssertUnwindSafe(|| work(&source))).is_err() {
            source.log.panicked("wrote lines that the daemon cannot read", "they are not read any more");
            self.remove(number);
        }
    }
}
