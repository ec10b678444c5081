//! What the daemon counts of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counters of this life of the daemon.
#[derive(Debug)]
pub(crate) struct Statistics {
    started: Instant,
    made: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// What became of a request for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Made,
    /// The client is to blame.
    Refused,
    /// The daemon or a plugin is to blame.
    Failed,
}

impl Statistics {
    pub(crate) fn new() -> Self {
        let [made, refused, failed] = [const { AtomicU64::new(0) }; 3];
        Self { started: Instant::now(), made, refused, failed }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.counter(outcome).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.counter(outcome).load(Ordering::Relaxed)
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn counter(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Made => &self.made,
            Outcome::Refused => &self.refused,
            Outcome::Failed => &self.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart() {
        let statistics = Statistics::new();
        for outcome in [Outcome::Made, Outcome::Failed, Outcome::Made] {
            statistics.count(outcome);
        }
        let counts = [Outcome::Made, Outcome::Refused, Outcome::Failed].map(|outcome| statistics.of(outcome));
        assert_eq!(counts, [2, 0, 1]);
    }
}
