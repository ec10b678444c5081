//! Names of capture files.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::calendar::date;
use crate::format::Stamp;

/// The numbers of a capture's next files. None is used twice: a file that is being deleted or compressed may still have
/// the name, and the order of names, without their extensions, is the order of time.
#[derive(Default)]
pub(super) struct Names {
    chosen: HashMap<PathBuf, u32>,
    /// The number for the last path with a time in it.
    timed: (PathBuf, u32),
}

impl Names {
    /// For files whose path is always the same.
    pub(super) fn chosen(&mut self, path: PathBuf) -> &mut u32 {
        self.chosen.entry(path).or_default()
    }

    /// For files whose path contains the time. When the time comes again, as the same hour of the next day, so do the
    /// numbers.
    pub(super) fn timed(&mut self, path: PathBuf) -> &mut u32 {
        if self.timed.0 != path {
            self.timed = (path, 0);
        }
        &mut self.timed.1
    }
}

/// The name of the compressed form of the file `name`.
pub(super) fn compressed(name: &OsStr) -> OsString {
    with_ending(name, ".zst")
}

/// Its name while it is being compressed.
pub(super) fn half_compressed(name: &OsStr) -> OsString {
    with_ending(name, ".zst.part")
}

fn with_ending(name: &OsStr, ending: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(ending);
    name
}

/// `<stem>.<extension>`, or `<stem>-<number>.<extension>` if there is a number. With leading zeros, the order of stems
/// is the order of numbers.
pub(super) fn file_name(stem: &str, number: u32, extension: &str) -> String {
    if number == 0 { format!("{stem}.{extension}") } else { format!("{stem}-{number:06}.{extension}") }
}

/// `<cube>-<time>`, with the time in UTC as `20261123T061500Z`: no character is special to a shell or another system.
pub(super) fn default_stem(cube: &str, seconds: i64) -> String {
    format!("{cube}-{}", time(seconds))
}

/// A time in UTC as in RFC 3339, to the microsecond: `2026-11-23T06:15:00.000000Z`.
pub(crate) fn timestamp(stamp: Stamp) -> String {
    let seconds = stamp.seconds().cast_signed();
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", stamp.nanos() / 1_000)
}

fn time(seconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_cube_and_time() {
        assert_eq!(default_stem("sniffer", 1_795_414_500), "sniffer-20261123T061500Z");
        assert_eq!(file_name("trace", 0, "pcap"), "trace.pcap");
        assert_eq!(file_name("trace", 2, "pcapng"), "trace-000002.pcapng");
        assert_eq!(timestamp(Stamp(1_795_414_500_123_456_789)), "2026-11-23T06:15:00.123456Z");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_102_444_800, "21000101T000000Z"),
        ] {
            assert_eq!(time(seconds), expected);
        }
    }
}
