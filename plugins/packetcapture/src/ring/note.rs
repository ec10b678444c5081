//! What the consumer notes in the rings' map, for the consumer of the next daemon.
//!
//! The map may be pinned, and then the programs go on writing while no daemon runs. The next consumer continues at the
//! stored `tail`s, which alone do not say what a killed one had done with the records after them. So the consumer notes
//! how many bytes of records the rings have released (`TAKEN`), and the sink how many they need not keep any more
//! (`ACCOUNTED`), because they are in a file, wait in memory or are lost. After a kill, the difference is skipped: it
//! comes first, since batches are taken in one order. Packets that waited in memory (`WAITING`) count as lost. What a
//! killed write left in the file (`FILE`) after its `LENGTH` is cut off, because the ring still has it.
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
pub(crate) const LAYOUT: u32 = 1;
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
const ACCOUNTED: usize = TAKEN + 1;
const WAITING: usize = ACCOUNTED + 1;
const LENGTH: usize = WAITING + 2;
const FILE: usize = LENGTH + 1;
const LOST: usize = FILE + FILE_WORDS;
const EARLIER: usize = LOST + 2 * LOSSES;
const WORDS: usize = EARLIER + COUNTERS;

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
    /// Bytes of records that the rings need not keep any more.
    pub(crate) accounted: u64,
    /// Packets that wait in memory for the disk, and their bytes.
    pub(crate) waiting: [u64; 2],
    pub(crate) written: Option<Written>,
    pub(crate) lost: Lost,
    /// The counters of the cube's earlier rings.
    pub(crate) earlier: Counters,
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
        let pair = |at: usize| [self.word(at), self.word(at + 1)];
        let file = std::array::from_fn(|at| self.word(FILE + at));
        let earlier: [u64; COUNTERS] = std::array::from_fn(|at| self.word(EARLIER + at));
        Note {
            format: self.word(FORMAT) as u32,
            taken: self.word(TAKEN),
            accounted: self.word(ACCOUNTED),
            waiting: pair(WAITING),
            written: FileId::from_words(file).map(|file| Written { file, length: self.word(LENGTH) }),
            lost: std::array::from_fn(|at| pair(LOST + 2 * at)),
            earlier: Counters::from(earlier),
        }
    }

    /// Notes everything.
    pub(crate) fn set_note(&self, note: &Note) {
        let Note { format, taken, accounted, waiting, written, lost, earlier } = note;
        self.set(FORMAT, (*format).into());
        self.set_taken(*taken);
        self.set(ACCOUNTED, *accounted);
        self.set_waiting(*waiting);
        self.set_written(*written);
        self.set_lost(*lost);
        self.set_earlier(earlier);
        self.set(MARK_AT, MARK);
    }

    pub(crate) fn set_taken(&self, bytes: u64) {
        self.set(TAKEN, bytes);
    }

    pub(crate) fn set_accounted(&self, bytes: u64) {
        self.set(ACCOUNTED, bytes);
    }

    pub(crate) fn set_waiting(&self, waiting: [u64; 2]) {
        self.set_all(WAITING, &waiting);
    }

    pub(crate) fn set_written(&self, written: Option<Written>) {
        self.set_all(FILE, &written.map_or([0; FILE_WORDS], |written| written.file.words()));
        self.set(LENGTH, written.map_or(0, |written| written.length));
    }

    pub(crate) fn set_lost(&self, lost: Lost) {
        self.set_all(LOST, lost.as_flattened());
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
