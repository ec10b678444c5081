//! Calls every cube's tick, beside everything else.
//!
//! A round begins each second. A cube whose turn is taken misses its tick, and a round that is not through when the next
//! one begins ends there: ticks are dropped, never
//! queued, and the cubes that missed theirs come first in the next round. A tick that takes long keeps its thread, and another thread
//! goes on with the other cubes.

use std::collections::BTreeSet;
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
        let mut missed = Vec::new();
        while let Some(all) = instances() {
            let left = Mutex::new(in_turn(all, &missed));
            let round = Arc::new(Round { left, begun: AtomicUsize::new(0) });
            next += PERIOD;
            missed = run(&round, next);
            calls.report_stuck();
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // After a pause of the whole machine, rounds are not made up for.
            next = next.max(Instant::now());
        }
    })?;
    Ok(())
}

/// The order of a round, from its end: those that missed the last one come first.
fn in_turn(all: Vec<Arc<Instance>>, missed: &[Arc<Instance>]) -> Vec<Arc<Instance>> {
    let waiting: BTreeSet<usize> = missed.iter().map(|instance| Arc::as_ptr(instance).addr()).collect();
    let (first, mut order): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|instance| waiting.contains(&Arc::as_ptr(instance).addr()));
    order.extend(first);
    order
}

/// Runs a round, until it is through or the time is over. Answers with the cubes that missed it.
fn run(round: &Arc<Round>, end: Instant) -> Vec<Arc<Instance>> {
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
    std::mem::take(&mut *round.left.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Round {
    fn next(&self) -> Option<Arc<Instance>> {
        let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.begun.fetch_add(1, Ordering::Relaxed);
        next
    }
}
