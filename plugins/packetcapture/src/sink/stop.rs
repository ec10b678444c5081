//! The limits after which a capture stops itself: packets, bytes or seconds.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use polycube_plugin_api::Level;

use crate::format::{Format, Stamp};
use crate::log::Log;
use crate::outcome::Outcome;
use crate::ring::Passed;
use crate::settings::Extent;
use crate::sys;
use crate::tally::{Room, Tally, take};

/// Called when a limit is reached.
pub(crate) type OnStop = Box<dyn Fn() + Send>;

/// Lets records pass until a limit is reached, and counts those after it.
pub(crate) struct StopCondition {
    extent: Extent,
    /// What has passed.
    passed: Tally,
    began: Instant,
    is_reached: bool,
    outcome: Arc<Outcome>,
    log: Log,
    on_stop: OnStop,
}

impl StopCondition {
    /// `former` is what a killed or stopped daemon has let pass of the same capture.
    pub(crate) fn new(
        extent: Extent,
        former: Option<Passed>,
        outcome: Arc<Outcome>,
        log: Log,
        on_stop: OnStop,
    ) -> Self {
        let utc = u64::try_from(sys::utc_now()).unwrap_or_default();
        let Passed { packets, size, began } = former.unwrap_or(Passed { began: utc, ..Passed::default() });
        outcome.pass(Passed { packets, size, began });
        let passed = Tally { packets, size, ..Tally::default() };
        let now = Instant::now();
        // No clock but that of the wall goes on from one process to the next: if it was set back, no time has passed.
        let began = now.checked_sub(Duration::from_nanos(utc.saturating_sub(began))).unwrap_or(now);
        Self { extent, passed, began, is_reached: false, outcome, log, on_stop }
    }

    /// Applies other limits, counted from the same start.
    pub(super) fn apply(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// The first of `runs`, whose format is `format`, that are within the limits.
    pub(super) fn admit<'a>(&mut self, format: Format, runs: &[&'a [u8]]) -> Vec<&'a [u8]> {
        if self.extent == Extent::default() && !self.is_reached {
            return runs.to_vec();
        }
        let taken = take(format, runs, &self.room());
        self.passed.add(&taken.tally);
        let Tally { packets, size, .. } = self.passed;
        self.outcome.pass(Passed { packets, size, began: self.began_utc() });
        let late = Tally::of(format, &taken.rest);
        self.outcome.limit.add(late.packets, late.bytes);
        // The capture stops with its last packet, not with the one after.
        if late.packets > 0 || self.room().packets == 0 {
            self.reach();
        }
        taken.runs
    }

    /// Checks the clock.
    pub(super) fn tick(&mut self) {
        if self.extent.time.is_some_and(|time| self.began.elapsed() >= time) {
            self.reach();
        }
    }

    fn began_utc(&self) -> u64 {
        after(self.began, Duration::ZERO).0
    }

    fn reach(&mut self) {
        if !std::mem::replace(&mut self.is_reached, true) {
            (self.log)(Level::Info, "the capture has reached the limit that `stop-after` sets");
            (self.on_stop)();
        }
    }

    fn room(&self) -> Room {
        if self.is_reached {
            return Room { packets: 0, ..Room::default() };
        }
        let Extent { packets, bytes, time } = self.extent;
        Room {
            packets: packets.map_or(u64::MAX, |packets| packets.saturating_sub(self.passed.packets)),
            size: bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.passed.size)),
            until: time.map_or(Stamp(u64::MAX), |time| after(self.began, time)),
            one_at_least: false,
        }
    }
}

/// The wall clock's time when `time` has passed since `began`, even if the clock was set meanwhile.
fn after(began: Instant, time: Duration) -> Stamp {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    Stamp::from_nanos(sys::utc_now().saturating_add(nanos(time)).saturating_sub(nanos(began.elapsed())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{Fixture, record, times};

    fn condition(fixture: &Fixture, stop_after: &Value) -> StopCondition {
        fixture.stop_condition(&fixture.settings(json!({ "stop-after": stop_after })))
    }

    /// Records of 100 bytes, one for each time in microseconds.
    fn records(micros: std::ops::Range<u64>) -> Vec<u8> {
        micros.flat_map(|micros| record(micros, &[7; 84])).collect()
    }

    #[track_caller]
    fn check(stop_after: &Value, batches: &[(u64, u64)], expected: &[u64], late: u64) {
        let fixture = Fixture::new();
        let mut stop = condition(&fixture, stop_after);
        let passed =
            batches.iter().flat_map(|batch| times(&stop.admit(Format::Pcap, &[&records(batch.0..batch.1)]).concat()));
        assert_eq!(passed.collect::<Vec<_>>(), expected);
        assert_eq!((fixture.outcome.limit.packets(), fixture.outcome.limit.bytes()), (late, late * 84));
        assert_eq!(*fixture.stops.lock().unwrap(), u32::from(stop.is_reached));
    }

    #[test]
    fn so_many_packets_are_just_those() {
        check(&json!({"packets": 3}), &[(0, 2), (2, 9), (9, 12)], &[0, 1, 2], 9);
        check(&json!({"packets": 3}), &[(0, 2)], &[0, 1], 0);
    }

    #[test]
    fn the_last_packet_is_the_end_and_not_the_one_after() {
        let fixture = Fixture::new();
        let mut stop = condition(&fixture, &json!({"packets": 3}));
        stop.admit(Format::Pcap, &[&records(0..3)]);
        assert!(stop.is_reached);
    }

    #[test]
    fn so_many_bytes_are_no_more() {
        check(&json!({"bytes": 1000}), &[(0, 20)], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10);
        check(&json!({"bytes": 50}), &[(0, 2)], &[], 2);
    }

    #[test]
    fn whatever_comes_first_is_the_end() {
        check(&json!({"bytes": 1000, "packets": 2, "seconds": 5}), &[(0, 20)], &[0, 1], 18);
    }

    #[test]
    fn without_an_end_everything_passes() {
        check(&json!({}), &[(0, 2), (2, 3)], &[0, 1, 2], 0);
    }

    #[test]
    fn so_many_seconds_pass_though_the_clock_is_set_back() {
        let fixture = Fixture::new();
        let mut stop = condition(&fixture, &json!({"seconds": 1}));
        stop.tick();
        assert!(!stop.is_reached);
        // Only the monotonic clock counts: on the wall clock, no time has passed.
        stop.began -= Duration::from_secs(3600);
        stop.tick();
        stop.tick();
        assert_eq!(*fixture.stops.lock().unwrap(), 1);
        assert!(stop.admit(Format::Pcap, &[&records(0..1)]).is_empty());
    }
}
