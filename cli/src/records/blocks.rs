//! The blocks of a stream of pcapng, as its bytes arrive (draft-ietf-opsawg-pcapng).
//!
//! The daemon's streams are in the machine's byte order, and no packet is copied to be looked at. The rest of the room reads
//! files of any kind; this reads what we asked for ourselves, at full rate.

use std::time::Duration;

use serde::Deserialize;

use super::{Direction, Packet};

/// Types of blocks (sections 4.1 to 4.7).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Options (sections 3.5, 4.2, 4.3 and 4.6).
const NAME: u16 = 2;
const FLAGS: u16 = 2;
const RESOLUTION: u16 = 9;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 7;

/// `LINKTYPE_ETHERNET` and `LINKTYPE_RAW`.
pub(crate) const ETHERNET: u32 = 1;
const RAW_IP: u32 = 101;

/// Far more than the block of a packet of the longest snap length takes.
const LONGEST: usize = 1 << 20;

/// What arrives is not pcapng, or not as this machine writes it.
#[derive(Debug, thiserror::Error)]
#[error("the daemon's stream is not valid pcapng")]
pub(crate) struct BlockError;

/// A whole block.
pub(crate) struct Block<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) kind: Kind<'a>,
}

pub(crate) enum Kind<'a> {
    /// What a file has to begin with: a section, or one of its interfaces.
    Header {
        is_section: bool,
    },
    /// A packet, and the index of its interface.
    Packet(Packet<'a>, usize),
    Statistics(Counts),
    /// Keys, which precede the packets that need them.
    Secrets,
    Other,
}

/// What the programs have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct Counts {
    /// Packets that passed.
    pub(crate) seen: u64,
    pub(crate) dropped: u64,
}

/// Cuts a stream into blocks.
#[derive(Default)]
pub(crate) struct Blocks {
    /// A block that has begun.
    begun: Vec<u8>,
    interfaces: Vec<Interface>,
}

/// Where packets come from.
struct Interface {
    name: String,
    /// Nanoseconds of a unit of time.
    unit: u64,
    /// Whether packets begin with the IP header.
    is_raw_ip: bool,
}

