//! The rings of all CPUs, mapped: [`Rings`] is the shared view, [`Reader`] the side of the only consumer.
//!
//! Besides its submodule `mapping`, this is the only module with unsafe code.

#![allow(unsafe_code)]

mod bell;
mod lane;
mod mapping;
mod note;

use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use polycube_layout::ring::{
    CONSUMER, Consumer, DATA, FILTER, Filter, Producer, SLACK, element_size, segment_size, segments, small_size,
    with_slack, wrap_at,
};

pub(crate) use bell::Bell;
pub(crate) use lane::Head;
use lane::{LARGE, Lane, Piece, SMALL, Stretch};
use mapping::{Access, Mapping};
#[cfg(test)]
pub(crate) use note::MARK_OFFSET;
pub(crate) use note::{Found, LAYOUT, Lost, Note, Passed, Progress, Written};

use crate::format::Format;
use crate::merge::Span;
use crate::tally::Tally;

/// Why rings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error("the map has {count} elements of {value_size} bytes, which is not what the lanes of a ring need")]
    Size { value_size: u32, count: u32 },
    #[error("cannot map the rings: {0}")]
    Map(#[source] io::Error),
}

/// Inconsistent positions in a ring: the program has a bug, or something else wrote to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage;

/// The programs' counters, summed over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) written: u64,
    pub(crate) bytes: u64,
    pub(crate) full: u64,
    pub(crate) nested: u64,
    pub(crate) faults: u64,
    /// Counted by the filter program, before any of the above.
    pub(crate) rejected: u64,
}

impl std::ops::SubAssign for Counters {
    fn sub_assign(&mut self, less: Self) {
        self.written -= less.written;
        self.bytes -= less.bytes;
        self.full -= less.full;
        self.nested -= less.nested;
        self.faults -= less.faults;
        self.rejected -= less.rejected;
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.written += more.written;
        self.bytes += more.bytes;
        self.full += more.full;
        self.nested += more.nested;
        self.faults += more.faults;
        self.rejected += more.rejected;
    }
}

/// The sizes of a map of rings or large lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapSize {
    pub(crate) value_size: u32,
    pub(crate) count: u32,
}

impl MapSize {
    /// Of [`RINGS`](polycube_layout::ring::RINGS), where the large lanes have `large` bytes.
    pub(crate) fn of_rings(large: usize, cpus: usize) -> Self {
        Self { value_size: element_size(large) as u32, count: cpus as u32 }
    }

    /// Of [`LARGE`](polycube_layout::ring::LARGE), where the lanes have `large` bytes.
    pub(crate) fn of_large_lanes(large: usize, cpus: usize) -> Self {
        Self { value_size: with_slack(segment_size(large)) as u32, count: (segments(large) * cpus) as u32 }
    }

    /// Bytes of each large lane, where this is their map for `cpus` CPUs.
    pub(crate) fn large_lane(self, cpus: u32) -> usize {
        (self.value_size as usize).saturating_sub(SLACK) * (self.count / cpus.max(1)) as usize
    }

    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.value_size) * u64::from(self.count)
    }

    fn require(self, expected: Self) -> Result<(), RingError> {
        let Self { value_size, count } = self;
        if self == expected { Ok(()) } else { Err(RingError::Size { value_size, count }) }
    }
}

/// The map [`RINGS`](polycube_layout::ring::RINGS), and [`LARGE`](polycube_layout::ring::LARGE) when it is there.
pub(crate) struct Rings {
    mapping: Mapping,
    large: OnceLock<Mapping>,
    cpus: usize,
    element: usize,
    /// Bytes of each large lane.
    size: usize,
}

