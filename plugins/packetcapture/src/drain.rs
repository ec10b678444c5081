//! One round: the contents of the rings go to the sink, ordered by the packets' times.

#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::sync::Arc;

use polycube_plugin_api::Level;

use crate::config::{Priority, RingMemory};
use crate::format::{Format, Stamp};
use crate::larger::Larger;
use crate::log::Log;
use crate::merge::{Limits, Span, batch};
use crate::ring::{Bell, Damage, Head, Reader};
use crate::settings::Settings;
use crate::sink::{CaptureFile, Router};
use crate::sys;
use crate::tally::{Room, take};

/// Maximum attempts to find the rings at rest. With few busy CPUs the first or second succeeds.
const LOOKS: usize = 16;
/// Maximum checks of a CPU that is processing a packet: about ten times as long as one takes.
const SPINS: usize = 2000;
/// The programs' clock (`ktime_get_tai_fast_ns`, kernel/time/timekeeping.c) differs a little from ours while it is
/// adjusted.
const MARGIN_NANOS: i64 = 20_000;

/// The nice value of high priority, the least that there is: it gets 87 times the share of 0 (`sched_prio_to_weight`,
/// kernel/sched/core.c).
const HIGH: i32 = -20;

/// Rings of the same size, and the bell of their programs.
pub(crate) struct RingSet {
    pub(crate) id: u64,
    pub(crate) format: Format,
    pub(crate) reader: Reader,
    pub(crate) bell: Bell,
    /// The way to the large lanes, if they are not there from the beginning.
    pub(crate) larger: Option<Larger>,
}

/// The result of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Empty,
    Moved,
}

/// Where a round ends if packets keep arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Where the next round can continue in order; it gets what this one leaves.
    Ordered,
    /// Everything there is: there may be no next round.
    All,
}

/// The rings of a cube, and their sink.
pub(crate) struct Drain {
    pub(crate) sources: Vec<RingSet>,
    pub(crate) router: Router,
    log: Log,
    ring_memory: RingMemory,
    priority: Priority,
    /// Bytes of records that the cube's rings have released.
    taken: u64,
    /// Bytes of records that come next, but were written by a killed daemon.
    arrived: u64,
}

/// The heads to drain to, of every CPU of every ring set.
struct Heads {
    heads: Vec<Ring>,
    before: Option<Stamp>,
}

/// One CPU's ring.
#[derive(Clone, Copy)]
struct Ring {
    source: usize,
    cpu: usize,
    head: Head,
}

impl Drain {
    pub(crate) fn new(router: Router, log: Log) -> Self {
        Self {
            sources: Vec::new(),
            router,
            log,
            ring_memory: RingMemory::WhenNeeded,
            priority: Priority::Normal,
            taken: 0,
            arrived: 0,
        }
    }

    /// Counts from what earlier consumers have done.
    pub(crate) fn resume(&mut self, taken: u64, arrived: u64) {
        (self.taken, self.arrived) = (taken, arrived);
    }

    /// Later packets are handled under these settings.
    pub(crate) fn apply(&mut self, settings: Arc<Settings>) {
        self.follow(&settings);
        self.router.apply(settings);
    }

    /// Adopts what this thread itself needs of `settings`.
    pub(crate) fn follow(&mut self, settings: &Settings) {
        self.ring_memory = settings.ring_memory;
        if self.priority == settings.priority {
            return;
        }
        self.priority = settings.priority;
        let nice = if settings.priority == Priority::High { HIGH } else { 0 };
        if let Err(error) = sys::set_nice(nice) {
            let message =
                format!("cannot have a high priority: {error}; start polycubed with `--keep-capability CAP_SYS_NICE`");
            self.log(Level::Warn, &message);
        }
    }

    /// Empties these rings as well.
    pub(crate) fn open(&mut self, source: RingSet) {
        source.reader.note_taken(self.taken);
        self.sources.push(source);
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        (self.log)(level, message);
    }

    /// Moves what the rings hold now.
    pub(crate) fn round(&mut self, cut: Cut) -> Progress {
        let Some(format) = self.format() else { return Progress::Empty };
        self.enlarge();
        let heads = self.heads(cut);
        let mut progress = Progress::Empty;
        let smallest = self.sources.iter().map(|source| source.reader.size()).min().unwrap_or_default();
        // Space is released batch by batch, so that the program does not wait for the last byte.
        let limits = Limits { format, runs: CaptureFile::RUNS, bytes: smallest / 4, before: heads.before };
        loop {
            let (spans, mut damaged) = spans(&self.sources, &heads.heads);
            let batch = batch(&spans, &limits);
            if batch.held || !batch.runs.is_empty() {
                progress = Progress::Moved;
            }
            let is_last = batch.runs.is_empty();
            let size = batch.runs.iter().map(|run| run.len() as u64).sum::<u64>();
            if self.arrived > 0 && !is_last {
                let room = Room { size: self.arrived, ..Room::default() };
                let rest = take(format, &batch.runs, &room).rest;
                let skipped = size - rest.iter().map(|run| run.len() as u64).sum::<u64>();
                // They end where a record ends, unless the ring is damaged.
                self.arrived = if rest.is_empty() { self.arrived - skipped } else { 0 };
                self.router.write(format, &rest);
            } else if !is_last {
                self.router.write(format, &batch.runs);
            }
            damaged.extend(batch.damaged);
            let taken = batch.taken;
            for (Ring { source, cpu, head }, taken) in heads.heads.iter().zip(taken) {
                self.sources[*source].reader.release(*cpu, head, taken);
            }
            self.taken += size;
            for ring in damaged.into_iter().map(|at| heads.heads[at]) {
                self.resync(ring);
            }
            self.sources.iter().for_each(|source| source.reader.note_taken(self.taken));
            if is_last {
                return progress;
            }
        }
    }

