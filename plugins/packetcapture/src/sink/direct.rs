//! Writing past the page cache (`O_DIRECT`): whole blocks go from our memory to the disk, and cost the CPU a fraction of
//! what copying them into the cache does.
//!
//! The file system wants aligned blocks. What does not fill one waits here, and reaches the file through the cache when
//! somebody wants it to be there: at most a block, for at most a second.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pwrite};

/// Bytes of a block.
const BLOCK: usize = 1 << 20;
/// What every disk's logical block divides.
const ALIGNMENT: usize = 4096;

/// The end of a file, from its last whole block on.
pub(super) struct Direct {
    /// The file, opened once more.
    fd: OwnedFd,
    memory: Vec<u8>,
    /// Where the block begins in `memory`.
    offset: usize,
    /// Where it begins in the file.
    start: u64,
    filled: usize,
}

impl Direct {
    /// Takes over the end of an empty file. `None` where the file system has no direct writes.
    pub(super) fn new(cached: &OwnedFd) -> io::Result<Option<Self>> {
        // Whether writes are direct is of the opened file, which a copy of the descriptor would share.
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

    /// Appends `slices`. Returns how many of their bytes there are now, whatever happened then.
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

    /// Forgets what is behind the file's first `length` bytes. They end in the block, which is longer than a record.
    pub(super) fn truncate(&mut self, length: u64) {
        self.filled = usize::try_from(length.saturating_sub(self.start)).unwrap_or(BLOCK).min(self.filled);
    }

    /// Overwrites what is waiting of the bytes from `position` on; false where they are in the file already.
    pub(super) fn overwrite(&mut self, position: u64, bytes: &[u8]) -> bool {
        let Some(at) = position.checked_sub(self.start).and_then(|at| usize::try_from(at).ok()) else { return false };
        let place = self.memory[self.offset..self.offset + self.filled].get_mut(at..at + bytes.len());
        place.map(|place| place.copy_from_slice(bytes)).is_some()
    }

    /// Brings what waits into the file, through `cached`, a descriptor of it that is not for direct writes. It goes on
    /// waiting: its block is written as a whole when it is full.
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
            // A direct write that ends early has met the end of the disk.
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

    /// Where this program is there is a disk; where temporary files are there may be none.
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
