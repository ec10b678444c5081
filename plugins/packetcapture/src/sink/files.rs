//! The sequence of a capture's files: which one is written, when the next begins, and which are kept.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use polycube_plugin_api::Level;

use super::file::{CaptureFile, Shortfall};
use super::file_worker::{FileTask, FileWorker};
use super::journal::Journal;
use super::name::{Names, compressed, default_stem, file_name};
use crate::config::Fsync;
use crate::format::pcapng::{self, Section, Statistics};
use crate::format::{Format, Stamp};
use crate::log::Log;
use crate::outcome::{FileStatus, Outcome};
use crate::settings::{Extent, Settings};
use crate::store::{Directory, OwnFile, Removal, StoredFile};
use crate::sys;
use crate::tally::{Room, Tally, take};

/// Maximum names to try for a new file.
const ATTEMPTS: u32 = 100_000;
/// Closed files that are remembered for deletion: as many as `rotate files` allows.
const CLOSED: usize = 100_000;

/// Writes the files of one capture, from on to off.
pub(crate) struct Files {
    context: FileContext,
    /// Describes the packets to come.
    section: Section,
    /// Whether the last file could not be noted.
    is_unnoted: bool,
    current: Option<Current>,
    names: Names,
    /// The directory of the last file.
    directory: Option<Arc<Directory>>,
    /// The programs' counters when the last file was closed.
    reported: Statistics,
    /// The closed files of this capture, oldest first.
    closed: VecDeque<StoredFile>,
    /// Packets lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
    /// Bytes in the directory besides `current`.
    elsewhere: u64,
}

/// What the files of a capture are written with.
pub(crate) struct FileContext {
    /// The cube's name.
    pub(crate) cube: String,
    pub(crate) journal: Journal,
    pub(crate) settings: Arc<Settings>,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) worker: Arc<FileWorker>,
    pub(crate) log: Log,
}

struct Current {
    file: CaptureFile,
    stored: StoredFile,
    tally: Tally,
    began: Instant,
}

impl Files {
    pub(crate) fn new(context: FileContext) -> Self {
        let section = context.settings.section.clone();
        let mut files = Self {
            context,
            section,
            is_unnoted: false,
            current: None,
            names: Names::default(),
            directory: None,
            reported: Statistics::default(),
            closed: VecDeque::new(),
            failing: None,
            elsewhere: 0,
        };
        files.reported = files.statistics();
        files.measure_directory();
        files
    }

    /// Writes records of `format`. Records that cannot be written are counted.
    pub(crate) fn write(&mut self, format: Format, runs: &[&[u8]]) {
        let mut rest = runs.to_vec();
        while !rest.is_empty() {
            if self.current.as_ref().is_some_and(|current| current.file.format() != format) {
                self.close();
            }
            let next = format.parse(rest[0]).map(|record| record.stamp);
            let taken = take(format, &rest, &self.until_rotation(format, next));
            if taken.damaged > 0 {
                let bytes = taken.damaged;
                (self.context.log)(
                    Level::Error,
                    &format!("{bytes} bytes of a ring are not valid records and are not written"),
                );
            }
            if taken.tally.packets > 0 {
                self.append(format, &taken.runs, &taken.tally);
            }
            rest = taken.rest;
            if !rest.is_empty() {
                self.close();
            }
        }
    }

    /// Records of `section` may follow, besides those of the section before.
    pub(crate) fn describe(&mut self, section: &Section) {
        self.section = self.section.widened(section);
    }

    /// Applies other settings. Those for the file's location and format take effect with the next file, which begins
    /// now if they changed.
    pub(crate) fn apply(&mut self, settings: Arc<Settings>) {
        let (old, new) = (&self.context.settings, &settings);
        let place = |settings: &Settings| (settings.files.directory.clone(), settings.files.stem.clone());
        // The first records of another format may already have begun a file.
        let is_other = self.current.as_ref().is_some_and(|current| current.file.format() != new.format);
        if place(old) != place(new) || is_other || (!old.network && new.network) {
            self.close();
        }
        self.section = settings.section.clone();
        self.context.settings = settings;
        self.measure_directory();
        self.prune();
    }

