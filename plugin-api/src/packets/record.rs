//! A packet, as a program hands it over.

use std::mem::{offset_of, size_of};

use polycube_layout::slow::{PacketRecord, TIME_SHIFT};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::FromBytes as _;

use crate::Direction;

/// Bytes of the addresses at the beginning of a frame.
const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// A packet that a program handed to user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// Id of the port through which it came, or, in a transparent cube, of the point that it passed.
    pub at: u32,
    /// Which way it was going.
    pub direction: Direction,
    /// The program's number for why it handed the packet over.
    pub reason: u16,
    /// What else the program says.
    pub metadata: [u32; 4],
    /// The frame as it would be on the wire, with its VLAN tags. Of a frame that is cut, the beginning.
    pub frame: Vec<u8>,
    /// Bytes of the whole frame.
    pub length: usize,
    /// The kernel's mark (`SO_MARK`, iptables, nftables); [`Sender::resume`](super::Sender::resume) keeps it.
    pub mark: u32,
    /// The kernel's hash of its flow.
    pub hash: u32,
    /// Set if the frame stands for several packets, into which the kernel or the netdev will cut it.
    pub gso: Option<Gso>,
}

/// How the kernel or the netdev cuts a large frame of TCP or UDP into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of payload in each packet but the last.
    pub size: u16,
}

impl Default for PacketIn {
    fn default() -> Self {
        Self {
            at: 0,
            direction: Direction::Ingress,
            reason: 0,
            metadata: [0; 4],
            frame: Vec::new(),
            length: 0,
            mark: 0,
            hash: 0,
            gso: None,
        }
    }
}

impl PacketIn {
    /// Whether the frame is longer than a record takes (65,600 bytes), and the rest is missing.
    pub fn is_cut(&self) -> bool {
        self.frame.len() < self.length
    }

    /// Reads a record in place of what is there; false if it cannot be one.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let Ok((record, frame)) = PacketRecord::read_from_prefix(bytes) else { return false };
        let captured = record.captured as usize;
        let Some(frame) = frame.get(..captured).filter(|frame| frame.len() >= ADDRESSES) else { return false };
        self.at = record.at;
        self.direction = if record.direction == 0 { Direction::Ingress } else { Direction::Egress };
        self.reason = record.reason;
        self.metadata = record.metadata;
        self.mark = record.mark;
        self.hash = record.hash;
        self.gso = u16::try_from(record.gso_size).ok().filter(|size| *size != 0).map(|size| Gso { size });
        self.length = record.length as usize;
        self.frame.clear();
        self.frame.extend_from_slice(&frame[..ADDRESSES]);
        if record.has_tag != 0 {
            self.length += TAG;
            // As the kernel has it: the protocol as on the wire, the rest in the machine's order.
            self.frame.extend_from_slice(&record.tag_protocol.to_ne_bytes());
            self.frame.extend_from_slice(&record.tag_tci.to_be_bytes());
        }
        self.frame.extend_from_slice(&frame[ADDRESSES..]);
        true
    }
}

/// A time as records have it: see [`TIME_SHIFT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(u32);

impl Time {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        let nanoseconds = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Self((nanoseconds >> TIME_SHIFT) as u32)
    }

    /// When a record was handed over; `None` if it does not say, or cannot be one.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (record, _) = PacketRecord::read_from_prefix(bytes).ok()?;
        (record.time != 0).then_some(Self(record.time))
    }

    /// Whether it is a second or more before `later`.
    pub(super) fn is_long_before(self, later: Self) -> bool {
        const SECOND: i32 = (1_000_000_000_u32 >> TIME_SHIFT) as i32;
        later.0.wrapping_sub(self.0).cast_signed() > SECOND
    }
}

// C has the same structure, `struct pcn_packet_record` in polycube.h.
const _: () = assert!(size_of::<PacketRecord>() == 56 && offset_of!(PacketRecord, gso_size) == 40);

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn a_tag_that_the_kernel_keeps_is_where_it_was_on_the_wire() {
        let frame: Vec<u8> = (0..60).collect();
        let mut record =
            PacketRecord { at: 3, direction: 1, reason: 7, metadata: [1, 2, 3, 4], ..PacketRecord::default() };
        (record.length, record.captured, record.gso_size) = (60, 60, 1448);
        let mut packet = PacketIn::default();
        assert!(packet.read(&[record.as_bytes(), &frame, &[0xff; 20]].concat()));
        assert_eq!((&packet.frame, packet.length, packet.is_cut()), (&frame, 60, false));
        assert_eq!(
            (packet.at, packet.direction, packet.reason, packet.gso),
            (3, Direction::Egress, 7, Some(Gso { size: 1448 }))
        );
        (record.has_tag, record.tag_tci, record.tag_protocol) = (1, 0x2064, 0x8100_u16.to_be());
        assert!(packet.read(&[record.as_bytes(), &frame].concat()));
        let tagged = [&frame[..12], &[0x81, 0, 0x20, 0x64], &frame[12..]].concat();
        assert_eq!((&packet.frame, packet.length), (&tagged, 64));
    }

    #[test]
    fn times_more_than_a_second_apart_are_long_apart() {
        let time = |nanoseconds: u64| Time((nanoseconds >> TIME_SHIFT) as u32);
        let late = 3_600_000_000_000;
        assert!(time(late - 1_100_000_000).is_long_before(time(late)));
        assert!(!time(late - 900_000_000).is_long_before(time(late)));
        assert!(!time(late + 5_000_000_000).is_long_before(time(late)), "it came afterwards");
        assert!(Time(u32::MAX).is_long_before(Time(100)), "the clock's units have started again");
        let record = PacketRecord { time: 7, ..PacketRecord::default() };
        assert_eq!(Time::of(record.as_bytes()), Some(Time(7)));
        assert_eq!(Time::of(PacketRecord::default().as_bytes()), None, "the program says no time");
        assert!(!Time::now().is_long_before(Time::now()));
    }

    #[test]
    fn what_is_cut_says_so_and_other_bytes_are_left_out() {
        let mut record = PacketRecord { length: 70_000, captured: 65_600, ..PacketRecord::default() };
        let mut packet = PacketIn::default();
        assert!(packet.read(&[record.as_bytes(), &vec![0; 65_600]].concat()));
        assert!(packet.is_cut());
        record.captured = 100;
        assert!(!packet.read(&[record.as_bytes(), &[0; 99]].concat()));
        assert!(!packet.read(&record.as_bytes()[..55]));
        record.captured = 11;
        assert!(!packet.read(&[record.as_bytes(), &[0; 11]].concat()));
    }
}
