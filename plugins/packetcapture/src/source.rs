//! Reads the packets of a capture file of any of our formats, one by one.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufReader, Read};

use polycube_filter::LinkType;
use polycube_layout::ring::{MAX_SNAPLEN, PACKET_BLOCK, RECORD_HEADER};

use crate::format::pcap::HEADER;
use crate::format::pcapng::{BYTE_ORDER, INTERFACE_BLOCK, SECRETS_BLOCK, SECTION_BLOCK, block_length};
use crate::format::{Format, Stamp};
use crate::store::Form;

/// Read at once.
const PIECE: usize = 256 << 10;
/// Longer than any block of ours.
const LONGEST: usize = 16 << 20;
/// `LINKTYPE_RAW`, and what classic pcap has for it on Linux.
const RAW: [u16; 2] = [101, 12];
/// Options of interfaces and packets: `if_name`, `if_tsresol`, `epb_flags`.
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;

/// Where packets of a file were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) link: u16,
    /// Empty if the file does not say.
    pub(crate) name: String,
    /// Nanoseconds of a unit of its times.
    unit: u64,
}

impl Interface {
    /// What its packets begin with, if filters know it.
    pub(crate) fn link_type(&self) -> Option<LinkType> {
        match self.link {
            1 => Some(LinkType::Ethernet),
            link if RAW.contains(&link) => Some(LinkType::RawIp),
            _ => None,
        }
    }
}

/// What a file has next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Packet(Packet),
    /// A Decryption Secrets Block, whole.
    Secrets(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) stamp: Stamp,
    /// Bytes on the wire.
    pub(crate) length: u32,
    /// Index of its interface.
    pub(crate) interface: usize,
    /// pcapng's `epb_flags`; 0 if unknown.
    pub(crate) flags: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A capture file that is being read.
pub(crate) struct Source {
    reader: Box<dyn Read + Send>,
    format: Format,
    /// All interfaces of the file so far.
    interfaces: Vec<Interface>,
    /// Where those of the current section begin.
    section: usize,
}

