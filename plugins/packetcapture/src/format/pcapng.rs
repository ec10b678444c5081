//! pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, packets and statistics.

#![forbid(unsafe_code)]

use polycube_layout::ring::{BLOCK_HEADER, BLOCK_TRAILER, MAX_SNAPLEN, PACKET_BLOCK};

use super::pcap::{ETHERNET, RAW_IP};
use super::{Record, Resolution, Stamp};
use crate::machine::{Machine, Netdev};

/// Section 4.1: type and byte-order magic of a Section Header Block.
pub(crate) const SECTION_BLOCK: u32 = 0x0a0d_0d0a;
pub(crate) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Types of an Interface Description Block (4.2) and an Interface Statistics Block (4.6).
pub(crate) const INTERFACE_BLOCK: u32 = 1;
const STATISTICS_BLOCK: u32 = 5;
/// Type of a Decryption Secrets Block (4.7), and of secrets that are a TLS key log.
pub(crate) const SECRETS_BLOCK: u32 = 10;
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Size of an empty block: its type, and its length twice.
const FRAME: usize = 12;

/// Option codes (3.5, 4.1, 4.2 and 4.6).
const COMMENT: u16 = 1;
const HARDWARE: u16 = 2;
const OS: u16 = 3;
const USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DESCRIPTION: u16 = 3;
const INTERFACE_IPV4: u16 = 4;
const INTERFACE_IPV6: u16 = 5;
const INTERFACE_MAC: u16 = 6;
const INTERFACE_SPEED: u16 = 8;
const RESOLUTION: u16 = 9;
const INTERFACE_FILTER: u16 = 11;
/// What a filter's text is: libpcap's language.
const LIBPCAP: u8 = 0;
const RECEIVED: u16 = 4;
const ACCEPTED: u16 = 6;
const SYSTEM_DROPS: u16 = 7;
const DELIVERED: u16 = 8;

impl Resolution {
    /// `if_tsresol`: a negative power of ten.
    fn exponent(self) -> u8 {
        match self {
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }

    /// The two halves of a time in pcapng.
    fn halves(self, stamp: Stamp) -> [u32; 2] {
        let units = stamp.0 / self.unit();
        [(units >> 32) as u32, units as u32]
    }
}

/// A place where packets come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// Whether packets begin with the IP header.
    pub(crate) is_raw_ip: bool,
    /// The expression that packets matched when this was written; empty if there was none.
    pub(crate) filter: String,
    /// Whether packets end after their last header.
    pub(crate) has_headers_alone: bool,
    pub(crate) netdev: Netdev,
}

impl Interface {
    fn link(&self) -> u32 {
        if self.is_raw_ip { RAW_IP } else { ETHERNET }
    }

    /// Whether packets of either can have the id of the other.
    fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.is_raw_ip) == (&other.name, other.is_raw_ip)
    }
}

/// The origin of a capture's packets, as described to readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) cube: String,
    /// Indexed by the ids in packets; an id may be unused.
    pub(crate) interfaces: Vec<Option<Interface>>,
    /// Maximum bytes of a packet in a record.
    pub(crate) snaplen: u32,
    pub(crate) machine: Machine,
}

impl Section {
    /// Whether a reader that knows `self` can read what `newer` describes.
    pub(crate) fn covers(&self, newer: &Self) -> bool {
        newer.interfaces.len() <= self.interfaces.len() && self.is_extended_by(newer)
    }

    /// A section that covers both, provided that `newer` gives no id of `self` another meaning.
    pub(crate) fn widened(&self, newer: &Self) -> Self {
        let count = self.interfaces.len().max(newer.interfaces.len());
        let of = |section: &Self, id: usize| section.interfaces.get(id).cloned().flatten();
        Self {
            cube: newer.cube.clone(),
            interfaces: (0..count).map(|id| of(newer, id).or_else(|| of(self, id))).collect(),
            snaplen: self.snaplen.max(newer.snaplen),
            machine: newer.machine.clone(),
        }
    }

    /// The section for readers that cannot learn of a larger snap length later.
    pub(crate) fn for_stream(&self) -> Self {
        Self { snaplen: MAX_SNAPLEN, ..self.clone() }
    }