    /// Checks the clock.
    pub(crate) fn tick(&mut self) {
        self.measure_directory();
        self.settle();
        let is_old = |current: &Current, time| current.tally.packets > 0 && current.began.elapsed() >= time;
        if self
            .context
            .settings
            .files
            .rotate
            .time
            .zip(self.current.as_ref())
            .is_some_and(|(time, now)| is_old(now, time))
        {
            self.close();
        }
        if self.context.settings.files.fsync == Fsync::Interval
            && let Some(current) = &self.current
            && let Ok(fd) = current.file.descriptor()
        {
            self.context.worker.sync_if_idle(fd);
        }
    }

    /// Makes sure that everything is in the file.
    pub(crate) fn settle(&mut self) {
        if let Some(error) = self.current.as_ref().and_then(|current| current.file.settle().err()) {
            self.report_failure(&error, 0);
        }
    }

    /// Closes the last file.
    pub(crate) fn finish(&mut self) {
        self.close();
        if let Some(lost) = self.failing.take() {
            (self.context.log)(
                Level::Error,
                &format!("the capture file could not be written; packets missing in it: {lost}"),
            );
        }
        self.context.outcome.set_trouble(None);
    }

    fn append(&mut self, format: Format, runs: &[&[u8]], tally: &Tally) {
        let result = self.ready(format, tally.size).map_err(|error| Shortfall { kept: 0, error });
        let result = result.and_then(|current| current.file.append(runs));
        let mut kept = *tally;
        if let Err(Shortfall { kept: size, error }) = &result {
            kept = take(format, runs, &Room { size: *size as u64, ..Room::default() }).tally;
            self.context.outcome.disk.add(tally.packets - kept.packets, tally.bytes - kept.bytes);
            self.report_failure(error, tally.packets - kept.packets);
        } else if let Some(lost) = self.failing.take() {
            (self.context.log)(
                Level::Info,
                &format!("the capture file is written again; packets missing in it: {lost}"),
            );
            self.context.outcome.set_trouble(None);
        }
        if kept.packets == 0 {
            return;
        }
        if let Some(current) = &mut self.current {
            if current.tally.packets == 0 {
                self.context.outcome.file_begun(&current.stored);
            }
            current.tally.add(&kept);
            let (tally, size) = (current.tally, current.file.length());
            self.context.outcome.update(&current.stored, |file| (file.tally, file.size) = (tally, size));
        }
    }

    fn report_failure(&mut self, error: &io::Error, lost: u64) {
        if self.failing.is_none() {
            let message = format!("the capture file cannot be written: {error}; packets are lost until it can");
            (self.context.log)(Level::Error, &message);
        }
        self.context.outcome.set_trouble(Some(format!("the capture file cannot be written: {error}")));
        *self.failing.get_or_insert_default() += lost;
    }

