//! Several streams of pcapng as one, in order of time.
//!
//! Each stream is in order; of those that have something, the oldest packet is next, once no other stream can have an older
//! one. That is known when each of them has a packet, or has ended. A capture at which nothing passes would hold up the
//! others, so a packet that has waited for [`HOLD`] goes on: the daemon passes packets on within 100 ms, or 300 ms where they wait
//! for TLS keys, unless it is overloaded. The streams' interfaces get new numbers, in the order in which they appear.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::records::Packet;
use crate::records::blocks::{Block, Blocks, Kind};

/// How long a packet waits for older ones of other streams.
pub(super) const HOLD: Duration = Duration::from_millis(400);
/// Bytes of a stream that wait, at most; then it is not read. A second of 2 Gbit/s, so that none is slowed down by `HOLD`.
const ROOM: usize = 64 << 20;
/// Where the number of the interface is in blocks of packets and statistics (draft-ietf-opsawg-pcapng, 4.3 and 4.6).
const INTERFACE: std::ops::Range<usize> = 8..12;

/// Streams that become one.
pub(super) struct Merge {
    sources: Vec<Source>,
    hold: Option<Duration>,
    most: Option<u64>,
    /// Blocks that need no order: what the stream begins with.
    ready: Vec<u8>,
    has_section: bool,
    interfaces: u32,
    released: u64,
}

#[derive(Default)]
struct Source {
    blocks: Blocks,
    /// What its interfaces are called in the whole.
    interfaces: Vec<u32>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    packets: u64,
    has_ended: bool,
}

/// A block with its new number of the interface.
struct Waiting {
    time: Duration,
    since: Instant,
    bytes: Vec<u8>,
    is_packet: bool,
}

impl Merge {
    /// With `hold`, the streams are live. After `most` packets, it is enough.
    pub(super) fn new(sources: usize, hold: Option<Duration>, most: Option<u64>) -> Self {
        Self {
            sources: (0..sources).map(|_| Source::default()).collect(),
            hold,
            most,
            ready: Vec::new(),
            has_section: false,
            interfaces: 0,
            released: 0,
        }
    }

    pub(super) fn has_room(&self, index: usize) -> bool {
        self.sources[index].bytes < ROOM
    }

    /// Packets that have come from a stream.
    pub(super) fn packets(&self, index: usize) -> u64 {
        self.sources[index].packets
    }

    pub(super) fn is_enough(&self) -> bool {
        self.most.is_some_and(|most| self.released >= most)
    }

    /// Takes bytes of a stream, which arrived at `now`.
    ///
    /// # Errors
    /// They are not pcapng.
    pub(super) fn feed(&mut self, index: usize, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        let mut blocks = std::mem::take(&mut self.sources[index].blocks);
        let fed = blocks.feed(bytes, |block, _| self.add(index, block, now));
        self.sources[index].blocks = blocks;
        fed
    }

