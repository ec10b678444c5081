#![forbid(unsafe_code)]

use super::*;
use crate::fixture::{interface, record};
use crate::format::pcapng::Interface;
use crate::machine::{Machine, Netdev};

fn section() -> Section {
    Section {
        cube: String::from("sniffer"),
        interfaces: vec![Some(interface("br1:p1"))],
        snaplen: 96,
        ..Section::default()
    }
}

#[test]
fn a_file_begins_as_tcpdumps_does() {
    let expected = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    let expected = expected.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    if cfg!(target_endian = "little") {
        assert_eq!(pcap::header(pcap::MICROS, 65_535, pcap::ETHERNET).as_slice(), expected);
    }
    let snaplen = pcap::SNAPLEN_AT as usize;
    assert_eq!(Format::Pcap.header(&section())[snaplen..snaplen + 4], 96_u32.to_ne_bytes());
    assert_eq!(Format::PcapNanos.header(&section())[..4], 0xa1b2_3c4d_u32.to_ne_bytes());
}

#[test]
fn records_end_where_the_bytes_do() {
    let mut bytes = [record(1, b"abc"), record(2, b""), record(3, b"0123456789")].concat();
    let sizes = |bytes: &[u8]| {
        Format::Pcap
            .records(bytes)
            .map(|(record, whole)| {
                assert_eq!(record.size, whole.len());
                record.captured
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(&bytes), [3, 0, 10]);
    bytes.pop();
    assert_eq!(sizes(&bytes), [3, 0]);
    assert_eq!(sizes(&bytes[..15]), [0_u32; 0]);
    bytes[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(sizes(&bytes), [0_u32; 0]);
}

#[test]
fn a_packet_survives_every_change_of_format() {
    let micros = [record(1_700_000_000_123_456, b"abc"), record(1_700_000_001_000_000, b"0123")].concat();
    let mut nanos = Vec::new();
    transcode(Format::Pcap, Format::PcapNanos, &micros, &mut nanos);
    for through in [Format::Pcap, Format::PcapNanos, Format::Pcapng] {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        transcode(Format::PcapNanos, through, &nanos, &mut there);
        transcode(through, Format::Pcap, &there, &mut back);
        assert_eq!(back, micros, "{through:?}");
        let (first, _) = through.records(&there).next().unwrap();
        assert_eq!((first.stamp, first.captured, first.length), (Stamp(1_700_000_000_123_456_000), 3, 3));
    }
}

#[test]
fn pcapng_claims_no_finer_times_than_were_recorded() {
    let resolution = |resolution| {
        let bytes = section().bytes(resolution);
        // The option `if_tsresol`: its code, its length, its value.
        let option = [9_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat();
        bytes[bytes.windows(4).position(|window| window == option).unwrap() + 4]
    };
    assert_eq!((resolution(Resolution::Micros), resolution(Resolution::Nanos)), (6, 9));
    let mut block = Vec::new();
    transcode(Format::Pcap, Format::Pcapng, &record(1_700_000_000_123_456, b"abc"), &mut block);
    let units = Format::Pcapng.parse(&block).unwrap().stamp;
    assert_eq!(units, Stamp(1_700_000_000_123_456));
    let statistics = pcapng::statistics(Stamp(5_000_000), Resolution::Micros, &pcapng::Statistics::default());
    assert_eq!(statistics[16..20], 5_000_u32.to_ne_bytes());
}

#[test]
fn what_pcapng_alone_has_is_kept_within_pcapng() {
    let given = Record {
        stamp: Stamp(u64::MAX / 3),
        captured: 5,
        length: 1500,
        body: 28,
        size: 28 + 8 + 16,
        interface: 2,
        flags: 1,
    };
    let mut block = Vec::new();
    pcapng::write(&given, b"12345", Resolution::Nanos, &mut block);
    assert_eq!(Format::Pcapng.parse(&block), Some(given));
    assert_eq!(block[given.packet()], *b"12345");
    for cut in 0..block.len() {
        assert_eq!(Format::Pcapng.parse(&block[..cut]), None);
    }
    block[20] = 200;
    assert_eq!(Format::Pcapng.parse(&block), None, "the packet is longer than its block");
}

#[test]
fn a_section_is_made_of_blocks_that_know_their_length() {
    let mut bytes = section().bytes(Resolution::Nanos);
    let statistics =
        pcapng::statistics(Stamp(7), Resolution::Nanos, &pcapng::Statistics { dropped: 3, ..Default::default() });
    assert_eq!(statistics.len() as u64, pcapng::STATISTICS);
    bytes.extend(statistics);
    let (mut rest, mut kinds) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = pcapng::block_length(rest).unwrap() as usize;
        assert_eq!(rest[4..8], rest[length - 4..length], "a block's length stands at both its ends");
        kinds.push(u32::from_ne_bytes(*rest.first_chunk().unwrap()));
        rest = &rest[length..];
    }
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 5]);
}

#[test]
fn an_interface_says_what_it_is() {
    let netdev = Netdev {
        mac: Some([2, 0, 0, 0, 0, 1]),
        ipv4: vec![([10, 0, 0, 1], [255, 255, 0, 0])],
        ipv6: vec![([0xfe; 16], 64)],
        speed: Some(10_000_000_000),
        offloads: Some(vec!["tx-checksumming"]),
    };
    let filter = String::from("udp");
    let interface = Interface { is_raw_ip: true, has_headers_alone: true, filter, netdev, ..interface("tun0") };
    let machine = Machine { os: String::from("Linux 6"), comments: vec![String::from("why")], ..Machine::default() };
    let section = Section { interfaces: vec![Some(interface)], machine, ..section() };
    let bytes = section.bytes(Resolution::Nanos);
    let has = |code: u16, value: &[u8]| {
        let option = [&code.to_ne_bytes(), &(value.len() as u16).to_ne_bytes(), value].concat();
        assert!(bytes.windows(option.len()).any(|window| window == option), "{code} {value:?}");
    };
    has(1, b"why");
    has(3, b"Linux 6");
    has(4, &[10, 0, 0, 1, 255, 255, 0, 0]);
    has(5, &[&[0xfe; 16][..], &[64]].concat());
    has(6, &[2, 0, 0, 0, 0, 1]);
    has(8, &10_000_000_000_u64.to_ne_bytes());
    has(11, b"\0udp");
    has(1, b"packets end after their last header (snaplen=headers)");
    has(1, b"offloads: tx-checksumming");
    let second = pcapng::block_length(&bytes).unwrap() as usize;
    assert_eq!(bytes[second + 8..second + 10], 101_u16.to_ne_bytes(), "the link type");
    assert!(!section.covers(&self::section()), "another link type is another interface");
}

#[test]
fn a_reader_gets_what_the_packets_do_not_say() {
    let old = section();
    let with = |names: &[&str], snaplen| Section {
        interfaces: names.iter().map(|name| Some(interface(name))).collect(),
        snaplen,
        ..old.clone()
    };
    assert!(old.covers(&old) && old.covers(&with(&["br1:p1"], 64)) && old.covers(&with(&[], 96)));
    assert!(!old.covers(&with(&["br1:p1"], 97)));
    assert!(!old.covers(&with(&["br1:p2"], 96)));
    assert!(!old.covers(&with(&["br1:p1", "br1:p2"], 96)));
}
