//! Times of day, as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use crate::grammar;

/// The clock that people read.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Utc,
    /// The time zone of `TZ`, or of this machine.
    Local(TimeZone),
}

impl Clock {
    pub(crate) fn new(asked: grammar::Clock) -> Self {
        match asked {
            grammar::Clock::Utc => Self::Utc,
            // Without a time zone, it is UTC.
            grammar::Clock::Local => Self::Local(TimeZone::system()),
        }
    }

    /// A text that is a time in UTC as daemons write it (RFC 3339), on this clock; `None` if it is something else.
    pub(crate) fn shows(&self, text: &str) -> Option<String> {
        let Self::Local(zone) = self else { return None };
        let is_time = (20..=30).contains(&text.len()) && text.ends_with('Z') && text.as_bytes()[10] == b'T';
        let time: Timestamp = is_time.then(|| text.parse().ok())??;
        let offset = zone.to_offset(time);
        // In UTC, it is as it was.
        let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() - 1);
        let printer = DateTimePrinter::new().precision(u8::try_from(digits).ok());
        (offset.seconds() != 0).then(|| printer.timestamp_with_offset_to_string(&time, offset))
    }

    /// A date or time on this clock that has no offset to UTC (`2026-11-29`, `2026-11-29T10:20`), with it; `None` if it is
    /// something else, or this clock is UTC.
    pub(crate) fn offset_of(&self, text: &str) -> Option<String> {
        let Self::Local(zone) = self else { return None };
        let is_without = text.split_once('T').is_none_or(|(_, time)| !time.contains(['Z', '+', '-', '[']));
        let is_date = text.len() >= 10 && text.as_bytes()[4] == b'-' && is_without;
        let time: DateTime = is_date.then(|| text.parse().ok())??;
        let stamp = time.to_zoned(zone.clone()).ok()?.timestamp();
        Some(DateTimePrinter::new().timestamp_with_offset_to_string(&stamp, zone.to_offset(stamp)))
    }

    /// The date at a time since 1970.
    pub(crate) fn date(&self, time: Duration) -> Date {
        let shown = Timestamp::from_second(self.second(time).cast_signed()).unwrap_or_default();
        TimeZone::UTC.to_datetime(shown).date()
    }

    /// The second of the day at a time since 1970.
    pub(crate) fn second_of_day(&self, time: Duration) -> u64 {
        self.second(time) % 86_400
    }

    /// The seconds since 1970 that this clock would show if it were that of UTC.
    fn second(&self, time: Duration) -> u64 {
        let seconds = time.as_secs();
        let offset = match self {
            Self::Utc => 0,
            Self::Local(zone) => {
                let stamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                stamp.map_or(0, |stamp| zone.to_offset(stamp).seconds())
            }
        };
        seconds.wrapping_add_signed(offset.into())
    }

    /// The clock of a time zone, as POSIX writes it.
    #[cfg(test)]
    pub(crate) fn zone(rule: &str) -> Self {
        Self::Local(TimeZone::posix(rule).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_time() {
        let berlin = Clock::zone("CET-1CEST,M3.5.0,M10.5.0/3");
        // 2026-01-15 and 2026-07-15, 12:00:00 in UTC.
        for (seconds, hour) in [(1_768_478_400, 13), (1_784_116_800, 14)] {
            assert_eq!(berlin.second_of_day(Duration::from_secs(seconds)), hour * 3600);
            assert_eq!(Clock::Utc.second_of_day(Duration::from_secs(seconds)), 12 * 3600);
        }
        let evening = Duration::from_secs(1_784_156_400);
        assert_eq!(berlin.date(evening).to_string(), "2026-07-16");
        assert_eq!(Clock::Utc.date(evening).to_string(), "2026-07-15");
    }

    #[test]
    fn only_times_in_utc_are_shown_otherwise() {
        let berlin = Clock::zone("CET-1CEST,M3.5.0,M10.5.0/3");
        let shown = berlin.shows("2026-07-15T23:00:00.000120Z").unwrap();
        assert_eq!(shown, "2026-07-16T01:00:00.000120+02:00");
        for other in
            ["", "Z", "2026-07-15", "2026-07-15T23:00:00+02:00", "a-name-that-ends-inZ", "ééééééééééééT-12345678Z"]
        {
            assert_eq!(berlin.shows(other), None, "{other}");
        }
        assert_eq!(Clock::Utc.shows("2026-07-15T23:00:00.000120Z"), None);
        assert_eq!(Clock::Local(TimeZone::UTC).shows("2026-07-15T23:00:00Z"), None);
    }
}
