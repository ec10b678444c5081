//! Memory between the rings and a slow disk: what the disk has not taken waits here, so that the rings have room again.
//!
//! While the disk keeps up, nothing waits and nothing is copied: records go straight from the ring to the file. After a
//! slow write, records go through memory until everything is written. Records that may need TLS keys wait here, too, as
//! long as the settings say.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::files::Files;
use crate::format::Format;
use crate::format::pcapng::Section;
use crate::keys::Keys;
use crate::lock::lock;
use crate::outcome::Outcome;
use crate::settings::Settings;
use crate::tally::Tally;

/// A write that takes longer means that the disk does not keep up: at full rate, the rings last about as long.
const SLOW: Duration = Duration::from_millis(5);
/// Bytes per second above which records always go through memory: a ring of the usual 16 MiB is full after 160 ms, and
/// a single write may well take longer. Writes past the page cache are faster, and copy the records once anyway.
const FAST: f64 = 100e6;
/// Buffers that are kept while nothing waits: touching new memory costs more than copying into it.
const SPARE: usize = 4;

enum Item {
    Records {
        format: Format,
        bytes: Vec<u8>,
        /// When they are written, unless room or somebody waits for it.
        due: Option<Instant>,
    },
    Describe(Section),
    Apply(Arc<Settings>),
    Tick,
    /// Report that everything before this is written.
    Flush(mpsc::Sender<()>),
}

impl Item {
    /// Size of the records.
    fn size(&self) -> usize {
        if let Self::Records { bytes, .. } = self { bytes.len() } else { 0 }
    }
}

/// The files, and what waits for them.
pub(super) struct Backlog {
    shared: Arc<Shared>,
    keys: Arc<Keys>,
    /// Maximum bytes that wait.
    limit: usize,
    /// How long records wait for keys.
    keys_wait: Duration,
    /// Whether the last write was slow.
    is_slow: bool,
    /// When the last records arrived.
    last: Instant,
    /// Whether records have waited since the last tick.
    was_used: bool,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Mutex<Files>,
    /// Whether the last write bypassed the page cache.
    is_direct: AtomicBool,
    waiting: Mutex<Waiting>,
    more: Condvar,
    outcome: Arc<Outcome>,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Size of the waiting records and of those that are being written.
    bytes: usize,
    /// So many that records do not wait for keys.
    many: usize,
    /// Flushes among the items.
    flushes: usize,
    /// Buffers whose records are written.
    spare: Vec<Vec<u8>>,
    is_busy: bool,
    has_ended: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.is_busy
    }

    /// How long the next item may wait.
    fn rest(&self) -> Option<Duration> {
        let Some(Item::Records { due: Some(due), .. }) = self.items.front() else { return None };
        let has_time = !self.has_ended && self.flushes == 0 && self.bytes < self.many;
        Some(due.saturating_duration_since(Instant::now())).filter(|rest| has_time && !rest.is_zero())
    }
}

