//! A small index of a capture file, from which a query learns that it need not read the file: the times between which its
//! packets were recorded, and a Bloom filter of their addresses and ports.
//!
//! The index is written when the file is closed, by the thread that compresses files, and is kept in an extended attribute
//! of the file. A file without one is read. Whatever an expression could match has to be in the index; what else is in it
//! only costs a file that is read in vain. So addresses within VLAN tags are in it as well, and of ports only those below
//! 32,768: the rest are chosen at random by clients, and would fill the filter.

#![forbid(unsafe_code)]

mod terms;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::thread;

pub(crate) use terms::FIRST_EPHEMERAL;
use terms::terms;

use crate::format::Stamp;
use crate::source::{Item, Source};
use crate::store::{Attribute, Form};
use crate::sys;

/// Bytes of the Bloom filter: with the other notes, it has to fit into a block of ext4.
const BYTES: usize = 2048;
const BITS: u64 = BYTES as u64 * 8;
/// Bits for each address and port.
const HASHES: u64 = 4;
/// With more bits than this in use (60 %), one in eight addresses that are not there seems to be.
const MOST_BITS: u32 = BITS as u32 / 10 * 6;
/// Says which form the index has.
const VERSION: u8 = 1;

/// An address or a port of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Address(IpAddr),
    Port(u16),
}

impl Term {
    /// FNV-1a (RFC draft-eastlake-fnv) of its bytes, and MurmurHash3's last step, which spreads it over all bits. It is
    /// stored, so it stays as it is.
    fn hash(self) -> u64 {
        let fnv = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let mut hash = match self {
            Self::Address(IpAddr::V4(address)) => fnv(&address.octets()),
            Self::Address(IpAddr::V6(address)) => fnv(&address.octets()),
            Self::Port(port) => fnv(&port.to_be_bytes()),
        };
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ hash >> 33
    }
}

/// What is known of a file's packets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) first: Stamp,
    pub(crate) last: Stamp,
    /// `None` if there are too many addresses to tell.
    bits: Option<Box<[u8; BYTES]>>,
}

impl Index {
    /// Reads all packets of `source`; `None` if there are none.
    fn of(mut source: Source) -> Option<Self> {
        let mut bits = Box::new([0; BYTES]);
        let (mut first, mut last) = (Stamp(u64::MAX), Stamp(0));
        let mut is_known = true;
        // Most packets have the addresses and ports of the one before.
        let mut recent = [None; 8];
        let mut next = 0;
        while let Some(item) = source.next() {
            let Item::Packet(packet) = item else { continue };
            (first, last) = (first.min(packet.stamp), last.max(packet.stamp));
            let Some(link) = source.interfaces()[packet.interface].link_type() else {
                is_known = false;
                continue;
            };
            terms(link, &packet.bytes, |term| {
                if recent.contains(&Some(term)) {
                    return;
                }
                recent[next] = Some(term);
                next = (next + 1) % recent.len();
                places(term).for_each(|(byte, bit)| bits[byte] |= bit);
            });
        }
        let used: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        (first <= last).then(|| Self { first, last, bits: (is_known && used <= MOST_BITS).then_some(bits) })
    }

    /// Reads the file in a thread of the lowest priority, and notes what is in it.
    ///
    /// # Errors
    /// The file cannot be read, or the file system takes no note.
    pub(crate) fn write(file: &File) -> io::Result<()> {
        let copy = file.try_clone()?;
        let work = move || {
            // It only saves time later, so it takes none that others want.
            let _ = sys::set_nice(19);
            Source::open(copy, Form::Plain).map(Self::of)
        };
        let thread = thread::Builder::new().name(String::from("capture:index")).spawn(work)?;
        let index = thread.join().map_err(|_| io::Error::other("its indexer has ended early"))??;
        index.map_or(Ok(()), |index| Attribute::Index.set(file, &index.bytes()))
    }

    /// The index of a file, if it has one.
    pub(crate) fn read(file: &File) -> Option<Self> {
        Self::parse(&Attribute::Index.of(file)?)
    }

    fn bytes(&self) -> Vec<u8> {
        let times = [self.first.0.to_le_bytes(), self.last.0.to_le_bytes()].concat();
        let bits = self.bits.as_deref().map_or(&[][..], |bits| bits);
        [&[VERSION][..], &times, bits].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let bits = match rest.len() {
            0 => None,
            _ => Some(Box::new(<[u8; BYTES]>::try_from(rest).ok()?)),
        };
        let stamp = |bytes: &[u8; 8]| Stamp(u64::from_le_bytes(*bytes));
        (*version == VERSION).then(|| Self { first: stamp(first), last: stamp(last), bits })
    }

    /// Whether a packet of the file can have this address or port.
    pub(crate) fn may_have(&self, term: Term) -> bool {
        self.bits.as_ref().is_none_or(|bits| places(term).all(|(byte, bit)| bits[byte] & bit != 0))
    }
}

/// The bits of a term: bytes, and masks in them.
fn places(term: Term) -> impl Iterator<Item = (usize, u8)> {
    let hash = term.hash();
    let (start, step) = (hash & 0xffff_ffff, hash >> 32 | 1);
    (0..HASHES).map(move |number| {
        let bit = start.wrapping_add(number * step) % BITS;
        ((bit / 8) as usize, 1 << (bit % 8))
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> Term {
        Term::Address(Ipv4Addr::from_bits(number).into())
    }

    fn index(terms: impl Iterator<Item = Term>) -> Index {
        let mut bits = Box::new([0; BYTES]);
        terms.flat_map(places).for_each(|(byte, bit)| bits[byte] |= bit);
        Index { first: Stamp(5), last: Stamp(7), bits: Some(bits) }
    }

    #[test]
    fn what_is_in_the_index_is_found_and_little_else() {
        let index = index((0..1_000).map(address).chain([Term::Port(80)]));
        assert!((0..1_000).map(address).all(|term| index.may_have(term)) && index.may_have(Term::Port(80)));
        let wrong = (1_000_000..1_100_000).filter(|number| index.may_have(address(*number))).count();
        assert!(wrong < 1_000, "{wrong} of 100,000");
    }

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let index = index([address(1)].into_iter());
        assert_eq!(index.bytes().len(), 2065);
        assert_eq!(Index::parse(&index.bytes()), Some(index));
        let full = Index { first: Stamp(1), last: Stamp(2), bits: None };
        assert!(full.may_have(address(9)));
        assert_eq!(Index::parse(&full.bytes()), Some(full));
        assert_eq!((Index::parse(&[]), Index::parse(&[2; 17]), Index::parse(&[1; 18])), (None, None, None));
    }
}
