//! The sequence of a capture's files: which one is written, when the next begins, and which are kept.

#![forbid(unsafe_code)]

mod current;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polycube_plugin_api::Level;

use current::Current;

use super::direct::way::{Way, Work};
use super::file::{Interference, Shortfall};
use super::file_worker::FileTask;
use super::opener::{FileContext, Opener};
use super::space::Full;
use crate::about::About;
use crate::config::Fsync;
use crate::format::pcapng::{self, Section, Statistics};
use crate::format::{Format, Stamp};
use crate::outcome::{FileStatus, Outcome};
use crate::ring::Written;
use crate::settings::{Extent, Settings};
use crate::store::{OwnFile, StoredFile};
use crate::sys;
use crate::tally::{Room, Tally, take};

/// Closed files that are remembered for deletion: as many as `rotate files` allows.
const CLOSED: usize = 100_000;

/// Writes the files of one capture, from on to off.
pub(crate) struct Files {
    context: FileContext,
    /// Describes the packets to come.
    section: Section,
    current: Option<Current>,
    opener: Opener,
    /// The programs' counters when the last file was closed.
    reported: Statistics,
    /// The closed files of this capture, oldest first.
    closed: VecDeque<StoredFile>,
    /// Packets lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
    /// Bytes in the directory besides `current`; `None` until they are measured.
    elsewhere: Option<u64>,
    /// Whether the directory has reached its ceiling since it was measured: then nothing more fits until the next time.
    is_at_ceiling: bool,
    /// Whether records come from memory: then the rings have released them already.
    is_memory: bool,
    way: Way,
    /// Bytes written since `looked`, when the way was last decided.
    written: u64,
    looked: Instant,
}

impl Files {
    pub(crate) fn new(context: FileContext) -> Self {
        let section = context.settings.section.clone();
        let mut files = Self {
            way: Way::new(context.settings.files.direct),
            written: 0,
            looked: Instant::now(),
            context,
            section,
            current: None,
            opener: Opener::default(),
            reported: Statistics::default(),
            closed: VecDeque::new(),
            failing: None,
            elsewhere: None,
            is_at_ceiling: false,
            is_memory: false,
        };
        files.reported = files.statistics();
        files
    }

    /// Writes records of `format` from the rings. Records that cannot be written are counted.
    pub(crate) fn write(&mut self, format: Format, runs: &[&[u8]]) {
        self.is_memory = false;
        self.write_all(format, runs);
    }

    /// The same, for records that waited in memory.
    pub(super) fn write_waiting(&mut self, format: Format, records: &[u8]) {
        self.is_memory = true;
        self.write_all(format, &[records]);
    }

