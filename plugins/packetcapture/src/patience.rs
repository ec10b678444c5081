//! Waiting for a disk that may never answer: a frozen file system, or a server that is gone.
//!
//! The engine calls a cube from one thread, so a call that waits keeps every other cube waiting. So all work on files
//! happens on other threads, and a call waits for it only for [`PATIENCE`]. Work that takes longer is finished when the
//! disk answers.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::lock::lock;

/// A disk that is merely slow answers sooner. Under test, a busy machine must not look like a disk that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 1 });

/// Waits for a thread that does one thing after the other.
#[derive(Default)]
pub(crate) struct Waits {
    /// Closes when the thread has done what a call did not wait for any longer.
    late: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Waits {
    /// Waits until `done` closes, or reports something; false if that takes too long. While something earlier takes too
    /// long, it does not wait at all: a disk that does not answer costs one wait, and not one for each change.
    pub(crate) fn wait(&self, done: mpsc::Receiver<()>) -> bool {
        self.wait_for(PATIENCE, done)
    }

    fn wait_for(&self, patience: Duration, done: mpsc::Receiver<()>) -> bool {
        let mut late = lock(&self.late);
        let is_earlier_done = late.as_ref().is_none_or(|late| late.try_recv() != Err(mpsc::TryRecvError::Empty));
        let patience = if is_earlier_done { patience } else { Duration::ZERO };
        let is_done = done.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout);
        *late = (!is_done).then_some(done);
        is_done
    }
}

/// Work on the directories of a cube's captures that a change depends on.
#[derive(Clone, Default)]
pub(crate) struct Errands(Arc<Mutex<Vec<PathBuf>>>);

impl Errands {
    /// Runs `work`, which uses `directory`. `None` if it takes too long, or earlier work there is still under way: a
    /// thread for each attempt would pile up.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        self.run_for(PATIENCE, directory, work)
    }

    fn run_for<T: Send + 'static>(
        &self,
        patience: Duration,
        directory: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        let busy = Arc::clone(&self.0);
        let directory = directory.to_owned();
        {
            let mut busy = lock(&busy);
            if busy.contains(&directory) {
                return Ok(None);
            }
            busy.push(directory.clone());
        }
        let (sender, receiver) = mpsc::channel();
        let started = thread::Builder::new().name(String::from("capture:probe")).spawn({
            let directory = directory.clone();
            let busy = Arc::clone(&busy);
            move || {
                let result = work();
                lock(&busy).retain(|other| *other != directory);
                // The change may have been refused meanwhile.
                let _ = sender.send(result);
            }
        });
        if let Err(error) = started {
            lock(&busy).retain(|other| *other != directory);
            return Err(error);
        }
        Ok(receiver.recv_timeout(patience).ok())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const BRIEF: Duration = Duration::from_millis(20);

    #[test]
    fn what_takes_too_long_is_waited_for_once() {
        let waits = Waits::default();
        let (first, done) = mpsc::channel();
        let began = Instant::now();
        assert!(!waits.wait_for(BRIEF, done));
        assert!(began.elapsed() >= BRIEF);
        let (second, done) = mpsc::channel();
        assert!(!waits.wait(done));
        assert!(began.elapsed() < PATIENCE);
        drop((first, second));
        let (third, done) = mpsc::channel();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(third);
        });
        assert!(waits.wait(done), "the thread does its work again");
    }

    #[test]
    fn work_that_takes_too_long_is_not_begun_twice() {
        let errands = Errands::default();
        let (release, held) = mpsc::channel::<()>();
        let run = |path: &str| errands.run(Path::new(path), || 7).unwrap();
        let stuck = errands.run_for(BRIEF, Path::new("/hung"), move || held.recv()).unwrap();
        assert!(stuck.is_none());
        let began = Instant::now();
        assert_eq!((run("/hung"), run("/well")), (None, Some(7)));
        assert!(began.elapsed() < PATIENCE);
        drop(release);
        while run("/hung").is_none() {
            thread::yield_now();
        }
    }
}
