//! What happened to a cube's packets: files, losses, and current errors.

#![forbid(unsafe_code)]

mod ledger;
mod pace;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::Serialize;

use crate::format::Format;
use crate::format::pcapng::Statistics;
use crate::lock::lock;
use crate::memory::Share;
use crate::ring::{Counters, Lost, Passed, Rings, Written};
use crate::store::{FileId, StoredFile};
use crate::sys::MapId;
use crate::tally::Tally;

use ledger::Ledger;
pub(crate) use ledger::Resumption;
use pace::Pace;

/// Files that are remembered; older ones are on the disk, but no longer listed.
const FILES: usize = 1000;

/// Shared by the writers and readers of the state. It lives as long as the cube.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Not written to the disk, or waited for it too long.
    pub(crate) disk: Losses,
    /// Not written, to leave the disk the space that others need.
    pub(crate) floor: Losses,
    /// Arrived after the capture's own limit.
    pub(crate) limit: Losses,
    /// Discarded from network mode's queue.
    pub(crate) queue: Losses,
    /// In files that somebody else removed or truncated while they were being written.
    pub(crate) removed: Losses,
    /// What the cube's rings and backlog take up.
    pub(crate) memory: Share,
    /// How fast files are written.
    pub(crate) pace: Pace,
    ledger: Mutex<Ledger>,
    session: AtomicU64,
    /// The counters when the last capture started.
    began: Mutex<Statistics>,
    files: Mutex<VecDeque<FileState>>,
    trouble: Mutex<Option<String>>,
}

/// Packets that were recorded but did not reach their destination.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Losses {
    pub(crate) fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn pair(&self) -> [u64; 2] {
        [self.packets(), self.bytes()]
    }
}

/// A capture file.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) stored: StoredFile,
    pub(crate) tally: Tally,
    /// Size of the file in bytes.
    pub(crate) size: u64,
    pub(crate) status: FileStatus,
    /// Number of the capture that wrote it; each is one session of the cube, from on to off.
    pub(crate) session: u64,
}

/// The status of a capture file: being written, complete, complete and compressed, or, while it was being written, moved
/// or deleted by somebody else, or truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FileStatus {
    Open,
    Closed,
    Compressed,
    Removed,
    Truncated,
}

impl FileStatus {
    /// Whether the file is where it was written, with everything in it.
    fn is_intact(self) -> bool {
        !matches!(self, Self::Removed | Self::Truncated)
    }
}

impl Outcome {
    /// Of a cube that takes memory from `memory`.
    pub(crate) fn new(memory: Share) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Adds rings, and what an earlier daemon noted in them. What waited in its memory is lost.
    pub(crate) fn open_rings(&self, map_id: MapId, rings: Arc<Rings>, format: Format) -> Resumption {
        let mut ledger = lock(&self.ledger);
        let resumption = ledger.open(map_id, rings, format, self.lost());
        if let Some(note) = &resumption.inherited {
            let losses = [&self.disk, &self.limit, &self.queue, &self.removed, &self.floor];
            losses.iter().zip(note.progress.lost).for_each(|(losses, [packets, bytes])| losses.add(packets, bytes));
            let [packets, bytes] = note.progress.waiting;
            self.disk.add(packets, bytes);
            ledger.note(self.lost());
        }
        resumption
    }

    /// Adds the counters of `rings`, to which nothing is written any more, to the sum of the closed ones.
    pub(crate) fn close_rings(&self, rings: &Arc<Rings>) {
        lock(&self.ledger).close(rings);
    }

    /// The programs' counters since the cube was created.
    pub(crate) fn counters(&self) -> Counters {
        lock(&self.ledger).counters()
    }

    /// What counts towards the limits of the capture. It is noted with what becomes of these records next.
    pub(crate) fn pass(&self, passed: Passed) {
        lock(&self.ledger).passed = passed;
    }

    /// Notes that the rings need not keep `bytes` of records any more: they are in the file, passed on, or counted as lost.
    pub(crate) fn account(&self, bytes: u64, written: Option<Written>) {
        self.note(|ledger| {
            ledger.accounted += bytes;
            ledger.written = written.or(ledger.written);
        });
    }

    /// Notes that the file is complete.
    pub(crate) fn leave_file(&self) {
        self.note(|ledger| ledger.written = None);
    }