impl Backlog {
    pub(super) fn new(files: Files, outcome: Arc<Outcome>, keys: Arc<Keys>, settings: &Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            is_direct: AtomicBool::new(files.is_direct()),
            files: Mutex::new(files),
            waiting: Mutex::default(),
            more: Condvar::new(),
            outcome,
        });
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new().name(String::from("capture:disk")).spawn(move || writer.write())?;
        Ok(Self {
            shared,
            keys,
            limit: settings.memory,
            keys_wait: settings.keys_wait,
            is_slow: false,
            last: Instant::now(),
            was_used: false,
            thread: Some(thread),
        })
    }

    /// Writes `runs`, or queues them.
    pub(super) fn write(&mut self, format: Format, runs: &[&[u8]]) {
        let mut waiting = lock(&self.shared.waiting);
        let size = runs.iter().map(|run| run.len()).sum::<usize>();
        let began = Instant::now();
        let since = began.duration_since(std::mem::replace(&mut self.last, began));
        let is_fast = size as f64 > FAST * since.as_secs_f64();
        let hold = self.keys.hold(self.keys_wait).filter(|_| format == Format::Pcapng);
        let is_urgent = hold.is_some() || self.is_slow || (is_fast && !self.shared.is_direct.load(Ordering::Relaxed));
        // Records larger than the whole limit would never have room in it.
        if waiting.is_empty() && (!is_urgent || size > self.limit) {
            drop(waiting);
            self.shared.handle(|files| files.write(format, runs));
            self.is_slow = began.elapsed() > SLOW;
            return;
        }
        self.is_slow = false;
        let has_room = waiting.bytes + size <= self.limit && self.shared.outcome.memory.wait(size as u64);
        if !has_room {
            drop(waiting);
            let tally = Tally::of(format, runs);
            self.shared.outcome.disk.add(tally.packets, tally.bytes);
            self.shared.outcome.account(size as u64, None);
            return;
        }
        waiting.bytes += size;
        waiting.many = self.limit / 2;
        self.was_used = true;
        let mut buffer = waiting.spare.pop().unwrap_or_default();
        drop(waiting);
        buffer.reserve(size);
        runs.iter().for_each(|run| buffer.extend_from_slice(run));
        self.shared.outcome.wait(&Tally::of(format, runs));
        self.push(Item::Records { format, bytes: buffer, due: hold.map(|hold| began + hold) });
    }

    pub(super) fn describe(&self, section: Section) {
        self.in_turn(Item::Describe(section));
    }

    pub(super) fn apply(&mut self, settings: Arc<Settings>) {
        (self.limit, self.keys_wait) = (settings.memory, settings.keys_wait);
        self.in_turn(Item::Apply(settings));
    }

    pub(super) fn tick(&mut self) {
        // A capture that no longer needs its buffers does not keep them.
        if !std::mem::take(&mut self.was_used) {
            lock(&self.shared.waiting).spare.clear();
        }
        self.in_turn(Item::Tick);
    }

    /// Reports on `done` when everything so far is written. Waiting here would let the rings overflow.
    pub(super) fn flush(&self, done: mpsc::Sender<()>) {
        self.in_turn(Item::Flush(done));
    }

    fn in_turn(&self, item: Item) {
        let is_idle = lock(&self.shared.waiting).is_empty();
        if is_idle {
            self.shared.handle(|files| files.handle(item));
        } else {
            self.push(item);
        }
    }

    fn push(&self, item: Item) {
        let mut waiting = lock(&self.shared.waiting);
        waiting.flushes += usize::from(matches!(item, Item::Flush(_)));
        waiting.items.push_back(item);
        drop(waiting);
        self.shared.more.notify_one();
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        lock(&self.shared.waiting).has_ended = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        lock(&self.shared.files).finish();
    }
}

impl Shared {
    fn handle<T>(&self, work: impl FnOnce(&mut Files) -> T) -> T {
        let mut files = lock(&self.files);
        let result = work(&mut files);
        self.is_direct.store(files.is_direct(), Ordering::Relaxed);
        result
    }

    fn write(&self) {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(rest) = waiting.rest() {
                waiting = self.more.wait_timeout(waiting, rest).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            match waiting.items.pop_front() {
                Some(item) => {
                    waiting.is_busy = true;
                    waiting.flushes -= usize::from(matches!(item, Item::Flush(_)));
                    drop(waiting);
                    let size = item.size();
                    // If this thread ended, later items would wait for ever.
                    let result = catch_unwind(AssertUnwindSafe(|| self.handle(|files| files.handle(item))));
                    let buffer = result.unwrap_or_else(|_| {
                        let trouble = "the capture file cannot be written: the thread that writes it panicked";
                        self.outcome.set_trouble(Some(String::from(trouble)));
                        None
                    });
                    self.outcome.memory.end_wait(size as u64);
                    waiting = lock(&self.waiting);
                    waiting.bytes -= size;
                    waiting.spare.extend(buffer);
                    if waiting.items.is_empty() {
                        waiting.spare.truncate(SPARE);
                    }
                    waiting.is_busy = false;
                }
                None if waiting.has_ended => return,
                None => waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Files {
    /// Processes the item; returns its buffer, emptied.
    fn handle(&mut self, item: Item) -> Option<Vec<u8>> {
        match item {
            Item::Records { format, mut bytes, .. } => {
                self.write_waiting(format, &bytes);
                bytes.clear();
                return Some(bytes);
            }
            Item::Describe(section) => self.describe(&section),
            Item::Apply(settings) => self.apply(settings),
            Item::Tick => self.tick(),
            Item::Flush(done) => {
                // The receiver may be gone.
                let _ = done.send(());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
