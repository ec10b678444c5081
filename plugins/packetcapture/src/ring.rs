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
use std::sync::Arc;
use std::sync::atomic::Ordering;

use polycube_layout::ring::{
    CONSUMER, Consumer, DATA, FILTER, Filter, LaneEnd, Producer, element_size, large_at, small_size,
};

pub(crate) use bell::Bell;
pub(crate) use lane::Head;
use lane::{LARGE, Lane, SMALL};
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
    #[error("the map's elements have {value_size} bytes, which is not the size of an element with two lanes")]
    Size { value_size: u32 },
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

/// The map [`RINGS`](polycube_layout::ring::RINGS).
pub(crate) struct Rings {
    mapping: Mapping,
    cpus: usize,
    element: usize,
    /// The lanes of an element, small and large.
    lanes: [Lane; 2],
}

impl Rings {
    /// Maps the rings of `cpus` CPUs. An earlier consumer's `tail` is where we continue.
    pub(crate) fn map(fd: BorrowedFd<'_>, value_size: u32, cpus: u32) -> Result<(Arc<Self>, Reader), RingError> {
        let cpus = cpus as usize;
        let element = value_size as usize;
        let sizes = (DATA.ilog2()..u32::BITS).map(|bits| 1 << bits);
        let large = sizes.map(|size| (size, element_size(size))).find(|(_, bytes)| *bytes == element);
        let (large, _) = large.ok_or(RingError::Size { value_size })?;
        let small = small_size(large);
        let lanes = [Lane { at: DATA, size: small }, Lane { at: large_at(small), size: large }];
        let mapping = Mapping::new(fd, 0, element * cpus, Access::ReadWrite).map_err(RingError::Map)?;
        let rings = Arc::new(Self { mapping, cpus, element, lanes });
        let tail = |cpu, lane| rings.mapping.word64(rings.tail(cpu, lane)).load(Ordering::Acquire);
        let tails = (0..cpus).map(|cpu| [tail(cpu, SMALL), tail(cpu, LARGE)]).collect();
        Ok((Arc::clone(&rings), Reader { rings, tails }))
    }

    /// Size of each large lane in bytes: what the user calls the ring's.
    pub(crate) fn size(&self) -> usize {
        self.lanes[LARGE].size
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

/// Where the ends of the lanes are.
const ENDS: [usize; 2] = [offset_of!(Producer, small), offset_of!(Producer, large)];

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
        self.rings.lanes[SMALL].size
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
        let large = self.written(cpu, ENDS[LARGE] + offset_of!(LaneEnd, head));
        let small = self.written(cpu, ENDS[SMALL] + offset_of!(LaneEnd, head));
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
        let mut pieces = [&[][..]; Span::PIECES];
        let stretches = head.stretches(self.tails[cpu])?;
        for (stretch, pieces) in stretches.into_iter().zip(pieces.chunks_exact_mut(2)) {
            let lane = self.rings.lanes[stretch.lane];
            let extent = lane.extent(stretch.from, stretch.to, self.wrap(cpu, stretch.lane))?;
            for (piece, range) in pieces.iter_mut().zip(extent) {
                // SAFETY: the bytes lie between `tail` and `head`, or in the slack that belongs to them. The program
                // writes there only after `tail` was stored, and `release` cannot store it while `self` is borrowed.
                let bytes = unsafe { self.rings.mapping.bytes(cpu * self.rings.element + range.start, range.len()) };
                *piece = bytes.ok_or(Damage)?;
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
        for stretch in stretches.into_iter().filter(|stretch| stretch.from != stretch.to) {
            if rest == 0 {
                return;
            }
            let (lane, wrap) = (self.rings.lanes[stretch.lane], self.wrap(cpu, stretch.lane));
            let Ok(extent) = lane.extent(stretch.from, stretch.to, wrap) else { return };
            let length = extent[0].len() + extent[1].len();
            if rest < length {
                return self.store_tail(cpu, stretch.lane, lane.advance(stretch.from, rest, wrap));
            }
            self.store_tail(cpu, stretch.lane, stretch.to);
            rest -= length;
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

    /// End of the last record of the lap that `tail` is in, once `head` has left it. It is stable while `tail` is in the
    /// lap, because no other record has room to end there.
    fn wrap(&self, cpu: usize, lane: usize) -> u64 {
        self.written(cpu, ENDS[lane] + offset_of!(LaneEnd, wrap))
    }

    fn store_tail(&mut self, cpu: usize, lane: usize, tail: u64) {
        self.tails[cpu][lane] = tail;
        self.rings.mapping.word64(self.rings.tail(cpu, lane)).store(tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
