//! Writing past the page cache (`O_DIRECT`): whole blocks go from our memory to the disk, which costs the CPU a
//! fraction of copying them into the cache.
//!
//! The file system requires aligned blocks. An incomplete block waits here, and reaches the file through the cache on
//! request: at most one block, for at most a second. Full ones are written by the thread of [`disk`].

#![forbid(unsafe_code)]

mod block;
mod disk;
pub(super) mod way;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pread, pwrite};

use block::{ALIGNMENT, Block};
use disk::Disk;

use crate::outcome::Outcome;

/// The end of a file, from the start of its incomplete block.
pub(super) struct Direct {
    disk: Disk,
    block: Block,
    /// Offset of the block in the file.
    start: u64,
}

impl Direct {
    /// Takes over the end of a file of `length` bytes. `None` if the file system does not support direct writes.
    pub(super) fn new(cached: &OwnedFd, length: u64, outcome: &Arc<Outcome>) -> io::Result<Option<Self>> {
        // `O_DIRECT` is a property of the open file description, which a duplicated descriptor would share.
        let again = format!("/proc/self/fd/{}", cached.as_raw_fd());
        let fd = match open(&again, OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let start = length - length % ALIGNMENT as u64;
        let mut block = Block::default();
        if start < length {
            let mut last = vec![0; (length - start) as usize];
            let readable = open(&again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut filled = 0;
            while filled < last.len() {
                match pread(&readable, &mut last[filled..], start + filled as u64)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => filled += count,
                }
            }
            block.append(&last);
        }
        Ok(Some(Self { disk: Disk::new(fd, start, Arc::clone(outcome)), block, start }))
    }

    /// The bytes that are in the file for good.
    pub(super) fn start(&self) -> u64 {
        self.disk.start()
    }

    /// Whether full blocks are on their way to the file.
    pub(super) fn is_busy(&self) -> bool {
        self.disk.is_busy()
    }

    /// How long the disk was busy since the last call.
    pub(super) fn take_busy(&self) -> Duration {
        self.disk.take_busy()
    }

    /// Appends `slices`. Returns how many of their bytes were taken, even if it fails.
    pub(super) fn write_all(&mut self, slices: &[io::IoSlice<'_>]) -> (usize, io::Result<()>) {
        let mut written = 0;
        for mut slice in slices.iter().map(|slice| &**slice) {
            while !slice.is_empty() {
                if self.block.is_full()
                    && let Err(error) = self.flush()
                {
                    return (written, Err(error));
                }
                let rest = self.block.append(slice);
                written += slice.len() - rest.len();
                slice = rest;
            }
        }
        (written, Ok(()))
    }

    /// Discards what follows the file's first `length` bytes. They end in the current block, which is longer than a
    /// record.
    pub(super) fn truncate(&mut self, length: u64) {
        self.block.truncate(length.saturating_sub(self.start) as usize);
    }

    /// Overwrites waiting bytes from `position` on; false if they are already in the file.
    pub(super) fn overwrite(&mut self, position: u64, bytes: &[u8]) -> io::Result<bool> {
        let at = position.checked_sub(self.start).map(|at| at as usize);
        if let Some(at) = at
            && let Some(place) = self.block.bytes_mut().get_mut(at..at + bytes.len())
        {
            place.copy_from_slice(bytes);
            return Ok(true);
        }
        self.disk.settle()?;
        Ok(false)
    }

    /// Writes the incomplete block to the file through `cached`, a descriptor without `O_DIRECT`, after the full ones. The
    /// block keeps waiting: it is written as a whole when it is full.
    pub(super) fn settle(&self, cached: &OwnedFd) -> io::Result<()> {
        self.disk.settle()?;
        self.disk.tidy();
        let mut rest = self.block.bytes();
        let mut position = self.start;
        while !rest.is_empty() {
            let count = pwrite(cached, rest, position)?;
            position += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Hands the full block over.
    fn flush(&mut self) -> io::Result<()> {
        let length = self.block.bytes().len() as u64;
        self.disk.push(&mut self.block)?;
        self.start += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::IoSlice;
    use std::path::Path;

    use tempfile::TempDir;

    use super::block::BLOCK;
    use super::*;

    fn file(directory: &Path) -> (OwnedFd, Direct) {
        let cached = File::create(directory.join("s")).unwrap().into();
        let direct = Direct::new(&cached, 0, &Arc::default())
            .unwrap()
            .expect("the file system of this program has direct writes");
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
        direct.disk.settle().unwrap();
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
        assert!(!direct.overwrite(16, &[9]).unwrap(), "the first block is on the disk");
        assert!(direct.overwrite(BLOCK as u64 + 1, &[9]).unwrap());
        direct.settle(&cached).unwrap();
        let bytes = fs::read(directory.path().join("s")).unwrap();
        assert_eq!(bytes[BLOCK..], [1, 9, 1, 1]);
    }

    #[test]
    fn a_file_that_has_something_is_continued() {
        for before in [1, ALIGNMENT, BLOCK + 5000] {
            let directory = disk();
            let path = directory.path().join("s");
            let bytes = (0..BLOCK * 10 + before).map(|at| (at / 7) as u8).collect::<Vec<_>>();
            fs::write(&path, &bytes[..before]).unwrap();
            let cached = OwnedFd::from(File::options().write(true).open(&path).unwrap());
            let mut direct = Direct::new(&cached, before as u64, &Arc::default()).unwrap().unwrap();
            direct.write_all(&[IoSlice::new(&bytes[before..])]).1.unwrap();
            direct.settle(&cached).unwrap();
            assert!(fs::read(&path).unwrap() == bytes, "after {before} bytes");
        }
    }
}
