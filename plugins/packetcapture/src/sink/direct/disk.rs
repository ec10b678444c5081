//! The thread that writes full blocks to the disk.
//!
//! It takes all that wait, up to [`AT_ONCE`], and writes them with one request, which the kernel divides into several of
//! the disk's: so the disk has two to four MiB in flight while the next block is filled. Requests of several threads
//! would be faster on no file system that we know: ext4 lets only one at a time extend a file. And they could leave a gap,
//! if one fails.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::{Errno, pwritev};

use super::block::{BLOCK, Block};
use crate::lock::lock;
use crate::outcome::Outcome;

/// Blocks of one request.
const AT_ONCE: usize = 4;
/// Blocks that wait or are being written.
const MOST: usize = 2 * AT_ONCE;

/// Full blocks on their way to the disk.
pub(super) struct Disk {
    shared: Arc<Shared>,
    /// Started with the first block: most files that are closed early never need it.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    fd: OwnedFd,
    outcome: Arc<Outcome>,
    queue: Mutex<Queue>,
    /// Wakes the thread.
    more: Condvar,
    /// Wakes those that wait for the thread.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Blocks that wait, oldest first.
    full: VecDeque<Block>,
    /// Number of blocks that are being written.
    flying: usize,
    spare: Vec<Block>,
    /// Bytes that are in the file for good.
    start: u64,
    /// How long requests took.
    busy: Duration,
    /// Why the last request failed. The thread waits until somebody has taken notice.
    error: Option<io::Error>,
    has_ended: bool,
}

impl Queue {
    fn count(&self) -> usize {
        self.full.len() + self.flying
    }
}

impl Disk {
    /// `fd` has the file's first `start` bytes.
    pub(super) fn new(fd: OwnedFd, start: u64, outcome: Arc<Outcome>) -> Self {
        let queue = Mutex::new(Queue { start, ..Queue::default() });
        let shared = Shared { fd, outcome, queue, more: Condvar::new(), done: Condvar::new() };
        Self { shared: Arc::new(shared), thread: None }
    }

    /// Bytes that are in the file for good.
    pub(super) fn start(&self) -> u64 {
        lock(&self.shared.queue).start
    }

    /// How long the disk was busy since the last call.
    pub(super) fn take_busy(&self) -> Duration {
        std::mem::take(&mut lock(&self.shared.queue).busy)
    }

    /// Whether blocks are on their way, and nothing is wrong.
    pub(super) fn is_busy(&self) -> bool {
        let queue = lock(&self.shared.queue);
        queue.count() > 0 && queue.error.is_none()
    }

    /// Hands over the full `block` and leaves an empty one in its place. Waits while too many are on their way. If a
    /// write fails, `block` stays, and the failed ones are tried again next time.
    pub(super) fn push(&mut self, block: &mut Block) -> io::Result<()> {
        self.start_thread()?;
        let mut queue = self.wait(|queue| queue.count() < MOST)?;
        let empty = queue.spare.pop().unwrap_or_default();
        queue.full.push_back(std::mem::replace(block, empty));
        self.shared.more.notify_one();
        Ok(())
    }