    /// Section Header Block and Interface Description Blocks, for times in `resolution`. They may be placed between any
    /// two blocks.
    pub(crate) fn bytes(&self, resolution: Resolution) -> Vec<u8> {
        let mut out = Vec::new();
        let mut header = Block::begin(SECTION_BLOCK, &mut out);
        header.word(BYTE_ORDER).half(1).half(0).word(u32::MAX).word(u32::MAX);
        let Machine { hardware, os, comments } = &self.machine;
        for (code, text) in [(HARDWARE, hardware), (OS, os)].into_iter().filter(|(_, text)| !text.is_empty()) {
            header.option(code, text.as_bytes());
        }
        header.option(USER_APPLICATION, concat!("polycubed ", env!("CARGO_PKG_VERSION")).as_bytes());
        header.option(COMMENT, format!("packetcapture cube {}", self.cube).as_bytes());
        for comment in comments {
            header.option(COMMENT, comment.as_bytes());
        }
        header.end();
        self.describe_interfaces(0, resolution, &mut out);
        out
    }

    /// Whether a reader that knows `self` needs at most further interfaces to read what `newer` describes.
    pub(crate) fn is_extended_by(&self, newer: &Self) -> bool {
        newer.snaplen <= self.snaplen
            && newer.interfaces.iter().zip(&self.interfaces).all(|pair| match pair {
                (None, _) => true,
                (Some(new), Some(old)) => new.is_same(old),
                (Some(_), None) => false,
            })
    }

    /// Whether packets with this interface begin with the IP header.
    pub(crate) fn is_raw_ip(&self, interface: u32) -> bool {
        self.interfaces.get(interface as usize).and_then(Option::as_ref).is_some_and(|interface| interface.is_raw_ip)
    }

    /// A place whose packets begin with the IP header, if there is one.
    pub(crate) fn raw_ip(&self) -> Option<&str> {
        let raw = self.interfaces.iter().flatten().find(|interface| interface.is_raw_ip);
        raw.map(|interface| interface.name.as_str())
    }

    /// The link type of the first place; Ethernet while there is none.
    pub(crate) fn first_link(&self) -> u32 {
        self.interfaces.iter().flatten().next().map_or(ETHERNET, Interface::link)
    }

    /// The link type of all places, if they have the same one.
    pub(crate) fn only_link(&self) -> Option<u32> {
        let first = self.first_link();
        self.interfaces.iter().flatten().all(|interface| interface.link() == first).then_some(first)
    }

    /// Interface Description Blocks for the interfaces of `newer` that `self` lacks. Where they are enough, they are
    /// better than another section: capinfos takes the ids of a later section for those of the first.
    pub(crate) fn extension(&self, newer: &Self, resolution: Resolution) -> Vec<u8> {
        let mut out = Vec::new();
        self.widened(newer).describe_interfaces(self.interfaces.len(), resolution, &mut out);
        out
    }

    /// Appends Interface Description Blocks for the interfaces from id `first` on.
    fn describe_interfaces(&self, first: usize, resolution: Resolution, out: &mut Vec<u8>) {
        // Nothing comes from there: its link type should not be what makes a difference.
        let is_raw_ip = self.first_link() == RAW_IP;
        let detached = Interface { name: String::from("detached"), is_raw_ip, ..Interface::default() };
        for interface in self.interfaces[first..].iter().map(|interface| interface.as_ref().unwrap_or(&detached)) {
            self.describe(interface, resolution, out);
        }
    }

    fn describe(&self, interface: &Interface, resolution: Resolution, out: &mut Vec<u8>) {
        let Interface { name, filter, has_headers_alone, netdev, .. } = interface;
        let mut block = Block::begin(INTERFACE_BLOCK, out);
        block.half(interface.link() as u16).half(0).word(self.snaplen);
        block.option(INTERFACE_NAME, name.as_bytes());
        block.option(INTERFACE_DESCRIPTION, format!("cube {} at {name}", self.cube).as_bytes());
        block.option(RESOLUTION, &[resolution.exponent()]);
        let Netdev { mac, ipv4, ipv6, speed, offloads } = netdev;
        for (address, mask) in ipv4 {
            block.option(INTERFACE_IPV4, &[*address, *mask].concat());
        }
        for (address, length) in ipv6 {
            block.option(INTERFACE_IPV6, &[&address[..], &[*length]].concat());
        }
        if let Some(mac) = mac {
            block.option(INTERFACE_MAC, mac);
        }
        if let Some(speed) = speed {
            block.option(INTERFACE_SPEED, &speed.to_ne_bytes());
        }
        if !filter.is_empty() {
            block.option(INTERFACE_FILTER, &[&[LIBPCAP], filter.as_bytes()].concat());
        }
        if *has_headers_alone {
            block.option(COMMENT, b"packets end after their last header (snaplen=headers)");
        }
        if let Some(offloads) = offloads {
            let list = if offloads.is_empty() { "none".to_owned() } else { offloads.join(", ") };
            block.option(COMMENT, format!("offloads: {list}").as_bytes());
        }
        block.end();
    }
}