    /// Has large lanes made for rings that do not have them: at once, or if a small one is half full. So they are there the
    /// next time that the thread is late.
    fn enlarge(&mut self) {
        for RingSet { reader, larger, .. } in &mut self.sources {
            let Some(larger) = larger.as_mut().filter(|_| !reader.has_large_lanes()) else { continue };
            let mark = (reader.small_size() / 2) as u64;
            let is_needed = || (0..reader.cpus()).any(|cpu| reader.exceeds(cpu, mark));
            if self.ring_memory == RingMemory::AtOnce || is_needed() {
                larger.ask();
            }
        }
    }

    /// Whether any ring holds more bytes than `mark` returns for it.
    pub(crate) fn holds_more_than(&self, mark: impl Fn(&Reader) -> u64) -> bool {
        self.rings().any(|(source, cpu)| {
            let reader = &self.sources[source].reader;
            reader.exceeds(cpu, mark(reader))
        })
    }

    /// The format that is being drained. When it changes, the rings of the former format are drained and closed first.
    fn format(&self) -> Option<Format> {
        self.sources.first().map(|source| source.format)
    }

    fn rings(&self) -> impl Iterator<Item = (usize, usize)> {
        self.sources
            .iter()
            .enumerate()
            .filter(|(_, source)| Some(source.format) == self.format())
            .flat_map(|(source, RingSet { reader, .. })| (0..reader.cpus()).map(move |cpu| (source, cpu)))
    }

    /// Reads the heads so that every record before them is older than all records that come later.
    ///
    /// A record not before its head belongs to a packet whose program read the time after it had stored `busy`, and
    /// stores `head` before it clears `busy`: if `busy` is clear and `head` has not moved, the time has not been read
    /// yet. A single ring keeps its own order, so this matters only if several rings have records.
    fn heads(&self, cut: Cut) -> Heads {
        for _ in 0..LOOKS {
            let heads = self.look();
            if self.is_settled(&heads) {
                return Heads { heads, before: None };
            }
            spin_loop();
        }
        if cut == Cut::All {
            return Heads { heads: self.look(), before: None };
        }
        // With so many busy CPUs, some head always moves. Everything up to a time is complete once each CPU has been
        // seen between two packets after that time.
        let before = Some(Stamp::from_nanos(sys::utc_now() - MARGIN_NANOS));
        for (source, cpu) in self.rings() {
            let reader = &self.sources[source].reader;
            let head = reader.head(cpu);
            let passed = || !reader.is_busy(cpu) || reader.head(cpu) != head;
            (0..SPINS).find(|_| {
                spin_loop();
                passed()
            });
        }
        Heads { heads: self.look(), before }
    }

    fn look(&self) -> Vec<Ring> {
        let ring = |(source, cpu): (usize, usize)| Ring { source, cpu, head: self.sources[source].reader.head(cpu) };
        self.rings().map(ring).collect()
    }

    fn is_settled(&self, rings: &[Ring]) -> bool {
        let reader = |ring: &Ring| &self.sources[ring.source].reader;
        let has_records = |ring: &Ring| reader(ring).has_records(ring.cpu, &ring.head);
        let full = rings.iter().filter(|ring| has_records(ring)).count();
        rings.iter().all(|ring| {
            let has_company = full > usize::from(has_records(ring));
            !has_company || (!reader(ring).is_busy(ring.cpu) && reader(ring).head(ring.cpu) == ring.head)
        })
    }

    fn resync(&mut self, ring: Ring) {
        let reader = &mut self.sources[ring.source].reader;
        let Ring { cpu, head, .. } = ring;
        let lost = reader.fill(cpu, &head);
        reader.resync(cpu, &head);
        let message = format!("the ring of CPU {cpu} is damaged: the {lost} bytes that it holds are lost");
        self.log(Level::Error, &message);
    }
}

/// What the rings hold up to the heads, and the rings whose positions are inconsistent.
fn spans<'a>(sources: &'a [RingSet], rings: &[Ring]) -> (Vec<Span<'a>>, Vec<usize>) {
    let mut damaged = Vec::new();
    let span = |(at, ring): (usize, &Ring)| {
        sources[ring.source].reader.span(ring.cpu, &ring.head).unwrap_or_else(|Damage| {
            damaged.push(at);
            Span::default()
        })
    };
    (rings.iter().enumerate().map(span).collect(), damaged)
}

#[cfg(test)]
mod tests;
