#![forbid(unsafe_code)]

mod order;
mod protocol;

use super::*;
use crate::fixture::{Kernel, Random, record, times};
use crate::format::Format;

/// Of a large lane. The small one has a quarter of it.
const SIZE: usize = 16_384;
const QUARTER: usize = 4096;

/// Everything that `cpu` has, and its size.
fn all(reader: &Reader, cpu: usize) -> (Vec<u8>, usize) {
    let span = reader.span(cpu, &reader.head(cpu)).unwrap();
    (span.pieces.concat(), span.len())
}

/// Takes the first bytes of `cpu`.
fn take(reader: &mut Reader, cpu: usize, taken: usize) {
    let head = reader.head(cpu);
    reader.release(cpu, &head, taken);
}

fn pieces(reader: &Reader, cpu: usize) -> Vec<Vec<u8>> {
    reader.span(cpu, &reader.head(cpu)).unwrap().pieces.iter().map(|piece| piece.to_vec()).collect()
}

#[test]
fn a_record_that_crosses_the_laps_end_is_in_one_piece() {
    for (lane, length) in [(SMALL, QUARTER), (LARGE, SIZE)] {
        let kernel = Kernel::new(2, SIZE);
        let (_, mut reader) = kernel.map();
        let fill_small = || lane == SMALL || kernel.packet(1, 0, &[0; QUARTER - 16]);
        assert!(fill_small() && kernel.packet(1, 1, &vec![1; length - 1000]));
        let (_, all) = all(&reader, 1);
        take(&mut reader, 1, all);
        assert!(fill_small() && kernel.packet(1, 2, &[2; 2000]) && kernel.packet(1, 3, &[3; 10]));
        let (at, before) = if lane == SMALL { (0, 0) } else { (1, QUARTER) };
        let found = pieces(&reader, 1);
        assert_eq!(found[at], record(2, &[2; 2000]));
        assert_eq!(found[at + 1], record(3, &[3; 10]));
        take(&mut reader, 1, before + 2016);
        assert_eq!((reader.tails[1][lane], kernel.lane_tail(1, lane)), (length as u64, length as u64));
        take(&mut reader, 1, 26);
        assert!(kernel.is_empty(1));
        assert_eq!(kernel.lane_head(0, lane), 0);
    }
}

#[test]
fn a_record_that_ends_with_the_lap_leaves_nothing_in_the_slack() {
    let kernel = Kernel::new(1, SIZE);
    let (_, mut reader) = kernel.map();
    assert!(kernel.packet(0, 1, &[7; QUARTER - 16]));
    assert!(kernel.packet(0, 2, &[7; SIZE - 16]));
    assert!(!kernel.packet(0, 3, b"no room"));
    let lengths = pieces(&reader, 0).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths, [QUARTER, SIZE]);
    take(&mut reader, 0, QUARTER);
    assert!(kernel.packet(0, 4, b"room"));
    assert_eq!(all(&reader, 0).0, [record(2, &[7; SIZE - 16]), record(4, b"room")].concat());
    assert_eq!(
        reader.rings.counters(),
        Counters { written: 3, bytes: (QUARTER + SIZE) as u64 - 28, full: 1, ..Counters::default() }
    );
}

#[test]
fn the_longest_packet_fits_into_lanes_that_are_smaller() {
    let kernel = Kernel::new(1, SIZE);
    let (_, mut reader) = kernel.map();
    for micros in (0..9).step_by(3) {
        let bodies = [micros, micros + 1].map(|micros| record(micros, &vec![micros as u8; 262_144]));
        assert!(kernel.packet(0, micros, &bodies[0][16..]));
        assert!(kernel.packet(0, micros + 1, &bodies[1][16..]));
        assert!(!kernel.packet(0, micros + 2, b""), "both lanes have one");
        let (bytes, length) = all(&reader, 0);
        assert!(bytes == bodies.concat());
        take(&mut reader, 0, length);
    }
    assert_eq!(reader.tails[0], [3 * QUARTER as u64, 3 * SIZE as u64]);
}

