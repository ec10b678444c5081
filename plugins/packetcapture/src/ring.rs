//! The rings of all CPUs, mapped: [`Rings`] is the shared view, [`Reader`] the side of the only consumer.
//!
//! Besides its submodule `mapping`, this is the only module with unsafe code.

#![allow(unsafe_code)]

mod bell;
mod mapping;
mod note;

use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use polycube_layout::ring::{CONSUMER, Consumer, DATA, FILTER, Filter, Producer, SLACK, element_size};

pub(crate) use bell::Bell;
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
    #[error("the map's elements have {value_size} bytes: expected {} bytes plus a power of two", element_size(0))]
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
    size: usize,
}

impl Rings {
    /// Maps the rings of `cpus` CPUs. An earlier consumer's `tail` is where we continue.
    pub(crate) fn map(fd: BorrowedFd<'_>, value_size: u32, cpus: u32) -> Result<(Arc<Self>, Reader), RingError> {
        let cpus = cpus as usize;
        let size = (value_size as usize).checked_sub(element_size(0)).filter(|size| size.is_power_of_two());
        let size = size.filter(|size| *size >= DATA).ok_or(RingError::Size { value_size })?;
        let mapping = Mapping::new(fd, 0, element_size(size) * cpus, Access::ReadWrite).map_err(RingError::Map)?;
        let rings = Arc::new(Self { mapping, cpus, size });
        let tails = (0..cpus).map(|cpu| rings.mapping.word64(rings.consumer(cpu, TAIL)).load(Ordering::Acquire));
        let tails = tails.collect();
        Ok((Arc::clone(&rings), Reader { rings, tails }))
    }

    /// Size of each ring in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
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
        cpu * element_size(self.size) + field
    }

    fn consumer(&self, cpu: usize, field: usize) -> usize {
        cpu * element_size(self.size) + CONSUMER + field
    }

    fn data(&self, cpu: usize, position: u64) -> usize {
        cpu * element_size(self.size) + DATA + (position & (self.size as u64 - 1)) as usize
    }
}

const TAIL: usize = offset_of!(Consumer, tail);

/// The consumer's side. There is one per [`Rings`], so bytes that it has not released are not written.
pub(crate) struct Reader {
    rings: Arc<Rings>,
    tails: Vec<u64>,
}

impl Reader {
    pub(crate) fn cpus(&self) -> usize {
        self.rings.cpus
    }

    pub(crate) fn size(&self) -> usize {
        self.rings.size
    }

    /// Notes how many bytes of records the cube's rings have released.
    pub(crate) fn note_taken(&self, bytes: u64) {
        self.rings.set_taken(bytes);
    }

    /// Position after the last finished record of `cpu`.
    pub(crate) fn head(&self, cpu: usize) -> u64 {
        self.rings.mapping.word64(self.rings.producer(cpu, offset_of!(Producer, head))).load(Ordering::Acquire)
    }

    /// Position up to which everything is released.
    pub(crate) fn tail(&self, cpu: usize) -> u64 {
        self.tails[cpu]
    }

    /// Whether the program is processing a packet on `cpu`.
    pub(crate) fn is_busy(&self, cpu: usize) -> bool {
        self.rings.half(self.rings.producer(cpu, offset_of!(Producer, busy))) != 0
    }

    /// The records of `cpu` up to `head`, a position that [`head`](Self::head) returned.
    pub(crate) fn span(&self, cpu: usize, head: u64) -> Result<Span<'_>, Damage> {
        let (size, tail) = (self.rings.size as u64, self.tails[cpu]);
        let lap_end = self.lap_end(cpu);
        if head == tail {
            return Ok(Span::default());
        }
        let wrap = if head < lap_end { head } else { self.wrap(cpu) };
        if head < tail || head - tail > size || lap_end < tail {
            return Err(Damage);
        }
        if head >= lap_end && !(lap_end..=lap_end.saturating_add(SLACK as u64)).contains(&wrap) {
            return Err(Damage);
        }
        let bytes = |from: u64, length: u64| {
            // SAFETY: the bytes lie between `tail` and `head`, or in the slack that belongs to them. The program writes
            // there only after `tail` was stored, and `release` cannot store it while `self` is borrowed.
            unsafe { self.rings.mapping.bytes(self.rings.data(cpu, from), length as usize) }.ok_or(Damage)
        };
        Ok(Span { first: bytes(tail, wrap - tail)?, second: bytes(lap_end, head.saturating_sub(lap_end))? })
    }

    /// Returns `taken` bytes of `cpu`'s [`span`](Self::span) to the program. They must end at the end of a record, or a
    /// later consumer would not find the next one.
    pub(crate) fn release(&mut self, cpu: usize, taken: usize) {
        let (tail, lap_end) = (self.tails[cpu], self.lap_end(cpu));
        let end = tail + taken as u64;
        // A record that ends at or after the lap's end is the lap's last.
        let end = if end < lap_end { end } else { lap_end + end.saturating_sub(self.wrap(cpu)) };
        self.store_tail(cpu, end);
    }

    /// Discards everything that `cpu` has up to `head`.
    pub(crate) fn resync(&mut self, cpu: usize, head: u64) {
        self.store_tail(cpu, head);
    }

    /// Discards everything that the rings hold; returns the totals of the records, if their format is known.
    pub(crate) fn discard(&mut self, format: Option<Format>) -> Tally {
        let mut tally = Tally::default();
        for cpu in 0..self.cpus() {
            let head = self.head(cpu);
            if let (Some(format), Ok(span)) = (format, self.span(cpu, head)) {
                tally.add(&Tally::of(format, &[span.first, span.second]));
            }
            self.resync(cpu, head);
        }
        tally
    }

    /// Bytes that the rings hold.
    pub(crate) fn held(&self) -> u64 {
        (0..self.cpus()).map(|cpu| self.head(cpu).saturating_sub(self.tail(cpu))).sum()
    }

    /// Requests the doorbell when a ring holds more than `mark` bytes.
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

    fn lap_end(&self, cpu: usize) -> u64 {
        (self.tails[cpu] | (self.rings.size as u64 - 1)).wrapping_add(1)
    }

    /// End of the lap's last record. It is stable while `tail` is in the lap, because no other record has room to end
    /// there.
    fn wrap(&self, cpu: usize) -> u64 {
        self.rings.mapping.word64(self.rings.producer(cpu, offset_of!(Producer, wrap))).load(Ordering::Acquire)
    }

    fn store_tail(&mut self, cpu: usize, tail: u64) {
        self.tails[cpu] = tail;
        self.rings.mapping.word64(self.rings.consumer(cpu, TAIL)).store(tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
