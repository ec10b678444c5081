//! The files of a capture of one line: whole records, and the next file when one is full.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};

use crate::failure::Failure;
use crate::grammar::{Extent, Rotation};
use crate::sink::{self, Origin};

/// Size of the header of a file of pcap (draft-ietf-opsawg-pcap, section 4).
const PCAP_HEADER: u64 = 24;
/// The type of a block with a packet (draft-ietf-opsawg-pcapng, section 4.3).
const PACKET: u64 = 6;

/// Packets that a daemon wrote and did not report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) packets: u64,
    /// What was recorded of them.
    pub(super) bytes: u64,
}

/// The file that is written, and those before it.
pub(super) struct Files {
    path: PathBuf,
    force: bool,
    rotation: Option<Rotation>,
    file: File,
    origin: Origin,
    /// Where it is.
    current: PathBuf,
    /// Bytes in it.
    size: u64,
    /// Whether it has packets, and not only a header.
    has_packets: bool,
    began: Instant,
    /// All that are kept, in order.
    kept: VecDeque<PathBuf>,
    made: u64,
}

impl Files {
    /// Opens the first one. Until [`begin`](Self::begin), an old one stays as it is, and a new one is not seen if that is possible.
    ///
    /// # Errors
    /// It already exists, or cannot be created.
    pub(super) fn open(path: &Path, force: bool, rotation: Option<Rotation>) -> Result<Self, Failure> {
        let current = if rotation.is_some() { Rotation::name(path, 1) } else { path.to_owned() };
        let (file, origin) = sink::claim(&current, force)?;
        Ok(Self {
            path: path.to_owned(),
            force,
            rotation,
            file,
            origin,
            kept: [current.clone()].into(),
            current,
            size: 0,
            has_packets: false,
            began: Instant::now(),
            made: 1,
        })
    }

    /// Gives a new one its name, and truncates an old one, unless the daemon `writes` and has done that.
    ///
    /// # Errors
    /// That is not possible.
    pub(super) fn begin(&mut self, writes: bool) -> Result<(), Failure> {
        let done = match self.origin {
            Origin::Unnamed => sink::name(&self.file, &self.current),
            Origin::Old if !writes => sink::truncate(&self.file),
            Origin::Old | Origin::New => Ok(()),
        };
        done.map_err(|source| self.failure(source))?;
        if self.origin == Origin::Unnamed {
            self.origin = Origin::New;
        }
        Ok(())
    }

    /// Leaves things as they were, where nothing was captured after all.
    pub(super) fn abandon(&self) {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(identity);
        let is_in_place =
            fs::symlink_metadata(&self.current).map(identity).is_ok_and(|found| ours.is_ok_and(|ours| ours == found));
        if self.origin == Origin::New && is_in_place {
            // Somebody else may have removed it.
            let _ = fs::remove_file(&self.current);
        }
    }

    /// Whether there can be several.
    pub(super) fn rotates(&self) -> bool {
        self.rotation.is_some()
    }

    /// What the daemon can write into: a file, or `/dev/null` (null(4)).
    pub(super) fn file(&self) -> Option<&File> {
        let is_null = |device| (major(device), minor(device)) == (1, 3);
        let is_fit = |metadata: Metadata| metadata.is_file() || is_null(metadata.rdev());
        self.file.metadata().is_ok_and(is_fit).then_some(&self.file)
    }

    /// Notes how far the daemon has written.
    pub(super) fn reaches(&mut self, end: u64, has_packets: bool) {
        (self.size, self.has_packets) = (end, has_packets);
    }

    /// Cuts off what a daemon that was killed left of a record, and removes a file that has none. Returns what follows its last
    /// report. It is in this machine's byte order.
    pub(super) fn mend(&mut self, is_pcapng: bool) -> io::Result<Found> {
        let mut found = Found::default();
        if !self.file.metadata()?.is_file() {
            return Ok(found);
        }
        let written = File::open(sink::named_by_descriptor(&self.file))?;
        let length = written.metadata()?.len();
        let mut end = if is_pcapng { self.size } else { self.size.max(PCAP_HEADER) };
        let mut head = [0; 24];
        while end + 16 <= length {
            let known = usize::try_from(length - end).unwrap_or(usize::MAX).min(head.len());
            written.read_exact_at(&mut head[..known], end)?;
            let field = |at: usize| u64::from(u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
            // Types, lengths and captured lengths of blocks (draft-ietf-opsawg-pcapng, sections 3.1 and 4.3), and captured
            // lengths of records (draft-ietf-opsawg-pcap, section 5).
            let (size, captured) = match is_pcapng {
                true => (field(4), (field(0) == PACKET).then(|| field(20))),
                false => (16 + field(8), Some(field(8))),
            };
            if size == 0 || end + size > length {
                break;
            }
            if let Some(captured) = captured {
                found.packets += 1;
                found.bytes += captured;
            }
            end += size;
        }
        // An end beyond the file is that of a header which is not whole.
        self.size = if end > length { 0 } else { end };
        self.has_packets |= found.packets > 0;
        self.file.set_len(self.size)?;
        if self.size == 0 {
            self.abandon();
        }
        Ok(found)
    }

    /// Whether a packet goes to the next file, where the file would have `size` more bytes with it and with what
    /// waits to be written before it. `has_more` says whether packets wait.
    pub(super) fn is_full(&self, size: usize, has_more: bool) -> bool {
        let is_full = |rotation: &Rotation| match rotation.every {
            Extent::Bytes(bytes) => self.size + size as u64 > bytes,
            Extent::Time(time) => self.began.elapsed() >= time,
        };
        (self.has_packets || has_more) && self.rotation.as_ref().is_some_and(is_full)
    }

    /// When the file ends, whatever is written.
    pub(super) fn time(&self) -> Option<Duration> {
        match self.rotation.as_ref()?.every {
            Extent::Time(time) => Some(time),
            Extent::Bytes(_) => None,
        }
    }

    /// Begins the next file, and deletes the oldest if there are too many.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn rotate(&mut self) -> Result<(), Failure> {
        self.made += 1;
        let next = Rotation::name(&self.path, self.made);
        self.file = sink::create(&next, self.force)?;
        self.current.clone_from(&next);
        self.kept.push_back(next);
        (self.size, self.has_packets, self.began) = (0, false, Instant::now());
        let keep = self.rotation.as_ref().and_then(|rotation| rotation.keep).unwrap_or(usize::MAX);
        while self.kept.len() > keep {
            if let Some(oldest) = self.kept.pop_front() {
                // Somebody else may have deleted it.
                let _ = fs::remove_file(oldest);
            }
        }
        Ok(())
    }

