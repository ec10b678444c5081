//! What is done to files beside the writing of them, on a thread that no packet and no change waits for.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use polycube_plugin_api::Level;
use rustix::fs::{Mode, OFlags, fdatasync, open};

use super::name::compressed;
use crate::drain::Log;
use crate::outcome::{Outcome, Stage};

/// zstd's own default.
const LEVEL: i32 = 3;
/// A cube that goes waits no longer for chores: what is not done then is done behind it.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) enum Chore {
    /// Forces what was written so far to the disk.
    Sync(OwnedFd),
    /// Replaces a closed file by its compressed form.
    Compress(Closed),
    /// Deletes a closed file, compressed or not.
    Delete(Closed),
}

/// A closed file. The next capture may have replaced it by the time of its chore.
pub(crate) struct Closed {
    path: PathBuf,
    inode: Option<u64>,
}

impl Closed {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: inode(path) }
    }

    fn is_there(&self) -> bool {
        self.inode.is_some() && inode(&self.path) == self.inode
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// Does the chores of a cube, in their order. They outlast a capture, for compression may take as long as it.
pub(crate) struct Chores {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

struct Shared {
    outcome: Arc<Outcome>,
    log: Log,
    /// Chores that are not done yet.
    pending: AtomicUsize,
}

struct Worker {
    chores: mpsc::Sender<Chore>,
    /// Nothing is ever sent: its other end goes with the worker.
    ended: mpsc::Receiver<()>,
}

impl Chores {
    pub(crate) fn new(outcome: Arc<Outcome>, log: Log) -> Self {
        Self { shared: Arc::new(Shared { outcome, log, pending: AtomicUsize::new(0) }), worker: Mutex::default() }
    }

    pub(super) fn add(&self, chore: Chore) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_none() {
            *worker = Worker::start(&self.shared).ok();
        }
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        match &*worker {
            Some(worker) => {
                // It takes all that comes as long as we hold this end.
                let _ = worker.chores.send(chore);
            }
            None => self.shared.run(chore),
        }
    }

    /// As [`Chore::Sync`], but not while there is something to do: descriptors would heap up before a slow disk.
    pub(super) fn sync_if_idle(&self, fd: OwnedFd) {
        if self.shared.pending.load(Ordering::Relaxed) == 0 {
            self.add(Chore::Sync(fd));
        }
    }

    /// Compresses the file at `path` when its turn comes.
    pub(super) fn compress(&self, path: &Path) {
        self.add(Chore::Compress(Closed::new(path)));
    }

    /// Deletes the file at `path` when its turn comes. Returns its size.
    pub(super) fn delete(&self, path: &Path) -> u64 {
        let size = [path.to_owned(), compressed(path)].iter().find_map(|path| Some(fs::metadata(path).ok()?.len()));
        self.add(Chore::Delete(Closed::new(path)));
        size.unwrap_or_default()
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Worker { chores, ended }) = worker {
            drop(chores);
            // An error either way: it is done, or takes too long.
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

impl Worker {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (chores, inbox) = mpsc::channel::<Chore>();
        let (end, ended) = mpsc::channel::<()>();
        let shared = shared.clone();
        thread::Builder::new().name(String::from("capture:chores")).spawn(move || {
            inbox.iter().for_each(|chore| shared.run(chore));
            drop(end);
        })?;
        Ok(Self { chores, ended })
    }
}

impl Shared {
    fn run(&self, chore: Chore) {
        if let Err(trouble) = chore.run(&self.outcome) {
            (self.log)(Level::Error, &trouble);
            self.outcome.set_trouble(Some(trouble));
        }
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Chore {
    fn run(self, outcome: &Outcome) -> Result<(), String> {
        match self {
            Self::Sync(fd) => {
                fdatasync(&fd).map_err(|error| format!("the capture file cannot be synced: {error}"))?;
            }
            Self::Compress(closed) => {
                let path = &closed.path;
                if !closed.is_there() && closed.inode.is_some() {
                    return Ok(());
                }
                let result = compress(&closed);
                let (smaller, size) =
                    result.map_err(|error| format!("{} cannot be compressed: {error}", path.display()))?;
                outcome.update(path, |file| {
                    (file.path, file.size, file.stage) = (smaller, size, Stage::Compressed);
                });
            }
            Self::Delete(closed) => {
                if !closed.is_there() && inode(&closed.path).is_some() {
                    return Ok(());
                }
                for path in [compressed(&closed.path), closed.path] {
                    let _ = fs::remove_file(&path);
                    outcome.forget(&path);
                }
            }
        }
        Ok(())
    }
}

/// Compresses the file at `path`; it is there as a whole, in one form or the other, at any time.
fn compress(closed: &Closed) -> io::Result<(PathBuf, u64)> {
    let path = closed.path.as_path();
    let (smaller, part) = (compressed(path), path.with_added_extension("zst.part"));
    // Of a daemon that was killed: nobody else calls a file so.
    let _ = fs::remove_file(&part);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let result = open(&part, flags, Mode::from_raw_mode(0o640)).map_err(io::Error::from).and_then(|out| {
        let out = File::from(out);
        zstd::stream::copy_encode(File::open(path)?, &out, LEVEL)?;
        // The original goes only when this is on the disk.
        out.sync_data()?;
        // A link, because it takes nobody else's place.
        fs::hard_link(&part, &smaller)?;
        fs::remove_file(&part)?;
        Ok(out.metadata()?.len())
    });
    match result {
        Ok(size) => {
            if closed.is_there() {
                fs::remove_file(path)?;
            }
            Ok((smaller, size))
        }
        Err(error) => {
            let _ = fs::remove_file(part);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn chores(outcome: Arc<Outcome>) -> Chores {
        Chores::new(outcome, Box::new(|level, line| panic!("{level:?}: {line}")))
    }

    #[test]
    fn what_a_killed_daemon_left_half_compressed_is_in_nobodys_way() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        fs::write(&path, "packet").unwrap();
        fs::write(directory.path().join("s.pcap.zst.part"), "pa").unwrap();
        let chores = chores(Arc::default());
        chores.compress(&path);
        drop(chores);
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["s.pcap.zst"]);
    }

    #[test]
    fn a_chore_that_fails_is_told_in_log_and_state() {
        let (outcome, lines) = (Arc::<Outcome>::default(), Arc::<Mutex<Vec<String>>>::default());
        let kept = lines.clone();
        let log: Log = Box::new(move |_, line| kept.lock().unwrap().push(line.to_owned()));
        let chores = Chores::new(outcome.clone(), log);
        chores.compress(Path::new("/nowhere/s.pcap"));
        drop(chores);
        let trouble = "/nowhere/s.pcap cannot be compressed: No such file or directory (os error 2)";
        assert_eq!(*lines.lock().unwrap(), [trouble]);
        assert_eq!(outcome.trouble().as_deref(), Some(trouble));
    }

    #[test]
    fn a_file_that_took_the_place_of_another_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        fs::write(&path, "old").unwrap();
        let (compress, delete) = (Chore::Compress(Closed::new(&path)), Chore::Delete(Closed::new(&path)));
        let newer = directory.path().join("newer");
        fs::write(&newer, "new").unwrap();
        fs::rename(newer, &path).unwrap();
        let chores = chores(Arc::default());
        chores.add(compress);
        chores.add(delete);
        drop(chores);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_compressed_file_takes_the_place_of_its_original() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s.pcap");
        let text = "packet ".repeat(10_000);
        fs::write(&path, &text).unwrap();
        let outcome = Arc::<Outcome>::default();
        outcome.file_begun(&path);
        let chores = chores(outcome.clone());
        chores.compress(&path);
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
        let chores = chores(Arc::default());
        chores.compress(&path);
        chores.delete(&path);
        drop(chores);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
