//! Where the bytes of a stream go: a pipe, from which the host copies them, or a file of the client's.
//!
//! A file takes each byte once, as it comes from the rings; through a pipe, the host and a socket it is copied six times. Its
//! client hears of it by the pipe.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, SeekFrom, flock, fstat, ftruncate, seek};
use rustix::io::{Errno, pwrite, write};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde::Serialize;

use super::Reader;
use crate::lock::lock;
use crate::sys::{self, PipeEvent, Wake};

/// Size of the pipe to the host: the default of `/proc/sys/fs/pipe-max-size`.
const PIPE: usize = 1 << 20;

/// After its stream has ended, a reader may go on as long as it reads something within this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the client of a file hears of it.
const REPORTS: Duration = Duration::from_millis(100);

pub(super) enum Output {
    Pipe(OwnedFd),
    File(IntoFile),
}

/// A client's file, and what the client has heard of it.
pub(super) struct IntoFile {
    file: OwnedFd,
    /// The end of what is written, all of it whole blocks.
    end: u64,
    pipe: OwnedFd,
    /// The file's end when the last report was made, and when that was.
    reported: (u64, Instant),
}

/// The numbers of a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Counts {
    pub(super) packets: u64,
    /// What was recorded of them.
    pub(super) bytes: u64,
    /// Packets that passed, whether they matched the filter or not.
    pub(super) seen: u64,
    pub(super) dropped: u64,
}

/// What the client of a file reads, in a line of JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a> {
    Counts {
        #[serde(flatten)]
        counts: Counts,
        /// The end of the file, of which all is whole.
        end: u64,
    },
    Error {
        error: &'a str,
    },
    /// The file's format has no room for the packets of this place, beside others.
    #[serde(rename_all = "kebab-case")]
    Ended {
        raw_ip: &'a str,
    },
}

impl Output {
    /// A pipe, and its read end.
    pub(super) fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (receiver, sender) = pipe()?;
        Ok((Self::Pipe(sender), receiver))
    }

    /// A file from its position on, and a pipe with reports. What the file has there is cut off.
    pub(super) fn file(file: OwnedFd) -> io::Result<(Self, OwnedFd)> {
        let (receiver, pipe) = pipe()?;
        let end = seek(&file, SeekFrom::Current(0))?;
        // The null device has no end, and any number of writers.
        if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile {
            // It goes with the descriptor and its copies. Some network file systems have no locks; the file works without.
            if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                return Err(io::Error::other("another capture is being written into it"));
            }
            ftruncate(&file, end)?;
        }
        Ok((Self::File(IntoFile { file, end, pipe, reported: (end, Instant::now()) }), receiver))
    }

    /// Writes all of `bytes`. A file gets all of them or none.
    pub(super) fn write(&mut self, bytes: &[u8], reader: &Reader) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => write_to(pipe, bytes, reader),
            Self::File(output) => output.write(bytes).inspect_err(|error| {
                let error = &error.to_string();
                // The file is what it is, whether the client hears of it or not.
                let _ = write_to(&output.pipe, &Report::Error { error }.line(), reader);
            }),
        }
    }

    /// Reports to the client of a file how much is in it, if the last report is old enough.
    pub(super) fn report(&mut self, counts: impl FnOnce() -> Counts) -> io::Result<()> {
        let Self::File(IntoFile { end, pipe, reported, .. }) = self else { return Ok(()) };
        let now = Instant::now();
        if reported.0 == *end || now.duration_since(reported.1) < REPORTS {
            return Ok(());
        }
        *reported = (*end, now);
        match write(&*pipe, &Report::Counts { counts: counts(), end: *end }.line()) {
            // A client that does not listen hears of it later.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the last report, and says which place has ended the stream, if one has.
    pub(super) fn finish(self, counts: Counts, raw_ip: Option<&str>, reader: &Reader) {
        if let Self::File(IntoFile { end, pipe, .. }) = self {
            let reports = [Some(Report::Counts { counts, end }), raw_ip.map(|raw_ip| Report::Ended { raw_ip })];
            for report in reports.into_iter().flatten() {
                // The client may be gone.
                let _ = write_to(&pipe, &report.line(), reader);
            }
        }
    }

    /// Waits until `wake` is called, a report is due, or `rest` is over.
    ///
    /// # Errors
    /// The reader is gone.
    pub(super) fn wait(&self, wake: &Wake, rest: Option<Duration>) -> io::Result<()> {
        let (pipe, due) = match self {
            Self::Pipe(pipe) => (pipe, None),
            Self::File(output) => (&output.pipe, (output.reported.0 != output.end).then_some(REPORTS)),
        };
        let rest = [rest, due].into_iter().flatten().min();
        match sys::wait_for_pipe(pipe.as_fd(), PipeEvent::Closed, wake, rest) {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(error),
            _ => Ok(()),
        }
    }
}

impl IntoFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match pwrite(&self.file, &bytes[written..], self.end + written as u64) {
                Ok(0) => return self.cut(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(error) => return self.cut(error.into()),
            }
        }
        self.end += written as u64;
        Ok(())
    }

    /// Leaves nothing of a block that is not whole.
    fn cut(&self, error: io::Error) -> io::Result<()> {
        // If this fails too, the file ends within a block.
        let _ = ftruncate(&self.file, self.end);
        Err(error)
    }
}

impl Report<'_> {
    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Writes to a pipe that does not block, at the pace of its reader.
fn write_to(pipe: &OwnedFd, mut bytes: &[u8], reader: &Reader) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN) => {
                // Cleared before the check of `has_ended`, so that no call in between is lost.
                reader.wake.clear();
                let patience = lock(&reader.waiting).has_ended.then_some(PATIENCE);
                sys::wait_for_pipe(pipe.as_fd(), PipeEvent::Writable, &reader.wake, patience)?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A pipe whose write end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (receiver, sender) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The limit may be lower: then the pipe keeps its size.
    let _ = fcntl_setpipe_size(&sender, PIPE);
    Ok((receiver, sender))
}