/// The kinds of blocks that a copy distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Section,
    Interface,
    Packet,
    Statistics,
    Secrets,
    Other,
}

impl BlockKind {
    /// The kind of `block`.
    pub(crate) fn of(block: &[u8]) -> Self {
        match block.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) {
            Some(SECTION_BLOCK) => Self::Section,
            Some(INTERFACE_BLOCK) => Self::Interface,
            Some(PACKET_BLOCK) => Self::Packet,
            Some(STATISTICS_BLOCK) => Self::Statistics,
            Some(SECRETS_BLOCK) => Self::Secrets,
            _ => Self::Other,
        }
    }
}

/// Raises the snap length of `block`, an Interface Description Block of ours, to the maximum.
pub(crate) fn raise_snaplen(block: &mut [u8]) {
    // After type, length, link type and a reserved field.
    if let Some(snaplen) = block.get_mut(12..16) {
        snaplen.copy_from_slice(&MAX_SNAPLEN.to_ne_bytes());
    }
}

/// Drop counts for a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Packets that passed.
    pub(crate) received: u64,
    /// Of these, packets that matched the filter.
    pub(crate) accepted: u64,
    /// Of these, packets that were lost.
    pub(crate) dropped: u64,
    /// Of these, packets that the reader got.
    pub(crate) delivered: u64,
}

impl Statistics {
    /// The counts since `earlier`, of which `delivered` packets reached the reader. Packets in flight count for the
    /// reader that will get them.
    pub(crate) fn since(&self, earlier: &Self, delivered: u64) -> Self {
        let dropped = self.dropped - earlier.dropped;
        let rejected = (self.received - self.accepted) - (earlier.received - earlier.accepted);
        let accepted = delivered + dropped;
        Self { received: accepted + rejected, accepted, dropped, delivered }
    }
}

/// Size of an Interface Statistics Block with its four counts.
pub(crate) const STATISTICS: u64 = 76;

/// An Interface Statistics Block for everything until `stamp`, in a section whose times have `resolution`. The counts are
/// the sum of all interfaces, and belong to the first.
pub(crate) fn statistics(stamp: Stamp, resolution: Resolution, statistics: &Statistics) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = Block::begin(STATISTICS_BLOCK, &mut out);
    let [high, low] = resolution.halves(stamp);
    block.word(0).word(high).word(low);
    block.option(RECEIVED, &statistics.received.to_ne_bytes());
    block.option(ACCEPTED, &statistics.accepted.to_ne_bytes());
    block.option(SYSTEM_DROPS, &statistics.dropped.to_ne_bytes());
    block.option(DELIVERED, &statistics.delivered.to_ne_bytes());
    block.end();
    out
}

/// Appends a Decryption Secrets Block with the lines of a TLS key log.
pub(crate) fn secrets(log: &[u8], out: &mut Vec<u8>) {
    let mut block = Block::begin(SECRETS_BLOCK, out);
    block.word(TLS_KEY_LOG).word(log.len() as u32).padded(log);
    block.end();
}

/// The TLS key log in `block`, a Decryption Secrets Block; `None` if it has other secrets.
pub(crate) fn secrets_of(block: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_ne_bytes(*block.get(at..)?.first_chunk()?));
    let length = word(12).filter(|_| word(8) == Some(TLS_KEY_LOG))?;
    block.get(16..16 + length as usize)
}

