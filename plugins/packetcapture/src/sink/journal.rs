//! Notes which file is being written: a note that a starting daemon finds was left by a killed one, and the noted file
//! may end in the middle of a record.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use polycube_layout::ring::RECORD_HEADER;
use polycube_plugin_api::Level;
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::format::Format;
use crate::format::pcap::HEADER;
use crate::format::pcapng::block_length;
use crate::lock::lock;
use crate::ring::Written;
use crate::store::{Directory, FileId, Location, OpenError, OwnFile, Roots};

/// File name of a note: `.packetcapture-<id>.open`.
const PREFIX: &str = ".packetcapture-";
const SUFFIX: &str = ".open";
/// Read at once, so that records are skipped in memory.
const BUFFER: usize = 1 << 20;

/// Longer than any note: a path has at most 4,096 bytes (`PATH_MAX`, include/uapi/linux/limits.h).
const LONGEST: u64 = 8192;

/// The files of killed daemons that this process has mended. Mending one takes its turn, because all cubes look for them
/// in the same directory.
static MENDED: Mutex<Vec<(FileId, PathBuf)>> = Mutex::new(Vec::new());

/// The note of one cube: the path of the file that is being written, a zero byte, and, once the file exists, its
/// identity. The note is locked while it is valid, so that other daemons do not take it for one left behind.
pub(crate) struct Journal {
    location: Location,
    name: OsString,
    note: Option<(Directory, File)>,
}

impl Journal {
    /// `id` must be unique among the cubes of all daemons.
    pub(crate) fn new(location: Location, id: &str) -> Self {
        Self { location, name: format!("{PREFIX}{id}{SUFFIX}").into(), note: None }
    }

    /// Notes that a file is about to be created at `path`.
    pub(super) fn opened(&mut self, path: &Path) -> io::Result<()> {
        self.closed();
        let directory = self.location.open()?;
        directory.remove(&self.name)?;
        let note = File::from(directory.create_private(&self.name)?);
        // Without locks, notes count as valid for ever: see `mend`.
        let _ = flock(&note, FlockOperation::NonBlockingLockExclusive);
        let (_, note) = self.note.insert((directory, note));
        note.write_all(&[path.as_os_str().as_bytes(), b"\0"].concat()).inspect_err(|_| self.closed())
    }

    /// Notes the identity of the created file: by the time it is mended, its path may refer to another file.
    pub(super) fn made(&mut self, file: &OwnFile) -> io::Result<()> {
        let Some((_, note)) = &mut self.note else { return Ok(()) };
        note.write_all(format!("{}\n", file.id()).as_bytes()).inspect_err(|_| self.closed())
    }

    /// Removes the note.
    pub(super) fn closed(&mut self) {
        if let Some((directory, _)) = self.note.take() {
            // If this fails, the file is checked again some day, and found to be complete.
            let _ = directory.remove(&self.name);
        }
    }
}

/// Truncates the files that killed daemons left in the middle of a record, and logs it.
pub(crate) fn mend(roots: &Roots, log: &dyn Fn(Level, &str)) {
    let mut mended = lock(&MENDED);
    // If the directory is missing, nothing was noted.
    let Ok(directory) = roots.capture_dir().open() else { return };
    let notes = directory.names(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)).unwrap_or_default();
    for name in &notes {
        let Ok(note) = left_behind(&directory, name.as_ref()) else { continue };
        let file = note.path.display();
        match note.mend(roots) {
            Ok(Mended::InUse | Mended::Whole) | Err(MendError::Open(OpenError::Deleted)) => {}
            Ok(Mended::Empty) => {
                log(Level::Warn, &format!("{file} was begun by a killed daemon and has no packet: it is deleted"));
            }
            Ok(Mended::Cut(bytes)) => {
                log(Level::Warn, &format!("{file} ended within a record: its last {bytes} bytes are cut off"));
            }
            Err(error) => {
                log(Level::Warn, &format!("{file} was left by a killed daemon and cannot be repaired: {error}"));
            }
        }
        mended.extend(note.id.map(|id| (id, note.path)));
        // If this fails, the file is found to be complete the next time.
        let _ = directory.remove(name.as_ref());
    }
}

/// Cuts off the end of a killed daemon's file that its rings still hold: it is written again, to the next file.
pub(crate) fn take_back(roots: &Roots, written: &Written, log: &dyn Fn(Level, &str)) {
    let Written { file: id, length } = *written;
    let mended = lock(&MENDED);
    let Some((id, path)) = mended.iter().find(|(mended, _)| *mended == id).cloned() else { return };
    drop(mended);
    let note = Note { path, id: Some(id) };
    match note.truncate(roots, length) {
        Ok(bytes) if bytes > 0 => {
            let message = format!("the last {bytes} bytes of {} are moved to the next file", note.path.display());
            log(Level::Debug, &message);
        }
        Ok(_) | Err(MendError::Open(OpenError::Deleted)) => {}
        Err(error) => {
            let file = note.path.display();
            log(Level::Warn, &format!("some packets are both in {file} and in the next file: {error}"));
        }
    }
}

