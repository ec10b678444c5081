//! What a capture has got so far, for a reader who wants that and no more.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use super::name::compressed;
use crate::format::pcapng::{Section, block_length};
use crate::format::{Format, pcap, transcode};
use crate::outcome::{FileState, Stage};

/// Read at once.
const PIECE: usize = 1 << 20;

/// Copies the records of `files` into a pipe, in `format`; returns the end to read from.
pub(crate) fn snapshot(files: Vec<FileState>, format: Format, section: &Section) -> io::Result<OwnedFd> {
    let header = format.stream_header(section);
    piped(move |out| {
        out.write_all(&header)?;
        files.iter().try_for_each(|file| copy(file, format, out))
    })
}

/// Copies `bytes` into a pipe; returns the end to read from.
pub(crate) fn bytes(bytes: Vec<u8>) -> io::Result<OwnedFd> {
    piped(move |out| out.write_all(&bytes))
}

fn piped(write: impl FnOnce(&mut io::PipeWriter) -> io::Result<()> + Send + 'static) -> io::Result<OwnedFd> {
    let (receiver, mut sender) = io::pipe()?;
    thread::Builder::new().name(String::from("capture:copy")).spawn(move || {
        // Whoever reads may go at any time; a file that cannot be read ends what he gets.
        let _ = write(&mut sender);
    })?;
    Ok(receiver.into())
}

fn copy(state: &FileState, to: Format, out: &mut io::PipeWriter) -> io::Result<()> {
    let Some(mut file) = open(state)? else { return Ok(()) };
    let mut header = [0; pcap::HEADER];
    file.read_exact(&mut header)?;
    let from = Format::of_file(&header).ok_or(io::ErrorKind::InvalidData)?;
    let mut held = if from == Format::Pcapng { header.to_vec() } else { Vec::new() };
    loop {
        let had = held.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
        let is_last = held.len() == had;
        let (mut at, mut records) = (0, Vec::new());
        while let Some(size) = next(from, &held[at..]) {
            transcode(from, to, &held[at..at + size], &mut records);
            at += size;
        }
        out.write_all(&records)?;
        held.drain(..at);
        if is_last {
            return Ok(());
        }
        // Neither a record nor a block of ours is as long: the rest of the file is none.
        if held.len() > PIECE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// What the file had when we were asked; `None` if it is deleted since. It may be compressed since.
fn open(state: &FileState) -> io::Result<Option<Box<dyn Read>>> {
    let found = |path: &Path| match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    };
    if state.stage != Stage::Compressed
        && let Some(file) = found(&state.path)?
    {
        return Ok(Some(Box::new(file.take(state.size))));
    }
    let path = if state.stage == Stage::Compressed { state.path.clone() } else { compressed(&state.path) };
    let decoder = found(&path)?.map(zstd::stream::Decoder::new).transpose()?;
    Ok(decoder.map(|decoder| Box::new(decoder) as Box<dyn Read>))
}

/// Bytes of the record, or of another block, at the beginning of `bytes`; `None` if it does not end within them.
fn next(format: Format, bytes: &[u8]) -> Option<usize> {
    let record = format.parse(bytes).map(|record| record.size);
    record.or_else(|| {
        let length = block_length(bytes).filter(|_| format == Format::Pcapng)?;
        usize::try_from(length).ok().filter(|length| *length <= bytes.len())
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::fixture::{record, times};
    use crate::sink::Tally;

    #[test]
    fn files_of_any_format_become_one_of_the_wanted() {
        let directory = TempDir::new().unwrap();
        let section = Section { cube: String::from("s"), interfaces: vec![Some(String::from("p"))], snaplen: 96 };
        let mut micros = 0;
        let files = [Format::Pcap, Format::Pcapng, Format::PcapNanos].map(|format| {
            let mut bytes = format.header(&section);
            for _ in 0..20_000 {
                micros += 1;
                transcode(Format::Pcap, format, &record(micros, &[1; 100]), &mut bytes);
            }
            let path = directory.path().join(format.name());
            let size = bytes.len() as u64;
            // What is written after we were asked.
            bytes.extend([7; 9]);
            std::fs::write(&path, bytes).unwrap();
            FileState { path, tally: Tally::default(), size, stage: Stage::Open, session: 0 }
        });
        let mut bytes = Vec::new();
        let fd = snapshot(files.to_vec(), Format::Pcap, &section).unwrap();
        File::from(fd).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes[..pcap::HEADER], Format::Pcap.stream_header(&section));
        assert_eq!(times(&bytes[pcap::HEADER..]), (1..=60_000).collect::<Vec<_>>());
    }

    #[test]
    fn files_that_were_compressed_or_deleted_meanwhile_end_nothing() {
        let directory = TempDir::new().unwrap();
        let section = Section::default();
        let file = |name: &str, micros: u64| {
            let bytes = [Format::Pcap.header(&section), record(micros, b"abc")].concat();
            let path = directory.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            FileState { path, tally: Tally::default(), size: bytes.len() as u64, stage: Stage::Closed, session: 0 }
        };
        let files = [file("deleted", 1), file("compressed", 2), file("there", 3)];
        let bytes = zstd::stream::encode_all(File::open(&files[1].path).unwrap(), 0).unwrap();
        std::fs::write(compressed(&files[1].path), bytes).unwrap();
        files[..2].iter().for_each(|file| std::fs::remove_file(&file.path).unwrap());
        let mut bytes = Vec::new();
        let fd = snapshot(files.to_vec(), Format::Pcap, &section).unwrap();
        File::from(fd).read_to_end(&mut bytes).unwrap();
        assert_eq!(times(&bytes[pcap::HEADER..]), [2, 3]);
    }
}
