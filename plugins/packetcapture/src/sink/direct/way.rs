//! Which way records go to the file, where the capture chooses itself (`storage direct=auto`).
//!
//! Through the page cache a file is complete after every write, and the cache takes bursts that a disk does not. Past it, a
//! byte costs the CPU a fraction of that. So a capture begins with the cache, goes past it when packets come fast, and goes
//! back when they no longer do, or when the disk has no time left.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::Direct;

/// From so many bytes per second, the copy into the page cache counts: it takes a tenth of a CPU.
const FAST: f64 = 200e6;
/// Below this rate, writes go through the cache again.
const SLOW: f64 = 50e6;
/// The part of the time that the disk may be busy: at more, the next second's packets would wait.
const BUSY: f64 = 0.9;
/// How long a disk that was too slow is left alone: at first, and at most.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What was written, since the last time that somebody looked.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sink) struct Work {
    pub(in crate::sink) bytes: u64,
    /// How long the disk was busy with direct writes.
    pub(in crate::sink) busy: Duration,
    pub(in crate::sink) elapsed: Duration,
}

impl Work {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    fn is_limited(&self) -> bool {
        self.busy.as_secs_f64() >= BUSY * self.elapsed.as_secs_f64()
    }
}

/// The way, and what decides it.
#[derive(Debug)]
pub(in crate::sink) struct Way {
    setting: Direct,
    is_direct: bool,
    /// How much longer the disk is left alone.
    rest: Duration,
    /// How long it is left alone the next time.
    pause: Duration,
}

impl Way {
    pub(in crate::sink) fn new(setting: Direct) -> Self {
        Self { setting, is_direct: setting == Direct::Always, rest: Duration::ZERO, pause: PAUSE }
    }

    /// Follows the setting; what was learned stays.
    pub(in crate::sink) fn set(&mut self, setting: Direct) {
        if setting != self.setting {
            *self = Self::new(setting);
        }
    }

    /// Whether to write past the page cache.
    pub(in crate::sink) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Whether it may change while a file is written.
    pub(in crate::sink) fn is_chosen(&self) -> bool {
        self.setting == Direct::Auto
    }

    /// Goes through the page cache, for now.
    pub(in crate::sink) fn give_up(&mut self) {
        self.is_direct = false;
        self.rest = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Decides by the last second's work.
    pub(in crate::sink) fn decide(&mut self, work: Work) {
        if !self.is_chosen() || work.elapsed.is_zero() {
            return;
        }
        self.rest = self.rest.saturating_sub(work.elapsed);
        if !self.is_direct {
            self.is_direct = self.rest.is_zero() && work.rate() >= FAST;
        } else if work.is_limited() {
            self.give_up();
        } else {
            self.is_direct = work.rate() >= SLOW;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: u64 = 1_000_000;

    /// Decides for seconds with so many megabytes and milliseconds of the disk's time; compares the ways after each.
    #[track_caller]
    fn check(way: &mut Way, seconds: &[(u64, u64, bool)]) {
        for (at, (megabytes, busy, is_direct)) in seconds.iter().enumerate() {
            let busy = Duration::from_millis(*busy);
            way.decide(Work { bytes: megabytes * MEGABYTE, busy, elapsed: Duration::from_secs(1) });
            assert_eq!(way.is_direct(), *is_direct, "after second {at}: {way:?}");
        }
    }

    #[test]
    fn what_is_set_is_what_happens() {
        for (setting, is_direct) in [(Direct::Never, false), (Direct::Always, true)] {
            let mut way = Way::new(setting);
            check(&mut way, &[(0, 0, is_direct), (900, 990, is_direct), (10, 0, is_direct)]);
        }
    }

    #[test]
    fn fast_packets_go_past_the_cache_as_long_as_they_are_fast() {
        let mut way = Way::new(Direct::Auto);
        check(&mut way, &[(0, 0, false), (100, 0, false), (300, 0, true), (100, 100, true), (40, 40, false)]);
        check(&mut way, &[(300, 0, true)]);
    }

    #[test]
    fn a_disk_that_is_too_slow_is_left_alone_for_longer_each_time() {
        let mut way = Way::new(Direct::Auto);
        for pause in [30, 60, 120] {
            check(&mut way, &[(900, 0, true), (900, 950, false)]);
            check(&mut way, &vec![(900, 0, false); pause - 1]);
        }
        for _ in 0..20 {
            way.give_up();
        }
        assert_eq!(way.pause, LONGEST_PAUSE);
    }
}
