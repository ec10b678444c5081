//! Packets from user space.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use abi_stable::std_types::{RErr, ROk};
use polycube_layout::slow::{
    self, EXITS, HAS_MARK, IN, MAX_ID, ON_EGRESS, ON_INGRESS, OUT, OUTCOMES, WAY_SHIFT, exit_key,
};
use serde::Deserialize;

use super::PacketIn;
use super::offload::{Header, header};
use crate::abi::SenderHandle;
use crate::maps::{Hash, MapError, PerCpuHash};
use crate::{Cube, Direction, Level, Map, Refusal};

/// Bytes of the header of an Ethernet frame, which every frame has.
const SHORTEST: usize = 14;

/// Bytes of the longest frame: what the longest IP packet, its Ethernet header and two VLAN tags take.
const LONGEST: usize = 65_535 + 14 + 8;

/// How long an exit counts as looked up. The kernel looks at each frame anyway, and counts those whose exit is gone.
const FRESH: Duration = Duration::from_millis(10);

/// The type of the first tag before a frame, and of the others (IEEE 802.1ad and 802.1Q).
const OUTER: u16 = 0x88a8;
const INNER: u16 = 0x8100;

/// Why a packet was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The port does not exist, or has no peer.
    #[error("no packet can leave by the port with id {port}: it does not exist, or has no peer")]
    Port {
        /// Id of the port.
        port: u32,
    },
    /// The cube is not attached there any more, or its program is not there.
    #[error(
        "no packet can go on at the point with id {point} ({direction:?}): the cube is not attached there, or has no program there"
    )]
    Point {
        /// Id of the point.
        point: u32,
        /// Which way the packet was going.
        direction: Direction,
    },
    /// The frame is too short or too long.
    #[error("a frame of {length} bytes cannot be sent: it takes {SHORTEST} to {LONGEST}")]
    Length {
        /// Bytes of the frame.
        length: usize,
    },
    /// Only the beginning of the packet is there.
    #[error("a packet of {length} bytes cannot go on: only its first {there} bytes were handed over")]
    Cut {
        /// Bytes of the whole frame.
        length: usize,
        /// Bytes that are there.
        there: usize,
    },
    /// The host gives no way.
    #[error("{0}")]
    Unable(Refusal),
    /// What the kernel says.
    #[error("could not send a packet: {0}")]
    Kernel(#[from] io::Error),
    /// What the kernel says of a map.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unable(refusal) => refusal,
            other => Self::failed(other.to_string()),
        }
    }
}

/// What became of the frames that a cube sent, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Frames that went where they were to go.
    pub sent: u64,
    /// Frames whose port, point or netdev was gone by then.
    pub unreachable: u64,
    /// Frames that were longer than the netdev takes.
    pub too_long: u64,
}

/// Sends a cube's packets from user space. Clones are the same sender, and may be used by several threads at once.
///
/// Make it in [`Service::create`](crate::Service::create). The packets of a standard cube that leave by a port pass the
/// port's transparent cubes and filters, and are counted there, as those are that its program sends.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Result<Way, Refusal>>);

#[derive(Debug)]
struct Way {
    cube: u32,
    frames: OwnedFd,
    exits: Hash<u32, [u32; 2]>,
    outcomes: PerCpuHash<u32, [u64; 3]>,
    /// Exits that were there, and when.
    known: Mutex<HashMap<u32, Instant>>,
}

impl Sender {
    /// The sender of a cube. If the host gives it no way, the cube's log says why, and so does every attempt to send.
    pub fn new(cube: &Cube) -> Self {
        let way = match cube.sender() {
            ROk(handle) => Way::new(&handle),
            RErr(text) => Err(serde_json::from_str(&text).unwrap_or_else(|_| Refusal::failed(text.into_string()))),
        };
        if let Err(refusal) = &way {
            cube.log(Level::Debug, &format!("no packet can be sent from user space: {refusal}"));
        }
        Self(Arc::new(way))
    }

    fn way(&self) -> Result<&Way, Refusal> {
        (*self.0).as_ref().map_err(Clone::clone)
    }

    /// Whether packets can be sent at all: to refuse a configuration that needs it.
    ///
    /// # Errors
    /// The host's reason.
    pub fn check(&self) -> Result<(), Refusal> {
        self.way().map(drop)
    }

    /// Sends a frame out of the port of this id, of a standard cube.
    ///
    /// # Errors
    /// The port has no peer, the frame is too short or too long, or what the kernel says.
    pub fn send(&self, port: u32, frame: &[u8]) -> Result<(), SendError> {
        self.way().map_err(SendError::Unable)?.write(OUT, port, frame, &Offload::default())
    }

