//! What users asked for, on disk: an embedded database in the state directory.
//!
//! A change is answered when what it made is on disk. A thread of its own writes, so that the engine never waits for a
//! file; changes that come while the disk is busy go there together. A change costs what it touches, however many cubes
//! there are. A disk that does not take a change is asked again until it does; meanwhile no other change is made.
//!
//! The rows are JSON, in the forms of [`crate::model::Saved`].

mod file;
mod trial;
mod writer;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use serde::de::DeserializeOwned;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::model::{Row, Saved, UnreadableCube};
use file::{Open, Shared};
use trial::TrialError;
pub(crate) use trial::{COPY as TRIAL_OF_COPY, WORD as TRIAL, run as run_trial, run_on_copy as run_trial_of_copy};
use writer::Thread;

/// The file in the state directory.
const FILE: &str = "state.redb";

/// The version of what is in it. A later one that an earlier daemon cannot read has another number.
const VERSION: u64 = 1;

/// How long a disk that did not take a change is left alone.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the last changes may take to get to the disk.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Changes that go to the disk together at most.
const TOGETHER: usize = 256;

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const SERVICES: Table = TableDefinition::new("services");
const CUBES: Table = TableDefinition::new("cubes");
const CHAINS: Table = TableDefinition::new("chains");

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Database { path: PathBuf, source: Box<redb::Error> },
    #[error("{path} was written by a later version of polycubed: upgrade, or give --state-dir another directory")]
    Later { path: PathBuf },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Why something is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotStored(String);

/// Hears when rows are on disk, or why they are not.
pub(crate) type Done = Box<dyn FnOnce(Result<(), NotStored>) + Send>;

struct Job {
    rows: Vec<Row>,
    done: Done,
}

/// The way to the thread that writes. It ends with the value, when everything is written.
pub(crate) struct Store {
    jobs: Option<mpsc::Sender<Job>>,
    /// Why the last change is not on disk.
    failure: Arc<Mutex<Option<NotStored>>>,
    thread: Option<JoinHandle<()>>,
}

/// What was found in the store.
#[derive(Default)]
pub(crate) struct Contents {
    pub saved: Saved,
    /// Where a store that could not be read was put aside.
    pub damaged: Option<PathBuf>,
    /// Whether there was no store.
    pub is_new: bool,
}

impl Store {
    /// Opens the store in `directory`, or makes one. A damaged one is put aside, under a name with the time.
    ///
    /// # Errors
    /// The file cannot be opened or made, or a later version wrote it.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Contents), StoreError> {
        Self::open_after(directory, trial::in_child)
    }

    /// As [`Store::open`], after a `trial` of the file, which says why it must not be opened.
    fn open_after(
        directory: &Path,
        trial: impl Fn(&Path) -> Result<(), TrialError>,
    ) -> Result<(Self, Contents), StoreError> {
        let path = directory.join(FILE);
        let mut damaged = None;
        let is_new = std::fs::metadata(&path).map_or(true, |file| file.len() == 0);
        let tried = if is_new { Ok(()) } else { trial(&path).map_err(|error| Unreadable::Damaged(error.to_string())) };
        let (database, saved) = match tried.and_then(|()| read(&path)) {
            Err(Unreadable::Damaged(why)) => {
                let aside = put_aside(&path)?;
                tracing::error!(
                    "{} is damaged ({why}): it is now {}, and the daemon starts without cubes",
                    path.display(),
                    aside.display()
                );
                damaged = Some(aside);
                read(&path)
            }
            opened => opened,
        }
        .map_err(|unreadable| match unreadable {
            Unreadable::Refused(error) => error,
            Unreadable::Damaged(why) => {
                StoreError::File { path: path.clone(), source: io::Error::new(io::ErrorKind::InvalidData, why) }
            }
        })?;
        let failure = Arc::default();
        let (jobs, inbox) = mpsc::channel();
        let mut writer = Thread::new(path, Some(database), Arc::clone(&failure));
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&inbox));
        let thread = Some(thread.map_err(StoreError::Thread)?);
        Ok((Self { jobs: Some(jobs), failure, thread }, Contents { saved, damaged, is_new }))
    }

    /// Has rows written, all or none. `done` is called on the thread that writes.
    pub(crate) fn write(&self, rows: Vec<Row>, done: Done) {
        let Some(jobs) = &self.jobs else { return };
        if let Err(mpsc::SendError(job)) = jobs.send(Job { rows, done }) {
            (job.done)(Err(NotStored("the thread that writes has ended".to_owned())));
        }
    }

    /// Why what is in force is not on disk yet.
    pub(crate) fn failure(&self) -> Option<NotStored> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Store {
    /// Waits until everything is written, but not for ever: a disk may hang.
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + LAST_WRITES;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            // A panic is in the log, and what was not written has been answered with an error.
            let _ = thread.join();
        } else {
            tracing::error!("the disk of the store does not answer: the last changes may be lost");
        }
    }
}