    /// Waits until all blocks are written.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.wait(|queue| queue.count() == 0).map(|_| ())
    }

    /// Releases memory that is not in use.
    pub(super) fn tidy(&self) {
        lock(&self.shared.queue).spare.clear();
    }

    /// Waits until `is_enough`. A request that failed is tried once more, and what becomes of it is awaited: nothing is
    /// taken that follows blocks which cannot be written.
    fn wait(&self, is_enough: impl Fn(&Queue) -> bool) -> io::Result<MutexGuard<'_, Queue>> {
        let mut queue = lock(&self.shared.queue);
        let mut is_retried = queue.error.take().is_some();
        self.shared.more.notify_one();
        let before = queue.start;
        while is_retried || !is_enough(&queue) {
            queue = self.shared.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
            if queue.error.is_some() {
                // It stays where the next call finds it.
                let error = queue.error.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
                let code = queue.error.as_ref().and_then(io::Error::raw_os_error);
                return Err(code.map_or_else(|| error.into(), io::Error::from_raw_os_error));
            }
            is_retried &= queue.start == before;
        }
        Ok(queue)
    }

    fn start_thread(&mut self) -> io::Result<()> {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            self.thread =
                Some(thread::Builder::new().name(String::from("capture:direct")).spawn(move || shared.write())?);
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        lock(&self.shared.queue).has_ended = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn write(&self) {
        let mut queue = lock(&self.queue);
        while !queue.has_ended {
            if queue.full.is_empty() || queue.error.is_some() {
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let count = queue.full.len().min(AT_ONCE);
            let blocks = queue.full.drain(..count).collect::<Vec<_>>();
            queue.flying = count;
            let start = queue.start;
            drop(queue);
            let began = Instant::now();
            let result = self.write_at(start, &blocks);
            queue = lock(&self.queue);
            let (whole, took) = (*result.as_ref().unwrap_or(&0), began.elapsed());
            if whole > 0 {
                self.outcome.pace.add((whole * BLOCK) as u64, took);
            }
            queue.busy += took;
            queue.start += (whole * BLOCK) as u64;
            queue.flying = 0;
            for (at, block) in blocks.into_iter().enumerate().rev() {
                if at < whole { queue.spare.push(block.emptied()) } else { queue.full.push_front(block) }
            }
            queue.error = match result {
                Err(error) => Some(error),
                // A direct write that is as short as that means that the disk is full.
                Ok(0) => Some(io::ErrorKind::StorageFull.into()),
                Ok(_) => None,
            };
            self.done.notify_all();
        }
    }

    /// Writes `blocks` at `start`; returns how many were written as a whole.
    fn write_at(&self, start: u64, blocks: &[Block]) -> io::Result<usize> {
        let slices = blocks.iter().map(|block| IoSlice::new(block.bytes())).collect::<Vec<_>>();
        loop {
            match pwritev(&self.fd, &slices, start) {
                Ok(count) => return Ok(count / BLOCK),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

    use super::*;

    fn full() -> Block {
        let mut block = Block::default();
        block.append(&[7; BLOCK]);
        block
    }

    /// As on a full disk: what waits is kept, and nothing that follows is taken.
    #[test]
    fn after_a_write_that_fails_nothing_more_is_taken() {
        let fd = memfd_create("sealed", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, 2 * BLOCK as u64).unwrap();
        fcntl_add_seals(&fd, SealFlags::GROW).unwrap();
        let mut disk = Disk::new(fd, 0, Arc::default());
        let mut taken = 0;
        let mut block = full();
        while disk.push(&mut block).is_ok() {
            taken += 1;
            block = full();
            assert!(taken <= 2 + MOST, "more than can wait");
        }
        assert_eq!(disk.start(), 2 * BLOCK as u64);
        assert!(block.is_full(), "the block that was not taken stays");
        for _ in 0..3 {
            disk.push(&mut block).unwrap_err();
            disk.settle().unwrap_err();
            assert!(!disk.is_busy());
        }
        assert_eq!(lock(&disk.shared.queue).count(), taken - 2, "each waits for room on the disk");
    }

    #[test]
    fn what_is_written_counts_for_the_disks_rate() {
        let fd = memfd_create("file", MemfdFlags::empty()).unwrap();
        let outcome = Arc::<Outcome>::default();
        let mut disk = Disk::new(fd, 0, Arc::clone(&outcome));
        for _ in 0..3 * MOST {
            disk.push(&mut full()).unwrap();
        }
        disk.settle().unwrap();
        assert_eq!(disk.start(), (3 * MOST * BLOCK) as u64);
        assert!(outcome.pace.rate().unwrap() > 0);
    }
}
