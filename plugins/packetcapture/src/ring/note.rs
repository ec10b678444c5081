//! What the consumer notes in the rings' map, for the consumer of the next daemon.
//!
//! The map may be pinned, and then the programs go on writing while no daemon runs. The next consumer continues at the
//! stored `tail`s, which alone do not say what a killed one had done with the records after them. So the consumer notes
//! how many bytes of records the rings have released (`TAKEN`), and the sink how many they need not keep any more
//! (`ACCOUNTED`), because they are in a file, wait in memory or are lost. After a kill, the difference is skipped: it
//! comes first, since batches are taken in one order. Packets that waited in memory (`WAITING`) count as lost. What a
//! killed write left in the file (`FILE`) after its `LENGTH` is cut off, because the ring still has it.
//!
//! The rings release records before that is noted. If a kill comes between, the `tail`s are not those of the note
//! (`TAILS`, their sum): then everything that is accounted for was released, and nothing is skipped.
//!
//! The note lies in the page of headers of the first CPU's element, after what the programs use.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use polycube_layout::ring::{CONSUMER, Consumer, DATA, FILTER, Filter, Producer};

use super::{Counters, Rings};
use crate::store::FileId;

/// Where the note begins.
const START: usize = 1024;
/// The layout of rings and note; another number for each change of either. The host makes a new map for each.
pub(crate) const LAYOUT: u32 = 3;
/// Where a consumer of this layout has used the map.
const MARK: u64 = u64::from_le_bytes(*b"PCRINGS\0") | (LAYOUT as u64) << 56;

/// Number of a file's words, see [`FileId::words`].
const FILE_WORDS: usize = 5;
/// Reasons for which packets are lost after they were recorded.
const LOSSES: usize = 5;
const COUNTERS: usize = 6;

/// The words of a note.
const MARK_AT: usize = 0;
const FORMAT: usize = MARK_AT + 1;
const TAKEN: usize = FORMAT + 1;
const TAILS: usize = TAKEN + 1;
const EARLIER: usize = TAILS + 1;
/// The number of the last progress. Odd ones are in the second place, so that a kill leaves the former or the new one.
const TURN: usize = EARLIER + COUNTERS;
const PROGRESS: usize = TURN + 1;
const WORDS: usize = PROGRESS + 2 * PROGRESS_WORDS;

/// The words of a progress.
const ACCOUNTED: usize = 0;
const WAITING: usize = ACCOUNTED + 1;
const LENGTH: usize = WAITING + 2;
const FILE: usize = LENGTH + 1;
const LOST: usize = FILE + FILE_WORDS;
const PASSED: usize = LOST + 2 * LOSSES;
const PROGRESS_WORDS: usize = PASSED + 3;

const _: () = assert!(
    START >= FILTER + size_of::<Filter>()
        && START >= CONSUMER + size_of::<Consumer>()
        && START >= size_of::<Producer>()
        && START + WORDS * 8 <= DATA,
    "the note lies between what the programs use and the records"
);

/// Packets that were lost after they were recorded, and their bytes, by reason.
pub(crate) type Lost = [[u64; 2]; LOSSES];

/// The file that is being written, and its bytes that the rings need not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) file: FileId,
    pub(crate) length: u64,
}

/// What an earlier consumer noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// The format of the records, as the programs have it.
    pub(crate) format: u32,
    /// Bytes of records that were released from the rings, since the cube was created.
    pub(crate) taken: u64,
    pub(crate) progress: Progress,
    /// The counters of the cube's earlier rings.
    pub(crate) earlier: Counters,
}

/// What counts towards the limits of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) packets: u64,
    /// Bytes of records.
    pub(crate) size: u64,
    /// When it began: nanoseconds of UTC.
    pub(crate) began: u64,
}

/// How far records have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of records that the rings need not keep any more.
    pub(crate) accounted: u64,
    /// Packets that wait in memory for the disk, and their bytes.
    pub(crate) waiting: [u64; 2],
    pub(crate) written: Option<Written>,
    pub(crate) lost: Lost,
    pub(crate) passed: Passed,
}