impl Rings {
    /// Maps rings whose large lanes have `size` bytes. An earlier consumer's `tail` is where we continue.
    pub(crate) fn map(fd: BorrowedFd<'_>, found: MapSize, size: usize) -> Result<(Arc<Self>, Reader), RingError> {
        let (cpus, element) = (found.count as usize, found.value_size as usize);
        found.require(MapSize::of_rings(size, cpus))?;
        let mapping = Mapping::new(fd, 0, element * cpus, Access::ReadWrite).map_err(RingError::Map)?;
        let rings = Arc::new(Self { mapping, large: OnceLock::new(), cpus, element, size });
        let tail = |cpu, lane| rings.mapping.word64(rings.tail(cpu, lane)).load(Ordering::Acquire);
        let tails = (0..cpus).map(|cpu| [tail(cpu, SMALL), tail(cpu, LARGE)]).collect();
        Ok((Arc::clone(&rings), Reader { rings, tails }))
    }

    /// Maps the large lanes. The program may get them afterwards.
    pub(crate) fn map_large_lanes(&self, fd: BorrowedFd<'_>, found: MapSize) -> Result<(), RingError> {
        found.require(MapSize::of_large_lanes(self.size, self.cpus))?;
        let mapping = Mapping::new(fd, 0, found.bytes() as usize, Access::ReadWrite).map_err(RingError::Map)?;
        // If they are mapped already, it is the same map.
        let _ = self.large.set(mapping);
        Ok(())
    }

    /// Whether the large lanes are mapped.
    pub(crate) fn has_large_lanes(&self) -> bool {
        self.large.get().is_some()
    }

    /// Size of each large lane in bytes: what the user calls the ring's.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Packets that were lost because the small lane was full and there was no large one yet.
    pub(crate) fn early_losses(&self) -> u64 {
        let word = |cpu| self.mapping.word64(self.producer(cpu, offset_of!(Producer, early))).load(Ordering::Relaxed);
        (0..self.cpus).map(word).sum()
    }

    /// A lane of `cpu`, and the map that it is in.
    fn lane(&self, cpu: usize, lane: usize) -> (Lane, Option<&Mapping>) {
        let (size, segments) =
            if lane == SMALL { (small_size(self.size), 1) } else { (segment_size(self.size), segments(self.size)) };
        let stride = with_slack(size);
        let at = if lane == SMALL { cpu * self.element + DATA } else { cpu * segments * stride };
        (Lane { at, size, stride, segments }, if lane == SMALL { Some(&self.mapping) } else { self.large.get() })
    }

    /// The programs' counters so far.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for cpu in 0..self.cpus {
            let word = |field| self.mapping.word64(self.producer(cpu, field)).load(Ordering::Relaxed);
            sum += Counters {
                written: word(offset_of!(Producer, written)),
                bytes: word(offset_of!(Producer, bytes)),
                full: word(offset_of!(Producer, drops)),
                nested: self.half(self.producer(cpu, offset_of!(Producer, nested))).into(),
                faults: word(offset_of!(Producer, faults)),
                rejected: word(FILTER + offset_of!(Filter, rejected)),
            };
        }
        sum
    }

    /// Sets the offset of UTC from `CLOCK_TAI` for the program, in nanoseconds. Returns the former one.
    pub(crate) fn set_utc_offset(&self, nanos: i64) -> i64 {
        let mut before = 0;
        for cpu in 0..self.cpus {
            let word = self.mapping.word64(self.consumer(cpu, offset_of!(Consumer, utc_offset)));
            before = word.swap(nanos.cast_unsigned(), Ordering::Relaxed).cast_signed();
        }
        before
    }

    fn half(&self, at: usize) -> u32 {
        self.mapping.word32(at).load(Ordering::Acquire)
    }

    fn producer(&self, cpu: usize, field: usize) -> usize {
        cpu * self.element + field
    }

    fn consumer(&self, cpu: usize, field: usize) -> usize {
        cpu * self.element + CONSUMER + field
    }

    /// Another number after each release: positions never go back.
    fn sum_of_tails(&self) -> u64 {
        let lanes = (0..self.cpus).flat_map(|cpu| [SMALL, LARGE].map(|lane| self.tail(cpu, lane)));
        lanes.map(|at| self.mapping.word64(at).load(Ordering::Acquire)).fold(0, u64::wrapping_add)
    }

    /// Where `tail` of a lane is.
    fn tail(&self, cpu: usize, lane: usize) -> usize {
        self.consumer(cpu, offset_of!(Consumer, tails) + lane * size_of::<u64>())
    }
}

