//! The capture file: complete after every write, and written without a buffer of ours, so that whatever ends the
//! daemon leaves it readable.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, ftruncate, open, unlink};
use rustix::io::{Errno, pwrite, pwritev};

use super::name::file_name;
use crate::format::{FILE_HEADER, SNAPLEN_AT, file_header, records};
use crate::sys;

/// `UIO_MAXIOV` (include/uapi/linux/uio.h).
const SLICES: usize = 1024;
/// Files of one cube and second that are looked past for a free name.
const ATTEMPTS: u32 = 1000;

/// What a session tells its file, and learns from it.
pub(crate) struct Target {
    /// Where files are made.
    pub(crate) directory: PathBuf,
    /// Name of the cube.
    pub(crate) cube: String,
    /// Snap length of the programs that run. The file's header has the greatest that it met.
    pub(crate) snaplen: AtomicU32,
    /// The file, from its first record on.
    pub(crate) path: Mutex<Option<PathBuf>>,
}

impl Target {
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What was not written.
#[derive(Debug)]
pub(crate) struct Shortfall {
    /// Bytes of the runs, whole records, that are in the file nevertheless.
    pub(crate) kept: usize,
    pub(crate) error: io::Error,
}

/// A session's file. It comes into being with the first records.
pub(crate) struct CaptureFile {
    target: Arc<Target>,
    file: Option<Open>,
}

struct Open {
    fd: OwnedFd,
    path: PathBuf,
    /// Bytes that count: header and whole records.
    length: u64,
    /// What the header says.
    snaplen: u32,
}

impl CaptureFile {
    /// Runs that [`write`](Self::write) takes at once.
    pub(crate) const RUNS: usize = SLICES - 1;

    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { target, file: None }
    }

    /// Appends `runs`, each of whole records.
    pub(crate) fn write(&mut self, runs: &[&[u8]]) -> Result<(), Shortfall> {
        let snaplen = self.target.snaplen.load(Ordering::Acquire);
        let fresh = |error| Shortfall { kept: 0, error };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(Open::create(&self.target, snaplen).map_err(fresh)?),
        };
        file.raise(snaplen).map_err(fresh)?;
        let had_header = file.length > 0;
        let result = file.append(runs);
        if !had_header && file.length > 0 {
            *self.target.path.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.path.clone());
        }
        result
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        // Nothing could be written to it: nobody was told of it either.
        if let Some(file) = self.file.take_if(|file| file.length == 0) {
            let _ = unlink(&file.path);
        }
    }
}

impl Open {
    fn create(target: &Target, snaplen: u32) -> io::Result<Self> {
        let seconds = sys::utc_now().div_euclid(1_000_000_000);
        for attempt in 0..ATTEMPTS {
            let path = target.directory.join(file_name(&target.cube, seconds, attempt));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match open(&path, flags, Mode::from_raw_mode(0o640)) {
                Ok(fd) => return Ok(Self { fd, path, length: 0, snaplen }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Sees to it that the header allows records of `snaplen` bytes.
    fn raise(&mut self, snaplen: u32) -> io::Result<()> {
        if snaplen <= self.snaplen {
            return Ok(());
        }
        if self.length > 0 {
            pwrite(&self.fd, &snaplen.to_ne_bytes(), SNAPLEN_AT)?;
        }
        self.snaplen = snaplen;
        Ok(())
    }

    fn append(&mut self, runs: &[&[u8]]) -> Result<(), Shortfall> {
        // The header goes with the first records: no reader finds half of it.
        let header = file_header(self.snaplen);
        let header = if self.length == 0 { header.as_slice() } else { &[] };
        let mut slices = std::iter::once(header).chain(runs.iter().copied()).map(IoSlice::new).collect::<Vec<_>>();
        let (written, result) = write_all(&self.fd, &mut slices, self.length);
        let Err(error) = result else {
            self.length += written as u64;
            return Ok(());
        };
        let kept = whole_records(runs, written.saturating_sub(header.len()));
        if kept > 0 {
            self.length += (header.len() + kept) as u64;
        }
        // Where this fails as well, the next write covers what is too much.
        let _ = ftruncate(&self.fd, self.length);
        Err(Shortfall { kept, error })
    }
}

/// Writes `slices` at `position`. Returns how many bytes there are in the file, whatever happened then.
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

/// Bytes of the whole records among the first `written` of `runs`.
fn whole_records(runs: &[&[u8]], written: usize) -> usize {
    let sizes = runs.iter().flat_map(|run| records(run)).map(|record| record.size());
    let ends = sizes.scan(0, |end, size| {
        *end += size;
        Some(*end)
    });
    ends.take_while(|end| *end <= written).last().unwrap_or(0)
}

/// Whether files can be made in `directory`: makes one, because permissions alone do not tell.
pub(crate) fn probe(directory: &Path, cube: &str) -> io::Result<()> {
    let path = directory.join(format!(".{cube}-{}.probe", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let probe = open(&path, flags, Mode::from_raw_mode(0o600))?;
    let result = pwrite(&probe, &[0; FILE_HEADER], 0);
    unlink(&path)?;
    result?;
    Ok(())
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
