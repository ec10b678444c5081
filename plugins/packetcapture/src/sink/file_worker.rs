//! Slow operations on files, on a thread of their own: neither packets nor changes wait for it.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use polycube_plugin_api::Level;
use rustix::fs::{OFlags, fdatasync};

use super::name::{compressed, half_compressed};
use super::space::Space;
use crate::index::Index;
use crate::lock::lock;
use crate::log::Log;
use crate::outcome::{FileStatus, Outcome};
use crate::store::{Attribute, Directory, OpenError, OwnFile, Removal, StoredFile};

/// zstd's own default.
const LEVEL: i32 = 3;
/// How long a cube that is deleted waits for its tasks; the rest are finished after it. Under test, all are.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 2 });

pub(crate) enum FileTask {
    /// Forces what was written so far to the disk.
    Sync(OwnedFd),
    /// Notes what is in a closed file, so that queries can skip it.
    Index(StoredFile),
    /// Replaces a closed file with its compressed form.
    Compress(StoredFile),
    /// Deletes a closed file, compressed or not.
    Delete(StoredFile),
    /// Looks how much space the disk of a directory has above the floor.
    Measure(Arc<Directory>, Space, Option<u64>),
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("cannot sync the capture file: {0}")]
    Sync(#[source] io::Error),
    #[error("cannot compress {}: {source}", path.display())]
    Compress { path: PathBuf, source: io::Error },
    #[error("cannot delete {}: {source}", path.display())]
    Delete { path: PathBuf, source: io::Error },
}

/// Runs the file tasks of a cube in order. It outlives a capture, because compression may take as long as the capture
/// did.
pub(crate) struct FileWorker {
    shared: Arc<Shared>,
    thread: Mutex<Option<WorkerThread>>,
}

struct Shared {
    outcome: Arc<Outcome>,
    log: Log,
    /// Number of unfinished tasks.
    pending: AtomicUsize,
}

struct WorkerThread {
    tasks: mpsc::Sender<FileTask>,
    /// Nothing is ever sent: the other end closes when the thread ends.
    ended: mpsc::Receiver<()>,
}

impl FileWorker {
    pub(crate) fn new(outcome: Arc<Outcome>, log: Log) -> Self {
        Self { shared: Arc::new(Shared { outcome, log, pending: AtomicUsize::new(0) }), thread: Mutex::default() }
    }

    pub(super) fn add(&self, task: FileTask) {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            *thread = WorkerThread::start(&self.shared).ok();
        }
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        match &*thread {
            Some(thread) => {
                // The thread receives as long as we hold this end.
                let _ = thread.tasks.send(task);
            }
            None => self.shared.run(task),
        }
    }

    /// As [`add`](Self::add), but only if no task is pending: tasks of every second would pile up behind a slow disk.
    pub(super) fn add_if_idle(&self, task: FileTask) {
        if self.shared.pending.load(Ordering::Relaxed) == 0 {
            self.add(task);
        }
    }
}

