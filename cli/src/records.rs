//! The packets in a stream of pcap or pcapng, as its bytes arrive.

pub(crate) mod blocks;

use std::mem;
use std::time::Duration;

use pcap_file::pcap::{PcapParseError, PcapParser, PcapTsResolution};
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{PcapNgParseError, PcapNgParser};
use pcap_file::{DataLink, Endianness};

/// The first block of pcapng (draft-ietf-opsawg-pcapng, section 4.1), the same in either byte order.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The type of Interface Statistics Blocks, and their options `isb_osdrop` and `isb_usrdeliv`.
const STATISTICS: u32 = 5;
const OS_DROP: u16 = 7;
const DELIVERED: u16 = 8;
/// Far more than a record of the longest snap length takes (262,144 bytes): what is longer is not a record.
const LONGEST: usize = 1 << 20;

/// A packet as it was recorded.
#[derive(Debug, PartialEq)]
pub(crate) struct Packet<'a> {
    /// Since 1970, in UTC.
    pub(crate) time: Duration,
    /// Its length on the wire.
    pub(crate) length: u32,
    /// What was recorded of it.
    pub(crate) bytes: &'a [u8],
    /// Whether it begins with the IP header, and not with that of Ethernet.
    pub(crate) is_raw_ip: bool,
    /// If the format says.
    pub(crate) direction: Option<Direction>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// What arrives is not a capture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the stream is not valid pcap: {0}")]
    Pcap(#[from] PcapParseError),
    #[error("the stream is not valid pcapng: {0}")]
    PcapNg(#[from] PcapNgParseError),
    #[error("the stream has a record of more than {LONGEST} bytes")]
    TooLong,
}

/// Cuts a stream after its last whole record.
#[derive(Debug, Default)]
pub(crate) struct Records {
    begun: Vec<u8>,
    parser: Option<Parser>,
}

#[derive(Debug)]
enum Parser {
    Pcap(PcapParser),
    PcapNg(PcapNgParser),
}

impl Records {
    /// Takes more bytes, shows each packet that is whole now, and gives back everything up to its end.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&Packet<'_>)) -> Result<Vec<u8>, RecordError> {
        self.begun.extend_from_slice(bytes);
        let mut rest = self.begun.as_slice();
        if self.parser.is_none() {
            self.parser = Parser::begin(&mut rest)?;
        }
        if let Some(parser) = &mut self.parser {
            while parser.step(&mut rest, &mut each)? {}
        }
        if rest.len() > LONGEST {
            return Err(RecordError::TooLong);
        }
        let begun = rest.to_vec();
        let mut whole = mem::replace(&mut self.begun, begun);
        whole.truncate(whole.len() - self.begun.len());
        Ok(whole)
    }

    /// An Interface Statistics Block (draft-ietf-opsawg-pcapng, section 4.6) to follow the records so far: how many packets
    /// were taken by `time`, and how many were dropped, if that is known. `None` where no format or interface has room for it.
    pub(crate) fn statistics(&self, time: Duration, taken: u64, dropped: Option<u64>) -> Option<Vec<u8>> {
        let Some(Parser::PcapNg(parser)) = &self.parser else { return None };
        let stamp = parser.interfaces().first()?.ts_resolution().encode_timestamp(time).ok()?;
        let is_big = matches!(parser.section().endianness, Endianness::Big);
        let half = |value: u16| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let word = |value: u32| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let long = |value: u64| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut body = [word(0), word((stamp >> 32) as u32), word(stamp as u32)].concat();
        let counts = [dropped.map(|dropped| (OS_DROP, dropped)), Some((DELIVERED, taken))];
        for (code, count) in counts.into_iter().flatten() {
            body.extend([half(code), half(8)].concat());
            body.extend(long(count));
        }
        // The end of the options.
        body.extend(word(0));
        let length = word(u32::try_from(body.len() + 12).ok()?);
        Some([&word(STATISTICS), &length, &body[..], &length].concat())
    }

    /// Whether the stream ended within a record.
    pub(crate) fn is_cut(&self) -> bool {
        !self.begun.is_empty()
    }
}

impl Parser {
    /// Reads the header, if it is there as a whole.
    fn begin(rest: &mut &[u8]) -> Result<Option<Self>, RecordError> {
        let Some(first) = rest.first_chunk::<4>() else { return Ok(None) };
        if *first == SECTION_HEADER {
            return match PcapNgParser::new(rest) {
                Ok((after, parser)) => {
                    *rest = after;
                    Ok(Some(Self::PcapNg(parser)))
                }
                Err(PcapNgParseError::IncompleteBuffer(..)) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        match PcapParser::new(rest) {
            Ok((after, parser)) => {
                *rest = after;
                Ok(Some(Self::Pcap(parser)))
            }
            Err(PcapParseError::IncompleteBuffer(..)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one record off `rest`; false when none is whole.
    fn step(&mut self, rest: &mut &[u8], each: &mut impl FnMut(&Packet<'_>)) -> Result<bool, RecordError> {
        match self {
            Self::Pcap(parser) => match parser.next_raw_packet(rest) {
                Ok((after, packet)) => {
                    let nanos = match parser.header().ts_resolution {
                        PcapTsResolution::MicroSecond => packet.ts_frac.saturating_mul(1_000),
                        PcapTsResolution::NanoSecond => packet.ts_frac,
                    };
                    let time = Duration::from_secs(packet.ts_sec.into()) + Duration::from_nanos(nanos.into());
                    let is_raw_ip = parser.header().datalink == DataLink::RAW;
                    each(&Packet { time, length: packet.orig_len, bytes: &packet.data, is_raw_ip, direction: None });
                    *rest = after;
                    Ok(true)
                }
                Err(PcapParseError::IncompleteBuffer(..)) => Ok(false),
                Err(error) => Err(error.into()),
            },
            Self::PcapNg(parser) => match parser.next_block(rest) {
                Ok((after, block)) => {
                    if let Block::EnhancedPacket(packet) = block {
                        let direction = packet.options.iter().find_map(direction);
                        let (time, length) = (packet.timestamp, packet.original_len);
                        let interface = parser.interfaces().get(packet.interface_id as usize);
                        let is_raw_ip = interface.is_some_and(|interface| interface.linktype == DataLink::RAW);
                        each(&Packet { time, length, bytes: &packet.data, is_raw_ip, direction });
                    }
                    *rest = after;
                    Ok(true)
                }
                Err(PcapNgParseError::IncompleteBuffer(..)) => Ok(false),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// The two lowest bits of `epb_flags` (draft-ietf-opsawg-pcapng, section 4.3.1).
fn direction(option: &EnhancedPacketOption<'_>) -> Option<Direction> {
    match option {
        EnhancedPacketOption::Flags(flags) => match flags & 0b11 {
            0b01 => Some(Direction::In),
            0b10 => Some(Direction::Out),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
