//! Memory that a program in the kernel writes while we read it.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Permitted access to a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// A shared mapping of a file or an eBPF map; dropping it unmaps it.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: `&self` gives access to atomics, and to `bytes`, whose caller guarantees that nothing changes them.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(fd: BorrowedFd<'_>, offset: u64, length: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: without an address hint, the kernel picks an unused range.
        let start = unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, fd, offset) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// The word at `at`. Storing to it in a mapping made with [`Access::Read`] faults.
    pub(super) fn word64(&self, at: usize) -> &AtomicU64 {
        let place = self.place(at, size_of::<AtomicU64>());
        // SAFETY: `place` is within the mapping, which lives as long as `self`, and aligned; all other writers of the
        // word, in the kernel or here, write it as a whole.
        unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
    }

    /// The half word at `at`.
    pub(super) fn word32(&self, at: usize) -> &AtomicU32 {
        let place = self.place(at, size_of::<AtomicU32>());
        // SAFETY: as in `word64`.
        unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) }
    }

    /// Pointer to `size` bytes at `at`.
    fn place(&self, at: usize, size: usize) -> NonNull<u8> {
        assert!(at.is_multiple_of(size) && self.has(at, size), "the layout's words lie within its element");
        // SAFETY: asserted above: `at` is within the mapping.
        unsafe { self.start.add(at) }
    }

    /// `length` bytes from `at`, if they are within the mapping.
    ///
    /// # Safety
    ///
    /// Nothing writes them while they are borrowed.
    pub(super) unsafe fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        // SAFETY: the bytes are within the mapping, and mapped memory is initialised; the caller guarantees that they
        // do not change.
        self.has(at, length).then(|| unsafe { std::slice::from_raw_parts(self.start.add(at).as_ptr(), length) })
    }

    fn has(&self, at: usize, length: usize) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.length)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it is left. An error cannot be handled here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
