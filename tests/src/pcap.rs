//! Capture files: read strictly, written as evidence, shown to tcpdump.

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

pub use packet_blocks::{Interface, Statistics, Told};

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
    /// Which way it went, where the file says so: classic pcap cannot.
    pub direction: Option<Direction>,
    /// Which of the file's interfaces it crossed, where the file says so.
    pub interface: Option<usize>,
}

/// The two formats, told apart by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap, times in microseconds.
    PcapMicroseconds,
    /// Classic pcap, times in nanoseconds.
    PcapNanoseconds,
    /// pcapng.
    Pcapng,
}

/// A capture file, read whole.
#[derive(Debug, Clone)]
pub struct CaptureFile {
    /// What kind of file it is.
    pub format: Format,
    /// The most that a record may hold, in bytes, as the file's head says; 0 means no limit.
    pub snaplen: u32,
    /// Its packets, in file order.
    pub records: Vec<Record>,
    /// What pcapng says beside its packets; classic pcap says nothing.
    pub told: Told,
}

impl CaptureFile {
    /// Sequence numbers of the packets, in file order.
    ///
    /// # Errors
    /// Fails at a packet that is none of [`crate::traffic`]'s.
    pub fn numbers(&self) -> Result<Vec<u32>> {
        let number = |(at, record): (usize, &Record)| {
            sequence_of(&record.bytes).with_context(|| format!("packet {at} has no number"))
        };
        self.records.iter().enumerate().map(number).collect()
    }
}

/// Reads a capture file to its last byte.
///
/// # Errors
/// Fails at the first byte that is not as the format has it, a record that breaks off included; the message has its
/// offset.
pub fn read(path: &Path) -> Result<CaptureFile> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a sound capture file", path.display()))
}

/// Reads a classic capture file as far as there are whole records; answers also how many bytes of another follow. For a
/// file whose writer is at work, or was killed at work: the kernel shows page by page what it copies, and a signal stops
/// it between two pages (mm/filemap.c, `generic_perform_write`).
///
/// # Errors
/// As [`read`], for anything but a last record that breaks off.
pub fn read_unfinished(path: &Path) -> Result<(CaptureFile, usize)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_records(&bytes).with_context(|| format!("{} is not a sound capture file", path.display()))
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
    ensure!(left == 0, "at offset {offset}, record {records}: it breaks off after {left} bytes");
    Ok(file)
}

/// The whole records, and how many bytes are left behind them.
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
    Ok((CaptureFile { format, snaplen: header.snaplen, records, told: Told::default() }, rest.len()))
}

/// Reads a file that is still being written until it holds that many records.
///
/// # Errors
/// Fails when it does not in time, with what was wrong with it last.
pub fn wait_for(path: &Path, records: usize, patience: Duration) -> Result<CaptureFile> {
    let deadline = Instant::now() + patience;
    loop {
        let file = read(path).and_then(|file| {
            let written = file.records.len();
            ensure!(written >= records, "{} holds {written} of {records} packets", path.display());
            Ok(file)
        });
        if file.is_ok() || Instant::now() >= deadline {
            return file.with_context(|| format!("after {patience:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a classic pcap file with nanoseconds.
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

/// What tcpdump reads in a capture file, a line for a packet, or none where there is no tcpdump.
///
/// # Errors
/// Fails when tcpdump refuses the file, with its own words.
pub fn tcpdump(path: &Path) -> Result<Option<Vec<String>>> {
    // Through a pipe: where tcpdump gives up root, it could not open a file of root's.
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let output = Command::new("tcpdump").args(["-nn", "-tt", "-e", "-r", "-"]).stdin(Stdio::from(file)).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output.context("cannot run tcpdump")?,
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tcpdump refuses {}: {}", path.display(), complaint.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    // Lines that begin with white space belong to the packet above: bytes that tcpdump cannot name.
    Ok(Some(text.lines().filter(|line| !line.starts_with(char::is_whitespace)).map(str::to_owned).collect()))
}
