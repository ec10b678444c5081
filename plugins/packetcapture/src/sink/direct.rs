//! Writing past the page cache (`O_DIRECT`): whole blocks go from our memory to the disk, which costs the CPU a
//! fraction of copying them into the cache.
//!
//! The file system requires aligned blocks. An incomplete block waits here, and reaches the file through the cache on
//! request: at most one block, for at most a second.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pwrite};

/// Size of a block in bytes.
const BLOCK: usize = 1 << 20;
/// A multiple of every disk's logical block size.
const ALIGNMENT: usize = 4096;

/// The end of a file, from the start of its incomplete block.
pub(super) struct Direct {
    /// A second open file description of the file.
    fd: OwnedFd,
    memory: Vec<u8>,
    /// Offset of the block in `memory`.
    offset: usize,
    /// Offset of the block in the file.
    start: u64,
    filled: usize,
}

impl Direct {
    /// Takes over the end of an empty file. `None` if the file system does not support direct writes.
    pub(super) fn new(cached: &OwnedFd) -> io::Result<Option<Self>> {
        // `O_DIRECT` is a property of the open file description, which a duplicated descriptor would share.
        let again = format!("/proc/self/fd/{}", cached.as_raw_fd());
        let fd = match open(again, OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let memory = vec![0; BLOCK + ALIGNMENT];
        let offset = memory.as_ptr().align_offset(ALIGNMENT);
        Ok(Some(Self { fd, memory, offset, start: 0, filled: 0 }))
    }

    /// The bytes that are in the file for good.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Appends `slices`. Returns how many of their bytes were taken, even if it fails.
    pub(super) fn write_all(&mut self, slices: &[io::IoSlice<'_>]) -> (usize, io::Result<()>) {
        let mut written = 0;
        for mut slice in slices.iter().map(|slice| &**slice) {
            while !slice.is_empty() {
                if self.filled == BLOCK
                    && let Err(error) = self.flush()
                {
                    return (written, Err(error));
                }
                let count = slice.len().min(BLOCK - self.filled);
                let (piece, rest) = slice.split_at(count);
                let at = self.offset + self.filled;
                self.memory[at..at + count].copy_from_slice(piece);
                self.filled += count;
                written += count;
                slice = rest;
            }
        }
        (written, Ok(()))
    }

    /// Discards what follows the file's first `length` bytes. They end in the current block, which is longer than a
    /// record.
    pub(super) fn truncate(&mut self, length: u64) {
        self.filled = usize::try_from(length.saturating_sub(self.start)).unwrap_or(BLOCK).min(self.filled);
    }

    /// Overwrites waiting bytes from `position` on; false if they are already in the file.
    pub(super) fn overwrite(&mut self, position: u64, bytes: &[u8]) -> bool {
        let Some(at) = position.checked_sub(self.start).and_then(|at| usize::try_from(at).ok()) else { return false };
        let place = self.memory[self.offset..self.offset + self.filled].get_mut(at..at + bytes.len());
        place.map(|place| place.copy_from_slice(bytes)).is_some()
    }

    /// Writes the incomplete block to the file through `cached`, a descriptor without `O_DIRECT`. The block keeps
    /// waiting: it is written as a whole when it is full.
    pub(super) fn settle(&self, cached: &OwnedFd) -> io::Result<()> {
        let mut rest = &self.memory[self.offset..self.offset + self.filled];
        let mut position = self.start;
        while !rest.is_empty() {
            let count = pwrite(cached, rest, position)?;
            position += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Writes the full block.
    fn flush(&mut self) -> io::Result<()> {
        let block = &self.memory[self.offset..self.offset + BLOCK];
        match pwrite(&self.fd, block, self.start)? {
            BLOCK => {}
            // A short direct write means that the disk is full.
            _ => return Err(io::ErrorKind::StorageFull.into()),
        }
        self.start += BLOCK as u64;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::IoSlice;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn file(directory: &Path) -> (OwnedFd, Direct) {
        let cached = File::create(directory.join("s")).unwrap().into();
        let direct = Direct::new(&cached).unwrap().expect("the file system of this program has direct writes");
        (cached, direct)
    }

    /// The directory of this program is on a disk; the one of temporary files may not be.
    fn disk() -> TempDir {
        TempDir::new_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    #[test]
    fn whole_blocks_go_to_the_disk_and_the_rest_when_it_is_wanted() {
        let directory = disk();
        let (cached, mut direct) = file(directory.path());
        let bytes = (0..BLOCK * 5 / 2).map(|at| (at / 7) as u8).collect::<Vec<_>>();
        let (written, result) = direct.write_all(&[IoSlice::new(&bytes[..100]), IoSlice::new(&bytes[100..])]);
        result.unwrap();
        assert_eq!(written, bytes.len());
        let path = directory.path().join("s");
        assert_eq!(fs::read(&path).unwrap(), bytes[..2 * BLOCK]);
        direct.settle(&cached).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        direct.write_all(&[IoSlice::new(&bytes)]).1.unwrap();
        direct.settle(&cached).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [bytes.clone(), bytes].concat());
    }

    #[test]
    fn what_is_taken_back_is_not_written() {
        let directory = disk();
        let (cached, mut direct) = file(directory.path());
        direct.write_all(&[IoSlice::new(&vec![1; BLOCK + 10])]).1.unwrap();
        direct.truncate(BLOCK as u64 + 4);
        assert!(!direct.overwrite(16, &[9]), "the first block is on the disk");
        assert!(direct.overwrite(BLOCK as u64 + 1, &[9]));
        direct.settle(&cached).unwrap();
        let bytes = fs::read(directory.path().join("s")).unwrap();
        assert_eq!(bytes[BLOCK..], [1, 9, 1, 1]);
    }
}
