//! What a capture has got so far, for a reader who wants that and no more.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::thread;

use crate::format::pcapng::{Section, block_length};
use crate::format::{Format, pcap, transcode};
use crate::outcome::{FileState, Stage};

/// Read at once.
const PIECE: usize = 1 << 20;

/// Copies the records of `files` into a pipe, in `format`; returns the end to read from.
pub(crate) fn snapshot(files: Vec<FileState>, format: Format, section: &Section) -> io::Result<OwnedFd> {
    let header = format.header(section);
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
    // A file that is being written ends, for us, where it did when we were asked.
    let file = File::open(&state.path)?;
    let mut file: Box<dyn Read> = match state.stage {
        Stage::Compressed => Box::new(zstd::stream::Decoder::new(file)?),
        Stage::Open | Stage::Closed => Box::new(file.take(state.size)),
    };
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
    }
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
        assert_eq!(bytes[..pcap::HEADER], Format::Pcap.header(&section));
        assert_eq!(times(&bytes[pcap::HEADER..]), (1..=60_000).collect::<Vec<_>>());
    }
}
