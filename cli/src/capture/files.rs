//! The files of a capture of one line: whole records, and the next file when one is full.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::grammar::{Extent, Rotation};
use crate::sink;

/// The file that is written, and those before it.
pub(super) struct Files {
    path: PathBuf,
    force: bool,
    rotation: Option<Rotation>,
    file: File,
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
    /// Creates the first one.
    ///
    /// # Errors
    /// It already exists, or cannot be created.
    pub(super) fn open(path: &Path, force: bool, rotation: Option<Rotation>) -> Result<Self, Failure> {
        let current = if rotation.is_some() { Rotation::name(path, 1) } else { path.to_owned() };
        let file = sink::create(&current, force)?;
        Ok(Self {
            path: path.to_owned(),
            force,
            rotation,
            file,
            kept: [current.clone()].into(),
            current,
            size: 0,
            has_packets: false,
            began: Instant::now(),
            made: 1,
        })
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
            made => format!(": {made} files, the last is {name}"),
        }
    }

    fn failure(&self, source: io::Error) -> Failure {
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
        for _ in 0..4 {
            files.write(&[0; 30], false).unwrap();
            assert!(!files.is_full(100, false), "a file has at least a packet");
            files.write(&[0; 40], true).unwrap();
            assert!(files.is_full(31, false) && !files.is_full(30, false));
            files.rotate().unwrap();
        }
        assert_eq!(names(directory.path()), ["t-000004.pcapng", "t-000005.pcapng"]);
        assert!(files.place().starts_with(": 5 files, the last is "));
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.pcapng");
        fs::write(&path, "x").unwrap();
        assert!(Files::open(&path, false, None).is_err());
        let mut files = Files::open(&path, true, None).unwrap();
        files.write(b"abc", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
