//! The classic pcap format, in this machine's byte order (draft-ietf-opsawg-pcap).

#![forbid(unsafe_code)]

use polycube_layout::ring::{MAX_SNAPLEN, RECORD_HEADER};

/// Bytes of a file's header.
pub(crate) const FILE_HEADER: usize = 24;
/// Where the snap length stands in it.
pub(crate) const SNAPLEN_AT: u64 = 16;

/// Section 4: magic number of a file with microseconds.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAJOR: u16 = 2;
const MINOR: u16 = 4;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;

/// The header of a file whose records have up to `snaplen` bytes of a packet.
pub(crate) fn file_header(snaplen: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..4].copy_from_slice(&MAGIC_MICROS.to_ne_bytes());
    header[4..6].copy_from_slice(&MAJOR.to_ne_bytes());
    header[6..8].copy_from_slice(&MINOR.to_ne_bytes());
    header[16..20].copy_from_slice(&snaplen.to_ne_bytes());
    header[20..].copy_from_slice(&ETHERNET.to_ne_bytes());
    header
}

/// A packet's time, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) seconds: u32,
    pub(crate) micros: u32,
}

impl Stamp {
    /// From nanoseconds since 1970.
    pub(crate) fn from_nanos(nanos: i64) -> Self {
        let part = nanos.rem_euclid(1_000_000_000) / 1_000;
        // The format has 32 bits, which last until 2106.
        Self { seconds: nanos.div_euclid(1_000_000_000) as u32, micros: part as u32 }
    }
}

/// What a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stamp: Stamp,
    /// Bytes of the packet in the record.
    pub(crate) captured: u32,
}

impl Record {
    /// Reads the record at the beginning of `bytes`. `None` when it does not end within them.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..at + 4)?.first_chunk()?));
        let record = Self { stamp: Stamp { seconds: word(0)?, micros: word(4)? }, captured: word(8)? };
        (record.captured <= MAX_SNAPLEN && record.size() <= bytes.len()).then_some(record)
    }

    /// Bytes of header and packet.
    pub(crate) fn size(&self) -> usize {
        RECORD_HEADER + self.captured as usize
    }
}

/// The records in `bytes`, up to the first that is none.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record> {
    std::iter::from_fn(move || {
        let record = Record::parse(bytes)?;
        bytes = &bytes[record.size()..];
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::record;

    #[test]
    fn a_file_begins_as_tcpdumps_does() {
        let expected = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
        let expected = expected.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        if cfg!(target_endian = "little") {
            assert_eq!(file_header(65_535).as_slice(), expected);
        }
        let snaplen = SNAPLEN_AT as usize;
        assert_eq!(file_header(96)[snaplen..snaplen + 4], 96_u32.to_ne_bytes());
    }

    #[test]
    fn times_are_compared_by_seconds_first() {
        let stamp = Stamp::from_nanos;
        assert_eq!(stamp(1_700_000_000_123_456_789), Stamp { seconds: 1_700_000_000, micros: 123_456 });
        assert!(stamp(1_999_999_999) < stamp(2_000_000_000));
    }

    #[test]
    fn records_end_where_the_bytes_do() {
        let mut bytes = [record(1, b"abc"), record(2, b""), record(3, b"0123456789")].concat();
        let sizes = |bytes: &[u8]| records(bytes).map(|record| record.captured).collect::<Vec<_>>();
        assert_eq!(sizes(&bytes), [3, 0, 10]);
        bytes.pop();
        assert_eq!(sizes(&bytes), [3, 0]);
        assert_eq!(sizes(&bytes[..15]), [0_u32; 0]);
        bytes[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(sizes(&bytes), [0_u32; 0]);
    }
}