/// What a map contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No consumer has used it.
    Fresh,
    /// A consumer of ours has used it.
    Known(Box<Note>),
    /// Something else: another version's consumer has used it.
    Unknown,
}

impl Rings {
    /// What the map says about earlier consumers.
    pub(crate) fn found(&self) -> Found {
        match self.word(MARK_AT) {
            0 => Found::Fresh,
            MARK => Found::Known(Box::new(self.note())),
            _ => Found::Unknown,
        }
    }

    fn note(&self) -> Note {
        let earlier: [u64; COUNTERS] = std::array::from_fn(|at| self.word(EARLIER + at));
        let (format, noted, progress) = (self.word(FORMAT) as u32, self.word(TAKEN), self.progress());
        let taken = if self.word(TAILS) == self.sum_of_tails() { noted } else { noted.max(progress.accounted) };
        Note { format, taken, progress, earlier: Counters::from(earlier) }
    }

    fn progress(&self) -> Progress {
        let place = place(self.word(TURN));
        let pair = |at: usize| [self.word(place + at), self.word(place + at + 1)];
        let file = FileId::from_words(std::array::from_fn(|at| self.word(place + FILE + at)));
        Progress {
            accounted: self.word(place + ACCOUNTED),
            waiting: pair(WAITING),
            written: file.map(|file| Written { file, length: self.word(place + LENGTH) }),
            lost: std::array::from_fn(|at| pair(LOST + 2 * at)),
            passed: Passed {
                packets: self.word(place + PASSED),
                size: self.word(place + PASSED + 1),
                began: self.word(place + PASSED + 2),
            },
        }
    }

    /// Notes everything.
    pub(crate) fn set_note(&self, note: &Note) {
        let Note { format, taken, progress, earlier } = note;
        self.set(FORMAT, (*format).into());
        self.set_taken(*taken);
        self.set_progress(progress);
        self.set_earlier(earlier);
        self.set(MARK_AT, MARK);
    }

    pub(crate) fn set_taken(&self, bytes: u64) {
        self.set(TAKEN, bytes);
        self.set(TAILS, self.sum_of_tails());
    }

    pub(crate) fn set_progress(&self, progress: &Progress) {
        let Progress { accounted, waiting, written, lost, passed } = progress;
        let turn = self.word(TURN).wrapping_add(1);
        let place = place(turn);
        self.set(place + ACCOUNTED, *accounted);
        self.set_all(place + WAITING, waiting);
        self.set_all(place + FILE, &written.map_or([0; FILE_WORDS], |written| written.file.words()));
        self.set(place + LENGTH, written.map_or(0, |written| written.length));
        self.set_all(place + LOST, lost.as_flattened());
        self.set_all(place + PASSED, &[passed.packets, passed.size, passed.began]);
        self.set(TURN, turn);
    }

    pub(crate) fn set_earlier(&self, earlier: &Counters) {
        self.set_all(EARLIER, &<[u64; COUNTERS]>::from(*earlier));
    }

    fn set_all(&self, first: usize, values: &[u64]) {
        (first..).zip(values).for_each(|(at, value)| self.set(at, *value));
    }

    fn word(&self, at: usize) -> u64 {
        self.mapping.word64(START + at * 8).load(Ordering::Acquire)
    }

    fn set(&self, at: usize, value: u64) {
        self.mapping.word64(START + at * 8).store(value, Ordering::Release);
    }
}

fn place(turn: u64) -> usize {
    if turn.is_multiple_of(2) { PROGRESS } else { PROGRESS + PROGRESS_WORDS }
}

impl From<[u64; COUNTERS]> for Counters {
    fn from([written, bytes, full, nested, faults, rejected]: [u64; COUNTERS]) -> Self {
        Self { written, bytes, full, nested, faults, rejected }
    }
}

impl From<Counters> for [u64; COUNTERS] {
    fn from(counters: Counters) -> Self {
        let Counters { written, bytes, full, nested, faults, rejected } = counters;
        [written, bytes, full, nested, faults, rejected]
    }
}

/// Where the mark lies, for tests.
#[cfg(test)]
pub(crate) const MARK_OFFSET: usize = START + MARK_AT * 8;
