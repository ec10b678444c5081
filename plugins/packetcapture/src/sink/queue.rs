//! Network mode's queue: packets wait for a client to take them, one by one.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::excerpt::Excerpt;
use crate::format::{Format, Record, Resolution};
use crate::lock::lock;
use crate::outcome::Losses;
use crate::settings::QueueLimits;

/// A packet in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedPacket {
    pub(crate) record: Record,
    /// Resolution of its time.
    resolution: Resolution,
    pub(crate) bytes: Box<[u8]>,
}

/// A bounded queue: if it is full, the oldest packets are discarded, and counted.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    packets: VecDeque<QueuedPacket>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&self, format: Format, runs: &[&[u8]], limits: QueueLimits, losses: &Losses) {
        let mut waiting = self.lock();
        for (record, whole) in runs.iter().flat_map(|run| format.records(run)) {
            let bytes: Box<[u8]> = whole[record.packet()].into();
            waiting.bytes += bytes.len();
            waiting.packets.push_back(QueuedPacket { record, resolution: format.resolution(), bytes });
            while waiting.packets.len() > limits.packets || waiting.bytes > limits.bytes {
                let Some(oldest) = waiting.take() else { break };
                losses.add(1, oldest.bytes.len() as u64);
            }
        }
    }

    /// Removes the oldest packet.
    pub(crate) fn pop(&self) -> Option<QueuedPacket> {
        self.lock().take()
    }

    /// The oldest packet, which stays in the queue.
    pub(crate) fn peek(&self) -> Option<QueuedPacket> {
        self.lock().packets.front().cloned()
    }

    /// Number of packets.
    pub(crate) fn len(&self) -> usize {
        self.lock().packets.len()
    }

    /// Discards all packets.
    pub(crate) fn clear(&self, losses: &Losses) {
        let mut waiting = self.lock();
        losses.add(waiting.packets.len() as u64, waiting.bytes as u64);
        *waiting = Waiting::default();
    }

    /// Adds the packets to a stream; they stay in the queue.
    pub(crate) fn snapshot(&self, mut excerpt: Excerpt) -> Excerpt {
        for QueuedPacket { record, resolution, bytes } in &self.lock().packets {
            excerpt.add_packet(record, bytes, *resolution);
        }
        excerpt
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<QueuedPacket> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.bytes.len();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{record, times};
    use crate::format::pcap::HEADER;
    use crate::format::pcapng::{Section, Statistics};

    fn push(queue: &Queue, micros: &[u64], packets: usize, bytes: usize) -> u64 {
        let records = micros.iter().map(|micros| record(*micros, b"0123456789")).collect::<Vec<_>>();
        let runs = records.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let losses = Losses::default();
        queue.push(Format::Pcap, &runs, QueueLimits { packets, bytes }, &losses);
        losses.packets()
    }

    fn snapshot(queue: &Queue) -> Vec<u64> {
        let excerpt = queue.snapshot(Excerpt::new(Format::Pcap, &Section::default()));
        times(&excerpt.finish(|_| Statistics::default())[HEADER..])
    }

    fn micros(packet: &QueuedPacket) -> u64 {
        packet.record.stamp.0 / 1000
    }

    #[test]
    fn packets_come_out_once_and_in_order() {
        let queue = Queue::default();
        assert_eq!(push(&queue, &[1, 2], 10, 1000), 0);
        assert_eq!(queue.peek().as_ref().map(micros), Some(1));
        assert_eq!(snapshot(&queue), [1, 2]);
        assert_eq!(queue.pop().as_ref().map(micros), Some(1));
        assert_eq!(queue.pop().as_ref().map(micros), Some(2));
        assert_eq!((queue.pop(), queue.peek(), queue.len()), (None, None, 0));
    }

    #[test]
    fn what_is_discarded_is_counted() {
        let queue = Queue::default();
        push(&queue, &[1, 2, 3], 10, 1000);
        let losses = Losses::default();
        queue.clear(&losses);
        assert_eq!((queue.len(), losses.packets(), losses.bytes()), (0, 3, 30));
        assert_eq!(push(&queue, &[4], 1, 10), 0, "the bytes are forgotten, too");
    }

    #[test]
    fn a_snapshot_has_as_many_packets_as_are_asked_for() {
        let queue = Queue::default();
        push(&queue, &[1, 2, 3], 10, 1000);
        let excerpt = queue.snapshot(Excerpt::new(Format::Pcap, &Section::default()).up_to(Some(2)));
        assert_eq!(times(&excerpt.finish(|_| Statistics::default())[HEADER..]), [1, 2]);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let queue = Queue::default();
        assert_eq!(push(&queue, &[1, 2, 3], 2, 1000), 1);
        assert_eq!(snapshot(&queue), [2, 3]);
        assert_eq!(push(&queue, &[4], 2, 15), 2);
        assert_eq!(snapshot(&queue), [4]);
        assert_eq!(push(&queue, &[5], 2, 5), 2, "a packet that is larger than the queue is discarded as well");
        assert_eq!(queue.len(), 0);
    }
}