enum Unreadable {
    Damaged(String),
    Refused(StoreError),
}

/// Opens the database and reads everything. redb panics at some damages, mostly where a page is not one. A trial finds them
/// first, without a word; here they are caught where there could be no trial.
fn read(path: &Path) -> Result<(Open, Saved), Unreadable> {
    let panicked = |_| Err(Unreadable::Damaged(TrialError::Panicked.to_string()));
    catch_unwind(|| try_read(path)).unwrap_or_else(panicked)
}

fn try_read(path: &Path) -> Result<(Open, Saved), Unreadable> {
    let opened = open(path, Absent::Make)?;
    let saved = contents(&opened.database).map_err(|error| match error {
        redb::Error::Io(source) if !is_damage(&source) => {
            Unreadable::Refused(StoreError::File { path: path.to_owned(), source })
        }
        error => Unreadable::Damaged(error.to_string()),
    })?;
    match saved {
        (VERSION, saved) => Ok((opened, saved)),
        (version, _) if version > VERSION => Err(Unreadable::Refused(StoreError::Later { path: path.to_owned() })),
        (version, _) => Err(Unreadable::Damaged(format!("no version has the number {version}"))),
    }
}

/// Whether what is in the file is to blame, and not the disk: it is not a database, it ends too early, or it leads to a place
/// where no file has anything.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    [InvalidData, InvalidInput, UnexpectedEof].contains(&error.kind())
}

/// What to do where there is no file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Make,
    /// One that was there is gone: a new one would have the last changes and nothing else.
    Refuse,
}

fn open(path: &Path, absent: Absent) -> Result<Open, Unreadable> {
    let file = |source| Unreadable::Refused(StoreError::File { path: path.to_owned(), source });
    let opened: io::Result<File> =
        OpenOptions::new().read(true).write(true).create(absent == Absent::Make).truncate(false).mode(0o600).open(path);
    let opened = opened.map_err(file)?;
    let opened = FileBackend::new(opened).map(|file| Shared(Arc::new(file))).and_then(|file| {
        let database = Database::builder().create_with_backend(file.clone())?;
        Ok(Open { database, file })
    });
    opened.map_err(|error| match error {
        DatabaseError::Storage(StorageError::Io(source)) if !is_damage(&source) => file(source),
        DatabaseError::UpgradeRequired(_) => Unreadable::Refused(StoreError::Later { path: path.to_owned() }),
        DatabaseError::DatabaseAlreadyOpen => {
            Unreadable::Refused(StoreError::Database { path: path.to_owned(), source: Box::new(error.into()) })
        }
        error => Unreadable::Damaged(error.to_string()),
    })
}

/// The version of what is stored, and everything that is. Writes the version where there is none yet.
fn contents(database: &Database) -> Result<(u64, Saved), redb::Error> {
    let transaction = database.begin_write()?;
    let version = {
        let mut meta = transaction.open_table(META)?;
        let version = meta.get("version")?.map(|version| version.value());
        if version.is_none() {
            meta.insert("version", VERSION)?;
        }
        for table in [SERVICES, CUBES, CHAINS] {
            transaction.open_table(table)?;
        }
        version.unwrap_or(VERSION)
    };
    transaction.commit()?;
    let transaction = database.begin_read()?;
    let mut unreadable = BTreeMap::new();
    let log = |table: Table| {
        move |name: String, _: &[u8], error: &serde_json::Error| {
            tracing::error!(%table, name, "a stored row cannot be read, and is left as it is: {error}");
        }
    };
    let saved = Saved {
        services: rows(&transaction, SERVICES, log(SERVICES))?,
        cubes: rows(&transaction, CUBES, |name, row, error| {
            unreadable.insert(name, UnreadableCube::of(row, error));
        })?,
        chains: rows(&transaction, CHAINS, log(CHAINS))?,
        unreadable,
    };
    Ok((version, saved))
}

/// The rows of a table. One that is not what this version writes stays stored, and is handed to `odd`.
fn rows<T: DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    table: Table,
    mut odd: impl FnMut(String, &[u8], &serde_json::Error),
) -> Result<BTreeMap<String, T>, redb::Error> {
    let mut found = BTreeMap::new();
    for row in transaction.open_table(table)?.iter()? {
        let (name, text) = row?;
        match serde_json::from_slice(text.value()) {
            Ok(row) => drop(found.insert(name.value().to_owned(), row)),
            Err(error) => odd(name.value().to_owned(), text.value(), &error),
        }
    }
    Ok(found)
}

/// Renames a damaged file. Answers with its new name.
fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let aside = path.with_file_name(format!("{FILE}.damaged-{time}"));
    std::fs::rename(path, &aside).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    Ok(aside)
}

#[cfg(test)]
mod tests;
