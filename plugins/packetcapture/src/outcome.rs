//! What became of a cube's packets, for those who look: files, losses, and what stands in the way.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::Serialize;

use crate::format::pcapng::Statistics;
use crate::lock::lock;
use crate::ring::{Counters, Rings};
use crate::store::{FileId, StoredFile};
use crate::tally::Tally;

/// Files that are remembered; earlier ones are on the disk, and nobody is told of them any more.
const FILES: usize = 1000;

/// Shared by whoever writes and whoever reads the state. It lives as long as the cube.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What could not be written to the disk, or waited for it too long.
    pub(crate) disk: Losses,
    /// What came after the capture's own end.
    pub(crate) limit: Losses,
    /// What the queue of network mode had no room for.
    pub(crate) queue: Losses,
    ledger: Mutex<Ledger>,
    session: AtomicU64,
    files: Mutex<VecDeque<FileState>>,
    trouble: Mutex<Option<String>>,
}

/// Packets that were recorded and did not get where they should.
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
}

/// What the programs counted: in the rings that they write to, and in those that are no longer.
#[derive(Default)]
struct Ledger {
    open: Vec<Arc<Rings>>,
    closed: Counters,
}

/// A capture file.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) file: StoredFile,
    pub(crate) tally: Tally,
    /// Bytes of the file.
    pub(crate) size: u64,
    pub(crate) status: FileStatus,
    /// Which capture of the cube it is of, from on to off.
    pub(crate) session: u64,
}

/// What a capture file is: being written, complete, or complete and compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FileStatus {
    Open,
    Closed,
    Compressed,
}

impl Outcome {
    pub(crate) fn open_rings(&self, rings: Arc<Rings>) {
        lock(&self.ledger).open.push(rings);
    }

    /// Takes down what `rings` counted: nothing is written to them any more.
    pub(crate) fn close_rings(&self, rings: &Arc<Rings>) {
        let mut ledger = lock(&self.ledger);
        if let Some(at) = ledger.open.iter().position(|open| Arc::ptr_eq(open, rings)) {
            let rings = ledger.open.swap_remove(at);
            ledger.closed += rings.counters();
        }
    }

    /// What the programs counted since the cube was made.
    pub(crate) fn counters(&self) -> Counters {
        let ledger = lock(&self.ledger);
        let mut sum = ledger.closed;
        ledger.open.iter().for_each(|rings| sum += rings.counters());
        sum
    }

    /// The same for a reader of pcapng, `elsewhere` of whose packets were lost after they were recorded.
    pub(crate) fn statistics(&self, elsewhere: u64) -> Statistics {
        let counters = self.counters();
        let dropped = counters.full + counters.nested + counters.faults;
        let accepted = counters.written + dropped;
        let received = accepted + counters.rejected;
        Statistics { received, accepted, dropped: dropped + elsewhere, delivered: 0 }
    }

    /// Notes that another capture begins.
    pub(crate) fn begin_session(&self) {
        self.session.fetch_add(1, Ordering::Relaxed);
        self.set_trouble(None);
    }

    /// The files of the last capture that has any, the oldest first.
    pub(crate) fn files_of_last_session(&self) -> Vec<FileState> {
        let files = lock(&self.files);
        let last = files.back().map(|file| file.session);
        files.iter().filter(|file| Some(file.session) == last).cloned().collect()
    }

    /// Notes the first records of a file.
    pub(crate) fn file_begun(&self, file: &StoredFile) {
        let session = self.session.load(Ordering::Relaxed);
        let mut files = lock(&self.files);
        if files.len() == FILES {
            files.pop_front();
        }
        files.push_back(FileState {
            file: file.clone(),
            tally: Tally::default(),
            size: 0,
            status: FileStatus::Open,
            session,
        });
    }

    /// Changes what is known of `file`, if it is remembered.
    pub(crate) fn update(&self, file: &StoredFile, change: impl FnOnce(&mut FileState)) {
        if let Some(state) = lock(&self.files).iter_mut().rev().find(|state| state.file.is(file)) {
            change(state);
        }
    }

    pub(crate) fn forget(&self, file: &StoredFile) {
        lock(&self.files).retain(|state| !state.file.is(file));
    }

    /// The file that is kept as `id`, if it is remembered.
    pub(crate) fn file(&self, id: FileId) -> Option<StoredFile> {
        let files = lock(&self.files);
        files.iter().map(|state| &state.file).find(|file| file.current().0.id() == id).cloned()
    }

    /// The files, the oldest first.
    pub(crate) fn files(&self) -> Vec<FileState> {
        lock(&self.files).iter().cloned().collect()
    }

    /// The last file: of the session, if one runs, for an earlier one's is not where its packets go.
    pub(crate) fn dump(&self, is_on: bool) -> Option<PathBuf> {
        let session = self.session.load(Ordering::Relaxed);
        lock(&self.files).back().filter(|file| !is_on || file.session == session).map(|state| state.file.path())
    }

    /// Says what keeps packets from the disk, or that nothing does any more.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}
