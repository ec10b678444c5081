//! One round: what the rings hold goes to the sink, in the order of the packets' times.

#![forbid(unsafe_code)]

use std::hint::spin_loop;

use polycube_plugin_api::Level;

use crate::format::{Format, Stamp};
use crate::log::Log;
use crate::merge::{Limits, Span, batch};
use crate::ring::{Bell, Damage, Reader};
use crate::sink::{CaptureFile, Router};
use crate::sys;

/// Looks at the rings until they are found at rest. With few busy CPUs the first or second look does.
const LOOKS: usize = 16;
/// Looks at a CPU that is in the middle of a packet, about ten times as long as a packet takes.
const SPINS: usize = 2000;
/// The programs' clock (`ktime_get_tai_fast_ns`, kernel/time/timekeeping.c) is a little off ours while it is adjusted.
const MARGIN_NANOS: i64 = 20_000;

/// Rings that share a size, and the bell of their programs.
pub(crate) struct RingSet {
    pub(crate) id: u64,
    pub(crate) format: Format,
    pub(crate) reader: Reader,
    pub(crate) bell: Bell,
}

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Empty,
    Moved,
}

/// How a round cuts the rings where packets keep coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// So that the next round continues its order. What that leaves out, the next one has.
    Ordered,
    /// All there is: there may be no next round.
    All,
}

/// The rings of a cube and their sink.
pub(crate) struct Drain {
    pub(crate) sources: Vec<RingSet>,
    pub(crate) router: Router,
    log: Log,
}

/// Heads to drain to, of every CPU of every source.
struct Heads {
    heads: Vec<Lane>,
    before: Option<Stamp>,
}

/// One CPU's ring.
#[derive(Clone, Copy)]
struct Lane {
    source: usize,
    cpu: usize,
    head: u64,
}

impl Drain {
    pub(crate) fn new(router: Router, log: Log) -> Self {
        Self { sources: Vec::new(), router, log }
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        (self.log)(level, message);
    }

    /// Moves what the rings hold now.
    pub(crate) fn round(&mut self, cut: Cut) -> Progress {
        let Some(format) = self.format() else { return Progress::Empty };
        let heads = self.heads(cut);
        let mut progress = Progress::Empty;
        let smallest = self.sources.iter().map(|source| source.reader.size()).min().unwrap_or_default();
        // The program gets room back batch by batch, not when the last byte is written.
        let limits = Limits { format, runs: CaptureFile::RUNS, bytes: smallest / 4, before: heads.before };
        loop {
            let (spans, mut damaged) = spans(&self.sources, &heads.heads);
            let batch = batch(&spans, &limits);
            if batch.held || !batch.runs.is_empty() {
                progress = Progress::Moved;
            }
            let is_last = batch.runs.is_empty();
            if !is_last {
                self.router.write(format, &batch.runs);
            }
            damaged.extend(batch.damaged);
            let taken = batch.taken;
            for (lane, taken) in heads.heads.iter().zip(taken) {
                self.sources[lane.source].reader.release(lane.cpu, taken);
            }
            for lane in damaged.into_iter().map(|at| heads.heads[at]) {
                self.resync(lane);
            }
            if is_last {
                return progress;
            }
        }
    }

    /// Whether a ring holds more than `mark` says for its size.
    pub(crate) fn holds_more_than(&self, mark: impl Fn(&Reader) -> u64) -> bool {
        self.lanes().any(|(source, cpu)| {
            let reader = &self.sources[source].reader;
            reader.head(cpu).wrapping_sub(reader.tail(cpu)) > mark(reader)
        })
    }

    /// The format that is being emptied. Where it changes, the rings of the former one are emptied and closed first.
    fn format(&self) -> Option<Format> {
        self.sources.first().map(|source| source.format)
    }

    fn lanes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.sources
            .iter()
            .enumerate()
            .filter(|(_, source)| Some(source.format) == self.format())
            .flat_map(|(source, RingSet { reader, .. })| (0..reader.cpus()).map(move |cpu| (source, cpu)))
    }

    /// Looks where the heads are, so that every record before them is older than all that come after them.
    ///
    /// A record that is not before its head belongs to a packet whose program took the time after it had stored `busy`,
    /// and stores `head` before it takes `busy` back: where `busy` is down and `head` has not moved, the time is not
    /// taken yet. A ring alone keeps its order by itself, so only those are looked at that others have records beside.
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
        // So many CPUs are at work that some always moves. Everything up to a time is there as soon as each CPU has been
        // seen between two packets after it.
        let before = Some(Stamp::from_nanos(sys::utc_now() - MARGIN_NANOS));
        for (source, cpu) in self.lanes() {
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

    fn look(&self) -> Vec<Lane> {
        let lane = |(source, cpu): (usize, usize)| Lane { source, cpu, head: self.sources[source].reader.head(cpu) };
        self.lanes().map(lane).collect()
    }

    fn is_settled(&self, lanes: &[Lane]) -> bool {
        let reader = |lane: &Lane| &self.sources[lane.source].reader;
        let has_records = |lane: &Lane| lane.head != reader(lane).tail(lane.cpu);
        let full = lanes.iter().filter(|lane| has_records(lane)).count();
        lanes.iter().all(|lane| {
            let has_company = full > usize::from(has_records(lane));
            !has_company || (!reader(lane).is_busy(lane.cpu) && reader(lane).head(lane.cpu) == lane.head)
        })
    }

    fn resync(&mut self, lane: Lane) {
        let reader = &mut self.sources[lane.source].reader;
        let Lane { cpu, head, .. } = lane;
        let tail = reader.tail(cpu);
        reader.resync(cpu, head);
        let message = format!("the ring of CPU {cpu} is damaged: bytes {tail} to {head} are lost");
        self.log(Level::Error, &message);
    }
}

/// What the rings hold up to the heads, and the lanes whose positions contradict each other.
fn spans<'a>(sources: &'a [RingSet], lanes: &[Lane]) -> (Vec<Span<'a>>, Vec<usize>) {
    let mut damaged = Vec::new();
    let span = |(at, lane): (usize, &Lane)| {
        sources[lane.source].reader.span(lane.cpu, lane.head).unwrap_or_else(|Damage| {
            damaged.push(at);
            Span::default()
        })
    };
    (lanes.iter().enumerate().map(span).collect(), damaged)
}

#[cfg(test)]
mod tests;
