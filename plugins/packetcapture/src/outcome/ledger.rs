//! A cube's rings and what has become of their records, as far as the next daemon must know it too.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::format::Format;
use crate::ring::{Counters, Found, Lost, Note, Passed, Progress, Rings, Written};
use crate::sys::MapId;

/// The counters of open rings, the sum of closed ones, and how far their records have come.
#[derive(Default)]
pub(super) struct Ledger {
    open: Vec<Open>,
    closed: Counters,
    /// The rings that were closed last, in case that a change was undone and they are opened again.
    last: Option<(MapId, Counters)>,
    /// Bytes of records that the rings need not keep any more.
    pub(super) accounted: u64,
    /// Packets that wait in memory for the disk, and their bytes.
    pub(super) waiting: [u64; 2],
    pub(super) written: Option<Written>,
    pub(super) passed: Passed,
}

struct Open {
    map_id: MapId,
    rings: Arc<Rings>,
}

/// Where the consumer of newly opened rings continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// Bytes of records that the cube's rings have released so far.
    pub(crate) taken: u64,
    /// Bytes of records that come next, but have arrived already.
    pub(crate) arrived: u64,
    /// What a killed daemon noted; `None` if the rings are new to the kernel, or known to this process.
    pub(crate) inherited: Option<Box<Note>>,
}

impl Ledger {
    /// Adds rings, with the reasons and counts of `lost` packets in case that they are new.
    pub(super) fn open(&mut self, map_id: MapId, rings: Arc<Rings>, format: Format, lost: Lost) -> Resumption {
        let inherited = match rings.found() {
            Found::Known(note) if self.open.is_empty() && self.last.is_none() => Some(note),
            _ => None,
        };
        if let Some((_, counters)) = self.last.take_if(|(last, _)| *last == map_id) {
            self.closed -= counters;
        }
        let mut resumption = Resumption { taken: self.accounted, arrived: 0, inherited: None };
        let mut note = Note {
            format: format.constant(),
            taken: self.accounted,
            progress: self.progress(lost),
            earlier: self.closed,
        };
        if let Some(former) = inherited {
            self.closed = former.earlier;
            // Only a damaged ring, whose records are discarded, lets the rings release more than is accounted.
            self.accounted = former.progress.accounted.max(former.taken);
            let arrived = former.progress.accounted.saturating_sub(former.taken);
            resumption = Resumption { taken: former.taken, arrived, inherited: None };
            let Progress { lost, passed, .. } = former.progress;
            self.passed = passed;
            let progress = Progress { accounted: self.accounted, lost, passed, ..Progress::default() };
            note = Note { format: format.constant(), progress, ..Note::clone(&former) };
            resumption.inherited = Some(former);
        }
        rings.set_note(&note);
        self.open.push(Open { map_id, rings });
        resumption
    }

    /// Adds the counters of `rings`, to which nothing is written any more, to the sum of the closed ones.
    pub(super) fn close(&mut self, rings: &Arc<Rings>) {
        if let Some(at) = self.open.iter().position(|open| Arc::ptr_eq(&open.rings, rings)) {
            let Open { map_id, rings } = self.open.swap_remove(at);
            let counters = rings.counters();
            self.closed += counters;
            self.last = Some((map_id, counters));
            self.open.iter().for_each(|open| open.rings.set_earlier(&self.closed));
        }
    }

    /// The programs' counters since the cube was created.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = self.closed;
        self.open.iter().for_each(|open| sum += open.rings.counters());
        sum
    }

    /// Notes in all open rings how far records have come, and what is lost.
    pub(super) fn note(&self, lost: Lost) {
        let progress = self.progress(lost);
        self.open.iter().for_each(|open| open.rings.set_progress(&progress));
    }

    fn progress(&self, lost: Lost) -> Progress {
        let Self { accounted, waiting, written, passed, .. } = *self;
        Progress { accounted, waiting, written, lost, passed }
    }
}
