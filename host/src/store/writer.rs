//! The thread that writes.
//!
//! Nobody else writes to the store, so a file that has changed by itself is somebody else's work. redb would read its pages
//! where it has no copy of them, and can abort the process over what it finds there: see [`trial`](super::trial). So the file
//! is looked at before each write, and one that has changed is tried by another process first.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};

use redb::Database;
use serde::Serialize;

use super::{Absent, Job, NotStored, Open, Row, Table, Unreadable, open, trial};
use super::{CHAINS, CUBES, PAUSE, SERVICES, TOGETHER};

/// What tells whether a file is as it was left: device, inode, length, and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

/// The thread's side.
pub(super) struct Thread {
    path: PathBuf,
    /// `None` after an error: a database that could not write has to be opened again.
    database: Option<Open>,
    /// The file as this process left it; `None` before the first write.
    left: Option<Stamp>,
    /// What could not be written yet, in order.
    pub(super) pending: Vec<Row>,
    failure: Arc<Mutex<Option<NotStored>>>,
}

impl Thread {
    pub(super) fn new(path: PathBuf, database: Option<Open>, failure: Arc<Mutex<Option<NotStored>>>) -> Self {
        let mut writer = Self { path, database, left: None, pending: Vec::new(), failure };
        writer.left = writer.stamp();
        writer
    }

    pub(super) fn run(&mut self, inbox: &mpsc::Receiver<Job>) {
        loop {
            let mut jobs = match inbox.recv_timeout(PAUSE) {
                Ok(job) => vec![job],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            jobs.extend(inbox.try_iter().take(TOGETHER));
            let mut answers = Vec::new();
            for Job { rows, done } in jobs {
                self.pending.extend(rows);
                answers.push(done);
            }
            // Where nothing is to be written, a file that has changed is found before somebody wants a change.
            let written = if self.pending.is_empty() { self.inspect() } else { self.write() };
            self.report(&written);
            for done in answers {
                done(written.clone());
            }
        }
    }

    fn end(&mut self) {
        let written = if self.pending.is_empty() { self.inspect() } else { self.write() };
        if written.is_err() {
            if !self.pending.is_empty() {
                tracing::error!("{}: the last changes are lost", self.path.display());
            }
            self.abandon();
        }
    }

    /// Writes what is pending.
    ///
    /// # Errors
    /// Why it is not on disk; it stays pending.
    pub(super) fn write(&mut self) -> Result<(), NotStored> {
        self.inspect()?;
        let Ok(written) = catch_unwind(AssertUnwindSafe(|| self.try_write())) else {
            self.abandon();
            return Err(NotStored(format!("{}: the database panicked", self.path.display())));
        };
        match &written {
            Ok(()) => self.pending.clear(),
            // A database that is dropped writes, too.
            Err(_) if catch_unwind(AssertUnwindSafe(|| drop(self.database.take()))).is_err() => {
                tracing::error!("{}: the database panicked when it was closed", self.path.display());
            }
            Err(_) => {}
        }
        self.left = self.stamp();
        written
    }

    fn try_write(&mut self) -> Result<(), NotStored> {
        let opened = match self.database.take() {
            Some(opened) => opened,
            None => open(&self.path, Absent::Refuse).map_err(|unreadable| match unreadable {
                Unreadable::Refused(error) => NotStored(error.to_string()),
                Unreadable::Damaged(why) => NotStored(format!("{}: {why}", self.path.display())),
            })?,
        };
        let opened = self.database.insert(opened);
        put(&opened.database, &self.pending).map_err(|error| NotStored(format!("{}: {error}", self.path.display())))
    }

    /// Tries a file that has changed by itself. One that passes is opened again, since the database remembers what it was.
    fn inspect(&mut self) -> Result<(), NotStored> {
        let now = self.stamp();
        // One that is gone is found gone when it is opened.
        if now.is_none() || now == self.left || self.left.is_none() {
            return Ok(());
        }
        if let Err(error) = trial::of_copy(&self.path) {
            let path = self.path.display();
            return Err(NotStored(format!(
                "{path} was written by another program and is damaged ({error}): put a copy of it back, or restart the daemon, \
                 which sets it aside and starts without cubes"
            )));
        }
        tracing::warn!("{} was written by another program: it is opened again", self.path.display());
        self.abandon();
        self.left = now;
        Ok(())
    }

    /// Lets go of the database without a write.
    fn abandon(&mut self) {
        if let Some(opened) = self.database.take() {
            opened.abandon();
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let of = |file: Metadata| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec());
        std::fs::metadata(&self.path).map(of).ok()
    }

    fn report(&self, written: &Result<(), NotStored>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (written, failure.is_some()) {
            (Err(why), false) => tracing::error!("changes cannot be stored: {why}"),
            (Ok(()), true) => tracing::info!("changes can be stored again"),
            _ => {}
        }
        *failure = written.as_ref().err().cloned();
    }
}

fn put(database: &Database, rows: &[Row]) -> Result<(), redb::Error> {
    #[cfg(debug_assertions)]
    crate::fault::step();
    let transaction = database.begin_write()?;
    for row in rows {
        match row {
            Row::Service(name, value) => put_row(&transaction, SERVICES, name, value.as_ref())?,
            Row::Cube(name, value) => put_row(&transaction, CUBES, name, value.as_ref())?,
            Row::Chain(point, value) => put_row(&transaction, CHAINS, point, value.as_ref())?,
        }
    }
    transaction.commit()?;
    #[cfg(debug_assertions)]
    crate::fault::step();
    Ok(())
}

fn put_row<T: Serialize>(
    transaction: &redb::WriteTransaction,
    table: Table,
    name: &str,
    value: Option<&T>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(table)?;
    match value {
        Some(value) => {
            let text = serde_json::to_vec(value).map_err(|error| redb::Error::Io(std::io::Error::other(error)))?;
            table.insert(name, text.as_slice())?;
        }
        None => drop(table.remove(name)?),
    }
    Ok(())
}
