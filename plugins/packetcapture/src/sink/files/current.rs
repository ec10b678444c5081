//! The file that is being written, and what it has.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Instant;

use crate::sink::file::CaptureFile;
use crate::store::StoredFile;
use crate::tally::Tally;

/// A file that is being written.
pub(super) struct Current {
    pub(super) file: CaptureFile,
    pub(super) stored: StoredFile,
    pub(super) tally: Tally,
    pub(super) began: Instant,
    /// How far it has the cube's keys.
    pub(super) keys: u64,
    /// What was appended and may not be in the file yet, and where it ends.
    waiting: VecDeque<(u64, Tally)>,
}

impl Current {
    pub(super) fn new(file: CaptureFile) -> Self {
        let stored = StoredFile::new(file.own().clone());
        Self { file, stored, tally: Tally::default(), began: Instant::now(), keys: 0, waiting: VecDeque::new() }
    }

    /// Notes what was appended, as long as it is not in the file for good, and where the last that is in it ends.
    pub(super) fn note_waiting(&mut self, appended: &Tally) {
        self.waiting.push_back((self.file.length(), *appended));
        let start = self.file.start();
        while self.waiting.get(1).is_some_and(|(end, _)| *end <= start) {
            self.waiting.pop_front();
        }
    }

    /// Removes what could not be written; returns its totals.
    pub(super) fn cut_to_whole(&mut self) -> Tally {
        let reached = self.file.reached();
        let (mut whole, mut lost) = (0, Tally::default());
        for (end, tally) in &self.waiting {
            if *end <= reached { whole = *end } else { lost.add(tally) }
        }
        self.file.shorten(whole);
        self.tally.packets -= lost.packets;
        self.tally.bytes -= lost.bytes;
        lost
    }
}