/// Where the heads of the lanes are.
const HEADS: [usize; 2] = [offset_of!(Producer, small), offset_of!(Producer, large)];

/// The consumer's side. There is one per [`Rings`], so bytes that it has not released are not written.
pub(crate) struct Reader {
    rings: Arc<Rings>,
    /// Of each CPU's small and large lane.
    tails: Vec<[u64; 2]>,
}

impl Reader {
    pub(crate) fn cpus(&self) -> usize {
        self.rings.cpus
    }

    /// Size of each large lane in bytes.
    pub(crate) fn size(&self) -> usize {
        self.rings.size()
    }

    /// Size of each small lane in bytes.
    pub(crate) fn small_size(&self) -> usize {
        small_size(self.rings.size)
    }

    /// Whether there are large lanes.
    pub(crate) fn has_large_lanes(&self) -> bool {
        self.rings.has_large_lanes()
    }

    /// Notes how many bytes of records the cube's rings have released.
    pub(crate) fn note_taken(&self, bytes: u64) {
        self.rings.set_taken(bytes);
    }

    /// How far `cpu` has come.
    ///
    /// The order of the loads matters. What the large lane has after `turn` is newer than the whole small lane, so the
    /// small lane is looked at later: then no record of it is missing. If it has any, `turn` is theirs, and the large
    /// lane has come that far.
    pub(crate) fn head(&self, cpu: usize) -> Head {
        let large = self.written(cpu, HEADS[LARGE]);
        let small = self.written(cpu, HEADS[SMALL]);
        if small == self.tails[cpu][SMALL] {
            return Head { small, turn: large, large };
        }
        let turn = self.written(cpu, offset_of!(Producer, turn));
        Head { small, turn, large: large.max(turn) }
    }

    /// Whether `cpu` has records up to `head`.
    pub(crate) fn has_records(&self, cpu: usize, head: &Head) -> bool {
        self.tails[cpu] != [head.small, head.large]
    }

    /// Bytes that `cpu` holds up to `head`, with those that are left free at a lane's end.
    pub(crate) fn fill(&self, cpu: usize, head: &Head) -> u64 {
        let [small, large] = self.tails[cpu];
        head.small.wrapping_sub(small).saturating_add(head.large.wrapping_sub(large))
    }

    /// Whether `cpu` has gone over to its large lane, or has more than `mark` bytes in the small one.
    pub(crate) fn exceeds(&self, cpu: usize, mark: u64) -> bool {
        let (head, [small, large]) = (self.head(cpu), self.tails[cpu]);
        head.large != large || head.small.wrapping_sub(small) > mark
    }

    /// Whether the program is processing a packet on `cpu`.
    pub(crate) fn is_busy(&self, cpu: usize) -> bool {
        self.rings.half(self.rings.producer(cpu, offset_of!(Producer, busy))) != 0
    }