    /// Sends a frame into the port of this id, of a standard cube, as if it came in there.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn receive(&self, port: u32, frame: &[u8]) -> Result<(), SendError> {
        self.way().map_err(SendError::Unable)?.write(IN, port, frame, &Offload::default())
    }

    /// Lets a packet that a transparent cube handed over go on in the same direction, after the cube. The frame may be
    /// another one by now. A frame that stood for several packets still does, and keeps the checksum that is left to the
    /// netdev.
    ///
    /// # Errors
    /// The cube is not attached there any more, only the beginning of the packet is there, or as [`send`](Self::send).
    pub fn resume(&self, packet: &PacketIn) -> Result<(), SendError> {
        if packet.is_cut() {
            return Err(SendError::Cut { length: packet.length, there: packet.frame.len() });
        }
        let way = if packet.direction == Direction::Ingress { ON_INGRESS } else { ON_EGRESS };
        let offload = Offload { gso: packet.gso, mark: packet.mark };
        self.way().map_err(SendError::Unable)?.write(way, packet.at, &packet.frame, &offload)
    }

    /// Sends a packet that a standard cube handed over out of another port, as [`send`](Self::send) does. A frame that stood
    /// for several packets still does.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn forward(&self, packet: &PacketIn, port: u32) -> Result<(), SendError> {
        if packet.is_cut() {
            return Err(SendError::Cut { length: packet.length, there: packet.frame.len() });
        }
        let offload = Offload { gso: packet.gso, mark: packet.mark };
        self.way().map_err(SendError::Unable)?.write(OUT, port, &packet.frame, &offload)
    }

    /// What became of what was sent.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn outcomes(&self) -> Result<Outcomes, Refusal> {
        let Ok(way) = self.way() else { return Ok(Outcomes::default()) };
        let [sent, unreachable, too_long] = way.outcomes.sum(&way.cube)?.unwrap_or_default();
        Ok(Outcomes { sent, unreachable, too_long })
    }
}

#[derive(Default)]
struct Offload {
    gso: Option<super::Gso>,
    mark: u32,
}

#[derive(Deserialize)]
struct SenderInfo {
    cube: u32,
}

impl Way {
    fn new(handle: &SenderHandle) -> Result<Self, Refusal> {
        // SAFETY: with every handle, the host passes ownership of three open descriptors, once.
        let [frames, exits, outcomes] =
            [handle.frames, handle.exits, handle.outcomes].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let SenderInfo { cube } = serde_json::from_str(&handle.info)?;
        let map = |name: &str, fd| Map { name: name.to_owned(), key_size: 4, value_size: 0, max_entries: 0, fd };
        let (exits, outcomes) = (map(EXITS, exits).try_into()?, map(OUTCOMES, outcomes).try_into()?);
        Ok(Self { cube, frames, exits, outcomes, known: Mutex::default() })
    }

    fn write(&self, way: u32, id: u32, frame: &[u8], offload: &Offload) -> Result<(), SendError> {
        let length = frame.len();
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(SendError::Length { length });
        }
        if id > MAX_ID || !self.is_open(exit_key(self.cube, way, id))? {
            return Err(match way {
                OUT | IN => SendError::Port { port: id },
                ON_INGRESS => SendError::Point { point: id, direction: Direction::Ingress },
                _ => SendError::Point { point: id, direction: Direction::Egress },
            });
        }
        let mut tags = [0; 16];
        let tags = write_tags(&mut tags, self.cube, way << WAY_SHIFT | id, offload.mark);
        let header: Header = header(frame, offload.gso, tags.len());
        let (addresses, rest) = frame.split_at(12);
        let parts = [&header[..], addresses, tags, rest].map(IoSlice::new);
        rustix::io::writev(&self.frames, &parts).map_err(io::Error::from)?;
        Ok(())
    }

    /// Whether an exit leads anywhere.
    fn is_open(&self, key: u32) -> Result<bool, MapError> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key).is_some_and(|when| now.duration_since(*when) < FRESH) {
            return Ok(true);
        }
        let is_there = self.exits.get(&key)?.is_some();
        if is_there {
            known.insert(key, now)
        } else {
            known.remove(&key)
        };
        Ok(is_there)
    }
}

/// The tags that say where a frame is to go: see [`polycube_layout::slow`].
fn write_tags(tags: &mut [u8; 16], cube: u32, exit: u32, mark: u32) -> &[u8] {
    let has_mark = mark != 0;
    let words = [cube, exit | if has_mark { HAS_MARK } else { 0 }, mark >> 16, mark & 0xffff];
    for (index, (tag, word)) in tags.as_chunks_mut::<4>().0.iter_mut().zip(words).enumerate() {
        let protocol = if index == 0 { OUTER } else { INNER };
        tag[..2].copy_from_slice(&protocol.to_be_bytes());
        tag[2..].copy_from_slice(&(word as u16).to_be_bytes());
    }
    if has_mark { tags } else { &tags[..8] }
}

const _: () = assert!(size_of::<slow::Exit>() == 8 && size_of::<slow::Outcomes>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_where_a_frame_is_to_go() {
        let mut tags = [0; 16];
        assert_eq!(write_tags(&mut tags, 7, ON_EGRESS << WAY_SHIFT | 5, 0), [0x88, 0xa8, 0, 7, 0x81, 0, 0xc0, 5]);
        let marked = write_tags(&mut tags, 0x1234, IN << WAY_SHIFT, 0xdead_beef);
        assert_eq!(marked[4..], [0x81, 0, 0x60, 0, 0x81, 0, 0xde, 0xad, 0x81, 0, 0xbe, 0xef]);
    }
}
