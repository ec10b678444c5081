//! Packets so far, as a stream with an end.

#![forbid(unsafe_code)]

use crate::format::pcapng::{self, BlockKind, Section, Statistics};
use crate::format::{Format, Record, Resolution, Stamp, transcode};
use crate::keys::Unwritten;
use crate::sys;

/// A stream of packets that were recorded in any format.
pub(crate) struct Excerpt {
    format: Format,
    section: Section,
    /// Resolution of the stream's section; `None` before the stream's header.
    resolution: Option<Resolution>,
    /// Whether statistics can belong to an interface.
    has_interface: bool,
    packets: u64,
    /// Packets that the reader asked for; `None` for all.
    limit: Option<u64>,
    /// The keys that precede the first packet.
    keys: Vec<u8>,
    unwritten: Unwritten,
    /// What was not taken yet.
    bytes: Vec<u8>,
}

impl Excerpt {
    /// A stream in `format`. `section` describes its packets, unless their source does.
    pub(crate) fn new(format: Format, section: &Section) -> Self {
        Self {
            format,
            section: section.clone(),
            resolution: None,
            has_interface: false,
            packets: 0,
            limit: None,
            keys: Vec::new(),
            unwritten: Unwritten::default(),
            bytes: Vec::new(),
        }
    }

    /// The stream's first `limit` packets, if that is given.
    pub(crate) fn up_to(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
    }

    /// The same with blocks of keys ahead of all packets: those that are recorded may have come after packets that need
    /// them.
    pub(crate) fn with_keys(self, keys: Vec<u8>) -> Self {
        Self { keys, ..self }
    }

    /// Whether there are as many packets as the reader asked for: nothing is added any more.
    pub(super) fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.packets >= limit)
    }

    /// Adds a record of `from`, or another block of a pcapng file. Blocks without packets matter only to
    /// readers of pcapng.
    pub(super) fn add(&mut self, from: Format, block: &[u8]) {
        if self.is_complete() {
            return;
        }
        let kind = if from == Format::Pcapng { BlockKind::of(block) } else { BlockKind::Packet };
        match (kind, self.format) {
            (BlockKind::Packet, _) => {
                self.turn_to(from.resolution());
                transcode(from, self.format, block, &mut self.bytes);
                self.packets += 1;
            }
            (BlockKind::Section, Format::Pcapng) => {
                self.bytes.extend_from_slice(block);
                (self.resolution, self.has_interface) = (Some(from.resolution()), false);
            }
            (BlockKind::Interface, Format::Pcapng) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(block);
                pcapng::raise_snaplen(&mut self.bytes[start..]);
                self.has_interface = true;
            }
            (BlockKind::Secrets, Format::Pcapng) => self.unwritten.write(block, &mut self.bytes),
            // The statistics of a file are part of those at the end.
            (
                BlockKind::Section
                | BlockKind::Interface
                | BlockKind::Statistics
                | BlockKind::Secrets
                | BlockKind::Other,
                _,
            ) => {}
        }
    }

    /// Adds a packet whose time was recorded in `resolution`.
    pub(super) fn add_packet(&mut self, record: &Record, packet: &[u8], resolution: Resolution) {
        if self.is_complete() {
            return;
        }
        self.turn_to(resolution);
        self.format.write(record, packet, resolution, &mut self.bytes);
        self.packets += 1;
    }

    /// The bytes since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The rest of the stream. `statistics` returns the counters of a reader that got so many packets.
    pub(crate) fn finish(mut self, statistics: impl FnOnce(u64) -> Statistics) -> Vec<u8> {
        let resolution = self.resolution.unwrap_or_default();
        self.turn_to(resolution);
        if self.format == Format::Pcapng && self.has_interface {
            let now = Stamp::from_nanos(sys::utc_now());
            self.bytes.extend(pcapng::statistics(now, resolution, &statistics(self.packets)));
        }
        self.bytes
    }

    /// Makes sure that packets with times in `resolution` may follow.
    fn turn_to(&mut self, resolution: Resolution) {
        let is_new = match self.resolution {
            None => true,
            Some(former) => self.format == Format::Pcapng && former != resolution,
        };
        if is_new {
            self.bytes.extend(self.format.stream_header(&self.section, resolution));
            (self.resolution, self.has_interface) = (Some(resolution), !self.section.interfaces.is_empty());
        }
        if self.format == Format::Pcapng && !self.keys.is_empty() {
            self.unwritten.write(&std::mem::take(&mut self.keys), &mut self.bytes);
        }
    }
}
