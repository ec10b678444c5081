//! pcapng: enhanced packet blocks, with the direction from their flags, and the blocks that describe them.

use anyhow::{Context, Result, bail, ensure};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use super::{CaptureFile, Format, Record};
use crate::capture::Direction;

/// What a pcapng file has besides packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Comments of the sections.
    pub comments: Vec<String>,
    /// Interfaces of all sections, in file order.
    pub interfaces: Vec<Interface>,
    /// Interface statistics, in file order.
    pub statistics: Vec<Statistics>,
}

/// An interface that packets crossed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// `if_name`.
    pub name: String,
    /// `if_description`.
    pub description: String,
    /// The most that a record may hold, in bytes; 0 means no limit.
    pub snaplen: u32,
}

/// Counts of an Interface Statistics Block (pcapng draft, section 4.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// `isb_ifrecv`.
    pub received: u64,
    /// `isb_filteraccept`.
    pub accepted: u64,
    /// `isb_osdrop`.
    pub dropped: u64,
    /// `isb_usrdeliv`.
    pub delivered: u64,
    /// How many packets come before the block.
    pub packets_before: usize,
}

pub(super) fn parse(bytes: &[u8]) -> Result<CaptureFile> {
    let (mut rest, mut parser) = PcapNgParser::new(bytes).context("at offset 0")?;
    let mut file =
        CaptureFile { format: Format::Pcapng, snaplen: 0, records: Vec::new(), metadata: Metadata::default() };
    file.metadata.comments.extend(comment(parser.section()));
    // Each section numbers its interfaces from 0.
    let mut first_interface = 0;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let (left, block) = parser.next_block(rest).with_context(|| format!("at offset {offset}"))?;
        rest = left;
        match block {
            Block::SectionHeader(section) => {
                file.metadata.comments.extend(comment(&section));
                first_interface = file.metadata.interfaces.len();
            }
            Block::InterfaceDescription(described) => {
                let link = described.linktype;
                let is_known = [DataLink::ETHERNET, DataLink::RAW].contains(&link);
                ensure!(is_known, "at offset {offset}: link type {link:?}, Ethernet or RAW expected");
                file.snaplen = file.snaplen.max(described.snaplen);
                file.metadata.interfaces.push(interface(&described));
            }
            Block::EnhancedPacket(packet) => file.records.push(record(packet, first_interface)),
            Block::InterfaceStatistics(block) => {
                let packets_before = file.records.len();
                file.metadata.statistics.push(Statistics { packets_before, ..statistics(&block) });
            }
            Block::Packet(_) | Block::SimplePacket(_) => {
                bail!("at offset {offset}: a packet without an interface or flags")
            }
            _ => {}
        }
    }
    Ok(file)
}

fn comment(section: &SectionHeaderBlock<'_>) -> Option<String> {
    section.options.iter().find_map(|option| match option {
        SectionHeaderOption::Common(CommonOption::Comment(comment)) => Some(comment.to_string()),
        _ => None,
    })
}

fn interface(block: &InterfaceDescriptionBlock<'_>) -> Interface {
    let mut interface = Interface { snaplen: block.snaplen, ..Interface::default() };
    for option in &block.options {
        match option {
            InterfaceDescriptionOption::IfName(name) => interface.name = name.to_string(),
            InterfaceDescriptionOption::IfDescription(text) => interface.description = text.to_string(),
            _ => {}
        }
    }
    interface
}

fn statistics(block: &InterfaceStatisticsBlock<'_>) -> Statistics {
    let mut statistics = Statistics::default();
    for option in &block.options {
        match option {
            InterfaceStatisticsOption::IsbIfRecv(count) => statistics.received = *count,
            InterfaceStatisticsOption::IsbFilterAccept(count) => statistics.accepted = *count,
            InterfaceStatisticsOption::IsbOsDrop(count) => statistics.dropped = *count,
            InterfaceStatisticsOption::IsbUsrDeliv(count) => statistics.delivered = *count,
            _ => {}
        }
    }
    statistics
}

fn record(packet: EnhancedPacketBlock<'_>, first_interface: usize) -> Record {
    let direction = packet.options.iter().find_map(|option| match option {
        // The two lowest bits of epb_flags (pcapng draft, section 4.3.1).
        EnhancedPacketOption::Flags(flags) => match flags & 0b11 {
            0b01 => Some(Direction::In),
            0b10 => Some(Direction::Out),
            _ => None,
        },
        _ => None,
    });
    Record {
        time_ns: packet.timestamp.as_nanos() as u64,
        orig_len: packet.original_len,
        direction,
        interface: Some(first_interface + packet.interface_id as usize),
        bytes: packet.data.into_owned(),
    }
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
            let bytes = vec![7; 14];
            let time_ns = 1_700_000_000_123_456_789;
            let expected = Record { time_ns, bytes, orig_len: 60, direction, interface: Some(0) };
            assert_eq!(*record, expected);
        }
        assert_eq!(file.records.len(), directions.len());
        assert!(crate::pcap::parse(&bytes[..bytes.len() - 1]).is_err());
    }
}
