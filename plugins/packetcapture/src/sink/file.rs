//! One capture file: complete after every write, and written without a buffer, so that it is readable however the
//! daemon ends.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstat, ftruncate};
use rustix::io::{Errno, pwrite, pwritev};

use super::direct::Direct;
use crate::format::Format;
use crate::format::pcap::SNAPLEN_AT;
use crate::format::pcapng::Section;
use crate::outcome::Outcome;
use crate::store::{Directory, OwnFile};

/// `UIO_MAXIOV` (include/uapi/linux/uio.h).
const SLICES: usize = 1024;

/// What was not written.
#[derive(Debug)]
pub(crate) struct Shortfall {
    /// Bytes of whole records that were written nevertheless.
    pub(crate) kept: usize,
    pub(crate) error: io::Error,
}

/// What somebody else did to a file that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interference {
    /// It has no name any more.
    Deleted,
    /// Its name refers to nothing, or to another file; it may have another name.
    Moved,
    /// It is shorter than what was written to it.
    Truncated,
}

/// A capture file that is being written. It is locked, so that it is not mistaken for one that a killed daemon left.
pub(crate) struct CaptureFile {
    fd: OwnedFd,
    own: OwnFile,
    format: Format,
    /// What the file tells its readers, or will with the next records.
    section: Section,
    /// What precedes the next records, and the keys that follow it.
    pending: Vec<u8>,
    keys: Vec<u8>,
    /// Valid bytes: header and whole records.
    length: u64,
    /// The end of the file, if it bypasses the page cache.
    direct: Option<Direct>,
}

impl CaptureFile {
    /// Maximum runs that [`append`](Self::append) takes at once.
    pub(crate) const RUNS: usize = SLICES - 2;

    /// Creates a file. It must not exist; a link in its place is not followed.
    pub(crate) fn create(
        directory: &Arc<Directory>,
        name: &OsStr,
        format: Format,
        section: &Section,
    ) -> io::Result<Self> {
        let (own, fd) = directory.create(name)?;
        // Some network file systems have no locks; the file works without.
        let _ = flock(&fd, FlockOperation::NonBlockingLockExclusive);
        Ok(Self::over(fd, own, format, section))
    }

    fn over(fd: OwnedFd, own: OwnFile, format: Format, section: &Section) -> Self {
        let (section, pending) = (section.clone(), format.header(section));
        Self { fd, own, format, section, pending, keys: Vec::new(), length: 0, direct: None }
    }

    /// Bypasses the page cache from now on; false if the file system does not support it.
    pub(super) fn bypass_cache(&mut self, outcome: &Arc<Outcome>) -> io::Result<bool> {
        self.direct = Direct::new(&self.fd, self.length, outcome)?;
        Ok(self.direct.is_some())
    }

    /// Writes through the page cache from now on. If that fails, the file stays as it is.
    pub(super) fn use_cache(&mut self) -> io::Result<()> {
        self.settle()?;
        self.direct = None;
        Ok(())
    }

    /// Whether it bypasses the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// How long the disk was busy with direct writes since the last call.
    pub(super) fn take_busy(&self) -> Duration {
        self.direct.as_ref().map_or(Duration::ZERO, Direct::take_busy)
    }

