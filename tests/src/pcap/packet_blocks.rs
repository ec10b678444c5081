//! pcapng: enhanced packet blocks, with the direction from their flags.

use anyhow::{Context, Result, bail, ensure};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};

use super::{CaptureFile, Format, Record};
use crate::capture::Direction;

pub(super) fn parse(bytes: &[u8]) -> Result<CaptureFile> {
    let (mut rest, mut parser) = PcapNgParser::new(bytes).context("at offset 0")?;
    let mut file = CaptureFile { format: Format::Pcapng, snaplen: 0, records: Vec::new() };
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let (left, block) = parser.next_block(rest).with_context(|| format!("at offset {offset}"))?;
        rest = left;
        match block {
            Block::InterfaceDescription(interface) => {
                let link = interface.linktype;
                ensure!(link == DataLink::ETHERNET, "at offset {offset}: link type {link:?}, Ethernet expected");
                file.snaplen = file.snaplen.max(interface.snaplen);
            }
            Block::EnhancedPacket(packet) => file.records.push(record(packet)),
            Block::Packet(_) | Block::SimplePacket(_) => {
                bail!("at offset {offset}: a packet without interface or flags")
            }
            _ => {}
        }
    }
    Ok(file)
}

fn record(packet: EnhancedPacketBlock<'_>) -> Record {
    let direction = packet.options.iter().find_map(|option| match option {
        // The two lowest bits of epb_flags (pcapng draft, section 4.3.1).
        EnhancedPacketOption::Flags(flags) => match flags & 0b11 {
            0b01 => Some(Direction::In),
            0b10 => Some(Direction::Out),
            _ => None,
        },
        _ => None,
    });
    let time_ns = packet.timestamp.as_nanos() as u64;
    Record { time_ns, orig_len: packet.original_len, bytes: packet.data.into_owned(), direction }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::interface_description::{
        InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
    };

    use super::*;

    #[test]
    fn direction_and_nanoseconds_are_read() {
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 96);
        interface.options.push(InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::new(false, 9).unwrap()));
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer.write_block(&Block::InterfaceDescription(interface)).unwrap();
        let directions = [(Some(1), Some(Direction::In)), (Some(2), Some(Direction::Out)), (None, None)];
        for (flags, _) in directions {
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_nanos(1_700_000_000_123_456_789),
                original_len: 60,
                data: vec![7; 14].into(),
                options: flags.into_iter().map(EnhancedPacketOption::Flags).collect(),
            };
            writer.write_block(&Block::EnhancedPacket(packet)).unwrap();
        }
        let bytes = writer.into_inner();
        let file = crate::pcap::parse(&bytes).unwrap();
        assert_eq!((file.format, file.snaplen), (Format::Pcapng, 96));
        for (record, (_, direction)) in file.records.iter().zip(directions) {
            let expected = Record { time_ns: 1_700_000_000_123_456_789, bytes: vec![7; 14], orig_len: 60, direction };
            assert_eq!(*record, expected);
        }
        assert_eq!(file.records.len(), directions.len());
        assert!(crate::pcap::parse(&bytes[..bytes.len() - 1]).is_err());
    }
}
