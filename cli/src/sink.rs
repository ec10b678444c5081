//! Where packets are written, and what is reported about them meanwhile and afterwards.

use std::fmt::{self, Display};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, flock, linkat};
use rustix::io::Errno;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::failure::Failure;
use crate::grammar::Destination;
use crate::quantity;
use crate::records::Packet;
use crate::terminal::escape;

/// Mode of a new capture file: not for everybody.
const MODE: u32 = 0o640;
/// From anywhere in a line to its beginning, and nothing on it.
pub(crate) const CLEAR: &str = "\r\x1b[K";

/// A file or standard output.
pub(crate) struct Sink {
    file: File,
    kind: SinkKind,
    /// Unless it is standard output.
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq)]
enum SinkKind {
    /// With a terminal to show a live line on, or without.
    File { live: bool },
    /// A pipe, or whatever standard output is.
    Pipe,
}

impl Sink {
    /// Refuses what makes no sense, before the daemon is asked for packets.
    pub(crate) fn check(destination: &Destination) -> Result<(), Failure> {
        match destination {
            Destination::Records if io::stdout().is_terminal() => Err(Failure::Terminal),
            // With --force, too: it cannot be overwritten.
            Destination::File { path, .. } if path.is_dir() => Err(failure(path, io::ErrorKind::IsADirectory.into())),
            Destination::File { path, force: false } if path.symlink_metadata().is_ok_and(|it| is_kept(&it)) => {
                Err(failure(path, io::ErrorKind::AlreadyExists.into()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn open(destination: &Destination) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true);
        let (path, options) = match destination {
            Destination::Records | Destination::Lines => {
                let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(Failure::Output)?;
                return Ok(Self { file: File::from_std(stdout.into()), kind: SinkKind::Pipe, path: None });
            }
            Destination::Pipe(path) => (path, &mut options),
            Destination::File { path, force } => {
                let file = File::from_std(create(path, *force)?);
                let kind = SinkKind::File { live: io::stderr().is_terminal() };
                return Ok(Self { file, kind, path: Some(path.clone()) });
            }
        };
        let file = File::from_std(options.open(path).map_err(|source| failure(path, source))?);
        Ok(Self { file, kind: SinkKind::Pipe, path: Some(path.clone()) })
    }

    /// Writes, and returns when it is written: a reader wants packets as they arrive.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.file.flush().await
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind != SinkKind::Pipe
    }

    /// Whether there is a terminal to show a live line on.
    pub(crate) fn is_live(&self) -> bool {
        self.kind == SinkKind::File { live: true }
    }

    /// Whether a pipe's reader has closed it: without packets, no write would fail.
    pub(crate) fn is_reader_gone(&self) -> bool {
        if self.is_file() {
            return false;
        }
        let mut ready = [PollFd::new(&self.file, PollFlags::empty())];
        poll(&mut ready, Some(&Timespec::default())).is_ok_and(|_| ready[0].revents().contains(PollFlags::ERR))
    }

    /// Redraws the live line.
    pub(crate) fn draw(&self, tally: &mut Tally) {
        // There is nowhere to report that stderr is closed.
        let _ = write!(io::stderr(), "{CLEAR}{}", tally.live());
    }

    /// Removes the live line.
    pub(crate) fn clear(&self) {
        if self.is_live() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }

    /// Where the packets are, to follow a summary.
    pub(crate) fn place(&self) -> String {
        self.path.as_ref().map_or_else(String::new, |path| escape(&format!(": {}", path.display())))
    }

    pub(crate) fn failure(&self, source: io::Error) -> Failure {
        match &self.path {
            Some(path) => failure(path, source),
            None => Failure::Output(source),
        }
    }
}

/// Creates a file of packets, over an old one with `force`.
pub(crate) fn create(path: &Path, force: bool) -> Result<std::fs::File, Failure> {
    let file = open_named(path, force)?.0;
    truncate(&file).map_err(|source| failure(path, source))?;
    Ok(file)
}

/// Where a file comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Origin {
    /// It was there.
    Old,
    New,
    /// It has no name yet (`O_TMPFILE`, open(2)): if this process is killed now, nothing is left of it.
    Unnamed,
}

/// Whether something could be lost if packets were written there: not in a character device. A named pipe has to be meant:
/// opening it waits for a reader.
fn is_kept(metadata: &Metadata) -> bool {
    !metadata.file_type().is_char_device()
}

/// Truncates a file, if it is not a device or a pipe.
pub(crate) fn truncate(file: &std::fs::File) -> io::Result<()> {
    if is_file(file) { file.set_len(0) } else { Ok(()) }
}

/// Opens a new file of packets, or an old one with `force`, which stays as it is. A new one has no name where the file system
/// can do that.
pub(crate) fn claim(path: &Path, force: bool) -> Result<(std::fs::File, Origin), Failure> {
    let is_new = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match is_new.then(|| unnamed(path)).flatten() {
        Some(file) => Ok((file, Origin::Unnamed)),
        None => open_named(path, force),
    }
}

/// A file in the directory of `path`, if that is possible.
fn unnamed(path: &Path) -> Option<std::fs::File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(OFlags::TMPFILE.bits().cast_signed());
    let file = options.open(directory).ok()?;
    // Nobody else can have locked it, and without /proc it would get no name.
    let is_fit = named_by_descriptor(&file).exists() && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    is_fit.then_some(file)
}