    /// Notes that records wait in memory for the disk: they are lost if the daemon is killed now.
    pub(crate) fn wait(&self, tally: &Tally) {
        self.note(|ledger| {
            ledger.accounted += tally.size;
            ledger.waiting[0] += tally.packets;
            ledger.waiting[1] += tally.bytes;
        });
    }

    /// Notes that records which [waited](Self::wait) are written, or lost.
    pub(crate) fn end_wait(&self, tally: &Tally, written: Option<Written>) {
        self.note(|ledger| {
            let [packets, bytes] = ledger.waiting;
            ledger.waiting = [packets.saturating_sub(tally.packets), bytes.saturating_sub(tally.bytes)];
            ledger.written = written.or(ledger.written);
        });
    }

    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = lock(&self.ledger);
        change(&mut ledger);
        ledger.note(self.lost());
    }

    /// Packets that were lost after they were recorded, and their bytes, by reason.
    fn lost(&self) -> Lost {
        [self.disk.pair(), self.limit.pair(), self.queue.pair(), self.removed.pair(), self.floor.pair()]
    }

    /// The same for a reader of pcapng that missed `elsewhere` more packets after they were recorded.
    pub(crate) fn statistics(&self, elsewhere: u64) -> Statistics {
        let counters = self.counters();
        let dropped = counters.full + counters.nested + counters.faults;
        let accepted = counters.written + dropped;
        let received = accepted + counters.rejected;
        Statistics { received, accepted, dropped: dropped + elsewhere, delivered: 0 }
    }

    /// The same for a reader that got `delivered` packets of the last capture.
    pub(crate) fn statistics_of_session(&self, delivered: u64) -> Statistics {
        let now = self.statistics(self.disk.packets() + self.floor.packets() + self.queue.packets());
        now.since(&lock(&self.began), delivered)
    }

    /// Notes that another capture starts; returns its number.
    pub(crate) fn begin_session(&self) -> u64 {
        *lock(&self.began) = self.statistics(self.disk.packets() + self.floor.packets() + self.queue.packets());
        self.set_trouble(None);
        self.session.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The files of the last capture that has any, oldest first, without those that are not intact.
    pub(crate) fn files_of_last_session(&self) -> Vec<FileState> {
        let files = lock(&self.files);
        let last = files.back().map(|file| file.session);
        files.iter().filter(|file| Some(file.session) == last && file.status.is_intact()).cloned().collect()
    }

    /// Adds a file of `session` that got its first records.
    pub(crate) fn file_begun(&self, file: &StoredFile, session: u64) {
        let mut files = lock(&self.files);
        if files.len() == FILES {
            files.pop_front();
        }
        files.push_back(FileState {
            stored: file.clone(),
            tally: Tally::default(),
            size: 0,
            status: FileStatus::Open,
            session,
        });
    }

    /// Updates what is known of `file`, if it is still remembered.
    pub(crate) fn update(&self, file: &StoredFile, change: impl FnOnce(&mut FileState)) {
        if let Some(state) = lock(&self.files).iter_mut().rev().find(|state| state.stored.is(file)) {
            change(state);
        }
    }

    pub(crate) fn forget(&self, file: &StoredFile) {
        lock(&self.files).retain(|state| !state.stored.is(file));
    }

    /// The stored file whose identity is `id`, if it is still remembered.
    pub(crate) fn file(&self, id: FileId) -> Option<StoredFile> {
        let files = lock(&self.files);
        files.iter().map(|state| &state.stored).find(|file| file.current().0.id() == id).cloned()
    }

    /// The files, oldest first.
    pub(crate) fn files(&self) -> Vec<FileState> {
        lock(&self.files).iter().cloned().collect()
    }

    /// The last file; while a session runs, only one of that session, because its packets do not go to earlier ones.
    pub(crate) fn dump(&self, is_on: bool) -> Option<PathBuf> {
        let session = self.session.load(Ordering::Relaxed);
        let files = lock(&self.files);
        let last = files.iter().rev().find(|file| file.status != FileStatus::Removed);
        last.filter(|file| !is_on || file.session == session).map(|state| state.stored.path())
    }

    /// Sets or clears the error that keeps packets from the disk.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}
