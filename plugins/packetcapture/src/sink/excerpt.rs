//! Packets so far, as a stream with an end.

#![forbid(unsafe_code)]

use crate::format::pcapng::{self, BlockKind, Section, Statistics};
use crate::format::{Format, Record, Resolution, Stamp, transcode};
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
    /// What was not taken yet.
    bytes: Vec<u8>,
}

impl Excerpt {
    /// A stream in `format`. `section` describes its packets, unless their source does.
    pub(crate) fn new(format: Format, section: &Section) -> Self {
        let section = section.clone();
        Self { format, section, resolution: None, has_interface: false, packets: 0, limit: None, bytes: Vec::new() }
    }

    /// The stream's first `limit` packets, if that is given.
    pub(crate) fn up_to(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
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
            // The statistics of a file are part of those at the end.
            (BlockKind::Section | BlockKind::Interface | BlockKind::Statistics | BlockKind::Other, _) => {}
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
    }
}