/// Parses an Enhanced Packet Block as the capture program writes it.
pub(super) fn parse(bytes: &[u8]) -> Option<Record> {
    let header: &[u8; BLOCK_HEADER] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (captured, size) = (word(20), word(4) as usize);
    if word(0) != PACKET_BLOCK || captured > MAX_SNAPLEN || size > bytes.len() || size != packet_block(captured) {
        return None;
    }
    let trailer: &[u8; BLOCK_TRAILER] = bytes[..size].last_chunk()?;
    let flags = u32::from_ne_bytes([trailer[4], trailer[5], trailer[6], trailer[7]]);
    Some(Record {
        stamp: Stamp(u64::from(word(12)) << 32 | u64::from(word(16))),
        captured,
        length: word(24),
        body: BLOCK_HEADER,
        size,
        interface: word(8),
        flags,
    })
}

pub(super) fn write(record: &Record, packet: &[u8], resolution: Resolution, out: &mut Vec<u8>) {
    let mut block = Block::begin(PACKET_BLOCK, out);
    let [high, low] = resolution.halves(record.stamp);
    block.word(record.interface).word(high).word(low);
    block.word(record.captured).word(record.length).padded(packet);
    block.option(2, &record.flags.to_ne_bytes());
    block.end();
}

/// Size of the block of a packet with `captured` bytes.
fn packet_block(captured: u32) -> usize {
    BLOCK_HEADER + (captured as usize).next_multiple_of(4) + BLOCK_TRAILER
}

/// The length of the block at the start of `header`, which has at least 8 bytes; `None` if it is invalid.
pub(crate) fn block_length(header: &[u8]) -> Option<u64> {
    let length = u32::from_ne_bytes(*header.get(4..)?.first_chunk()?);
    (length as usize >= FRAME && length.is_multiple_of(4)).then_some(length.into())
}

/// The section header of packets from many captures.
pub(crate) fn packets_header() -> Vec<u8> {
    let mut out = Vec::new();
    let mut header = Block::begin(SECTION_BLOCK, &mut out);
    header.word(BYTE_ORDER).half(1).half(0).word(u32::MAX).word(u32::MAX);
    header.option(USER_APPLICATION, concat!("polycubed ", env!("CARGO_PKG_VERSION")).as_bytes());
    header.end();
    out
}

/// Blocks of packets from many captures, with times in nanoseconds.
pub(crate) struct Packets<'a>(pub(crate) &'a mut Vec<u8>);

impl Packets<'_> {
    /// Describes the next interface.
    pub(crate) fn interface(&mut self, name: &str, link: u16) {
        let mut interface = Block::begin(INTERFACE_BLOCK, self.0);
        interface.half(link).half(0).word(MAX_SNAPLEN);
        interface.option(INTERFACE_NAME, name.as_bytes());
        interface.option(RESOLUTION, &[Resolution::Nanos.exponent()]);
        interface.end();
    }

    /// Adds a packet of `length` bytes, of which `packet` was recorded.
    pub(crate) fn packet(&mut self, interface: u32, stamp: Stamp, length: u32, flags: u32, packet: &[u8]) {
        let captured = packet.len() as u32;
        let record = Record { stamp, captured, length, body: 0, size: 0, interface, flags };
        write(&record, packet, Resolution::Nanos, self.0);
    }
}

/// A block that is being written.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    has_options: bool,
}

impl<'a> Block<'a> {
    fn begin(kind: u32, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend([kind.to_ne_bytes(), [0; 4]].concat());
        Self { out, start, has_options: false }
    }

    fn word(&mut self, word: u32) -> &mut Self {
        self.out.extend(word.to_ne_bytes());
        self
    }

    fn half(&mut self, half: u16) -> &mut Self {
        self.out.extend(half.to_ne_bytes());
        self
    }

    fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self.out.resize(self.start + (self.out.len() - self.start).next_multiple_of(4), 0);
        self
    }

    /// An option; a value that is too long is truncated.
    fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.has_options = true;
        self.half(code).half(length).padded(&value[..length.into()])
    }

    fn end(mut self) {
        if self.has_options {
            self.word(0);
        }
        let length = (self.out.len() - self.start + 4) as u32;
        self.word(length);
        self.out[self.start + 4..self.start + 8].copy_from_slice(&length.to_ne_bytes());
    }
}