impl Drop for FileWorker {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(WorkerThread { tasks, ended }) = thread {
            drop(tasks);
            // An error either way: the thread has ended, or takes too long.
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

impl WorkerThread {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (tasks, inbox) = mpsc::channel::<FileTask>();
        let (end, ended) = mpsc::channel::<()>();
        let shared = Arc::clone(shared);
        thread::Builder::new().name(String::from("capture:files")).spawn(move || {
            inbox.iter().for_each(|task| shared.run(task));
            drop(end);
        })?;
        Ok(Self { tasks, ended })
    }
}

impl Shared {
    fn run(&self, task: FileTask) {
        if let Err(error) = task.run(&self.outcome) {
            let trouble = error.to_string();
            (self.log)(Level::Error, &trouble);
            self.outcome.set_trouble(Some(trouble));
        }
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileTask {
    fn run(self, outcome: &Outcome) -> Result<(), TaskError> {
        match self {
            Self::Sync(fd) => {
                fdatasync(&fd).map_err(|error| TaskError::Sync(error.into()))?;
            }
            Self::Index(stored) => {
                // A file that is gone needs none, and one without an index is read: nothing is lost.
                if let Ok(file) = stored.current().0.open(OFlags::RDONLY) {
                    let _ = Index::write(&file);
                }
            }
            Self::Compress(stored) => {
                let original = stored.current().0;
                let failed = |source| TaskError::Compress { path: original.path(), source };
                let Some((smaller, size)) = compress(&original).map_err(failed)? else { return Ok(()) };
                stored.compressed_to(smaller);
                outcome.update(&stored, |file| (file.size, file.status) = (size, FileStatus::Compressed));
                remove(&original)?;
            }
            Self::Delete(stored) => {
                let (file, _) = stored.current();
                remove(&file)?;
                outcome.forget(&stored);
            }
            Self::Measure(directory, space, floor) => space.measure(&*directory, floor),
        }
        Ok(())
    }
}

fn remove(file: &OwnFile) -> Result<(), TaskError> {
    file.remove().map_err(|source| TaskError::Delete { path: file.path(), source })
}

/// Creates the compressed form of `original` beside it; returns it and its size, or `None` if `original` is gone. The
/// compressed file gets its name only when all of it is on the disk.
fn compress(original: &OwnFile) -> io::Result<Option<(OwnFile, u64)>> {
    let source = match original.open(OFlags::RDONLY) {
        Ok(source) => source,
        Err(OpenError::Deleted | OpenError::Replaced) => return Ok(None),
        Err(OpenError::Io(error)) => return Err(error),
    };
    let directory = original.directory();
    let part = half_compressed(original.name());
    // A killed daemon may have left one.
    if directory.remove_own(&part, |_| false)? == Removal::Kept {
        let why = format!("{} is in the way", directory.path().join(&part).display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let (part, fd) = directory.create(&part)?;
    let out = File::from(fd);
    Attribute::copy_all(&source, &out);
    let result = zstd::stream::copy_encode(source, &out, LEVEL)
        .and_then(|()| out.sync_data())
        .and_then(|()| directory.link(out.as_fd(), &compressed(original.name())));
    let removed = part.remove();
    let smaller = result?;
    removed?;
    Ok(Some((smaller, out.metadata()?.len())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::fixture::stored;

    fn worker(outcome: Arc<Outcome>) -> FileWorker {
        FileWorker::new(outcome, Box::new(|level, line| panic!("{level:?}: {line}")))
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_daemon_left_half_compressed_is_replaced() {
        let directory = TempDir::new().unwrap();
        let file = stored(directory.path(), "s.pcap", b"packet");
        stored(directory.path(), "s.pcap.zst.part", b"pa");
        let worker = worker(Arc::default());
        worker.add(FileTask::Compress(file));
        drop(worker);
        assert_eq!(names(directory.path()), ["s.pcap.zst"]);
    }

    #[test]
    fn a_task_that_fails_is_reported_in_log_and_state() {
        let directory = TempDir::new().unwrap();
        let file = stored(directory.path(), "s.pcap", b"packet");
        let part = directory.path().join("s.pcap.zst.part");
        fs::write(&part, "dear").unwrap();
        let (outcome, lines) = (Arc::<Outcome>::default(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&lines);
        let log: Log = Box::new(move |_, line| kept.lock().unwrap().push(line.to_owned()));
        let worker = FileWorker::new(Arc::clone(&outcome), log);
        worker.add(FileTask::Compress(file.clone()));
        drop(worker);
        let trouble = format!("cannot compress {}: {} is in the way", file.path().display(), part.display());
        assert_eq!(*lines.lock().unwrap(), [trouble.as_str()]);
        assert_eq!(outcome.trouble(), Some(trouble));
        assert_eq!(fs::read(part).unwrap(), b"dear");
    }

    #[test]
    fn a_file_that_took_the_place_of_another_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let file = stored(directory.path(), "s.pcap", b"old");
        fs::write(directory.path().join("newer"), "new").unwrap();
        fs::rename(directory.path().join("newer"), file.path()).unwrap();
        let worker = worker(Arc::default());
        worker.add(FileTask::Compress(file.clone()));
        worker.add(FileTask::Delete(file.clone()));
        drop(worker);
        assert_eq!(fs::read(file.path()).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["s.pcap"]);
    }

    #[test]
    fn a_compressed_file_takes_the_place_of_its_original() {
        let directory = TempDir::new().unwrap();
        let text = "packet ".repeat(10_000);
        let file = stored(directory.path(), "s.pcap", text.as_bytes());
        let outcome = Arc::<Outcome>::default();
        outcome.file_begun(&file, 0);
        let worker = worker(Arc::clone(&outcome));
        worker.add(FileTask::Compress(file));
        drop(worker);
        let smaller = directory.path().join("s.pcap.zst");
        assert_eq!(zstd::stream::decode_all(File::open(&smaller).unwrap()).unwrap(), text.as_bytes());
        assert_eq!(fs::metadata(&smaller).unwrap().permissions().mode() & 0o137, 0);
        assert_eq!(names(directory.path()), ["s.pcap.zst"]);
        let state = outcome.files().remove(0);
        assert_eq!((state.stored.path(), state.status), (smaller.clone(), FileStatus::Compressed));
        assert_eq!(state.size, fs::metadata(&smaller).unwrap().len());
    }

    #[test]
    fn files_are_deleted_in_either_form() {
        let directory = TempDir::new().unwrap();
        let files = ["one.pcap", "two.pcap"].map(|name| stored(directory.path(), name, b"packet"));
        let worker = worker(Arc::default());
        worker.add(FileTask::Compress(files[0].clone()));
        files.into_iter().for_each(|file| worker.add(FileTask::Delete(file)));
        drop(worker);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    /// The descriptor gets the name, whatever the part's name now refers to.
    #[test]
    fn a_part_that_is_swapped_does_not_become_the_compressed_file() {
        let directory = TempDir::new().unwrap();
        let file = stored(directory.path(), "s.pcap", b"packet").current().0;
        let (part, fd) = file.directory().create("part".as_ref()).unwrap();
        File::from(fd.try_clone().unwrap()).write_all(b"ours").unwrap();
        fs::remove_file(part.path()).unwrap();
        fs::hard_link(directory.path().join("s.pcap"), part.path()).unwrap();
        let linked = file.directory().link(fd.as_fd(), "s.pcap.zst".as_ref());
        assert_eq!(linked.unwrap_err().kind(), io::ErrorKind::NotFound, "a file without a name gets none");
        part.remove().unwrap();
        assert!(part.path().exists());
    }
}
