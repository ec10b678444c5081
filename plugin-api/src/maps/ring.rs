//! The records of a BPF ring buffer, from the side of user space.
//!
//! The kernel maps two positions, each in a page of its own, and then the data twice in a row, so that every record is
//! contiguous (`struct bpf_ringbuf` in kernel/bpf/ringbuf.c). A reader copies a record and then claims it by moving the
//! consumer's position past it, with a compare-and-exchange. So each record is read once even while there are two readers:
//! when a service is reloaded, the earlier instance may still read when the next one begins.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::error::{MapType, OpenError};
use super::raw::{Expected, Raw};
use crate::Map;

/// Bits of a record's length, and the bytes of its header (`BPF_RINGBUF_BUSY_BIT` and others in
/// include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;

/// A map of type `RINGBUF`, through which programs send records of any size; a [`RingReader`](super::RingReader) reads
/// them.
#[derive(Debug)]
pub struct Ring {
    raw: Raw,
    consumer: Mapping,
    producer: Mapping,
    /// Bytes of data, a power of two.
    size: usize,
    /// Bytes before the data in the mapping of the producer's side.
    page: usize,
}

impl TryFrom<Map> for Ring {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        let raw = Raw::open(map, &Expected { kind: MapType::RINGBUF, key: 0, value: 0 })?;
        let (page, size) = (rustix::param::page_size(), raw.info.max_entries as usize);
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Mapping::new(raw.fd.as_fd(), 0, page, read_write);
        let producer = Mapping::new(raw.fd.as_fd(), page as u64, page + 2 * size, ProtFlags::READ);
        match (consumer, producer) {
            (Ok(consumer), Ok(producer)) => Ok(Self { raw, consumer, producer, size, page }),
            (Err(source), _) | (_, Err(source)) => Err(OpenError::Kernel { map: raw.name, source }),
        }
    }
}

impl Ring {
    /// The map's name.
    pub fn name(&self) -> &str {
        &self.raw.name
    }

    /// The kernel's id of the map.
    pub(super) fn id(&self) -> u32 {
        self.raw.info.id
    }

    /// Reads the records that are there now. For hosts: plugins have the [`RingReader`](super::RingReader), which waits.
    #[doc(hidden)]
    pub fn drain(&self, record: &mut Vec<u8>, mut take: impl FnMut(&[u8])) {
        // What comes meanwhile makes another round.
        let end = self.produced().load(Ordering::Acquire);
        loop {
            let position = self.consumed().load(Ordering::Acquire);
            // Another reader may be beyond the end.
            if position.wrapping_sub(end) as i64 >= 0 {
                return;
            }
            let place = self.page + (position as usize & (self.size - 1));
            let header = self.producer.word32(place).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return;
            }
            let length = (header & !DISCARDED) as usize;
            let next = position + (length + HEADER).next_multiple_of(8) as u64;
            // Only while another reader has claimed this record, and the kernel overwrites it.
            if next > end {
                if self.consumed().load(Ordering::Acquire) == position {
                    return;
                }
                continue;
            }
            let is_whole = header & DISCARDED == 0;
            if is_whole {
                self.producer.copy(place + HEADER, length, record);
            }
            let claim = self.consumed().compare_exchange(position, next, Ordering::AcqRel, Ordering::Relaxed);
            if claim.is_ok() && is_whole {
                take(record);
            }
        }
    }

    fn consumed(&self) -> &AtomicU64 {
        self.consumer.word64(0)
    }

    fn produced(&self) -> &AtomicU64 {
        self.producer.word64(0)
    }
}

/// It is readable while there are records.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.fd.as_fd()
    }
}

/// Shared memory of a map.
#[derive(Debug)]
struct Mapping {
    at: NonNull<c_void>,
    length: usize,
}

// SAFETY: the memory is mapped as long as this value lives, and every access is atomic or a copy out of it.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: BorrowedFd<'_>, offset: u64, length: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses, aliases nothing of this process.
        let at = unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, map, offset) }?;
        let at = NonNull::new(at).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { at, length })
    }

    /// The address of `size` bytes at `offset`.
    fn address<T>(&self, offset: usize, size: usize) -> *const T {
        assert!(
            offset.is_multiple_of(align_of::<T>()) && self.length.checked_sub(size).is_some_and(|last| offset <= last)
        );
        self.at.as_ptr().wrapping_byte_add(offset).cast_const().cast()
    }

    fn word32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the word is aligned and within the mapping, as asserted, and lives as long as `self`.
        unsafe { &*self.address::<AtomicU32>(offset, 4) }
    }

    fn word64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `word32`. Where the mapping is read-only, the callers only load.
        unsafe { &*self.address::<AtomicU64>(offset, 8) }
    }

    /// Replaces the content of `to` with `length` bytes at `offset`.
    fn copy(&self, offset: usize, length: usize, to: &mut Vec<u8>) {
        to.resize(length, 0);
        let from = self.address::<u8>(offset, length);
        // SAFETY: both are `length` bytes long, the source as asserted, and do not overlap. The kernel overwrites a record
        // only after it has been claimed; if another reader has done that, the copy is not used.
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), length) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference into it outlives `self`. It cannot fail.
        let _ = unsafe { munmap(self.at.as_ptr(), self.length) };
    }
}
