//! The next file of a capture: its directory, a free name for it, and its note.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use polycube_plugin_api::Level;

use super::file::CaptureFile;
use super::file_worker::FileWorker;
use super::journal::Journal;
use super::name::{Names, compressed, default_stem, file_name};
use super::space::Space;
use crate::format::pcapng::Section;
use crate::format::{Format, Stamp};
use crate::keys::Keys;
use crate::log::Log;
use crate::outcome::Outcome;
use crate::pattern::Pattern;
use crate::settings::{FileSettings, Settings};
use crate::store::{Directory, Removal};
use crate::sys;

/// Maximum names to try for a new file.
pub(super) const ATTEMPTS: u32 = 100_000;

/// What the files of a capture are written with.
pub(crate) struct FileContext {
    /// The cube's name.
    pub(crate) cube: String,
    /// Number of the capture.
    pub(crate) session: u64,
    /// Whether an earlier daemon began it. Its files are part of it, and are not overwritten.
    pub(crate) continues: bool,
    /// Bytes of a disk that are left free; `None` for the default.
    pub(crate) floor: Option<u64>,
    pub(crate) journal: Journal,
    pub(crate) settings: Arc<Settings>,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) worker: Arc<FileWorker>,
    pub(crate) log: Log,
}

/// Creates the files of one capture.
#[derive(Default)]
pub(super) struct Opener {
    pub(super) names: Names,
    /// Of the disk of `directory`.
    pub(super) space: Space,
    /// The directory of the last file.
    pub(super) directory: Option<Arc<Directory>>,
    /// Whether the last file could not be noted.
    is_unnoted: bool,
}

impl Opener {
    /// Creates the next file, for records of `format` that `section` describes.
    pub(super) fn open(
        &mut self,
        context: &mut FileContext,
        format: Format,
        section: &Section,
    ) -> io::Result<CaptureFile> {
        let directory = self.directory(context)?;
        self.space.measure(&*directory, context.floor);
        let settings = Arc::clone(&context.settings);
        let stem = stem(context);
        let next = self.next_number(&settings.files, &directory, &stem);
        let mut number = (*next).max(u32::from(settings.files.numbers_all()));
        // A ring of files may have much higher numbers.
        let enough = number.saturating_add(ATTEMPTS);
        let mut result =
            Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("there are too many files named {stem}")));
        let mut passed_over = None;
        while number < enough {
            let name = file_name(&stem, number, format.extension());
            if is_free(context, &directory, name.as_ref())? {
                result = self.create(context, &directory, name.as_ref(), format, section);
                if !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                    break;
                }
            }
            passed_over.get_or_insert(name);
            number += 1;
        }
        // The name of a file that could not be created is still free.
        *self.next_number(&settings.files, &directory, &stem) = number + u32::from(result.is_ok());
        let should_be_first = settings.files.overwrite && !context.continues;
        if let (Ok(file), Some(name), true) = (&result, passed_over, should_be_first) {
            let (kept, own) = (directory.path().join(name), file.own().path());
            let message = format!(
                "{} was not written by a capture, or is still being written: it is kept, and {} is written",
                kept.display(),
                own.display()
            );
            (context.log)(Level::Warn, &message);
        }
        result
    }

    /// The number of the next file that is called `stem` in `directory`.
    fn next_number(&mut self, settings: &FileSettings, directory: &Directory, stem: &str) -> &mut u32 {
        let path = directory.path().join(stem);
        let is_timed = settings.stem.as_ref().is_none_or(Pattern::has_time);
        if is_timed { self.names.timed(path) } else { self.names.chosen(path) }
    }

    /// The directory for the next file.
    fn directory(&mut self, context: &FileContext) -> io::Result<Arc<Directory>> {
        let opened = context.settings.files.directory.open()?;
        // All files of a directory share one descriptor.
        let same = self.directory.take().filter(|former| former.is(&opened));
        Ok(Arc::clone(self.directory.insert(same.unwrap_or_else(|| Arc::new(opened)))))
    }

    fn create(
        &mut self,
        context: &mut FileContext,
        directory: &Arc<Directory>,
        name: &OsStr,
        format: Format,
        section: &Section,
    ) -> io::Result<CaptureFile> {
        // The note comes first, so that the next daemon knows of the file whenever this one is killed.
        let mut noted = context.journal.opened(&directory.path().join(name));
        let file = CaptureFile::create(directory, name, format, section).inspect_err(|_| context.journal.closed())?;
        if noted.is_ok() {
            noted = context.journal.made(file.own());
        }
        let path = file.own().path();
        self.report_note(context, &path, noted);
        (context.log)(Level::Debug, &format!("{} is opened", path.display()));
        Ok(file)
    }

    /// The note only matters if the daemon is killed: the file is written without it.
    fn report_note(&mut self, context: &FileContext, path: &Path, noted: io::Result<()>) {
        let was_unnoted = std::mem::replace(&mut self.is_unnoted, noted.is_err());
        if let Some(error) = noted.err().filter(|_| !was_unnoted) {
            let why = format!("cannot note that {} is being written: {error}", path.display());
            (context.log)(Level::Warn, &format!("{why}; if the daemon is killed, its last record may stay incomplete"));
        }
    }
}

/// The next file's name without number and extension.
fn stem(context: &FileContext) -> String {
    let seconds = Stamp::from_nanos(sys::utc_now()).seconds().cast_signed();
    let chosen = context.settings.files.stem.as_ref().map(|pattern| pattern.at(seconds));
    chosen.unwrap_or_else(|| default_stem(&context.cube, seconds))
}

impl FileSettings {
    /// Whether each file has a number. Otherwise only those have one whose name would be taken, and a name without one
    /// comes after them in a sorted list.
    fn numbers_all(&self) -> bool {
        let has_seconds = self.stem.as_ref().is_none_or(Pattern::has_seconds);
        self.rotate.bytes.is_some() || (self.rotate.time.is_some() && !has_seconds)
    }
}

/// Whether a file may be called `name`: no file is, compressed or not, or it may be overwritten and was deleted.
fn is_free(context: &FileContext, directory: &Directory, name: &OsStr) -> io::Result<bool> {
    let settings = &context.settings.files;
    for form in [name, &compressed(name)] {
        if !settings.overwrite || settings.stem.is_none() || context.continues {
            if directory.has(form) {
                return Ok(false);
            }
            continue;
        }
        match directory.remove_own(form, |id| context.outcome.file(id).is_some())? {
            Removal::Absent => {}
            Removal::Removed(id) => {
                context.outcome.file(id).iter().for_each(|file| context.outcome.forget(file));
            }
            Removal::Kept => return Ok(false),
        }
    }
    Ok(true)
}