    /// The records of `cpu` up to `head`, which [`head`](Self::head) returned, in their order.
    pub(crate) fn span(&self, cpu: usize, head: &Head) -> Result<Span<'_>, Damage> {
        let mut pieces = Vec::new();
        for Stretch { lane, mut from, to } in head.stretches(self.tails[cpu])? {
            let (place, mapping) = self.rings.lane(cpu, lane);
            while from != to {
                let Piece { range, next } = place.piece(from, to, |segment| self.wrap(cpu, lane, segment))?;
                // SAFETY: the bytes lie between `tail` and `head`, or in the slack that belongs to them. The program
                // writes there only after `tail` was stored, and `release` cannot store it while `self` is borrowed.
                let bytes = mapping.and_then(|mapping| unsafe { mapping.bytes(range.start, range.len()) });
                pieces.push(bytes.ok_or(Damage)?);
                from = next;
            }
        }
        Ok(Span { pieces })
    }

    /// Returns `taken` bytes of `cpu`'s [`span`](Self::span) up to `head` to the program. They must end at the end of a
    /// record, or a later consumer would not find the next one.
    pub(crate) fn release(&mut self, cpu: usize, head: &Head, taken: usize) {
        let mut rest = taken;
        // Without a span, nothing was taken.
        let Ok(stretches) = head.stretches(self.tails[cpu]) else { return };
        for Stretch { lane, mut from, to } in stretches {
            let (place, _) = self.rings.lane(cpu, lane);
            while from != to && rest > 0 {
                let Ok(piece) = place.piece(from, to, |segment| self.wrap(cpu, lane, segment)) else { return };
                let length = piece.range.len().min(rest);
                from = if length == piece.range.len() { piece.next } else { from + length as u64 };
                rest -= length;
                self.store_tail(cpu, lane, from);
                if length < piece.range.len() {
                    return;
                }
            }
        }
    }

    /// Discards everything that `cpu` has up to `head`.
    pub(crate) fn resync(&mut self, cpu: usize, head: &Head) {
        self.store_tail(cpu, SMALL, head.small);
        self.store_tail(cpu, LARGE, head.large);
    }

    /// Discards everything that the rings hold; returns the totals of the records, if their format is known.
    pub(crate) fn discard(&mut self, format: Option<Format>) -> Tally {
        let mut tally = Tally::default();
        for cpu in 0..self.cpus() {
            let head = self.head(cpu);
            if let (Some(format), Ok(span)) = (format, self.span(cpu, &head)) {
                tally.add(&Tally::of(format, &span.pieces));
            }
            self.resync(cpu, &head);
        }
        tally
    }

    /// Bytes that the rings hold.
    pub(crate) fn held(&self) -> u64 {
        (0..self.cpus()).map(|cpu| self.fill(cpu, &self.head(cpu))).fold(0, u64::saturating_add)
    }

    /// Requests the doorbell when a small lane holds more than `mark` bytes, or a large one anything new.
    pub(crate) fn arm(&self, mark: u64) {
        let mapping = &self.rings.mapping;
        for cpu in 0..self.rings.cpus {
            let at = |field| self.rings.consumer(cpu, field);
            mapping.word64(at(offset_of!(Consumer, mark))).store(mark, Ordering::Relaxed);
            mapping.word32(at(offset_of!(Consumer, sleeping))).store(1, Ordering::Release);
        }
    }

    /// Cancels the request for the doorbell.
    pub(crate) fn disarm(&self) {
        for cpu in 0..self.rings.cpus {
            let at = self.rings.consumer(cpu, offset_of!(Consumer, sleeping));
            self.rings.mapping.word32(at).store(0, Ordering::Relaxed);
        }
    }

    /// A word of the program's.
    fn written(&self, cpu: usize, field: usize) -> u64 {
        self.rings.mapping.word64(self.rings.producer(cpu, field)).load(Ordering::Acquire)
    }

    /// Where the last record of a segment ended, once `head` has left it. It is stable while `tail` is in the segment or
    /// before it, because no other record has room to end there.
    fn wrap(&self, cpu: usize, lane: usize, segment: usize) -> u64 {
        let (place, mapping) = self.rings.lane(cpu, lane);
        let at = place.at + segment * place.stride + wrap_at(place.size);
        mapping.map_or(0, |mapping| mapping.word64(at).load(Ordering::Acquire))
    }

    fn store_tail(&mut self, cpu: usize, lane: usize, tail: u64) {
        self.tails[cpu][lane] = tail;
        self.rings.mapping.word64(self.rings.tail(cpu, lane)).store(tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
