//! A map's memory, for maps that can be memory-mapped.

use std::io;
use std::os::fd::AsFd;

/// A map's memory.
pub(super) struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the mapping belongs to the process, and its words are read and written as a whole.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(map: impl AsFd, length: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks the address, so nothing else is there.
        let start = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), length })
    }

    pub(super) fn read(&self, at: usize) -> u64 {
        // SAFETY: `word` checks the place; programs store whole words.
        unsafe { self.word(at).read_volatile() }
    }

    pub(super) fn write(&self, at: usize, value: u64) {
        // SAFETY: `word` checks the place; nothing else writes the words of a reader, whole ones.
        unsafe { self.word(at).write_volatile(value) }
    }

    fn word(&self, at: usize) -> *mut u64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length, "no word at {at}");
        // SAFETY: the word lies within the mapping.
        unsafe { self.start.add(at).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing holds a reference into the mapping.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}
