//! What is done to files beside the writing of them, on a thread that nobody waits for.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use crate::outcome::{Outcome, Stage};

/// zstd's own default.
const LEVEL: i32 = 3;

pub(super) enum Chore {
    /// Forces what was written so far to the disk.
    Sync(OwnedFd),
    /// Replaces a closed file by its compressed form.
    Compress(PathBuf),
    /// Deletes a closed file, compressed or not.
    Delete(PathBuf),
}

/// Does chores in their order. When dropped, it waits for the last.
pub(super) struct Chores {
    outcome: Arc<Outcome>,
    worker: Option<(mpsc::Sender<Chore>, JoinHandle<()>)>,
}

impl Chores {
    pub(super) fn new(outcome: Arc<Outcome>) -> Self {
        Self { outcome, worker: None }
    }

    pub(super) fn add(&mut self, chore: Chore) {
        if self.worker.is_none() {
            let (chores, inbox) = mpsc::channel::<Chore>();
            let outcome = self.outcome.clone();
            let worker = thread::Builder::new().name(String::from("capture:chores")).spawn(move || {
                inbox.iter().for_each(|chore| chore.run(&outcome));
            });
            self.worker = worker.ok().map(|thread| (chores, thread));
        }
        match &self.worker {
            Some((chores, _)) => {
                // It takes all that comes as long as we hold this end.
                let _ = chores.send(chore);
            }
            None => chore.run(&self.outcome),
        }
    }

    /// Deletes the file at `path` when its turn comes. Returns its size.
    pub(super) fn delete(&mut self, path: &Path) -> u64 {
        let size = [path.to_owned(), compressed(path)].iter().find_map(|path| Some(fs::metadata(path).ok()?.len()));
        self.add(Chore::Delete(path.to_owned()));
        size.unwrap_or_default()
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        if let Some((chores, thread)) = self.worker.take() {
            drop(chores);
            let _ = thread.join();
        }
    }
}

impl Chore {
    fn run(self, outcome: &Outcome) {
        match self {
            Self::Sync(fd) => {
                if let Err(error) = rustix::fs::fdatasync(&fd) {
                    outcome.set_trouble(Some(format!("the capture file cannot be synced: {error}")));
                }
            }
            Self::Compress(path) => match compress(&path) {
                Ok((smaller, size)) => outcome.update(&path, |file| {
                    (file.path, file.size, file.stage) = (smaller, size, Stage::Compressed);
                }),
                Err(error) => {
                    outcome.set_trouble(Some(format!("{} cannot be compressed: {error}", path.display())));
                }
            },
            Self::Delete(path) => {
                for path in [compressed(&path), path] {
                    let _ = fs::remove_file(&path);
                    outcome.forget(&path);
                }
            }
        }
    }
}

/// Compresses the file at `path`; it is there as a whole, in one form or the other, at any time.
fn compress(path: &Path) -> io::Result<(PathBuf, u64)> {
    let smaller = compressed(path);
    let part = path.with_added_extension("zst.part");
    let options = |file: &mut fs::OpenOptions| file.mode(0o640).open(&part);
    let result = options(fs::OpenOptions::new().write(true).create_new(true)).and_then(|out| {
        zstd::stream::copy_encode(File::open(path)?, &out, LEVEL)?;
        // A link, because it takes nobody else's place.
        fs::hard_link(&part, &smaller)?;
        fs::remove_file(&part)?;
        Ok(out.metadata()?.len())
    });
    match result {
        Ok(size) => {
            fs::remove_file(path)?;
            Ok((smaller, size))
        }
        Err(error) => {
            let _ = fs::remove_file(part);
            Err(error)
        }
    }
}

/// What the file at `path` is called when it is compressed.
pub(super) fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("zst")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_compressed_file_takes_the_place_of_its_original() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        let text = "packet ".repeat(10_000);
        fs::write(&path, &text).unwrap();
        let outcome = Arc::<Outcome>::default();
        outcome.file_begun(&path);
        let mut chores = Chores::new(outcome.clone());
        chores.add(Chore::Compress(path.clone()));
        drop(chores);
        let smaller = directory.path().join("s.pcap.zst");
        assert_eq!(zstd::stream::decode_all(File::open(&smaller).unwrap()).unwrap(), text.as_bytes());
        assert_eq!(fs::metadata(&smaller).unwrap().permissions().mode() & 0o137, 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let file = outcome.files().remove(0);
        assert_eq!((file.path, file.stage), (smaller.clone(), Stage::Compressed));
        assert_eq!(file.size, fs::metadata(&smaller).unwrap().len());
    }

    #[test]
    fn files_are_deleted_in_either_form() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        fs::write(&path, "packet").unwrap();
        let mut chores = Chores::new(Arc::default());
        chores.add(Chore::Compress(path.clone()));
        chores.delete(&path);
        drop(chores);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
