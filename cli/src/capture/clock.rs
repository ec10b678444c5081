//! Times of day, as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::grammar;

/// The clock that lines show.
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

    /// The second of the day at a time since 1970.
    pub(crate) fn second_of_day(&self, time: Duration) -> u64 {
        let seconds = time.as_secs();
        let offset = match self {
            Self::Utc => 0,
            Self::Local(zone) => {
                let stamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                stamp.map_or(0, |stamp| zone.to_offset(stamp).seconds())
            }
        };
        seconds.wrapping_add_signed(offset.into()) % 86_400
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_time() {
        let berlin = Clock::Local(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        // 2026-01-15 and 2026-07-15, 12:00:00 in UTC.
        for (seconds, hour) in [(1_768_478_400, 13), (1_784_116_800, 14)] {
            assert_eq!(berlin.second_of_day(Duration::from_secs(seconds)), hour * 3600);
            assert_eq!(Clock::Utc.second_of_day(Duration::from_secs(seconds)), 12 * 3600);
        }
    }
}
