//! Classic pcap (draft-ietf-opsawg-pcap).

#![forbid(unsafe_code)]

use polycube_layout::ring::{MAX_SNAPLEN, RECORD_HEADER};

use super::{Record, Stamp};

/// Size of a file's header.
pub(crate) const HEADER: usize = 24;
/// Offset of the snap length in it.
pub(crate) const SNAPLEN_AT: u64 = 16;

/// Section 4: magic numbers of files with microseconds and with nanoseconds.
pub(crate) const MICROS: u32 = 0xa1b2_c3d4;
pub(crate) const NANOS: u32 = 0xa1b2_3c4d;
pub(crate) const MAJOR: u16 = 2;
pub(crate) const MINOR: u16 = 4;
/// `LINKTYPE_ETHERNET` and `LINKTYPE_RAW`.
pub(crate) const ETHERNET: u32 = 1;
pub(super) const RAW_IP: u32 = 101;

/// The header of a file whose records contain up to `snaplen` bytes of a packet, which begins with a header of `link`.
pub(crate) fn header(magic: u32, snaplen: u32, link: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&magic.to_ne_bytes());
    header[4..6].copy_from_slice(&MAJOR.to_ne_bytes());
    header[6..8].copy_from_slice(&MINOR.to_ne_bytes());
    header[16..20].copy_from_slice(&snaplen.to_ne_bytes());
    header[20..].copy_from_slice(&link.to_ne_bytes());
    header
}

/// The length of the record that `bytes` begin with, if its header is there.
pub(crate) fn record_length(bytes: &[u8]) -> Option<u64> {
    let header: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
    let captured = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    Some(RECORD_HEADER as u64 + u64::from(captured))
}

/// Parses a record whose timestamp has a fraction in units of `unit` nanoseconds.
pub(super) fn parse(bytes: &[u8], unit: u64) -> Option<Record> {
    let header: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let captured = word(8);
    let size = RECORD_HEADER + captured as usize;
    (captured <= MAX_SNAPLEN && size <= bytes.len()).then_some(Record {
        stamp: Stamp(u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * unit),
        captured,
        length: word(12),
        body: RECORD_HEADER,
        size,
        interface: 0,
        flags: 0,
    })
}

pub(super) fn write(record: &Record, unit: u64, packet: &[u8], out: &mut Vec<u8>) {
    // The format has 32 bits for seconds, which last until 2106.
    let words = [record.stamp.seconds() as u32, (record.stamp.nanos() / unit) as u32, record.captured, record.length];
    out.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    out.extend_from_slice(packet);
}