impl Source {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// It cannot be read, or is not one of ours.
    pub(crate) fn open(file: File, form: Form) -> io::Result<Self> {
        let mut reader: Box<dyn Read + Send> = match form {
            Form::Plain => Box::new(BufReader::with_capacity(PIECE, file)),
            Form::Compressed => Box::new(BufReader::with_capacity(PIECE, zstd::stream::Decoder::new(file)?)),
        };
        let mut header = [0; HEADER];
        reader.read_exact(&mut header)?;
        let format = Format::of_file(&header).ok_or(io::ErrorKind::InvalidData)?;
        if format == Format::Pcapng {
            reader = Box::new(io::Cursor::new(header).chain(reader));
            return Ok(Self { reader, format, interfaces: Vec::new(), section: 0 });
        }
        let link = u32::from_ne_bytes([header[20], header[21], header[22], header[23]]) as u16;
        let interface = Interface { link, name: String::new(), unit: format.resolution().unit() };
        Ok(Self { reader, format, interfaces: vec![interface], section: 0 })
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The next packet, or block of secrets; `None` at the end, or where the file is not valid any more: a file that is
    /// being written may end within a record.
    pub(crate) fn next(&mut self) -> Option<Item> {
        if self.format == Format::Pcapng { self.next_block() } else { self.next_record() }
    }

    fn next_record(&mut self) -> Option<Item> {
        let mut header = [0; RECORD_HEADER];
        self.reader.read_exact(&mut header).ok()?;
        let word = |at: usize| word(&header, at).unwrap_or_default();
        let captured = word(8);
        if captured > MAX_SNAPLEN {
            return None;
        }
        let mut bytes = vec![0; captured as usize];
        self.reader.read_exact(&mut bytes).ok()?;
        let unit = self.format.resolution().unit();
        let stamp = Stamp(u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * unit);
        Some(Item::Packet(Packet { stamp, length: word(12), interface: 0, flags: 0, bytes }))
    }

    fn next_block(&mut self) -> Option<Item> {
        loop {
            let mut block = vec![0; 8];
            self.reader.read_exact(&mut block).ok()?;
            let size = usize::try_from(block_length(&block)?).ok().filter(|size| *size <= LONGEST)?;
            block.resize(size, 0);
            self.reader.read_exact(&mut block[8..]).ok()?;
            match word(&block, 0)? {
                // Of another machine's byte order, it is not ours.
                SECTION_BLOCK if word(&block, 8)? != BYTE_ORDER => return None,
                SECTION_BLOCK => self.section = self.interfaces.len(),
                INTERFACE_BLOCK => self.interfaces.push(interface(&block)?),
                PACKET_BLOCK => return self.packet(&block).map(Item::Packet),
                SECRETS_BLOCK => return Some(Item::Secrets(block)),
                _ => {}
            }
        }
    }

    fn packet(&self, block: &[u8]) -> Option<Packet> {
        let interface = self.section + word(block, 8)? as usize;
        let unit = self.interfaces.get(interface)?.unit;
        let units = u64::from(word(block, 12)?) << 32 | u64::from(word(block, 16)?);
        let captured = word(block, 20)? as usize;
        let bytes = block.get(28..28 + captured)?.to_vec();
        let mut flags = 0;
        for (code, value) in options(block, 28 + captured.next_multiple_of(4)) {
            if code == FLAGS {
                flags = word(value, 0)?;
            }
        }
        let stamp = Stamp(units.checked_mul(unit)?);
        Some(Packet { stamp, length: word(block, 24)?, interface, flags, bytes })
    }
}

fn interface(block: &[u8]) -> Option<Interface> {
    let mut interface = Interface { link: half(block, 8)?, name: String::new(), unit: 1_000 };
    for (code, value) in options(block, 16) {
        match code {
            NAME => interface.name = String::from_utf8_lossy(value).into_owned(),
            // Powers of two, or less than a nanosecond, are not ours.
            RESOLUTION => interface.unit = 10_u64.checked_pow(9_u32.checked_sub((*value.first()?).into())?)?,
            _ => {}
        }
    }
    Some(interface)
}

/// The options of a block from `at` on.
fn options(block: &[u8], mut at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (half(block, at)?, usize::from(half(block, at + 2)?));
        let value = block.get(at + 4..at + 4 + length)?;
        at += 4 + length.next_multiple_of(4);
        // The block's length follows the last option, even if none says that it is the last.
        (code != 0 && at + 4 <= block.len()).then_some((code, value))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::fixture::record;
    use crate::format::pcapng::{self, Section};
    use crate::format::transcode;

    fn packets(mut source: Source) -> Vec<(u64, usize, Vec<u8>)> {
        std::iter::from_fn(|| source.next())
            .filter_map(|item| match item {
                Item::Packet(packet) => Some((packet.stamp.0, packet.interface, packet.bytes)),
                Item::Secrets(_) => None,
            })
            .collect()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    }

    fn section(name: &str) -> Section {
        let interface = pcapng::Interface { name: name.to_owned(), ..pcapng::Interface::default() };
        Section { cube: "s".to_owned(), interfaces: vec![Some(interface)], ..Section::default() }
    }

    #[test]
    fn packets_of_all_formats_are_read_up_to_where_the_file_ends() {
        let section = Section { snaplen: 96, ..section("veth1") };
        for format in [Format::Pcap, Format::PcapNanos, Format::Pcapng] {
            let mut bytes = format.header(&section);
            for micros in [5, 7] {
                let mut nanos = Vec::new();
                transcode(Format::Pcap, Format::PcapNanos, &record(micros, b"abc"), &mut nanos);
                transcode(Format::PcapNanos, format, &nanos, &mut bytes);
            }
            let whole = bytes.len();
            bytes.extend_from_slice(&[0; 6]);
            let expected = [(5_000, 0, b"abc".to_vec()), (7_000, 0, b"abc".to_vec())];
            assert_eq!(packets(Source::open(file(&bytes), Form::Plain).unwrap()), expected, "{format:?}");
            let smaller = zstd::stream::encode_all(&bytes[..whole - 3], 0).unwrap();
            assert_eq!(packets(Source::open(file(&smaller), Form::Compressed).unwrap()), expected[..1], "{format:?}");
        }
    }

    #[test]
    fn sections_have_interfaces_of_their_own() {
        let mut packet = Vec::new();
        transcode(Format::PcapNanos, Format::Pcapng, &record(1, b"x"), &mut packet);
        let header = |name| Format::Pcapng.header(&section(name));
        let bytes = [header("a"), packet.clone(), header("b"), packet].concat();
        let mut source = Source::open(file(&bytes), Form::Plain).unwrap();
        let mut found = Vec::new();
        while let Some(Item::Packet(packet)) = source.next() {
            found.push(source.interfaces()[packet.interface].name.clone());
        }
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn what_is_not_a_capture_file_is_refused() {
        assert!(Source::open(file(&[7; 100]), Form::Plain).is_err());
        assert!(Source::open(file(b"short"), Form::Plain).is_err());
    }
}
