//! How fast the disk, or the page cache before it, takes what is written.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::time::Duration;

use crate::lock::lock;

/// Writes older than this count half.
const WINDOW: Duration = Duration::from_secs(1);
/// Less time is not enough to tell.
const ENOUGH: Duration = Duration::from_millis(1);

/// The last writes: their bytes, and how long they took.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<(u64, Duration)>);

impl Pace {
    /// Notes that a write of `bytes` took so long.
    pub(crate) fn add(&self, bytes: u64, took: Duration) {
        let mut last = lock(&self.0);
        if last.1 > WINDOW {
            *last = (last.0 / 2, last.1 / 2);
        }
        *last = (last.0.saturating_add(bytes), last.1.saturating_add(took));
    }

    /// Bytes per second of writing; `None` before there was much.
    pub(crate) fn rate(&self) -> Option<u64> {
        let (bytes, took) = *lock(&self.0);
        (took >= ENOUGH).then(|| (bytes as f64 / took.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_writes() {
        let pace = Pace::default();
        assert_eq!(pace.rate(), None);
        pace.add(1000, Duration::from_micros(999));
        assert_eq!(pace.rate(), None);
        pace.add(9000, Duration::from_micros(9001));
        assert_eq!(pace.rate(), Some(1_000_000));
        for _ in 0..40 {
            pace.add(50_000, Duration::from_millis(500));
        }
        assert!((99_000..101_000).contains(&pace.rate().unwrap()), "{pace:?}");
    }
}
