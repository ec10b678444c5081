//! The lines of a file that grows, whatever becomes of it: it may not exist yet, and be truncated or replaced by another.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Bytes of lines that wait: no more keys are kept by the daemon.
const MOST: usize = 1 << 20;
/// Bytes of lines that are sent at once.
const PIECE: usize = 128 << 10;
/// Bytes of a line that are kept: no key is as long.
const LONGEST: usize = 8 << 10;

/// A file that is followed.
pub(super) struct Follower {
    path: PathBuf,
    open: Option<Open>,
    /// Lines that wait, in pieces.
    waiting: VecDeque<Piece>,
    bytes: usize,
}

/// Lines that follow each other.
struct Piece {
    first: u64,
    count: u64,
    log: String,
}

/// The file as it was opened.
struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Bytes that were read.
    read: u64,
    /// Lines that were read.
    lines: u64,
    /// A line without its end.
    begun: Vec<u8>,
}

impl Open {
    fn new(path: &Path) -> io::Result<Option<Self>> {
        // A pipe without a writer would keep us waiting.
        let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let id = (metadata.dev(), metadata.ino());
        Ok(Some(Self { file, id, read: 0, lines: 0, begun: Vec::new() }))
    }
}

impl Follower {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// The file cannot be opened or read, or is not a file.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.read()?;
        let there = match self.path.metadata() {
            Ok(metadata) => Some((metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A file that was moved away may still be written.
        if there.is_none() || self.open.as_ref().map(|open| open.id) == there {
            return Ok(());
        }
        self.read()?;
        self.open = Open::new(&self.path)?;
        self.read()
    }

    /// Reads the rest of the open file.
    fn read(&mut self) -> io::Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let size = open.file.metadata()?.len();
        if size < open.read {
            open.file.rewind()?;
            (open.read, open.lines) = (0, 0);
            open.begun.clear();
        }
        let mut piece = [0; 16 << 10];
        while open.read < size {
            let count = open.file.read(&mut piece)?;
            if count == 0 {
                break;
            }
            open.read += count as u64;
            self.take(&mut open, &piece[..count]);
        }
        self.open = Some(open);
        Ok(())
    }

    fn take(&mut self, open: &mut Open, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(open.begun.len());
            open.begun.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                open.lines += 1;
                let line = std::mem::take(&mut open.begun);
                self.push(open.lines, String::from_utf8_lossy(&line).trim_end());
            }
        }
    }

    /// Adds the line of this number.
    fn push(&mut self, number: u64, line: &str) {
        let last = self.waiting.back_mut();
        let is_next = |last: &&mut Piece| last.first + last.count == number && last.log.len() + line.len() < PIECE;
        if let Some(last) = last.filter(is_next) {
            last.count += 1;
            last.log.extend([line, "\n"]);
        } else {
            self.waiting.push_back(Piece { first: number, count: 1, log: format!("{line}\n") });
        }
        self.bytes += line.len() + 1;
        while self.bytes > MOST && self.waiting.len() > 1 {
            self.pop();
        }
    }

    /// The lines that come next, and the number of the first.
    pub(super) fn next(&self) -> Option<(u64, &str)> {
        self.waiting.front().map(|piece| (piece.first, piece.log.as_str()))
    }

    /// Forgets them.
    pub(super) fn pop(&mut self) {
        if let Some(piece) = self.waiting.pop_front() {
            self.bytes -= piece.log.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// Looks, and takes everything.
    fn all(follower: &mut Follower) -> Vec<(u64, String)> {
        follower.look().unwrap();
        let mut found = Vec::new();
        while let Some((first, log)) = follower.next() {
            found.push((first, log.to_owned()));
            follower.pop();
        }
        found
    }

    fn one(first: u64, log: &str) -> Vec<(u64, String)> {
        vec![(first, log.to_owned())]
    }

    #[test]
    fn a_file_is_followed_as_it_comes_grows_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.log");
        let mut follower = Follower::new(&path);
        assert_eq!(all(&mut follower), []);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"a\nb\nc").unwrap();
        assert_eq!(all(&mut follower), one(1, "a\nb\n"));
        assert_eq!(all(&mut follower), [], "half a line");
        file.write_all(b"c\r\n").unwrap();
        assert_eq!(all(&mut follower), one(3, "cc\n"));
        let moved = directory.path().join("keys.log.1");
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"d\n").unwrap();
        assert_eq!(all(&mut follower), one(4, "d\n"), "it was moved, and is still written");
        file.write_all(b"e\n").unwrap();
        fs::write(&path, "f\n").unwrap();
        let both: Vec<_> = [one(5, "e\n"), one(1, "f\n")].concat();
        assert_eq!(all(&mut follower), both);
        File::create(&path).unwrap();
        assert_eq!(all(&mut follower), []);
        fs::write(&path, "g\n").unwrap();
        assert_eq!(all(&mut follower), one(1, "g\n"), "it was truncated");
    }

    #[test]
    fn of_a_long_file_the_last_lines_count_and_have_their_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.log");
        let lines: String = (1..=20_000).map(|number| format!("{number:0100}\n")).collect();
        fs::write(&path, lines).unwrap();
        let found = all(&mut Follower::new(&path));
        assert!(found.iter().map(|(_, log)| log.len()).sum::<usize>() <= MOST);
        for (first, log) in &found {
            assert_eq!(log.lines().next().unwrap().trim_start_matches('0'), first.to_string());
            assert!(log.len() <= PIECE);
        }
        assert!(found.last().unwrap().1.ends_with("20000\n"));
    }

    #[test]
    fn a_line_without_an_end_takes_little_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.log");
        fs::write(&path, [vec![b'x'; 1 << 20], b"\nb\n".to_vec()].concat()).unwrap();
        let found = all(&mut Follower::new(&path));
        assert_eq!(found, one(1, &format!("{}\nb\n", "x".repeat(LONGEST))));
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Follower::new(directory.path()).look().is_err());
        assert!(Follower::new(&directory.path().join("a/b")).look().is_ok(), "it may come");
    }
}