    fn add(&mut self, index: usize, block: &Block<'_>, now: Instant) -> Result<(), Failure> {
        let source = &mut self.sources[index];
        let last = source.waiting.back().map(|waiting| waiting.time);
        let (time, is_packet) = match &block.kind {
            Kind::Header { is_section: true } => {
                source.interfaces.clear();
                if !std::mem::replace(&mut self.has_section, true) {
                    self.ready.extend_from_slice(block.bytes);
                }
                return Ok(());
            }
            Kind::Header { is_section: false } => {
                source.interfaces.push(self.interfaces);
                self.interfaces += 1;
                self.ready.extend_from_slice(block.bytes);
                return Ok(());
            }
            Kind::Packet(packet, _) => (packet.time, true),
            // After the packets that they count.
            Kind::Statistics(_) => (last.unwrap_or_default(), false),
            Kind::Secrets | Kind::Other => {
                self.ready.extend_from_slice(block.bytes);
                return Ok(());
            }
        };
        let mut bytes = block.bytes.to_vec();
        let own = bytes.get(INTERFACE).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes));
        let number = own.and_then(|own| source.interfaces.get(own as usize));
        let number = number.ok_or(crate::records::blocks::BlockError)?;
        bytes[INTERFACE].copy_from_slice(&number.to_ne_bytes());
        source.bytes += bytes.len();
        source.packets += u64::from(is_packet);
        // A stream is in order of time, except where clocks are set.
        let time = last.map_or(time, |last| last.max(time));
        source.waiting.push_back(Waiting { time, since: now, bytes, is_packet });
        Ok(())
    }

    /// A stream has ended.
    ///
    /// # Errors
    /// It has ended within a block.
    pub(super) fn end(&mut self, index: usize) -> Result<(), Failure> {
        let source = &mut self.sources[index];
        source.has_ended = true;
        if source.blocks.is_cut() { Err(Failure::Cut) } else { Ok(()) }
    }

    /// All that has come may go on.
    pub(super) fn end_all(&mut self) {
        self.sources.iter_mut().for_each(|source| source.has_ended = true);
    }

    /// What has its place, as far as it goes on at `now`; shows each packet.
    pub(super) fn release(&mut self, now: Instant, mut each: impl FnMut(&Packet<'_>)) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.ready);
        while !self.is_enough() {
            let heads = self.sources.iter().enumerate().filter_map(|(at, source)| Some((at, source.waiting.front()?)));
            let Some((at, head)) = heads.min_by_key(|(_, head)| head.time) else { break };
            let is_last = self.sources.iter().all(|source| source.has_ended || !source.waiting.is_empty());
            let has_waited = self.hold.is_some_and(|hold| now.saturating_duration_since(head.since) >= hold);
            if !is_last && !has_waited {
                break;
            }
            let source = &mut self.sources[at];
            let Some(Waiting { time, bytes, is_packet, .. }) = source.waiting.pop_front() else { break };
            source.bytes -= bytes.len();
            if is_packet {
                self.released += 1;
                let word = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                let (captured, length) = (word(20).unwrap_or_default() as usize, word(24).unwrap_or_default());
                let packet = bytes.get(28..28 + captured).unwrap_or_default();
                each(&Packet { time, length, bytes: packet, direction: None, is_raw_ip: false });
            }
            out.extend_from_slice(&bytes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, words: &[u32]) -> Vec<u8> {
        let length = 12 + 4 * words.len() as u32;
        let words = [kind, length].into_iter().chain(words.iter().copied()).chain([length]);
        words.flat_map(u32::to_ne_bytes).collect()
    }

    /// A stream of an interface, with a packet at each of these times, in microseconds.
    fn stream(times: &[u32]) -> Vec<u8> {
        let mut bytes = [block(0x0a0d_0d0a, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]), block(1, &[1, 0])].concat();
        times.iter().for_each(|time| bytes.extend(block(6, &[0, 0, *time, 0, 60])));
        bytes
    }

    /// The packets in `bytes`: interface and time.
    fn packets(bytes: &[u8]) -> Vec<(usize, u128)> {
        let mut found = Vec::new();
        let fed: Result<(), Failure> = Blocks::default().feed(bytes, |block, _| {
            if let Kind::Packet(packet, index) = &block.kind {
                found.push((*index, packet.time.as_micros()));
            }
            Ok(())
        });
        fed.unwrap();
        found
    }

    #[test]
    fn packets_are_in_order_of_time_and_of_their_interfaces() {
        let now = Instant::now();
        let mut merge = Merge::new(2, None, None);
        merge.feed(0, &stream(&[1, 4, 5]), now).unwrap();
        let mut out = merge.release(now, |_| ());
        assert_eq!(packets(&out), [], "the other may have an older one");
        merge.feed(1, &stream(&[2, 3, 9]), now).unwrap();
        out.extend(merge.release(now, |_| ()));
        assert_eq!(packets(&out), [(0, 1), (1, 2), (1, 3), (0, 4), (0, 5)]);
        merge.end(0).unwrap();
        out.extend(merge.release(now, |_| ()));
        assert_eq!(packets(&out).last(), Some(&(1, 9)));
    }

    #[test]
    fn a_capture_without_packets_does_not_hold_up_the_others() {
        let now = Instant::now();
        let mut merge = Merge::new(2, Some(HOLD), None);
        merge.feed(0, &stream(&[1, 2]), now).unwrap();
        merge.feed(1, &stream(&[]), now).unwrap();
        let mut out = merge.release(now, |_| ());
        assert_eq!(packets(&out), []);
        out.extend(merge.release(now + HOLD, |_| ()));
        assert_eq!(packets(&out), [(0, 1), (0, 2)]);
    }

    #[test]
    fn enough_is_enough_and_a_cut_stream_is_noticed() {
        let now = Instant::now();
        let mut merge = Merge::new(2, None, Some(3));
        merge.feed(0, &stream(&[1, 4]), now).unwrap();
        merge.feed(1, &stream(&[2, 3]), now).unwrap();
        merge.end_all();
        let mut count = 0;
        let out = merge.release(now, |packet| count += packet.length / 60);
        assert_eq!((packets(&out).len(), count, merge.is_enough()), (3, 3, true));
        let mut cut = Merge::new(1, None, None);
        cut.feed(0, &stream(&[1])[..50], now).unwrap();
        assert!(cut.end(0).is_err());
    }
}
