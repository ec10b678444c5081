#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use super::*;
use crate::fixture::{record, times};
use crate::format::pcap::HEADER;

fn readers() -> Arc<Readers> {
    let readers = Arc::new(Readers::new("s", Arc::default(), Arc::default(), Box::new(|_, _| {})));
    readers.describe(&Section {
        cube: String::from("s"),
        interfaces: vec![Some(crate::fixture::interface("p"))],
        snaplen: 96,
        ..Section::default()
    });
    readers
}

fn records(micros: std::ops::Range<u64>) -> Vec<u8> {
    micros.flat_map(|micros| record(micros, &[7; 84])).collect()
}

/// What can be read within a short time: our pipes do not block.
fn read(fd: &OwnedFd, length: usize) -> Vec<u8> {
    let (mut bytes, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    let mut file = File::from(fd.try_clone().unwrap());
    while bytes.len() < length {
        assert!(Instant::now() < deadline, "{} of {length} bytes came", bytes.len());
        let mut piece = [0; 4096];
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    bytes
}

#[track_caller]
fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_reader_gets_a_header_and_what_comes_from_then_on() {
    let readers = readers();
    readers.publish(Format::Pcap, &[&records(0..3)], 1 << 20, None);
    let (id, fd) = readers.open(Format::Pcap, Resolution::Micros, None).unwrap();
    assert_eq!(read(&fd, HEADER).len(), HEADER);
    readers.publish(Format::Pcap, &[&records(3..5), &records(5..6)], 1 << 20, None);
    assert_eq!(times(&read(&fd, 300)), [3, 4, 5]);
    until(|| readers.states()[0].packets == 3);
    let expected = ReaderState { id, format: Format::Pcap, peer: None, packets: 3, bytes: 252, dropped: 0 };
    assert_eq!(readers.states(), [expected]);
}

/// A cube's format may change while it is read.
#[test]
fn a_section_announces_another_resolution_before_its_packets() {
    let readers = readers();
    let fd = readers.open(Format::Pcapng, Resolution::Micros, None).unwrap().1;
    let mut nanos = Vec::new();
    transcode(Format::Pcap, Format::PcapNanos, &records(2..3), &mut nanos);
    readers.publish(Format::Pcap, &[&records(1..2)], 1 << 20, None);
    readers.publish(Format::PcapNanos, &[&nanos], 1 << 20, None);
    readers.publish(Format::PcapNanos, &[&nanos], 1 << 20, None);
    let section = |resolution| readers.section().bytes(resolution);
    let block = |from, records: &[u8]| {
        let mut block = Vec::new();
        transcode(from, Format::Pcapng, records, &mut block);
        block
    };
    let (first, later) = (block(Format::Pcap, &records(1..2)), block(Format::PcapNanos, &nanos));
    let expected = [section(Resolution::Micros), first, section(Resolution::Nanos), later.clone(), later].concat();
    assert_eq!(read(&fd, expected.len()), expected);
}

#[test]
fn each_reader_has_its_own_format() {
    let readers = readers();
    let fds = [Format::Pcapng, Format::PcapNanos]
        .map(|format| (format, readers.open(format, Resolution::Micros, None).unwrap().1));
    readers.publish(Format::Pcap, &[&records(1..2)], 1 << 20, None);
    for (format, fd) in fds {
        let header = format.stream_header(&readers.section(), Resolution::Micros);
        let bytes = read(&fd, header.len() + 100);
        assert_eq!(bytes[..header.len()], header);
        // Our parser takes times in pcapng for nanoseconds, as the capture program writes them.
        let expected = if format == Format::Pcapng { Stamp(1) } else { Stamp(1_000) };
        assert_eq!(format.parse(&bytes[header.len()..]).unwrap().stamp, expected, "{format:?}");
    }
}

#[test]
fn a_stalled_reader_drops_packets_and_gets_the_count_and_another_gets_all() {
    let readers = readers();
    let (stalled, going) = (
        readers.open(Format::Pcapng, Resolution::Micros, None).unwrap().1,
        readers.open(Format::Pcap, Resolution::Micros, None).unwrap().1,
    );
    read(&going, HEADER);
    let batch = records(0..1000);
    for _ in 0..50 {
        readers.publish(Format::Pcap, &[&batch], 1 << 20, None);
        assert_eq!(read(&going, batch.len()), batch);
    }
    let dropped = readers.states()[0].dropped;
    assert!(dropped > 0 && dropped.is_multiple_of(1000), "{dropped}");
    assert_eq!(readers.states()[1].dropped, 0);
    // When there is room again, a statistics block (type 5) before the next packets (type 6) reports the loss.
    let waits = || lock(&lock(&readers.list).readers[0].waiting).bytes > 0;
    let late = thread::spawn(move || read(&stalled, usize::MAX));
    until(|| !waits());
    readers.publish(Format::Pcap, &[&batch], 1 << 20, None);
    until(|| !waits());
    readers.end();
    let (bytes, mut kinds) = (late.join().unwrap(), Vec::new());
    let mut rest = bytes.as_slice();
    while let Some(length) = rest.get(..8).and_then(pcapng::block_length) {
        kinds.push(u32::from_ne_bytes(*rest.first_chunk().unwrap()));
        rest = &rest[length as usize..];
    }
    // Earlier ones may report what was dropped while the pipe had room.
    let last = kinds[..kinds.len() - 1].iter().rposition(|kind| *kind == 5).unwrap();
    assert_eq!(kinds[last + 1..].iter().filter(|kind| **kind == 6).count(), 1000);
    assert_eq!(kinds.last(), Some(&5), "the end of a stream has statistics too");
    assert_eq!(kinds.iter().filter(|kind| **kind == 6).count() as u64 + dropped, 51_000);
}

#[test]
fn a_reader_that_goes_is_forgotten_though_nothing_comes() {
    let readers = readers();
    let (_, fd) = readers.open(Format::Pcap, Resolution::Micros, None).unwrap();
    read(&fd, HEADER);
    drop(fd);
    until(|| readers.states().is_empty());
    assert_eq!(readers.count.load(Ordering::Acquire), 0);
}

/// A snap length may be raised while a stream is read, and libpcap allows no other than the first.
#[test]
fn a_stream_promises_no_snap_length() {
    let readers = Arc::new(Readers::new("s", Arc::default(), Arc::default(), Box::new(|_, _| {})));
    assert_eq!(readers.section().snaplen, MAX_SNAPLEN);
    readers.describe(&Section { cube: String::from("s"), interfaces: vec![None], snaplen: 96, ..Section::default() });
    assert_eq!(readers.section().snaplen, MAX_SNAPLEN);
}

#[test]
fn a_reader_that_still_reads_gets_all_that_waits_when_the_cube_ends() {
    let readers = readers();
    let fd = readers.open(Format::Pcap, Resolution::Micros, None).unwrap().1;
    readers.publish(Format::Pcap, &[&records(0..50_000)], 64 << 20, None);
    readers.end();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(times(&read(&fd, usize::MAX)[HEADER..]).len(), 50_000);
}

#[test]
fn the_end_of_the_cube_ends_streams_without_a_reader() {
    let readers = readers();
    let (reading, stalled) = (
        readers.open(Format::Pcap, Resolution::Micros, None).unwrap().1,
        readers.open(Format::Pcap, Resolution::Micros, None).unwrap().1,
    );
    let batch = records(0..20_000);
    readers.publish(Format::Pcap, &[&batch], 64 << 20, None);
    let mut bytes = read(&reading, HEADER + batch.len());
    readers.end();
    until(|| readers.states().is_empty());
    bytes.extend(read(&reading, usize::MAX));
    assert_eq!(times(&bytes[HEADER..]).len(), 20_000);
    drop(stalled);
}

/// Asserts the times that a reader of `limit` packets gets, and that the last block has the statistics.
#[track_caller]
fn check_limit(limit: u64, published: &[(u64, u64)], expected: &[u64]) {
    let readers = readers();
    let (_, plain) = readers.open(Format::Pcap, Resolution::Micros, Some(limit)).unwrap();
    let (_, blocks) = readers.open(Format::Pcapng, Resolution::Micros, Some(limit)).unwrap();
    for (first, end) in published {
        readers.publish(Format::Pcap, &[&records(*first..*end)], 1 << 20, None);
    }
    assert_eq!(times(&read(&plain, usize::MAX)[HEADER..]), expected, "{limit}");
    let bytes = read(&blocks, usize::MAX);
    let last = &bytes[bytes.len() - usize::try_from(pcapng::STATISTICS).unwrap()..];
    assert_eq!(last[..4], 5_u32.to_ne_bytes(), "{limit}: no statistics at the end");
    let delivered = last.windows(12).find(|bytes| bytes[..4] == [8, 0, 8, 0]).unwrap();
    assert_eq!(delivered[4..], limit.to_ne_bytes());
    until(|| readers.states().is_empty());
}

#[test]
fn a_stream_of_some_packets_ends_after_them_with_statistics() {
    check_limit(3, &[(0, 3)], &[0, 1, 2]);
    check_limit(3, &[(0, 2), (2, 9), (9, 12)], &[0, 1, 2]);
    check_limit(1, &[(5, 6), (6, 7)], &[5]);
}

#[test]
fn keys_precede_packets_that_wait_for_them() {
    let line = format!("CLIENT_RANDOM {} {}\n", "a".repeat(64), "b".repeat(96));
    let log = || serde_json::from_value(serde_json::json!({ "log": line })).unwrap();
    let readers = readers();
    let (_, blocks) = readers.open(Format::Pcapng, Resolution::Micros, None).unwrap();
    let (_, plain) = readers.open(Format::Pcap, Resolution::Micros, None).unwrap();
    let hold = Some(Duration::from_secs(30));
    readers.publish(Format::Pcap, &[&records(0..2)], 1 << 20, hold);
    assert_eq!(times(&read(&plain, HEADER + 200)[HEADER..]), [0, 1], "pcap has no keys to wait for");
    readers.keys.add(&log()).unwrap();
    readers.hand_out_keys();
    let header = readers.section().bytes(Resolution::Micros).len();
    let bytes = read(&blocks, header + 1);
    assert_eq!(pcapng::secrets_of(&bytes[header..]), Some(line.as_bytes()), "with or without packets");
    readers.end();
    let rest = read(&blocks, usize::MAX);
    assert_eq!(rest[..4], 6_u32.to_ne_bytes(), "the end waits for nothing");
}

#[test]
fn packets_that_take_half_the_room_do_not_wait() {
    let readers = readers();
    let (_, fd) = readers.open(Format::Pcapng, Resolution::Micros, None).unwrap();
    let header = readers.section().bytes(Resolution::Micros).len();
    readers.publish(Format::Pcap, &[&records(0..100)], 20_000, Some(Duration::from_secs(30)));
    assert!(read(&fd, header + 12_000).len() >= header + 12_000);
}