#[test]
fn the_small_lane_is_used_again_when_it_is_empty() {
    let kernel = Kernel::new(1, SIZE);
    let (_, mut reader) = kernel.map();
    let body = [5; QUARTER / 2 - 16];
    let lengths =
        |reader: &Reader| pieces(reader, 0).iter().map(|piece| piece.len() / (QUARTER / 2)).collect::<Vec<_>>();
    (0..4).for_each(|micros| assert!(kernel.packet(0, micros, &body)));
    assert_eq!(lengths(&reader), [2, 2]);
    take(&mut reader, 0, QUARTER / 2);
    assert!(kernel.packet(0, 4, &body));
    assert_eq!(lengths(&reader), [1, 3], "there is room, but something older as well");
    take(&mut reader, 0, QUARTER / 2);
    (5..8).for_each(|micros| assert!(kernel.packet(0, micros, &body)));
    assert_eq!(lengths(&reader), [3, 2, 1]);
    assert_eq!(times(&all(&reader, 0).0), [2, 3, 4, 5, 6, 7]);
    // A later consumer has the same order, wherever this one stopped.
    for expected in [3, 4, 5, 6, 7] {
        take(&mut reader, 0, QUARTER / 2);
        reader = kernel.map().1;
        assert_eq!(times(&all(&reader, 0).0), (expected..8).collect::<Vec<_>>());
    }
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20 {
        let kernel = Kernel::new(1, (SIZE / 4) << random.below(3));
        let (_, mut reader) = kernel.map();
        let (mut put, mut got) = (Vec::new(), Vec::new());
        for micros in 0..2000 {
            let limit = 2 << random.below(12);
            let body = vec![micros as u8; random.below(limit) as usize];
            if kernel.packet(0, micros, &body) {
                put.extend(record(micros, &body));
            }
            if random.below(4) == 0 {
                let (bytes, length) = all(&reader, 0);
                // Not always everything: only the first records.
                let mut taken = length;
                if random.below(2) == 0 {
                    let sizes = Format::Pcap.records(&bytes).map(|(record, _)| record.size).collect::<Vec<_>>();
                    taken = sizes[..random.below(sizes.len() as u64 + 1) as usize].iter().sum();
                }
                got.extend(&bytes[..taken]);
                take(&mut reader, 0, taken);
            }
            if random.below(100) == 0 {
                // A later consumer continues where this one stopped.
                reader = kernel.map().1;
            }
        }
        got.extend(all(&reader, 0).0);
        assert!(put == got);
    }
}

#[test]
fn positions_that_contradict_each_other_are_damage() {
    for (lane, size) in [(SMALL, QUARTER as u64), (LARGE, SIZE as u64)] {
        let check = |head: u64, tail: u64, wrap: u64, expected: bool| {
            let kernel = Kernel::new(1, SIZE);
            kernel.set_wrap(0, lane, 0, wrap);
            kernel.set(0, HEADS[lane], head);
            kernel.set(0, CONSUMER + offset_of!(Consumer, tails) + 8 * lane, tail);
            let (_, mut reader) = kernel.map();
            let head = reader.head(0);
            assert_eq!(reader.span(0, &head).is_err(), expected, "lane {lane}: {head:?} {tail} {wrap}");
            reader.resync(0, &head);
            assert_eq!(reader.span(0, &reader.head(0)).map(|span| span.len()), Ok(0));
        };
        check(100, 200, 0, true);
        check(size + 1, 0, size, true);
        check(size, 0, size - 1, true);
        check(size, 0, size + SLACK as u64 + 1, true);
        check(size, 0, 0, true);
        check(0, u64::MAX, 0, true);
        check(u64::MAX - 1, 0, 0, true);
        check(size, 0, size + 5, false);
        check(size - 1, 0, 0, false);
    }
}

#[test]
fn a_large_lane_of_several_segments_holds_the_longest_records_at_every_boundary() {
    const MIB: usize = 1 << 20;
    let kernel = Kernel::new(2, 8 * MIB);
    let (_, mut reader) = kernel.map();
    let (mut put, mut micros) = (Vec::new(), 0);
    let mut packet = |length: usize| {
        micros += 1;
        let body = vec![micros as u8; length];
        let is_there = kernel.packet(1, micros, &body);
        if is_there {
            put.extend(record(micros, &body));
        }
        is_there
    };
    // The small lane is full.
    (0..4).for_each(|_| assert!(packet(MIB / 4 - 16)));
    // To the end of each segment, and as far beyond it as a record can: exactly at it, one byte before it and after it.
    for short in [0, 1, 16, 2] {
        let mut rest = 2 * MIB - (262_144 + 16) - short;
        while rest > 0 {
            let record = if rest > 2 * 262_160 { 262_160 } else { rest.div_ceil(2).max(rest.min(1000)) };
            assert!(packet(record - 16));
            rest -= record;
        }
        assert!(packet(262_144));
        if short > 0 {
            assert!(packet(262_144), "runs into the slack");
        }
    }
    assert!(!packet(1), "all four segments are full");
    let (bytes, length) = all(&reader, 1);
    assert_eq!(pieces(&reader, 1).len(), 5);
    assert!(bytes == put);
    // A later consumer finds the rest wherever this one stopped.
    let mut taken = 0;
    for (found, _) in Format::Pcap.records(&put) {
        take(&mut reader, 1, found.size);
        taken += found.size;
        reader = kernel.map().1;
        assert!(all(&reader, 1).0 == put[taken..]);
    }
    assert_eq!((taken, kernel.is_empty(1)), (length, true));
    assert_eq!(reader.tails[1], [MIB as u64, 8 * MIB as u64]);
}

