#![forbid(unsafe_code)]

use super::*;
use crate::fixture::{Kernel, Random, record};
use crate::format::Format;

const SIZE: usize = 4096;

/// Everything that `cpu` has, and its size.
fn all(reader: &Reader, cpu: usize) -> (Vec<u8>, usize) {
    let span = reader.span(cpu, reader.head(cpu)).unwrap();
    ([span.first, span.second].concat(), span.len())
}

#[test]
fn a_record_that_crosses_the_laps_end_is_in_one_piece() {
    let kernel = Kernel::new(2, SIZE);
    let (_, mut reader) = kernel.map();
    assert!(kernel.packet(1, 1, &[1; 3000]));
    reader.release(1, 3016);
    assert!(kernel.packet(1, 2, &[2; 2000]));
    assert!(kernel.packet(1, 3, &[3; 10]));
    let span = reader.span(1, reader.head(1)).unwrap();
    assert_eq!(span.first, record(2, &[2; 2000]));
    assert_eq!(span.second, record(3, &[3; 10]));
    reader.release(1, 2016);
    assert_eq!((reader.tail(1), kernel.tail(1)), (SIZE as u64, SIZE as u64));
    reader.release(1, 26);
    assert_eq!(reader.tail(1), reader.head(1));
    assert_eq!(reader.head(0), 0);
}

#[test]
fn a_record_that_ends_with_the_lap_leaves_nothing_in_the_slack() {
    let kernel = Kernel::new(1, SIZE);
    let (_, mut reader) = kernel.map();
    assert!(kernel.packet(0, 1, &[7; SIZE - 16]));
    assert!(!kernel.packet(0, 2, b"no room"));
    let span = reader.span(0, reader.head(0)).unwrap();
    assert_eq!((span.first.len(), span.second.len()), (SIZE, 0));
    reader.release(0, SIZE);
    assert!(kernel.packet(0, 3, b"room"));
    assert_eq!(all(&reader, 0).0, record(3, b"room"));
    assert_eq!(
        reader.rings.counters(),
        Counters { written: 2, bytes: SIZE as u64 - 12, full: 1, ..Counters::default() }
    );
}

#[test]
fn the_longest_packet_fits_into_a_ring_that_is_smaller() {
    let kernel = Kernel::new(1, SIZE);
    let (_, mut reader) = kernel.map();
    for micros in 0..3 {
        let body = vec![micros as u8; 262_144];
        assert!(kernel.packet(0, micros, &body));
        let (bytes, length) = all(&reader, 0);
        assert_eq!(bytes, record(micros, &body));
        reader.release(0, length);
    }
    assert_eq!(reader.tail(0), 3 * SIZE as u64);
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20 {
        let kernel = Kernel::new(1, SIZE << random.below(3));
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
                reader.release(0, taken);
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
    let check = |head: u64, tail: u64, wrap: u64, expected: bool| {
        let kernel = Kernel::new(1, SIZE);
        kernel.set(0, offset_of!(Producer, wrap), wrap);
        kernel.set(0, CONSUMER + TAIL, tail);
        let (_, mut reader) = kernel.map();
        assert_eq!(reader.span(0, head).is_err(), expected, "{head} {tail} {wrap}");
        reader.resync(0, head);
        assert_eq!(reader.span(0, head).map(|span| span.len()), Ok(0));
    };
    let size = SIZE as u64;
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

#[test]
fn elements_of_another_size_are_refused() {
    let kernel = Kernel::new(1, SIZE);
    for value_size in [0, 8, kernel.value_size() - 1, kernel.value_size() + 8, element_size(2048) as u32] {
        assert!(matches!(Rings::map(kernel.fd(), value_size, 1), Err(RingError::Size { .. })), "{value_size}");
    }
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
