//! One stream of several: whole records, as they come.
//!
//! Each member's stream begins with a header of its own, which is left out: the reader has had one. In pcapng, each member
//! numbers its interfaces from 0, so its blocks get the numbers that its interfaces have in the one stream. A new section
//! of a member, which a change of its settings may take, is nothing but more interfaces. Records are in order of time within
//! a member; those of several members are in the order in which they arrive.

#![forbid(unsafe_code)]

use crate::format::pcapng::{BlockKind, block_length};
use crate::format::{Format, pcap};

/// Longer than any block or record of ours.
const LONGEST: u64 = 1 << 22;

/// A stream does not have the form that it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream of a member is not valid")]
pub(super) struct NotWhole;

/// A member's stream, as far as it has been read.
#[derive(Debug)]
pub(super) struct Splice {
    format: Format,
    /// What has no end yet.
    begun: Vec<u8>,
    /// Whether the header of pcap is past.
    has_begun: bool,
    /// The interfaces' numbers in the one stream.
    numbers: Vec<u32>,
}

impl Splice {
    pub(super) fn new(format: Format) -> Self {
        Self { format, begun: Vec::new(), has_begun: false, numbers: Vec::new() }
    }

    /// Takes bytes of the member's stream, and appends what is whole to `out`. `next` is the number of the next interface.
    pub(super) fn take(&mut self, bytes: &[u8], next: &mut u32, out: &mut Vec<u8>) -> Result<(), NotWhole> {
        self.begun.extend_from_slice(bytes);
        let begun = std::mem::take(&mut self.begun);
        let mut rest = begun.as_slice();
        while let Some(length) = self.length(rest)? {
            let Some((record, more)) = rest.split_at_checked(length) else { break };
            self.pass(record, next, out)?;
            rest = more;
        }
        self.begun = rest.to_vec();
        Ok(())
    }

    /// The length of what `bytes` begin with, if that can be seen.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, NotWhole> {
        let length = match self.format {
            Format::Pcapng if bytes.len() < 8 => return Ok(None),
            Format::Pcapng => block_length(bytes).ok_or(NotWhole)?,
            Format::Pcap | Format::PcapNanos if !self.has_begun => pcap::HEADER as u64,
            Format::Pcap | Format::PcapNanos => match pcap::record_length(bytes) {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if length > LONGEST { Err(NotWhole) } else { Ok(Some(length as usize)) }
    }

    fn pass(&mut self, record: &[u8], next: &mut u32, out: &mut Vec<u8>) -> Result<(), NotWhole> {
        if self.format != Format::Pcapng {
            if std::mem::replace(&mut self.has_begun, true) {
                out.extend_from_slice(record);
            }
            return Ok(());
        }
        let at = out.len();
        match BlockKind::of(record) {
            BlockKind::Section => self.numbers.clear(),
            BlockKind::Interface => {
                self.numbers.push(*next);
                *next += 1;
                out.extend_from_slice(record);
            }
            BlockKind::Packet | BlockKind::Statistics => {
                // After type and length.
                let number =
                    record.get(8..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes));
                let number = number.and_then(|number| self.numbers.get(number as usize)).ok_or(NotWhole)?;
                out.extend_from_slice(record);
                out[at + 8..at + 12].copy_from_slice(&number.to_ne_bytes());
            }
            BlockKind::Secrets | BlockKind::Other => out.extend_from_slice(record),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{interface, record};
    use crate::format::pcapng::{Section, Statistics, statistics};
    use crate::format::{Resolution, Stamp, transcode};

    fn section(names: &[&str]) -> Vec<u8> {
        let interfaces = names.iter().map(|name| Some(interface(name))).collect();
        Section { interfaces, snaplen: 96, ..Section::default() }.bytes(Resolution::Micros)
    }

    fn packet(number: u32) -> Vec<u8> {
        let mut block = Vec::new();
        transcode(Format::Pcap, Format::Pcapng, &record(5, b"abc"), &mut block);
        block[8..12].copy_from_slice(&number.to_ne_bytes());
        block
    }

    /// The kinds and numbers of blocks.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
            found.push((word(0), word(8)));
            bytes = &bytes[word(4) as usize..];
        }
        found
    }

    #[test]
    fn interfaces_are_numbered_anew() {
        let counts = statistics(Stamp(0), Resolution::Micros, &Statistics::default());
        let one = [section(&["a", "b"]), packet(1), counts].concat();
        let two = [section(&["c"]), packet(0), section(&["d"]), packet(0)].concat();
        for step in [1, 7, 1000] {
            let (mut first, mut second) = (Splice::new(Format::Pcapng), Splice::new(Format::Pcapng));
            let (mut next, mut out) = (0, Vec::new());
            for piece in one.chunks(step) {
                first.take(piece, &mut next, &mut out).unwrap();
            }
            for piece in two.chunks(step) {
                second.take(piece, &mut next, &mut out).unwrap();
            }
            first.take(&packet(0), &mut next, &mut out).unwrap();
            // An interface's third word is its link type.
            assert_eq!(
                blocks(&out),
                [(1, 1), (1, 1), (6, 1), (5, 0), (1, 1), (6, 2), (1, 1), (6, 3), (6, 0)],
                "{step}"
            );
        }
    }

    #[test]
    fn records_of_pcap_come_whole_and_without_the_header() {
        let records = [record(1, &[7; 60]), record(2, &[7; 100])].concat();
        let stream =
            [&pcap::header(pcap::MICROS, 96, pcap::ETHERNET)[..], &records, &record(3, &[7; 9])[..20]].concat();
        for step in [1, 23, 1000] {
            let (mut splice, mut out) = (Splice::new(Format::Pcap), Vec::new());
            stream.chunks(step).for_each(|piece| splice.take(piece, &mut 0, &mut out).unwrap());
            assert!(out == records, "{step}");
        }
    }

    #[test]
    fn what_is_not_pcapng_ends_it() {
        let take = |bytes: &[u8]| Splice::new(Format::Pcapng).take(bytes, &mut 0, &mut Vec::new());
        assert_eq!(take(&packet(0)), Err(NotWhole), "no interface");
        assert_eq!(take(&pcap::header(pcap::MICROS, 96, pcap::ETHERNET)), Err(NotWhole));
    }
}