    /// The file for records of `format`, with room for `size` more bytes below the ceiling.
    fn ready(&mut self, format: Format, size: u64) -> io::Result<&mut Current> {
        if let Some(ceiling) = self.context.settings.files.ceiling {
            let used =
                |files: &Self| files.elsewhere + files.current.as_ref().map_or(0, |now| now.file.length()) + size;
            while used(self) > ceiling && self.context.settings.files.keep.is_some() && self.delete_oldest() {}
            if used(self) > ceiling {
                let ceiling = ceiling >> 20;
                return Err(io::Error::other(format!("the directory has reached its ceiling of {ceiling} MiB")));
            }
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let mut file = self.create(format)?;
                if self.context.settings.files.direct && !file.bypass_cache()? {
                    let path = file.file().path();
                    let message = format!(
                        "{} is written through the page cache: its file system does not support direct writes",
                        path.display()
                    );
                    (self.context.log)(Level::Info, &message);
                }
                let stored = StoredFile::new(file.file().clone());
                Current { file, stored, tally: Tally::default(), began: Instant::now() }
            }
        };
        let current = self.current.insert(current);
        current.file.describe(&self.section)?;
        Ok(current)
    }

    fn create(&mut self, format: Format) -> io::Result<CaptureFile> {
        let directory = self.directory()?;
        let settings = Arc::clone(&self.context.settings);
        let (stem, mut number) = match &settings.files.stem {
            Some(stem) => (stem.clone(), *self.names.chosen(directory.path().join(stem))),
            None => {
                let stem = default_stem(&self.context.cube, now().seconds().cast_signed());
                let number = *self.names.timed(&stem);
                (stem, number)
            }
        };
        // A ring of files may have much higher numbers.
        let enough = number.saturating_add(ATTEMPTS);
        let mut result =
            Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are too many files named {stem}")));
        let mut passed_over = None;
        while number < enough {
            let name = file_name(&stem, number, format.extension());
            if self.is_free(&directory, name.as_ref())? {
                result = self.create_named(&directory, name.as_ref(), format);
                if !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                    break;
                }
            }
            passed_over.get_or_insert(name);
            number += 1;
        }
        // The name of a file that could not be created is still free.
        let next = number + u32::from(result.is_ok());
        match &settings.files.stem {
            Some(stem) => *self.names.chosen(directory.path().join(stem)) = next,
            None => *self.names.timed(&stem) = next,
        }
        if let (Ok(file), Some(name), true) = (&result, passed_over, settings.files.overwrite) {
            let (kept, own) = (directory.path().join(name), file.file().path());
            let message = format!(
                "{} was not written by a capture, or is still being written: it is kept, and {} is written",
                kept.display(),
                own.display()
            );
            (self.context.log)(Level::Warn, &message);
        }
        result
    }

    /// The directory for the next file.
    fn directory(&mut self) -> io::Result<Arc<Directory>> {
        let opened = self.context.settings.files.directory.open()?;
        // All files of a directory share one descriptor.
        let same = self.directory.take().filter(|former| former.is(&opened));
        Ok(Arc::clone(self.directory.insert(same.unwrap_or_else(|| Arc::new(opened)))))
    }

    /// Whether a file may be called `name`: no file is, compressed or not, or it may be overwritten and was deleted.
    fn is_free(&self, directory: &Directory, name: &OsStr) -> io::Result<bool> {
        let settings = &self.context.settings.files;
        for form in [name, &compressed(name)] {
            if !(settings.overwrite && settings.stem.is_some()) {
                if directory.has(form) {
                    return Ok(false);
                }
                continue;
            }
            match directory.remove_own(form, |id| self.context.outcome.file(id).is_some())? {
                Removal::Absent => {}
                Removal::Removed(id) => {
                    self.context.outcome.file(id).iter().for_each(|file| self.context.outcome.forget(file));
                }
                Removal::Kept => return Ok(false),
            }
        }
        Ok(true)
    }

    fn create_named(&mut self, directory: &Arc<Directory>, name: &OsStr, format: Format) -> io::Result<CaptureFile> {
        // The note comes first, so that the next daemon knows of the file whenever this one is killed.
        let mut noted = self.context.journal.opened(&directory.path().join(name));
        let file = CaptureFile::create(directory, name, format, &self.section)
            .inspect_err(|_| self.context.journal.closed())?;
        if noted.is_ok() {
            noted = self.context.journal.made(file.file());
        }
        let path = file.file().path();
        self.report_note(&path, noted);
        (self.context.log)(Level::Debug, &format!("{} is opened", path.display()));
        Ok(file)
    }

    /// The note only matters if the daemon is killed: the file is written without it.
    fn report_note(&mut self, path: &Path, noted: io::Result<()>) {
        let was_unnoted = std::mem::replace(&mut self.is_unnoted, noted.is_err());
        if let Some(error) = noted.err().filter(|_| !was_unnoted) {
            let why = format!("cannot note that {} is being written: {error}", path.display());
            (self.context.log)(
                Level::Warn,
                &format!("{why}; if the daemon is killed, its last record may stay incomplete"),
            );
        }
    }

    fn close(&mut self) {
        let Some(Current { mut file, stored, tally, .. }) = self.current.take() else { return };
        let path = file.file().path();
        if tally.packets == 0 {
            drop(file);
            (self.context.log)(Level::Debug, &format!("{} is closed without a packet", path.display()));
            self.context.journal.closed();
            return;
        }
        let counted = self.statistics();
        let statistics = counted.since(&self.reported, tally.packets);
        self.reported = counted;
        // The file is complete without them, too.
        let _ = file.append_block(&pcapng::statistics(now(), &statistics));
        if let Err(error) = file.settle() {
            self.report_failure(&error, 0);
        }
        self.context.journal.closed();
        let size = file.length();
        let (name, packets) = (path.display(), tally.packets);
        (self.context.log)(Level::Debug, &format!("{name} is closed: {packets} packets, {size} bytes"));
        self.elsewhere += size;
        self.context.outcome.update(&stored, |file| (file.size, file.status) = (size, FileStatus::Closed));
        if self.context.settings.files.fsync == Fsync::Rotate
            && let Ok(fd) = file.descriptor()
        {
            self.context.worker.add(FileTask::Sync(fd));
        }
        drop(file);
        if self.context.settings.files.compress {
            self.context.worker.add(FileTask::Compress(stored.clone()));
        }
        self.closed.push_back(stored);
        if self.closed.len() > CLOSED {
            self.closed.pop_front();
        }
        self.prune();
    }

    /// Deletes files in excess of those to keep; the current file counts.
    fn prune(&mut self) {
        let Some(keep) = self.context.settings.files.keep else { return };
        while self.closed.len() > keep.saturating_sub(usize::from(self.current.is_some())) && self.delete_oldest() {}
    }

    /// Deletes the oldest closed file; false if there is none.
    fn delete_oldest(&mut self) -> bool {
        let Some(stored) = self.closed.pop_front() else { return false };
        let (file, _) = stored.current();
        (self.context.log)(Level::Debug, &format!("{} is deleted, to make room", file.path().display()));
        self.elsewhere = self.elsewhere.saturating_sub(file.size());
        self.context.outcome.forget(&stored);
        self.context.worker.add(FileTask::Delete(stored));
        true
    }

    /// Size of the current file, or of the next one, without further records.
    fn length(&self, format: Format) -> u64 {
        let current = self.current.as_ref().filter(|current| current.tally.packets > 0);
        let before = current.map_or_else(|| format.header(&self.section).len() as u64, |now| now.file.length());
        before + if format == Format::Pcapng { pcapng::STATISTICS } else { 0 }
    }

    /// The room in the current file; a new one begins with a packet of time `next`. A file without packets takes at
    /// least one, however large.
    fn until_rotation(&self, format: Format, next: Option<Stamp>) -> Room {
        let Extent { bytes, time, .. } = self.context.settings.files.rotate;
        let current = self.current.as_ref().filter(|current| current.tally.packets > 0);
        let first = current.map(|current| current.tally.first).or(next);
        let until = time.zip(first).map(|(time, first)| Stamp(first.0 + time.as_nanos() as u64));
        Room {
            packets: u64::MAX,
            size: bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.length(format))),
            until: until.unwrap_or(Stamp(u64::MAX)),
            one_at_least: current.is_none(),
        }
    }

    fn measure_directory(&mut self) {
        if self.context.settings.files.ceiling.is_none() {
            return;
        }
        let Ok(directory) = self.context.settings.files.directory.open() else { return };
        let own = self.current.as_ref().map(|current| current.file.file()).filter(|own| own.directory().is(&directory));
        self.elsewhere = directory.size(own.map(OwnFile::name));
    }

    fn statistics(&self) -> Statistics {
        self.context.outcome.statistics(self.context.outcome.disk.packets())
    }
}

fn now() -> Stamp {
    Stamp::from_nanos(sys::utc_now())
}

#[cfg(test)]
mod tests;