/// What a daemon that has ended was writing.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    /// `None` if the daemon was killed before it noted it.
    id: Option<FileId>,
}

/// Reads the note `name`, if its daemon has ended. In a directory that others can write to, a note of theirs must not
/// make us truncate files.
fn left_behind(directory: &Directory, name: &OsStr) -> io::Result<Note> {
    let note = File::from(directory.open_own(name, OFlags::RDONLY)?);
    flock(&note, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = Vec::new();
    note.take(LONGEST).read_to_end(&mut text)?;
    let (path, id) = text.split_at(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    // A line without an end was not written completely.
    let id = str::from_utf8(id).ok().and_then(|id| id.strip_prefix('\0')?.strip_suffix('\n')?.parse().ok());
    Ok(Note { path: PathBuf::from(OsString::from_vec(path.to_owned())), id })
}

/// Why a file is left as the killed daemon left it.
#[derive(Debug, thiserror::Error)]
enum MendError {
    #[error("it is outside the directories of `--capture-dir` and `--capture-root`")]
    Outside,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the daemon was killed before it noted which file it had created")]
    Unknown,
}

impl Note {
    fn file(&self, roots: &Roots) -> Result<OwnFile, MendError> {
        let (location, name) = roots.split(&self.path).ok_or(MendError::Outside)?;
        let directory = location.open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::Deleted,
            _ => OpenError::Io(error),
        })?;
        Ok(match self.id {
            Some(id) => OwnFile::new(Arc::new(directory), &name, id),
            None => OwnFile::found(Arc::new(directory), &name)?,
        })
    }

    /// Cuts off what follows the first `length` bytes; returns how much that was.
    fn truncate(&self, roots: &Roots, length: u64) -> Result<u64, MendError> {
        let file = self.file(roots)?;
        let opened = file.open(OFlags::RDWR)?;
        let excess = opened.metadata()?.len().saturating_sub(length);
        if length == 0 {
            file.remove()?;
        } else if excess > 0 {
            opened.set_len(length)?;
        }
        Ok(excess)
    }

    fn mend(&self, roots: &Roots) -> Result<Mended, MendError> {
        let file = self.file(roots)?;
        let opened = file.open(OFlags::RDWR)?;
        if self.id.is_none() && opened.metadata()?.len() > 0 {
            return Err(MendError::Unknown);
        }
        Ok(mend_file(&file, &opened)?)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Mended {
    /// It is being written.
    InUse,
    Whole,
    /// The header is missing or incomplete.
    Empty,
    /// This many bytes at the end were not a whole record.
    Cut(u64),
}

/// Truncates `opened`, which is `file`, to its whole records.
fn mend_file(file: &OwnFile, opened: &File) -> io::Result<Mended> {
    if flock(opened, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Mended::InUse);
    }
    let length = opened.metadata()?.len();
    let whole = whole_length(opened, length)?;
    if whole == 0 {
        // No reader would accept it.
        file.remove()?;
        return Ok(Mended::Empty);
    }
    if whole < length {
        opened.set_len(whole)?;
        return Ok(Mended::Cut(length - whole));
    }
    Ok(Mended::Whole)
}

/// The length of the record or block at the start of the bytes, of which there are at least [`RECORD_HEADER`]; `None`
/// if it is invalid.
type Next = fn(&[u8]) -> Option<u64>;

/// Size of the header and the whole records of a file of `length` bytes.
fn whole_length(file: &File, length: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut magic = [0; 4];
    if length < 4 {
        return Ok(0);
    }
    reader.read_exact(&mut magic)?;
    reader.rewind()?;
    let (mut end, next): (u64, Next) = match Format::of_file(&magic) {
        Some(Format::Pcapng) => (0, block_length),
        Some(_) if length >= HEADER as u64 => (HEADER as u64, record_length),
        Some(_) => return Ok(0),
        None => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a capture file")),
    };
    reader.seek_relative(end.cast_signed())?;
    let mut header = [0; RECORD_HEADER];
    // pcapng's shortest block has 12 bytes, and never ends a file of ours: an interface follows it.
    while end + header.len() as u64 <= length {
        reader.read_exact(&mut header)?;
        match next(&header).filter(|size| end + size <= length) {
            Some(size) => {
                end += size;
                reader.seek_relative(size.cast_signed() - header.len().cast_signed() as i64)?;
            }
            None => break,
        }
    }
    Ok(end)
}

fn record_length(header: &[u8]) -> Option<u64> {
    let captured = u32::from_ne_bytes(*header.get(8..)?.first_chunk()?);
    (captured <= polycube_layout::ring::MAX_SNAPLEN).then_some(RECORD_HEADER as u64 + u64::from(captured))
}

#[cfg(test)]
mod tests;
