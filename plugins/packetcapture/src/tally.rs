//! Counting records, and taking as many as there is room for.

#![forbid(unsafe_code)]

use crate::format::{Format, Stamp};

/// The totals of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    /// Bytes of packets.
    pub(crate) bytes: u64,
    /// Bytes of records.
    pub(crate) size: u64,
    pub(crate) first: Stamp,
    pub(crate) last: Stamp,
}

impl Tally {
    /// The totals of all records in `runs`.
    pub(crate) fn of(format: Format, runs: &[&[u8]]) -> Self {
        take(format, runs, &Room::default()).tally
    }

    /// Adds the totals of `later` records.
    pub(crate) fn add(&mut self, later: &Self) {
        if self.packets == 0 {
            self.first = later.first;
        }
        self.last = later.last;
        self.packets += later.packets;
        self.bytes += later.bytes;
        self.size += later.size;
    }
}

/// How much may be taken; everything by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) packets: u64,
    /// Bytes of records.
    pub(crate) size: u64,
    /// Packets at or after this time are not taken.
    pub(crate) until: Stamp,
    /// Whether the first record is taken regardless of its size.
    pub(crate) one_at_least: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { packets: u64::MAX, size: u64::MAX, until: Stamp(u64::MAX), one_at_least: false }
    }
}

/// What was taken of some runs, and what is left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken<'a> {
    pub(crate) runs: Vec<&'a [u8]>,
    pub(crate) tally: Tally,
    pub(crate) rest: Vec<&'a [u8]>,
    /// Bytes that are not valid records.
    pub(crate) damaged: usize,
}

/// Takes the first records of `runs` that fit into `room`.
pub(crate) fn take<'a>(format: Format, runs: &[&'a [u8]], room: &Room) -> Taken<'a> {
    let mut taken =
        Taken { runs: Vec::with_capacity(runs.len()), tally: Tally::default(), rest: Vec::new(), damaged: 0 };
    let tally = &mut taken.tally;
    for (at, run) in runs.iter().enumerate() {
        let mut end = 0;
        while let Some(record) = format.parse(&run[end..]) {
            let size = tally.size + record.size as u64;
            let is_larger = size > room.size && !(room.one_at_least && tally.packets == 0);
            if tally.packets == room.packets || is_larger || record.stamp >= room.until {
                taken.runs.extend(Some(&run[..end]).filter(|run| !run.is_empty()));
                taken.rest = std::iter::once(&run[end..]).chain(runs[at + 1..].iter().copied()).collect();
                return taken;
            }
            if tally.packets == 0 {
                tally.first = record.stamp;
            }
            tally.last = record.stamp;
            tally.packets += 1;
            tally.bytes += u64::from(record.captured);
            tally.size = size;
            end += record.size;
        }
        taken.damaged += run.len() - end;
        taken.runs.extend(Some(&run[..end]).filter(|run| !run.is_empty()));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{record, times};

    #[track_caller]
    fn check(room: Room, runs: &[&[u64]], rest: &[&[u64]]) {
        let bytes = [[1, 2, 3], [4, 5, 6]].map(|micros| micros.map(|micros| record(micros, b"abc")).concat());
        let taken = take(Format::Pcap, &[&bytes[0], &bytes[1]], &room);
        let micros = |runs: &[&[u8]]| runs.iter().map(|run| times(run)).collect::<Vec<_>>();
        assert_eq!((micros(&taken.runs), micros(&taken.rest)), (micros_of(runs), micros_of(rest)));
        let count = runs.iter().map(|run| run.len() as u64).sum::<u64>();
        assert_eq!((taken.tally.packets, taken.tally.bytes, taken.tally.size), (count, count * 3, count * 19));
        assert_eq!(taken.damaged, 0);
    }

    fn micros_of(runs: &[&[u64]]) -> Vec<Vec<u64>> {
        runs.iter().map(|run| run.to_vec()).collect()
    }

    #[test]
    fn records_are_taken_up_to_the_limit_and_not_beyond() {
        let all = Room::default();
        check(all, &[&[1, 2, 3], &[4, 5, 6]], &[]);
        check(Room { packets: 0, ..all }, &[], &[&[1, 2, 3], &[4, 5, 6]]);
        check(Room { packets: 2, ..all }, &[&[1, 2]], &[&[3], &[4, 5, 6]]);
        check(Room { packets: 3, ..all }, &[&[1, 2, 3]], &[&[4, 5, 6]]);
        check(Room { size: 4 * 19, ..all }, &[&[1, 2, 3], &[4]], &[&[5, 6]]);
        check(Room { size: 4 * 19 - 1, ..all }, &[&[1, 2, 3]], &[&[4, 5, 6]]);
        check(Room { size: 1, one_at_least: true, ..all }, &[&[1]], &[&[2, 3], &[4, 5, 6]]);
        check(Room { until: Stamp(5_000), ..all }, &[&[1, 2, 3], &[4]], &[&[5, 6]]);
    }

    #[test]
    fn what_is_not_a_record_is_left_out() {
        let (bytes, whole) = ([record(1, b"abc"), vec![0xff; 30]].concat(), record(2, b""));
        let taken = take(Format::Pcap, &[&bytes, &whole], &Room::default());
        assert_eq!((taken.tally.packets, taken.damaged), (2, 30));
        assert_eq!(taken.runs.concat(), [record(1, b"abc"), record(2, b"")].concat());
    }
}
