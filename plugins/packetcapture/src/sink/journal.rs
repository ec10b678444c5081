//! Which file is being written, noted beside it: what is still noted when a daemon starts was left by one that was
//! killed, and may end within a record.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use polycube_layout::ring::RECORD_HEADER;
use polycube_plugin_api::Level;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::process::geteuid;

use crate::format::Format;
use crate::format::pcap::HEADER;
use crate::format::pcapng::block_length;

/// What notes are called: `.packetcapture-<id>.open`.
const PREFIX: &str = ".packetcapture-";
const SUFFIX: &str = ".open";
/// Read at once: records are skipped within it, not read one by one from the file.
const BUFFER: usize = 1 << 20;

/// The note of one cube. It is locked as long as it is true, so that no other daemon takes it for one left behind.
pub(crate) struct Journal {
    path: PathBuf,
    note: Option<File>,
}

impl Journal {
    /// `id` is no other cube's, of this daemon or another one.
    pub(crate) fn new(directory: &Path, id: &str) -> Self {
        Self { path: directory.join(format!("{PREFIX}{id}{SUFFIX}")), note: None }
    }

    /// Notes that `file` is about to be written.
    pub(super) fn opened(&mut self, file: &Path) -> io::Result<()> {
        self.closed();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut note = File::from(open(&self.path, flags, Mode::from_raw_mode(0o600))?);
        // Where there are no locks, notes count as true for ever: see `mend`.
        let _ = flock(&note, FlockOperation::NonBlockingLockExclusive);
        let result = note.write_all(file.as_os_str().as_bytes());
        self.note = Some(note);
        if result.is_err() {
            self.closed();
        }
        result
    }

    /// Notes that none is.
    pub(super) fn closed(&mut self) {
        // If it cannot be removed, the file is looked at again some day, and found to be whole.
        let _ = fs::remove_file(&self.path);
        self.note = None;
    }
}

/// Cuts the files that killed daemons left in the middle of a record, and says so.
pub(crate) fn mend(directory: &Path, log: &dyn Fn(Level, &str)) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_note = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    for note in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_note)).map(|entry| entry.path()) {
        let Ok(path) = left_behind(&note) else { continue };
        let file = path.display();
        match mend_file(&path) {
            Ok(Found::InUse | Found::Whole) => {}
            Ok(Found::Empty) => {
                log(Level::Warn, &format!("{file} was begun by a killed daemon and has no packet: it is deleted"));
            }
            Ok(Found::Cut(bytes)) => {
                log(Level::Warn, &format!("{file} ended within a record: its last {bytes} bytes are cut off"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                log(Level::Warn, &format!("{file} was left by a killed daemon and cannot be mended: {error}"));
            }
        }
        let _ = fs::remove_file(note);
    }
}

/// What the note at `path` says, if it is a daemon's that is gone. In a directory that others can write, a note of
/// theirs must not have us cut files.
fn left_behind(path: &Path) -> io::Result<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut note = File::from(open(path, flags, Mode::empty())?);
    let stat = fstat(&note)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    flock(&note, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = Vec::new();
    note.read_to_end(&mut text)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(text)))
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Somebody is writing it.
    InUse,
    Whole,
    /// There is no header, or not all of it.
    Empty,
    /// So many bytes at its end were no record.
    Cut(u64),
}

fn mend_file(path: &Path) -> io::Result<Found> {
    let file = File::from(open(path, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Found::InUse);
    }
    let length = file.metadata()?.len();
    let whole = whole_length(&file, length)?;
    if whole == 0 {
        // No reader would take it.
        fs::remove_file(path)?;
        return Ok(Found::Empty);
    }
    if whole < length {
        file.set_len(whole)?;
        return Ok(Found::Cut(length - whole));
    }
    Ok(Found::Whole)
}

/// The length of what begins with some bytes, at least [`RECORD_HEADER`] of them; `None` if it is no record or block.
type Next = fn(&[u8]) -> Option<u64>;