/// Gives an [unnamed](Origin::Unnamed) file its name.
///
/// # Errors
/// There is a file of that name by now, or there can be none.
pub(crate) fn name(file: &std::fs::File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, named_by_descriptor(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// A path of a file that may have no name, or another one by now (proc(5)).
pub(crate) fn named_by_descriptor(file: &std::fs::File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn open_named(path: &Path, force: bool) -> Result<(std::fs::File, Origin), Failure> {
    let mut options = OpenOptions::new();
    // Never through a symbolic link: another user may have made it, to have a file of ours overwritten.
    options.write(true).mode(MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let opened = match options.clone().create_new(true).open(path) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && (force || path.symlink_metadata().is_ok_and(|it| !is_kept(&it))) =>
        {
            options.open(path).map(|file| (file, Origin::Old))
        }
        created => created.map(|file| (file, Origin::New)),
    };
    let (file, origin) = opened.map_err(|source| failure(path, source))?;
    // It goes with the descriptor, and with the copy that the daemon gets. Some network file systems have no locks; the file
    // works without.
    if is_file(&file) && flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(failure(path, io::Error::other("another capture is being written into it")));
    }
    Ok((file, origin))
}

fn is_file(file: &std::fs::File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn failure(path: &Path, source: io::Error) -> Failure {
    Failure::File { path: escape(&path.display().to_string()), source }
}

/// What has arrived so far.
pub(crate) struct Tally {
    packets: u64,
    /// What was recorded of the packets.
    bytes: u64,
    /// Packets that we were too slow for, if the daemon says.
    pub(crate) dropped: Option<u64>,
    began: Instant,
    /// When the rate was last computed, and how many packets there were.
    last: (Instant, u64),
}

impl Tally {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { packets: 0, bytes: 0, dropped: None, began: now, last: (now, 0) }
    }

    pub(crate) fn add(&mut self, packet: &Packet<'_>) {
        self.packets += 1;
        self.bytes += packet.bytes.len() as u64;
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    fn live(&mut self) -> String {
        let (then, before) = std::mem::replace(&mut self.last, (Instant::now(), self.packets));
        let rate = (self.packets - before) as f64 / (self.last.0 - then).as_secs_f64().max(1e-3);
        let dropped = self.dropped.map_or_else(String::new, |dropped| format!(", {dropped} dropped"));
        let size = quantity::size(self.bytes);
        format!("{}, {size}, {rate:.0} packets a second{dropped}", quantity::packets(self.packets))
    }
}

/// The summary.
impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, bytes, dropped, began, .. } = self;
        let packets = quantity::packets(*packets);
        write!(f, "{packets}, {} in {}", quantity::size(*bytes), quantity::time(began.elapsed()))?;
        dropped.map_or(Ok(()), |dropped| write!(f, ", {dropped} dropped"))
    }
}