#[test]
fn what_the_small_lane_has_no_room_for_is_counted_until_there_is_a_large_one() {
    let kernel = Kernel::small(2, SIZE);
    let (rings, mut reader) = kernel.map();
    assert!(kernel.packet(1, 1, &[1; QUARTER - 16]));
    assert!(!kernel.packet(1, 2, b"early") && !kernel.packet(1, 3, b"early"));
    assert_eq!((rings.early_losses(), rings.counters().full, reader.has_large_lanes()), (2, 2, false));
    kernel.enlarge(&rings);
    assert!(kernel.packet(1, 4, b"late") && reader.has_large_lanes());
    assert_eq!(all(&reader, 1).0, [record(1, &[1; QUARTER - 16]), record(4, b"late")].concat());
    take(&mut reader, 1, QUARTER);
    // A later consumer gets the same lanes, and without them knows that something is missing.
    let (_, later) = Rings::map(kernel.fd(), kernel.map_size(), SIZE).unwrap();
    assert_eq!(later.span(1, &later.head(1)).err(), Some(Damage));
    assert_eq!(all(&kernel.map().1, 1).0, record(4, b"late"));
}

#[test]
fn a_turn_that_contradicts_the_lanes_is_damage() {
    let check = |turn: u64, tail: u64, head: u64, expected: bool| {
        let kernel = Kernel::new(1, SIZE);
        kernel.set(0, offset_of!(Producer, small), 10);
        kernel.set(0, offset_of!(Producer, turn), turn);
        kernel.set(0, offset_of!(Producer, large), head);
        kernel.set(0, CONSUMER + offset_of!(Consumer, tails) + 8, tail);
        let (_, reader) = kernel.map();
        assert_eq!(reader.span(0, &reader.head(0)).is_err(), expected, "{turn} {tail} {head}");
    };
    check(5, 5, 5, false);
    check(7, 5, 9, false);
    check(4, 5, 9, true);
    check(u64::MAX, 5, 9, true);
}

#[test]
fn maps_of_another_size_are_refused() {
    let kernel = Kernel::new(1, SIZE);
    let right = kernel.map_size();
    for value_size in [0, 8, right.value_size - 1, right.value_size + 8, element_size(2048) as u32] {
        let wrong = MapSize { value_size, ..right };
        assert!(matches!(Rings::map(kernel.fd(), wrong, SIZE), Err(RingError::Size { .. })), "{value_size}");
    }
    let (rings, _) = Rings::map(kernel.fd(), right, SIZE).unwrap();
    let right = kernel.large_map_size();
    for wrong in [MapSize { count: right.count + 1, ..right }, MapSize { value_size: right.value_size - 8, ..right }] {
        assert!(matches!(rings.map_large_lanes(kernel.large_fd(), wrong), Err(RingError::Size { .. })), "{wrong:?}");
    }
    assert!(!rings.has_large_lanes());
}

#[test]
fn the_program_reads_what_the_consumer_sets() {
    let kernel = Kernel::new(2, SIZE);
    let (rings, reader) = kernel.map();
    assert_eq!(rings.set_utc_offset(-37), 0);
    assert_eq!(rings.set_utc_offset(-38), -37);
    reader.arm(512);
    for cpu in 0..2 {
        let get = |field| kernel.get(cpu, CONSUMER + field);
        assert_eq!(get(offset_of!(Consumer, utc_offset)).cast_signed(), -38);
        assert_eq!((get(offset_of!(Consumer, mark)), get(offset_of!(Consumer, sleeping)) as u32), (512, 1));
    }
    reader.disarm();
    assert_eq!(kernel.get(1, CONSUMER + offset_of!(Consumer, sleeping)) as u32, 0);
}