/// Bytes of the header and the whole records of a file of `length` bytes.
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
        None => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no capture file")),
    };
    reader.seek_relative(end.cast_signed())?;
    let mut header = [0; RECORD_HEADER];
    // The shortest block of pcapng has 12 bytes and never ends a file of ours: an interface comes behind it.
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
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::Mutex;

    use tempfile::TempDir;

    use super::*;
    use crate::fixture::record;
    use crate::format::pcapng::Section;
    use crate::format::transcode;

    fn capture(format: Format) -> (Vec<u8>, Vec<usize>) {
        let section = Section { cube: String::from("s"), interfaces: vec![Some(String::from("p"))], snaplen: 96 };
        let mut bytes = format.header(&section);
        let mut ends = vec![bytes.len()];
        for (micros, body) in [(1, &b"abc"[..]), (2, b""), (3, b"0123456789")] {
            transcode(Format::Pcap, format, &record(micros, body), &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_file_that_ends_anywhere_is_cut_to_its_whole_records() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("cut");
        for format in [Format::Pcap, Format::PcapNanos, Format::Pcapng] {
            let (bytes, ends) = capture(format);
            for cut in ends[0]..=bytes.len() {
                fs::write(&path, &bytes[..cut]).unwrap();
                let expected = ends.iter().copied().filter(|end| *end <= cut).max().unwrap();
                let found = mend_file(&path).unwrap();
                let lost = (cut - expected) as u64;
                assert_eq!(found, if lost > 0 { Found::Cut(lost) } else { Found::Whole }, "{format:?} at {cut}");
                assert_eq!(fs::read(&path).unwrap(), bytes[..expected]);
            }
        }
    }

    #[test]
    fn only_what_was_left_behind_is_mended() {
        let directory = TempDir::new().unwrap();
        let (bytes, ends) = capture(Format::Pcap);
        let cut = &bytes[..bytes.len() - 1];
        let path = |name: &str| directory.path().join(name);
        let mut journals = ["left", "in-use", "finished"].map(|name| {
            fs::write(path(name), cut).unwrap();
            let mut journal = Journal::new(directory.path(), name);
            journal.opened(&path(name)).unwrap();
            journal
        });
        // The kernel takes a killed daemon's locks back.
        journals[0].note = None;
        journals[2].closed();
        let lines = Mutex::new(Vec::new());
        mend(directory.path(), &|_, line| lines.lock().unwrap().push(line.to_owned()));
        assert_eq!(fs::read(path("left")).unwrap().len(), ends[2]);
        assert_eq!(fs::read(path("in-use")).unwrap(), cut);
        assert_eq!(fs::read(path("finished")).unwrap(), cut);
        let lines = lines.into_inner().unwrap();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("left ended within a record: its last 25 bytes are cut off"), "{lines:?}");
        assert_eq!(journals.map(|journal| journal.path.exists()), [false, true, false]);
    }

    #[test]
    fn a_file_that_is_written_anew_is_not_mended_by_an_old_note() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("trace.pcap");
        let (bytes, _) = capture(Format::Pcap);
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let writer = File::open(&path).unwrap();
        flock(&writer, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(mend_file(&path).unwrap(), Found::InUse);
    }

    #[test]
    fn a_note_goes_through_no_link_and_a_link_is_no_note() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut journal = Journal::new(directory.path(), "s");
        fs::write(path("elsewhere"), "dear").unwrap();
        symlink(path("elsewhere"), &journal.path).unwrap();
        assert!(left_behind(&journal.path).is_err());
        journal.opened(&path("file")).unwrap();
        assert_eq!(fs::read(path("elsewhere")).unwrap(), b"dear");
        assert_eq!(fs::metadata(&journal.path).unwrap().permissions().mode() & 0o177, 0);
    }

    #[test]
    fn a_file_without_a_header_is_deleted() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        for format in [Format::Pcap, Format::Pcapng] {
            let (bytes, _) = capture(format);
            for cut in [0, 3, 20] {
                fs::write(&path, &bytes[..cut]).unwrap();
                Journal::new(directory.path(), "s").opened(&path).unwrap();
                mend(directory.path(), &|_, line| assert!(line.contains("it is deleted"), "{line}"));
                assert!(!path.exists(), "{format:?} at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_capture_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("letter");
        fs::write(&path, "Dear all, ...").unwrap();
        assert_eq!(mend_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&path).unwrap(), b"Dear all, ...");
    }
}