impl Blocks {
    /// Takes more bytes, and hands on each block that is whole now, until `each` fails.
    pub(crate) fn feed<E: From<BlockError>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Block<'_>, &Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut begun = std::mem::take(&mut self.begun);
        let rest = if begun.is_empty() {
            bytes
        } else {
            begun.extend_from_slice(bytes);
            &begun
        };
        let used = self.walk(rest, &mut each)?;
        self.begun = rest[used..].to_vec();
        Ok(())
    }

    /// Whether the stream ended within a block.
    pub(crate) fn is_cut(&self) -> bool {
        !self.begun.is_empty()
    }

    /// The name of an interface.
    pub(crate) fn interface(&self, index: usize) -> Option<&str> {
        self.interfaces.get(index).map(|interface| interface.name.as_str())
    }

    /// The name of an interface whose packets begin with the IP header, if there is one.
    pub(crate) fn raw_ip(&self) -> Option<&str> {
        self.interfaces.iter().find(|interface| interface.is_raw_ip).map(|interface| interface.name.as_str())
    }

    /// The link type of the last interface.
    pub(crate) fn last_link(&self) -> Option<u32> {
        self.interfaces.last().map(|interface| if interface.is_raw_ip { RAW_IP } else { ETHERNET })
    }

    /// How many places packets can come from.
    pub(crate) fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    fn walk<E: From<BlockError>>(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&Block<'_>, &Self) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut at = 0;
        while let Some(head) = bytes[at..].first_chunk::<8>() {
            let length = word(head, 4).ok_or(BlockError)? as usize;
            if !(12..=LONGEST).contains(&length) || !length.is_multiple_of(4) {
                return Err(BlockError.into());
            }
            let Some(block) = bytes[at..].get(..length) else { break };
            let kind = self.kind(block).ok_or(BlockError)?;
            each(&Block { bytes: block, kind }, self)?;
            at += length;
        }
        Ok(at)
    }

    fn kind<'a>(&mut self, block: &'a [u8]) -> Option<Kind<'a>> {
        Some(match word(block, 0)? {
            SECTION => {
                self.interfaces.clear();
                Kind::Header { is_section: true }
            }
            INTERFACE => {
                let options = options(block.get(16..block.len() - 4)?);
                let is_raw_ip = word(block, 8)? & 0xffff == RAW_IP;
                let mut interface = Interface { name: String::new(), unit: 1_000, is_raw_ip };
                for (code, value) in options {
                    match (code, value) {
                        (NAME, name) => interface.name = String::from_utf8_lossy(name).into_owned(),
                        (RESOLUTION, [9]) => interface.unit = 1,
                        _ => {}
                    }
                }
                self.interfaces.push(interface);
                Kind::Header { is_section: false }
            }
            PACKET => {
                let index = word(block, 8)? as usize;
                let Interface { unit, is_raw_ip, .. } = *self.interfaces.get(index)?;
                let time = u64::from(word(block, 12)?) << 32 | u64::from(word(block, 16)?);
                let captured = word(block, 20)? as usize;
                let bytes = block.get(28..28 + captured)?;
                let flags = options(block.get(28 + captured.next_multiple_of(4)..block.len() - 4)?)
                    .find_map(|(code, value)| (code == FLAGS).then(|| word(value, 0)).flatten());
                let direction = match flags.map(|flags| flags & 0b11) {
                    Some(0b01) => Some(Direction::In),
                    Some(0b10) => Some(Direction::Out),
                    _ => None,
                };
                let time = Duration::from_nanos(time.saturating_mul(unit));
                Kind::Packet(Packet { time, length: word(block, 24)?, bytes, is_raw_ip, direction }, index)
            }
            STATISTICS => {
                let mut counts = Counts::default();
                for (code, value) in options(block.get(20..block.len() - 4)?) {
                    let count = || value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)).unwrap_or_default();
                    match code {
                        RECEIVED => counts.seen = count(),
                        DROPPED => counts.dropped = count(),
                        _ => {}
                    }
                }
                Kind::Statistics(counts)
            }
            SECRETS => Kind::Secrets,
            _ => Kind::Other,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The options in a block, up to the end or the first that is cut.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let (code, length) = (u16::from_ne_bytes([a, b]), usize::from(u16::from_ne_bytes([c, d])));
        let value = bytes.get(4..4 + length).filter(|_| code != 0)?;
        bytes = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let length = (body.len() + 12) as u32;
        [&kind.to_ne_bytes()[..], &length.to_ne_bytes(), &body, &length.to_ne_bytes()].concat()
    }

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [code.to_ne_bytes(), (value.len() as u16).to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(4 + value.len().next_multiple_of(4), 0);
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn stream() -> Vec<u8> {
        let section = block(SECTION, &[&words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX])]);
        let interface = block(INTERFACE, &[&words(&[1, 262_144]), &option(NAME, b"veth1"), &option(RESOLUTION, &[9])]);
        let packet = block(
            PACKET,
            &[&words(&[0, 1, 2, 5, 1500]), b"hello\0\0\0", &option(FLAGS, &2_u32.to_ne_bytes()), &words(&[0])],
        );
        let statistics = block(
            STATISTICS,
            &[&words(&[0, 0, 0]), &option(RECEIVED, &7_u64.to_ne_bytes()), &option(DROPPED, &1_u64.to_ne_bytes())],
        );
        let secrets = block(SECRETS, &[&words(&[0x544c_534b, 3]), b"a\n\n\0"]);
        [section, interface, secrets, packet, statistics].concat()
    }

    #[test]
    fn blocks_are_found_however_they_arrive() {
        let stream = stream();
        for step in [1, 7, 64, stream.len()] {
            let (mut blocks, mut found, mut bytes) = (Blocks::default(), Vec::new(), Vec::new());
            for piece in stream.chunks(step) {
                let fed: Result<(), BlockError> = blocks.feed(piece, |block, blocks| {
                    bytes.extend_from_slice(block.bytes);
                    found.push(match &block.kind {
                        Kind::Header { is_section } => format!("header {is_section}"),
                        Kind::Packet(packet, index) => {
                            let name = blocks.interface(*index).unwrap_or_default();
                            format!(
                                "{name} {:?} {} {} {:?}",
                                packet.time,
                                packet.length,
                                packet.bytes.len(),
                                packet.direction
                            )
                        }
                        Kind::Statistics(counts) => format!("{} {}", counts.seen, counts.dropped),
                        Kind::Secrets => "secrets".to_owned(),
                        Kind::Other => "other".to_owned(),
                    });
                    Ok(())
                });
                fed.unwrap();
            }
            let packet = "veth1 4.294967298s 1500 5 Some(Out)";
            assert_eq!(found, ["header true", "header false", "secrets", packet, "7 1"], "{step}");
            assert_eq!((bytes == stream, blocks.is_cut()), (true, false));
        }
    }

    #[test]
    fn what_is_not_pcapng_is_refused() {
        let feed = |bytes: &[u8]| Blocks::default().feed(bytes, |_, _| Ok::<_, BlockError>(()));
        assert!(feed(&words(&[0xa1b2_c3d4, 0x0004_0002, 0])).is_err());
        assert!(feed(&block(PACKET, &[&words(&[0, 0, 0, 0, 0])])).is_err(), "no interface");
        let mut cut = Blocks::default();
        cut.feed(&stream()[..30], |_, _| Ok::<_, BlockError>(())).unwrap();
        assert!(cut.is_cut());
    }
}