    fn write_all(&mut self, format: Format, runs: &[&[u8]]) {
        let mut rest = runs.to_vec();
        while !rest.is_empty() {
            self.leave_unsuitable(format);
            let next = format.parse(rest[0]).map(|record| record.stamp);
            let taken = take(format, &rest, &self.until_rotation(format, next));
            if taken.damaged > 0 {
                let bytes = taken.damaged;
                (self.context.log)(
                    Level::Error,
                    &format!("{bytes} bytes of a ring are not valid records and are not written"),
                );
                self.account(&Tally { size: bytes as u64, ..Tally::default() });
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

    /// Notes that records are written, or lost.
    fn account(&self, tally: &Tally) {
        let written = |Current { file, .. }: &Current| Written { file: file.own().id(), length: file.length() };
        let written = self.current.as_ref().map(written);
        if self.is_memory {
            self.context.outcome.end_wait(tally, written);
        } else {
            self.context.outcome.account(tally.size, written);
        }
    }

    /// Closes the current file if records of `format` cannot follow in it.
    fn leave_unsuitable(&mut self, format: Format) {
        let Some(Current { file, .. }) = &self.current else { return };
        if let Some(interference) = file.interference() {
            self.abandon(interference);
        } else if file.format() != format || !file.can_describe(&self.section) {
            self.close();
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
        if place(old) != place(new) || is_other || (old.keeps_files() && !new.keeps_files()) {
            self.close();
        }
        self.section = settings.section.clone();
        self.way.set(settings.files.direct);
        self.context.settings = settings;
        self.measure_directory();
        self.prune();
    }

    /// Checks the clock.
    pub(crate) fn tick(&mut self) {
        self.measure_directory();
        self.measure_disk();
        if let Some(interference) = self.current.as_ref().and_then(|now| now.file.interference_at_path()) {
            self.abandon(interference);
        }
        self.choose_way();
        let settled = self.current.as_ref().map_or(Ok(()), |current| current.file.settle_if_idle());
        if let Err(error) = settled {
            self.report_failure(&error, 0);
        }
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
            self.context.worker.add_if_idle(FileTask::Sync(fd));
        }
    }

    /// Whether records bypass the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.current.as_ref().map_or(self.way.is_direct(), |current| current.file.is_direct())
    }

    /// Goes past the page cache or back, where the capture chooses itself.
    fn choose_way(&mut self) {
        let busy = self.current.as_ref().map_or(Duration::ZERO, |current| current.file.take_busy());
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut self.looked, now));
        self.way.decide(Work { bytes: std::mem::take(&mut self.written), busy, elapsed });
        let Some(Current { file, .. }) = self.current.as_mut().filter(|_| self.way.is_chosen()) else { return };
        let result = match (self.way.is_direct(), file.is_direct()) {
            (true, false) => file.bypass_cache(&self.context.outcome).map(|is_possible| {
                if !is_possible {
                    self.way.give_up();
                }
            }),
            (false, true) => file.use_cache(),
            _ => Ok(()),
        };
        if let Err(error) = result {
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
        let result = result.and_then(|current| {
            let began = Instant::now();
            current.file.append(runs)?;
            Ok((!current.file.is_direct()).then(|| began.elapsed()))
        });
        let mut kept = *tally;
        self.written += tally.size;
        // Past the page cache, the disk is busy at other times.
        if let Ok(Some(took)) = &result {
            self.context.outcome.pace.add(tally.size, *took);
        }
        if let Err(Shortfall { kept: size, error }) = &result {
            kept = take(format, runs, &Room { size: *size as u64, ..Room::default() }).tally;
            let is_floor = error.get_ref().and_then(|inner| inner.downcast_ref::<Full>()).is_some();
            let Outcome { disk, floor, .. } = &*self.context.outcome;
            let losses = if is_floor { floor } else { disk };
            losses.add(tally.packets - kept.packets, tally.bytes - kept.bytes);
            self.report_failure(error, tally.packets - kept.packets);
        } else if let Some(lost) = self.failing.take() {
            (self.context.log)(
                Level::Info,
                &format!("the capture file is written again; packets missing in it: {lost}"),
            );
            self.context.outcome.set_trouble(None);
        }
        self.account(tally);
        if kept.packets == 0 {
            return;
        }
        if let Some(current) = &mut self.current {
            if current.tally.packets == 0 {
                self.context.outcome.file_begun(&current.stored, self.context.session);
            }
            current.tally.add(&kept);
            current.note_waiting(&kept);
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
            if self.elsewhere.is_none() {
                self.measure_directory();
            }
            let used = |files: &Self| {
                files.elsewhere.unwrap_or_default() + files.current.as_ref().map_or(0, |now| now.file.length()) + size
            };
            while used(self) > ceiling && self.context.settings.files.keep.is_some() && self.delete_oldest() {}
            self.is_at_ceiling |= used(self) > ceiling;
            if self.is_at_ceiling {
                let ceiling = ceiling >> 20;
                return Err(io::Error::other(format!("the directory has reached its ceiling of {ceiling} MiB")));
            }
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let mut file = self.opener.open(&mut self.context, format, &self.section)?;
                if self.way.is_direct() && !file.bypass_cache(&self.context.outcome)? {
                    let path = file.own().path();
                    let message = format!(
                        "{} is written through the page cache: its file system does not support direct writes",
                        path.display()
                    );
                    (self.context.log)(Level::Info, &message);
                }
                // A first write that is killed is taken back as a whole.
                self.context.outcome.account(0, Some(Written { file: file.own().id(), length: 0 }));
                Current::new(file)
            }
        };
        let current = self.current.insert(current);
        self.opener.space.take(size).map_err(io::Error::other)?;
        current.file.describe(&self.section)?;
        current.file.precede(&self.context.keys.since(&mut current.keys, self.context.settings.files.most_keys()));
        Ok(current)
    }

    /// Reports that another program interfered with the current file, and closes it.
    fn abandon(&mut self, interference: Interference) {
        let Some(Current { file, tally, .. }) = &self.current else { return };
        if tally.packets > 0 {
            let what = match interference {
                Interference::Deleted => "deleted",
                Interference::Moved => "moved or replaced",
                Interference::Truncated => "truncated",
            };
            let (path, packets) = (file.own().path(), tally.packets);
            let message = format!(
                "another program has {what} {} while it was being written, with {packets} packets in it; the capture \
                 continues in a new file",
                path.display()
            );
            (self.context.log)(Level::Warn, &message);
            self.context.outcome.removed.add(packets, tally.bytes);
        }
        self.retire(match interference {
            Interference::Deleted | Interference::Moved => FileStatus::Removed,
            Interference::Truncated => FileStatus::Truncated,
        });
    }

