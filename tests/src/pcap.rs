//! Capture files: reading them strictly, writing them as evidence, reading them with tcpdump.

mod packet_blocks;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapParseError, PcapParser, PcapTsResolution, PcapWriter};
use pcap_file::{DataLink, Endianness};

use crate::capture::{Direction, Seen};
use crate::traffic::sequence_of;

pub use packet_blocks::{Interface, Metadata, Statistics};

/// The longest snap length tcpdump accepts without complaint (libpcap `pcap-int.h`, `MAXIMUM_SNAPLEN`).
const SNAPLEN: u32 = 262_144;
/// First bytes of a pcapng file, the same in either byte order (pcapng draft, section 4.1).
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// One packet of a capture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of UTC since 1970.
    pub time_ns: u64,
    /// The captured part of the frame.
    pub bytes: Vec<u8>,
    /// Length of the frame on the wire.
    pub orig_len: u32,
    /// Its direction, if the file has it: classic pcap does not.
    pub direction: Option<Direction>,
    /// The index of the file's interface that it crossed, if the file has it.
    pub interface: Option<usize>,
}

/// The formats, distinguished by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap, times in microseconds.
    PcapMicroseconds,
    /// Classic pcap, times in nanoseconds.
    PcapNanoseconds,
    /// pcapng.
    Pcapng,
}

/// A whole capture file.
#[derive(Debug, Clone)]
pub struct CaptureFile {
    /// Its format.
    pub format: Format,
    /// The most that a record may hold, in bytes, according to the file's header; 0 means no limit.
    pub snaplen: u32,
    /// Its packets, in file order.
    pub records: Vec<Record>,
    /// What pcapng has besides packets; empty for classic pcap.
    pub metadata: Metadata,
}

impl CaptureFile {
    /// Sequence numbers of the packets, in file order.
    ///
    /// # Errors
    /// Fails at a packet that is not from [`crate::traffic`].
    pub fn numbers(&self) -> Result<Vec<u32>> {
        let number = |(at, record): (usize, &Record)| {
            sequence_of(&record.bytes).with_context(|| format!("packet {at} has no sequence number"))
        };
        self.records.iter().enumerate().map(number).collect()
    }
}

/// Reads a capture file to its last byte.
///
/// # Errors
/// Fails at the first byte that violates the format, including a record that is cut off; the message has its offset.
pub fn read(path: &Path) -> Result<CaptureFile> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a valid capture file", path.display()))
}

/// Reads the whole records of a classic capture file; returns also how many bytes of another follow. For a file that is
/// being written, or whose writer was killed: the kernel makes a write visible page by page, and a signal stops it
/// between two pages (mm/filemap.c, `generic_perform_write`).
///
/// # Errors
/// As [`read`], except for a last record that is cut off.
pub fn read_unfinished(path: &Path) -> Result<(CaptureFile, usize)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_records(&bytes).with_context(|| format!("{} is not a valid capture file", path.display()))
}

/// Parses a capture file that came over a stream.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<CaptureFile> {
    if bytes.starts_with(&SECTION_HEADER) {
        return packet_blocks::parse(bytes);
    }
    let (file, left) = parse_records(bytes)?;
    let (offset, records) = (bytes.len() - left, file.records.len());
    ensure!(left == 0, "at offset {offset}, record {records}: it is cut off after {left} bytes");
    Ok(file)
}

/// The whole records, and how many bytes follow them.
fn parse_records(bytes: &[u8]) -> Result<(CaptureFile, usize)> {
    let (mut rest, parser) = PcapParser::new(bytes).context("at offset 0")?;
    let header = parser.header();
    let version = (header.version_major, header.version_minor);
    ensure!(version == (2, 4), "at offset 4: version {version:?}, (2, 4) expected");
    ensure!(header.datalink == DataLink::ETHERNET, "at offset 20: link type {:?}, Ethernet expected", header.datalink);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let packet = match parser.next_packet(rest) {
            Err(PcapParseError::IncompleteBuffer(..)) => break,
            packet => packet.with_context(|| format!("at offset {offset}, record {}", records.len()))?,
        };
        let (left, packet) = packet;
        rest = left;
        let time_ns = packet.timestamp().as_nanos() as u64;
        records.push(Record {
            time_ns,
            orig_len: packet.orig_len(),
            bytes: packet.into_data().into(),
            direction: None,
            interface: None,
        });
    }
    let format = match header.ts_resolution {
        PcapTsResolution::MicroSecond => Format::PcapMicroseconds,
        PcapTsResolution::NanoSecond => Format::PcapNanoseconds,
    };
    Ok((CaptureFile { format, snaplen: header.snaplen, records, metadata: Metadata::default() }, rest.len()))
}

/// Reads a file that is still being written until it has that many records.
///
/// # Errors
/// Fails when it does not in time, with the last thing that was wrong with it.
pub fn wait_for(path: &Path, records: usize, patience: Duration) -> Result<CaptureFile> {
    let deadline = Instant::now() + patience;
    loop {
        let file = read(path).and_then(|file| {
            let written = file.records.len();
            ensure!(written >= records, "{} has {written} of {records} packets", path.display());
            Ok(file)
        });
        if file.is_ok() || Instant::now() >= deadline {
            return file.with_context(|| format!("after {patience:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a classic pcap file with nanosecond timestamps.
///
/// # Errors
/// Fails when the file cannot be written.
pub fn write<'a>(path: &Path, packets: impl IntoIterator<Item = (u64, u32, &'a [u8])>) -> Result<()> {
    let header = PcapHeader {
        snaplen: SNAPLEN,
        ts_resolution: PcapTsResolution::NanoSecond,
        endianness: Endianness::native(),
        ..PcapHeader::default()
    };
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut writer = PcapWriter::with_header(BufWriter::new(file), header)?;
    for (time_ns, orig_len, bytes) in packets {
        writer.write_packet(&PcapPacket::new(Duration::from_nanos(time_ns), orig_len, bytes)?)?;
    }
    writer.into_inner().flush().with_context(|| format!("cannot write {}", path.display()))
}

impl From<&Seen> for Record {
    fn from(seen: &Seen) -> Self {
        let Seen { time_ns, direction, bytes, orig_len } = seen.clone();
        Self { time_ns, bytes, orig_len, direction: Some(direction), interface: None }
    }
}

/// What tcpdump reads in a capture file, one line per packet; `None` where there is no tcpdump.
///
/// # Errors
/// Fails when tcpdump refuses the file, with tcpdump's message.
pub fn tcpdump(path: &Path) -> Result<Option<Vec<String>>> {
    // Through a pipe: tcpdump may drop its privileges, and then it could not open root's file.
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let output = Command::new("tcpdump").args(["-nn", "-tt", "-e", "-r", "-"]).stdin(Stdio::from(file)).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output.context("cannot run tcpdump")?,
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tcpdump refuses {}: {}", path.display(), complaint.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    // Lines that begin with white space belong to the packet above: bytes that tcpdump cannot decode.
    Ok(Some(text.lines().filter(|line| !line.starts_with(char::is_whitespace)).map(str::to_owned).collect()))
}
