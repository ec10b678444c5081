//! Packets through user space: from a cube's programs to its plugin, and from the plugin out of a port, into one, or on in
//! the chain.
//!
//! A program hands a packet over with `pcn_to_user()` of `polycube.h` or `Packets::hand_over` of `polycube-chain`, and mostly
//! drops it then: user space has the whole frame. The ring between the two is bounded, and what finds no room in it is
//! counted. The plugin describes it with [`Datapath::packets`](crate::Datapath::packets):
//!
//! ```no_run
//! use polycube_plugin_api::packets::{PacketIn, PacketReader, Sender};
//! use polycube_plugin_api::{Cube, Level, Maps, Refusal};
//!
//! struct Echo {
//!     reader: PacketReader,
//! }
//!
//! fn create(cube: Cube) -> Echo {
//!     let sender = Sender::new(&cube);
//!     let log = cube.clone();
//!     let handler = move |packet: &PacketIn| {
//!         if let Err(error) = sender.send(packet.at, &packet.frame) {
//!             log.log(Level::Debug, &error.to_string());
//!         }
//!     };
//!     Echo { reader: PacketReader::new(&cube, handler) }
//! }
//!
//! fn prepare(echo: &Echo, mut maps: Maps) -> Result<(), Refusal> {
//!     echo.reader.prepare(&mut maps)
//! }
//! ```

mod lines;
mod offload;
mod record;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polycube_layout::slow::{DIRECTION, PACKET_COUNTS, PACKETS, POINT};

pub use lines::PacketLog;
pub use record::{Gso, PacketIn};
pub use sender::{Outcomes, SendError, Sender};

use record::Time;

use crate::maps::{PerCpuArray, Read, RingReader};
use crate::{Code, Cube, Datapath, Direction, Maps, Point, Program, Refusal, Staged, constant};

/// What a cube's programs handed to user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Packets that found room in the ring.
    pub queued: u64,
    /// Packets that did not: user space was too slow.
    pub lost: u64,
    /// Packets that had waited in the ring for more than a second when reading began, and were left out.
    pub expired: u64,
}

/// Reads the packets that a cube's programs hand to user space, on a thread of its own.
///
/// It behaves as a [`RingReader`] does: reading begins at the commit, and a panic in the handler is in the cube's log. While
/// nobody reads, after the daemon was stopped, packets wait in the ring: those that have waited for more than a second when
/// reading begins are counted and left out, because their senders have given up, or sent them again.
#[derive(Debug)]
pub struct PacketReader {
    reader: RingReader,
    counts: Staged<PerCpuArray<[u64; 2]>>,
    expired: Arc<AtomicU64>,
}

impl PacketReader {
    /// A reader that passes each packet to `handler`. While the handler is at work, packets wait in the ring.
    pub fn new(cube: &Cube, mut handler: impl FnMut(&PacketIn) + Send + 'static) -> Self {
        let expired = Arc::new(AtomicU64::new(0));
        let (mut packet, mut begun, count) = (PacketIn::default(), Time::now(), Arc::clone(&expired));
        let reader = RingReader::from_begin(cube, move |read| match read {
            Read::Begin => begun = Time::now(),
            Read::Record(record) if Time::of(record).is_some_and(|time| time.is_long_before(begun)) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Read::Record(record) => {
                if packet.read(record) {
                    handler(&packet);
                }
            }
        });
        Self { reader, counts: Staged::new(cube), expired }
    }

    /// Takes the maps that [`Datapath::packets`](crate::Datapath::packets) described. To be called in
    /// [`Service::prepare`](crate::Service::prepare).
    ///
    /// # Errors
    /// They are not there, or the operating system starts no thread.
    pub fn prepare(&self, maps: &mut Maps) -> Result<(), Refusal> {
        self.reader.prepare(maps.open(PACKETS)?)?;
        self.counts.prepare(maps.open(PACKET_COUNTS)?);
        Ok(())
    }

    /// What the programs have handed over.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn handed(&self) -> Result<Handed, Refusal> {
        let expired = self.expired.load(Ordering::Relaxed);
        let [queued, lost] = self.counts.read(|counts| counts.sum(0))?;
        Ok(Handed { queued, lost, expired })
    }
}

impl Datapath {
    /// The same with the maps by which programs hand packets to user space, and with what the programs say of their place:
    /// to be called after the programs have been added.
    #[must_use]
    pub fn packets(mut self, points: &[Point]) -> Self {
        for Program { point, direction, code, .. } in &mut self.programs {
            let Code::Elf { constants, .. } = code else { continue };
            if points.iter().any(|at| at.id == *point) {
                constants.push(constant(POINT, point.to_ne_bytes()));
            }
            let direction = u32::from(*direction == Direction::Egress);
            constants.push(constant(DIRECTION, direction.to_ne_bytes()));
        }
        self.map(PACKETS).map(PACKET_COUNTS)
    }
}

const _: () = assert!(size_of::<polycube_layout::slow::PacketCounts>() == 16, "two counters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_know_their_point_and_direction() {
        let point = |id, netdev: &str| Point {
            id,
            name: "p".into(),
            netdev: Some(netdev.into()),
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        let points = [point(3, "veth1")];
        let transparent = Datapath::of(&b"elf"[..]).at(&points, Direction::Egress, "hello", &[]).packets(&points);
        let standard = Datapath::of(&b"elf"[..]).at_ports("hello", &[]).packets(&[]);
        let constants = |datapath: &Datapath| match &datapath.programs[0].code {
            Code::Elf { constants, .. } => constants.clone(),
            Code::Instructions { .. } => Vec::new(),
        };
        let number = |name, number: u32| constant(name, number.to_ne_bytes());
        assert_eq!(constants(&transparent), [number(POINT, 3), number(DIRECTION, 1)]);
        assert_eq!(constants(&standard), [number(DIRECTION, 0)]);
        let maps: Vec<&str> = standard.maps.iter().map(|map| map.name.as_str()).collect();
        assert_eq!(maps, [PACKETS, PACKET_COUNTS]);
    }
}
