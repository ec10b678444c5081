//! Calls every cube's tick, beside everything else.
//!
//! A round begins each second. A cube whose turn is taken misses its tick, and a round that is not through when the next
//! one begins ends there: ticks are dropped, never queued. A tick that takes long keeps its thread, and another thread
//! goes on with the other cubes.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::Instance;
use super::calls::{Calls, SLOW};

const PERIOD: Duration = Duration::from_secs(1);

/// Cubes that have not had their tick in this round.
#[derive(Default)]
struct Round {
    left: Mutex<Vec<Arc<Instance>>>,
    /// How many ticks have begun.
    begun: AtomicUsize,
}

/// Starts to call the ticks of the cubes that `instances` answers with, in a thread of its own, until it answers with
/// `None`. Logs stuck calls as well.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn keep_ticking(
    calls: Arc<Calls>,
    mut instances: impl FnMut() -> Option<Vec<Arc<Instance>>> + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name("ticks".to_owned()).spawn(move || {
        let mut next = Instant::now();
        while let Some(left) = instances() {
            let round = Arc::new(Round { left: Mutex::new(left), begun: AtomicUsize::new(0) });
            next += PERIOD;
            run(&round, next);
            calls.report_stuck();
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // After a pause of the whole machine, rounds are not made up for.
            next = next.max(Instant::now());
        }
    })?;
    Ok(())
}

/// Runs a round, until it is through or the time is over.
fn run(round: &Arc<Round>, end: Instant) {
    let (done, finished) = mpsc::channel();
    let mut begun = usize::MAX;
    while Instant::now() < end {
        if round.begun.load(Ordering::Relaxed) == begun || begun == usize::MAX {
            let (round, done) = (Arc::clone(round), done.clone());
            let spawned = thread::Builder::new().name("tick".to_owned()).spawn(move || {
                while let Some(instance) = round.next() {
                    instance.tick();
                }
                // The round may be over already.
                let _ = done.send(());
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start a thread for ticks");
            }
        }
        begun = round.begun.load(Ordering::Relaxed);
        if finished.recv_timeout(SLOW).is_ok() {
            break;
        }
    }
    round.left.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

impl Round {
    fn next(&self) -> Option<Arc<Instance>> {
        let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.begun.fetch_add(1, Ordering::Relaxed);
        next
    }
}