    /// Closes the current file.
    fn close(&mut self) {
        match self.current.as_ref().map(|current| current.file.interference_at_path()) {
            Some(Some(interference)) => self.abandon(interference),
            Some(None) => self.retire(FileStatus::Closed),
            None => {}
        }
    }

    /// Closes the current file, whose status becomes `status`.
    fn retire(&mut self, status: FileStatus) {
        let Some(mut current) = self.current.take() else { return };
        if current.tally.packets > 0 {
            self.complete(&mut current, status);
        }
        let Current { file, stored, tally, .. } = current;
        let path = file.own().path();
        self.context.outcome.leave_file();
        self.context.journal.closed();
        if tally.packets == 0 {
            drop(file);
            self.context.outcome.forget(&stored);
            (self.context.log)(Level::Debug, &format!("{} is closed without a packet", path.display()));
            return;
        }
        let size = file.length();
        let (name, packets) = (path.display(), tally.packets);
        (self.context.log)(Level::Debug, &format!("{name} is closed: {packets} packets, {size} bytes"));
        self.context.outcome.update(&stored, |file| (file.tally, file.size, file.status) = (tally, size, status));
        if status != FileStatus::Closed {
            // It is not ours any more.
            return;
        }
        self.elsewhere = self.elsewhere.map(|elsewhere| elsewhere + size);
        if self.context.settings.files.fsync == Fsync::Rotate
            && let Ok(fd) = file.descriptor()
        {
            self.context.worker.add(FileTask::Sync(fd));
        }
        if let Ok(fd) = file.descriptor() {
            About::new(file.section(), &tally).write(fd);
        }
        let was_direct = file.is_direct();
        drop(file);
        // A file that bypassed the page cache would have to be read from the disk, which has enough to do.
        if !was_direct {
            self.context.worker.add(FileTask::Index(stored.clone()));
        }
        if self.context.settings.files.compress {
            self.context.worker.add(FileTask::Compress(stored.clone()));
        }
        self.closed.push_back(stored);
        if self.closed.len() > CLOSED {
            self.closed.pop_front();
        }
        self.prune();
    }

    /// Writes what the file of `current` still needs. What cannot be written is lost.
    fn complete(&mut self, current: &mut Current, status: FileStatus) {
        let Current { file, tally, keys, .. } = &mut *current;
        let counted = self.statistics();
        let statistics = counted.since(&self.reported, tally.packets);
        self.reported = counted;
        // In a truncated file, they would follow a gap; in one that was moved, they are still of use.
        if status == FileStatus::Truncated {
            return;
        }
        // The file is complete without them, too.
        let _ = file.append_block(&self.context.keys.since(keys, self.context.settings.files.most_keys()));
        let now = Stamp::from_nanos(sys::utc_now());
        let _ = file.append_block(&pcapng::statistics(now, file.format().resolution(), &statistics));
        if let Err(error) = file.settle() {
            let lost = current.cut_to_whole();
            // The packets of a file that is not ours any more are counted already.
            if status == FileStatus::Closed {
                self.context.outcome.disk.add(lost.packets, lost.bytes);
            }
            self.report_failure(&error, lost.packets);
        }
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
        self.elsewhere = self.elsewhere.map(|elsewhere| elsewhere.saturating_sub(file.size()));
        self.context.outcome.forget(&stored);
        self.context.worker.add(FileTask::Delete(stored));
        true
    }

    /// Size of the current file, or of the next one, without further records.
    fn length(&self, format: Format) -> u64 {
        let current = self.current.as_ref().filter(|current| current.tally.packets > 0);
        let before = current.map_or_else(|| format.header(&self.section).len() as u64, |now| now.file.length());
        if format != Format::Pcapng {
            return before;
        }
        let owed =
            self.context.keys.size_since(current.map_or(0, |now| now.keys), self.context.settings.files.most_keys());
        before + owed + pcapng::STATISTICS
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
        let own = self.current.as_ref().map(|current| current.file.own()).filter(|own| own.directory().is(&directory));
        self.elsewhere = Some(directory.size(own.map(OwnFile::name)));
        self.is_at_ceiling = false;
    }

    /// Has the disk looked at. If it is the disk of a later directory, that is looked at when its first file is opened.
    fn measure_disk(&self) {
        if let Some(directory) = &self.opener.directory {
            let task = FileTask::Measure(Arc::clone(directory), self.opener.space.clone(), self.context.floor);
            self.context.worker.add_if_idle(task);
        }
    }

    fn statistics(&self) -> Statistics {
        self.context.outcome.statistics(self.context.outcome.disk.packets() + self.context.outcome.floor.packets())
    }
}

#[cfg(test)]
mod tests;
