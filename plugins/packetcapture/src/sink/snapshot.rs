//! What a capture has recorded so far, for a reader that wants no more.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rustix::fs::OFlags;

use super::excerpt::Excerpt;
use crate::format::pcapng::block_length;
use crate::format::{Format, pcap};
use crate::outcome::{FileState, Outcome};
use crate::store::{Form, OpenError};

/// Read at once.
const PIECE: usize = 1 << 20;

/// Copies the records of `files` to a pipe, in the form of `excerpt`, and then the counters of `outcome`; returns the read
/// end.
pub(crate) fn snapshot(files: Vec<FileState>, mut excerpt: Excerpt, outcome: Arc<Outcome>) -> io::Result<OwnedFd> {
    piped(move |out| {
        files.iter().try_for_each(|file| copy(file, &mut excerpt, out))?;
        out.write_all(&excerpt.finish(|packets| outcome.statistics_of_session(packets)))
    })
}

/// Whether the file is still there.
pub(crate) fn is_there(state: &FileState) -> bool {
    matches!(open(state), Ok(Some(_)))
}

/// Copies `bytes` to a pipe; returns the read end.
pub(crate) fn bytes(bytes: Vec<u8>) -> io::Result<OwnedFd> {
    piped(move |out| out.write_all(&bytes))
}

fn piped(write: impl FnOnce(&mut io::PipeWriter) -> io::Result<()> + Send + 'static) -> io::Result<OwnedFd> {
    let (receiver, mut sender) = io::pipe()?;
    thread::Builder::new().name(String::from("capture:copy")).spawn(move || {
        // The reader may leave at any time, and a file that cannot be read ends the copy.
        let _ = write(&mut sender);
    })?;
    Ok(receiver.into())
}

fn copy(state: &FileState, excerpt: &mut Excerpt, out: &mut io::PipeWriter) -> io::Result<()> {
    let Some(mut file) = open(state)? else { return Ok(()) };
    let mut header = [0; pcap::HEADER];
    file.read_exact(&mut header)?;
    let from = Format::of_file(&header).ok_or(io::ErrorKind::InvalidData)?;
    let mut held = if from == Format::Pcapng { header.to_vec() } else { Vec::new() };
    loop {
        let had = held.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
        let is_last = held.len() == had;
        let mut at = 0;
        while let Some(size) = next(from, &held[at..]) {
            excerpt.add(from, &held[at..at + size]);
            at += size;
        }
        out.write_all(&excerpt.take())?;
        held.drain(..at);
        if is_last || excerpt.is_complete() {
            return Ok(());
        }
        // Our records and blocks are shorter: the rest of the file is invalid.
        if held.len() > PIECE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The contents of the file when it was requested; `None` if it has been deleted since. It may have been compressed
/// since.
fn open(state: &FileState) -> io::Result<Option<Box<dyn Read>>> {
    let mut form = state.stored.current();
    loop {
        match (form.0.open(OFlags::RDONLY), form.1) {
            (Ok(file), Form::Plain) => return Ok(Some(Box::new(file.take(state.size)))),
            (Ok(file), Form::Compressed) => return Ok(Some(Box::new(zstd::stream::Decoder::new(file)?))),
            (Err(OpenError::Io(error)), _) => return Err(error),
            (Err(OpenError::Deleted | OpenError::Replaced), _) => {
                let now = state.stored.current();
                if now.0.id() == form.0.id() {
                    return Ok(None);
                }
                form = now;
            }
        }
    }
}

/// Size of the record, or other block, at the start of `bytes`; `None` if it is incomplete.
fn next(format: Format, bytes: &[u8]) -> Option<usize> {
    let record = format.parse(bytes).map(|record| record.size);
    record.or_else(|| {
        let length = block_length(bytes).filter(|_| format == Format::Pcapng)?;
        usize::try_from(length).ok().filter(|length| *length <= bytes.len())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use tempfile::TempDir;

    use super::*;
    use crate::fixture::{record, stored, times};
    use crate::format::pcapng::Section;
    use crate::format::{Resolution, transcode};
    use crate::outcome::FileStatus;
    use crate::store::StoredFile;
    use crate::tally::Tally;

    fn closed(file: StoredFile, size: u64) -> FileState {
        FileState { stored: file, tally: Tally::default(), size, status: FileStatus::Closed, session: 0 }
    }

    fn read(files: &[FileState], section: &Section) -> Vec<u8> {
        let mut bytes = Vec::new();
        let fd = snapshot(files.to_vec(), Excerpt::new(Format::Pcap, section), Arc::default()).unwrap();
        File::from(fd).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn files_of_any_format_become_one_of_the_wanted() {
        let directory = TempDir::new().unwrap();
        let section = Section {
            cube: String::from("s"),
            interfaces: vec![Some(crate::fixture::interface("p"))],
            snaplen: 96,
            ..Section::default()
        };
        let mut micros = 0;
        let files = [Format::Pcap, Format::Pcapng, Format::PcapNanos].map(|format| {
            let mut bytes = format.header(&section);
            for _ in 0..20_000 {
                micros += 1;
                let mut nanos = Vec::new();
                transcode(Format::Pcap, Format::PcapNanos, &record(micros, &[1; 100]), &mut nanos);
                transcode(Format::PcapNanos, format, &nanos, &mut bytes);
            }
            let size = bytes.len() as u64;
            // Written after the request.
            bytes.extend([7; 9]);
            closed(stored(directory.path(), format.name(), &bytes), size)
        });
        let bytes = read(&files, &section);
        assert_eq!(bytes[..pcap::HEADER], Format::Pcap.stream_header(&section, Resolution::Micros));
        assert_eq!(times(&bytes[pcap::HEADER..]), (1..=60_000).collect::<Vec<_>>());
    }

    #[test]
    fn files_that_were_compressed_deleted_or_replaced_meanwhile_end_nothing() {
        let directory = TempDir::new().unwrap();
        let file = |name: &str, micros: u64| {
            let bytes = [Format::Pcap.header(&Section::default()), record(micros, b"abc")].concat();
            closed(stored(directory.path(), name, &bytes), bytes.len() as u64)
        };
        let files = [file("deleted", 1), file("compressed", 2), file("replaced", 3), file("there", 4)];
        let bytes = zstd::stream::encode_all(File::open(files[1].stored.path()).unwrap(), 0).unwrap();
        files[..3].iter().for_each(|state| fs::remove_file(state.stored.path()).unwrap());
        files[1].stored.compressed_to(stored(directory.path(), "compressed.zst", &bytes).current().0);
        let copy = fs::read(files[3].stored.path()).unwrap();
        fs::write(files[2].stored.path(), copy).unwrap();
        assert_eq!(times(&read(&files, &Section::default())[pcap::HEADER..]), [2, 4]);
    }
}
