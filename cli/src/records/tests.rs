use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::{DataLink, Endianness};

use super::*;

const TIME: Duration = Duration::from_micros(1_700_000_000_123_456);

fn pcap(resolution: PcapTsResolution, endianness: Endianness) -> Vec<u8> {
    let header = PcapHeader { ts_resolution: resolution, endianness, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for length in [0, 60, 9_000] {
        writer.write_packet(&PcapPacket::new(TIME, 9_001, vec![7; length]).unwrap()).unwrap();
    }
    writer.into_inner()
}

fn pcapng() -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 96);
    writer.write_block(&Block::InterfaceDescription(interface)).unwrap();
    for flags in [None, Some(1), Some(2)] {
        let packet = EnhancedPacketBlock {
            timestamp: TIME,
            original_len: 9_001,
            data: vec![7; 61].into(),
            options: flags.into_iter().map(EnhancedPacketOption::Flags).collect(),
            ..EnhancedPacketBlock::default()
        };
        writer.write_block(&Block::EnhancedPacket(packet)).unwrap();
    }
    writer.into_inner()
}

/// Length and direction of a packet.
type Seen = (usize, Option<Direction>);

/// Feeds `bytes` in pieces of `size`; gives the lengths and directions of the packets, and what came out.
fn fed(bytes: &[u8], size: usize) -> Result<(Vec<Seen>, Vec<u8>), RecordError> {
    let (mut records, mut packets, mut out) = (Records::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        out.extend(records.feed(piece, |packet| {
            assert_eq!((packet.time, packet.length), (TIME, 9_001));
            packets.push((packet.bytes.len(), packet.direction));
        })?);
    }
    assert_eq!(records.is_cut(), out.len() < bytes.len());
    Ok((packets, out))
}

#[test]
fn packets_come_out_whatever_the_pieces() {
    let (micro, nano) = (PcapTsResolution::MicroSecond, PcapTsResolution::NanoSecond);
    let lengths = vec![(0, None), (60, None), (9_000, None)];
    for size in [1, 7, 4_096, 1 << 20] {
        for (resolution, endianness) in
            [(micro, Endianness::Little), (micro, Endianness::Big), (nano, Endianness::Little)]
        {
            let bytes = pcap(resolution, endianness);
            assert_eq!(fed(&bytes, size).unwrap(), (lengths.clone(), bytes));
        }
        let bytes = pcapng();
        let directions = vec![(61, None), (61, Some(Direction::In)), (61, Some(Direction::Out))];
        assert_eq!(fed(&bytes, size).unwrap(), (directions, bytes));
    }
}

#[test]
fn a_cut_stream_ends_after_its_last_whole_record() {
    for bytes in [pcap(PcapTsResolution::MicroSecond, Endianness::Little), pcapng()] {
        let (packets, out) = fed(&bytes[..bytes.len() - 1], 100).unwrap();
        assert_eq!(packets.len(), 2);
        assert_eq!(fed(&out, 100).unwrap(), (packets, out));
    }
}

#[test]
fn what_is_not_a_capture_is_refused() {
    assert!(matches!(fed(b"<html><body>No capture here.</body></html>", 9), Err(RecordError::Pcap(_))));
    let mut bytes = pcap(PcapTsResolution::MicroSecond, Endianness::Little);
    bytes[24 + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.resize(2 * LONGEST, 0);
    assert!(matches!(fed(&bytes, 65_536), Err(RecordError::TooLong)));
}
