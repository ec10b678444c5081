//! The formats of a capture, in native byte order: classic pcap, in two resolutions, and pcapng.
//!
//! The kernel writes records in the capture's format, and they go to the file unchanged. For readers of another format
//! they are [`transcoded`](transcode).

#![forbid(unsafe_code)]

pub(crate) mod pcap;
pub(crate) mod pcapng;

use polycube_layout::ring::{FORMAT_PCAP_MICROS, FORMAT_PCAP_NANOS, FORMAT_PCAPNG};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use pcapng::Section;

/// Format of the file and of what the kernel writes: pcap (microseconds), pcap-nanos, or pcapng, which has nanoseconds,
/// directions, interfaces and drop counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Format {
    #[default]
    Pcap,
    PcapNanos,
    Pcapng,
}

impl Format {
    /// The names of the formats, as users write them.
    pub(crate) const NAMES: [&str; 3] = ["pcap", "pcap-nanos", "pcapng"];
    /// The media types of the formats.
    pub(crate) const MEDIA: [&str; 2] = ["application/vnd.tcpdump.pcap", "application/x-pcapng"];

    pub(crate) fn parse_name(name: &str) -> Option<Self> {
        [Self::Pcap, Self::PcapNanos, Self::Pcapng].into_iter().find(|format| format.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub(crate) fn media(self) -> &'static str {
        Self::MEDIA[usize::from(self == Self::Pcapng)]
    }

    /// Extension of file names.
    pub(crate) fn extension(self) -> &'static str {
        if self == Self::Pcapng { "pcapng" } else { "pcap" }
    }

    /// The format of a file that begins with `header`.
    pub(crate) fn of_file(header: &[u8]) -> Option<Self> {
        match u32::from_ne_bytes(*header.first_chunk()?) {
            pcap::MICROS => Some(Self::Pcap),
            pcap::NANOS => Some(Self::PcapNanos),
            pcapng::SECTION_BLOCK => Some(Self::Pcapng),
            _ => None,
        }
    }

    /// The value of the program's constant.
    pub(crate) fn constant(self) -> u32 {
        match self {
            Self::Pcap => FORMAT_PCAP_MICROS,
            Self::PcapNanos => FORMAT_PCAP_NANOS,
            Self::Pcapng => FORMAT_PCAPNG,
        }
    }

    /// The format whose [`constant`](Self::constant) this is.
    pub(crate) fn from_constant(constant: u32) -> Option<Self> {
        [Self::Pcap, Self::PcapNanos, Self::Pcapng].into_iter().find(|format| format.constant() == constant)
    }

    /// Parses the record at the start of `bytes`. `None` if it is invalid or incomplete.
    pub(crate) fn parse(self, bytes: &[u8]) -> Option<Record> {
        match self {
            Self::Pcap => pcap::parse(bytes, 1_000),
            Self::PcapNanos => pcap::parse(bytes, 1),
            Self::Pcapng => pcapng::parse(bytes),
        }
    }

    /// The records in `bytes`, with their bytes, up to the first invalid one.
    pub(crate) fn records(self, mut bytes: &[u8]) -> impl Iterator<Item = (Record, &[u8])> {
        std::iter::from_fn(move || {
            let record = self.parse(bytes)?;
            let (whole, rest) = bytes.split_at(record.size);
            bytes = rest;
            Some((record, whole))
        })
    }

    /// What precedes the first record.
    pub(crate) fn header(self, section: &Section) -> Vec<u8> {
        match self {
            Self::Pcap => pcap::header(pcap::MICROS, section.snaplen, section.first_link()).to_vec(),
            Self::PcapNanos => pcap::header(pcap::NANOS, section.snaplen, section.first_link()).to_vec(),
            Self::Pcapng => section.bytes(self.resolution()),
        }
    }

    /// The start of a stream of packets whose times were recorded in `resolution`. No format can announce a larger snap
    /// length later, because libpcap truncates packets to the first one, or stops reading: so it is the maximum.
    pub(crate) fn stream_header(self, section: &Section, resolution: Resolution) -> Vec<u8> {
        match self {
            Self::Pcap | Self::PcapNanos => self.header(&section.for_stream()),
            Self::Pcapng => section.for_stream().bytes(resolution),
        }
    }

    /// The resolution of the times that the kernel writes.
    pub(crate) fn resolution(self) -> Resolution {
        match self {
            Self::Pcap => Resolution::Micros,
            Self::PcapNanos | Self::Pcapng => Resolution::Nanos,
        }
    }

    /// Appends a record to `out`. In pcapng, times have the `resolution` in which they were recorded.
    pub(crate) fn write(self, record: &Record, packet: &[u8], resolution: Resolution, out: &mut Vec<u8>) {
        match self {
            Self::Pcap => pcap::write(record, 1_000, packet, out),
            Self::PcapNanos => pcap::write(record, 1, packet, out),
            Self::Pcapng => pcapng::write(record, packet, resolution, out),
        }
    }
}

/// The unit of times in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resolution {
    #[default]
    Micros,
    Nanos,
}

impl Resolution {
    /// Nanoseconds of the unit.
    pub(crate) fn unit(self) -> u64 {
        match self {
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

/// A packet's time, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub(crate) u64);

impl Stamp {
    /// The time `nanos` after 1970; earlier times become 1970.
    pub(crate) fn from_nanos(nanos: i64) -> Self {
        Self(nanos.try_into().unwrap_or_default())
    }

    pub(crate) fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The fraction of the second.
    pub(crate) fn nanos(self) -> u64 {
        self.0 % 1_000_000_000
    }
}

/// The metadata of a packet's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stamp: Stamp,
    /// Bytes of the packet in the record.
    pub(crate) captured: u32,
    /// Bytes of the packet on the wire.
    pub(crate) length: u32,
    /// Offset of the packet in the record.
    pub(crate) body: usize,
    /// Bytes of the whole record.
    pub(crate) size: usize,
    pub(crate) interface: u32,
    /// pcapng's `epb_flags`; 0 if unknown.
    pub(crate) flags: u32,
}

impl Record {
    /// The packet's range in the record.
    pub(crate) fn packet(&self) -> std::ops::Range<usize> {
        self.body..self.body + self.captured as usize
    }
}

/// Appends the records in `bytes`, whose format is `from`, to `out` in format `to`; pcapng keeps the resolution of
/// `from`.
pub(crate) fn transcode(from: Format, to: Format, bytes: &[u8], out: &mut Vec<u8>) {
    if from == to {
        return out.extend_from_slice(bytes);
    }
    for (record, whole) in from.records(bytes) {
        to.write(&record, &whole[record.packet()], from.resolution(), out);
    }
}

#[cfg(test)]
mod tests;