    pub(crate) fn own(&self) -> &OwnFile {
        &self.own
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What the file tells its readers.
    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    /// Size of the file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are in the file for good.
    pub(super) fn start(&self) -> u64 {
        self.direct.as_ref().map_or(self.length, Direct::start)
    }

    /// Bytes that are in the file though writing has failed: all writes follow each other.
    pub(super) fn reached(&self) -> u64 {
        let size = fstat(&self.fd).map_or(0, |stat| stat.st_size.cast_unsigned());
        size.min(self.length).max(self.start())
    }

    /// Keeps only the first `length` bytes of those that are in the file.
    pub(super) fn shorten(&mut self, length: u64) {
        self.direct = None;
        self.length = length;
        self.cut();
    }

    /// A second descriptor, for operations that take time.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Whether records of `section` may follow. In pcapng, an interface cannot change. Another section could say so, but
    /// libpcap stops at an interface whose snap length is not the first one's (`pcap_ng_next_packet` in its
    /// sf-pcapng.c).
    pub(crate) fn can_describe(&self, section: &Section) -> bool {
        self.format != Format::Pcapng || self.length == 0 || self.section.is_extended_by(section)
    }

    /// What was done to the file since it was created, as far as the file itself shows it.
    pub(crate) fn interference(&self) -> Option<Interference> {
        let stat = fstat(&self.fd).ok()?;
        if stat.st_nlink == 0 {
            Some(Interference::Deleted)
        } else if stat.st_size.cast_unsigned() < self.start() {
            Some(Interference::Truncated)
        } else {
            None
        }
    }

    /// The same, and whether its name was given to another file.
    pub(crate) fn interference_at_path(&self) -> Option<Interference> {
        let moved = || (!self.own.is_in_place()).then_some(Interference::Moved);
        self.interference().or_else(moved)
    }

    /// Makes sure that records of `section` may follow. The file [can](Self::can_describe) contain them.
    pub(crate) fn describe(&mut self, section: &Section) -> io::Result<()> {
        if self.section.covers(section) {
            return Ok(());
        }
        match self.format {
            _ if self.length == 0 => self.pending = self.format.header(section),
            Format::Pcapng => self.pending.extend(self.section.extension(section, self.format.resolution())),
            Format::Pcap | Format::PcapNanos if section.snaplen > self.section.snaplen => {
                let snaplen = section.snaplen.to_ne_bytes();
                let is_waiting = match &mut self.direct {
                    Some(direct) => direct.overwrite(SNAPLEN_AT, &snaplen)?,
                    None => false,
                };
                if !is_waiting {
                    pwrite(&self.fd, &snaplen, SNAPLEN_AT)?;
                }
            }
            Format::Pcap | Format::PcapNanos => {}
        }
        self.section = self.section.widened(section);
        Ok(())
    }

    /// Has blocks of TLS keys precede the next records.
    pub(crate) fn precede(&mut self, keys: &[u8]) {
        if self.format == Format::Pcapng {
            self.keys.extend_from_slice(keys);
        }
    }

    /// Appends `runs`, each of whole records.
    pub(crate) fn append(&mut self, runs: &[&[u8]]) -> Result<(), Shortfall> {
        // It is written together with the records, so that no reader finds it without them.
        let (pending, keys) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.keys));
        let ahead = [pending.as_slice(), keys.as_slice()];
        let slices = ahead.into_iter().chain(runs.iter().copied()).map(IoSlice::new);
        let (written, result) = self.write_all(&mut slices.collect::<Vec<_>>());
        let before = pending.len() + keys.len();
        let Err(error) = result else {
            self.length += written as u64;
            return Ok(());
        };
        let kept = whole_records(self.format, runs, written.saturating_sub(before));
        if kept > 0 {
            self.length += (before + kept) as u64;
        } else {
            (self.pending, self.keys) = (pending, keys);
        }
        self.cut();
        Err(Shortfall { kept, error })
    }

    /// Appends a block of pcapng, if records precede it.
    pub(crate) fn append_block(&mut self, block: &[u8]) -> io::Result<()> {
        if self.length == 0 || self.format != Format::Pcapng {
            return Ok(());
        }
        let (written, result) = self.write_all(&mut [IoSlice::new(block)]);
        if result.is_ok() {
            self.length += written as u64;
        } else {
            self.cut();
        }
        result
    }

    /// Makes sure that all valid bytes are in the file.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.direct.as_ref().map_or(Ok(()), |direct| direct.settle(&self.fd))
    }

    /// The same, unless full blocks are on their way: then an incomplete one is not old.
    pub(super) fn settle_if_idle(&self) -> io::Result<()> {
        if self.direct.as_ref().is_some_and(Direct::is_busy) { Ok(()) } else { self.settle() }
    }

    fn write_all(&mut self, slices: &mut [IoSlice<'_>]) -> (usize, io::Result<()>) {
        match &mut self.direct {
            Some(direct) => direct.write_all(slices),
            None => write_all(&self.fd, slices, self.length),
        }
    }

    /// Removes what is not valid.
    fn cut(&mut self) {
        if let Some(direct) = &mut self.direct {
            direct.truncate(self.length);
        }
        if fstat(&self.fd).is_ok_and(|stat| stat.st_size.cast_unsigned() > self.length) {
            // If this fails too, the next write overwrites the excess.
            let _ = ftruncate(&self.fd, self.length);
        }
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        // Nothing was written to it, so it was never listed either.
        if self.length == 0 {
            let _ = self.own.remove();
        }
    }
}

/// Writes `slices` at `position`. Returns how many bytes were written, even if it fails.
fn write_all(fd: impl AsFd, mut slices: &mut [IoSlice<'_>], position: u64) -> (usize, io::Result<()>) {
    let mut written = 0;
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let count = slices.len().min(SLICES);
        match pwritev(&fd, &slices[..count], position + written as u64) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more;
                IoSlice::advance_slices(&mut slices, more);
            }
            Err(Errno::INTR) => {}
            Err(error) => return (written, Err(error.into())),
        }
    }
    (written, Ok(()))
}

/// Size of the whole records within the first `written` bytes of `runs`.
fn whole_records(format: Format, runs: &[&[u8]], written: usize) -> usize {
    let sizes = runs.iter().flat_map(|run| format.records(run)).map(|(record, _)| record.size);
    let ends = sizes.scan(0, |end, size| {
        *end += size;
        Some(*end)
    });
    ends.take_while(|end| *end <= written).last().unwrap_or(0)
}

#[cfg(test)]
mod tests;