    /// Writes whole records. Of those that a full disk does not take, nothing is left.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn write(&mut self, bytes: &[u8], has_packets: bool) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A file that ends within a record is one that readers complain about.
            let _ = self.file.set_len(self.size);
            return Err(self.failure(error));
        }
        self.size += bytes.len() as u64;
        self.has_packets |= has_packets;
        Ok(())
    }

    /// Removes the file if it has no packets.
    pub(super) fn remove_if_empty(&self) {
        if !self.has_packets {
            // Somebody else may have removed it.
            let _ = fs::remove_file(&self.current);
        }
    }

    /// Where the packets are, to follow a summary.
    pub(super) fn place(&self) -> String {
        let name = crate::terminal::escape(&self.current.display().to_string());
        match self.made {
            1 => format!(": {name}"),
            made if (self.kept.len() as u64) < made => {
                format!(": {made} files, of which {} are kept, the last is {name}", self.kept.len())
            }
            made => format!(": {made} files, the last is {name}"),
        }
    }

    pub(super) fn failure(&self, source: io::Error) -> Failure {
        Failure::File { path: crate::terminal::escape(&self.current.display().to_string()), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation { every: Extent::Bytes(100), keep: Some(2) };
        let mut files = Files::open(&directory.path().join("t.pcapng"), false, Some(rotation)).unwrap();
        files.begin(false).unwrap();
        for _ in 0..4 {
            files.write(&[0; 30], false).unwrap();
            assert!(!files.is_full(100, false), "a file has at least a packet");
            files.write(&[0; 40], true).unwrap();
            assert!(files.is_full(31, false) && !files.is_full(30, false));
            files.rotate().unwrap();
        }
        assert_eq!(names(directory.path()), ["t-000004.pcapng", "t-000005.pcapng"]);
        assert!(files.place().starts_with(": 5 files, of which 2 are kept, the last is "));
    }

    /// Wherever a killed daemon was, what is left are the records that were whole, and those that it had reported.
    #[test]
    fn a_cut_record_is_removed() {
        let pcapng = |size: u32| [&6_u32.to_ne_bytes()[..], &size.to_ne_bytes(), &vec![7; size as usize - 8]].concat();
        let pcap = |size: u32| [&[0; 8][..], &size.to_ne_bytes(), &[0; 4], &vec![7; size as usize]].concat();
        let sizes = [60, 16, 200, 32];
        for is_pcapng in [true, false] {
            let mut whole = if is_pcapng { Vec::new() } else { vec![1; 24] };
            let mut ends = vec![whole.len()];
            for size in sizes {
                whole.extend(if is_pcapng { pcapng(size) } else { pcap(size) });
                ends.push(whole.len());
            }
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("t");
            for (cut, reported) in (ends[0]..=whole.len()).flat_map(|cut| [(cut, 0), (cut, ends[1])]) {
                if reported > cut {
                    continue;
                }
                fs::write(&path, &whole[..cut]).unwrap();
                let mut files = Files::open(&path, true, None).unwrap();
                files.reaches(reported as u64, true);
                let found = files.mend(is_pcapng).unwrap();
                let expected = ends.iter().rev().find(|end| **end <= cut).unwrap();
                assert_eq!(fs::read(&path).unwrap(), whole[..*expected], "{cut} {reported} {is_pcapng}");
                let packets = ends.iter().filter(|end| **end > reported.max(ends[0]) && **end <= cut).count();
                assert_eq!(found.packets, packets as u64);
            }
        }
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.pcapng");
        fs::write(&path, "x").unwrap();
        assert!(Files::open(&path, false, None).is_err());
        let mut files = Files::open(&path, true, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x", "nothing has come yet");
        files.begin(false).unwrap();
        files.write(b"abc", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
