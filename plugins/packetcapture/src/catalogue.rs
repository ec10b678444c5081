//! All capture files of the daemon: those of this run and of earlier ones, of cubes that exist and of those that do not.
//!
//! Nothing is stored about them but what each file has with it: our mark, which says that a capture wrote it, and the notes
//! in its attributes. So files that were moved below the capture directories, or were put there from a backup with their
//! attributes, are found as well, and a list cannot be wrong about files that are gone.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polycube_plugin_api::{Refusal, Tag};
use serde::Serialize;

use crate::about::About;
use crate::format::Stamp;
use crate::index::Index;
use crate::sink::timestamp;
use crate::store::{Directory, Form, Removal, Roots};

/// Levels of directories below a root that are searched.
const DEPTH: usize = 4;
/// Most entries of directories that are looked at: the operator may allow `/`.
const MOST: usize = 200_000;
/// Endings of capture files.
const ENDINGS: [&str; 4] = [".pcap", ".pcapng", ".pcap.zst", ".pcapng.zst"];

/// A file that a capture wrote.
pub(crate) struct Found {
    directory: Arc<Directory>,
    name: String,
    /// Its path below the capture directory, or an absolute one.
    pub(crate) path: String,
    pub(crate) form: Form,
}

/// A file's entry in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    state: &'static str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cube: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<String>,
    is_indexed: bool,
}

/// All files below the capture directories, in the order of their paths.
pub(crate) fn files(roots: &Roots) -> Vec<Found> {
    let mut search = Search { left: MOST, seen: HashSet::new(), found: Vec::new() };
    for (location, prefix) in roots.all() {
        // A root that is missing has no files.
        if let Ok(directory) = location.open() {
            search.look(&Arc::new(directory), &prefix, DEPTH);
        }
    }
    let mut found = search.found;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// A search for files.
struct Search {
    /// How many entries may still be looked at.
    left: usize,
    /// Directories that were looked at: one root may be below another.
    seen: HashSet<PathBuf>,
    found: Vec<Found>,
}

impl Search {
    /// Looks into `directory`, and `depth` levels below it. `prefix` precedes the names of its files.
    fn look(&mut self, directory: &Arc<Directory>, prefix: &Path, depth: usize) {
        if !self.seen.insert(directory.path().to_owned()) {
            return;
        }
        let (names, directories) = directory.contents(&mut self.left, is_capture);
        for name in names {
            let path = prefix.join(&name).display().to_string();
            let form = if name.ends_with(".zst") { Form::Compressed } else { Form::Plain };
            self.found.push(Found { directory: Arc::clone(directory), name, path, form });
        }
        for name in directories.iter().filter(|_| depth > 0) {
            // Another user's directory may be closed to us.
            if let Ok(below) = directory.below(name) {
                self.look(&Arc::new(below), &prefix.join(name), depth - 1);
            }
        }
    }
}

fn is_capture(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The file whose path is `path`.
///
/// # Errors
/// There is none that a capture wrote.
pub(crate) fn find(roots: &Roots, path: &str) -> Result<Found, Refusal> {
    let missing =
        || Refusal::new(Tag::DataMissing, format!("there is no capture file `{path}`: `captures show` lists them"));
    let (location, name) = roots.locate(path).map_err(|error| Refusal::new(Tag::InvalidValue, error.to_string()))?;
    if !is_capture(&name) {
        return Err(missing());
    }
    let form = if name.ends_with(".zst") { Form::Compressed } else { Form::Plain };
    let directory = Arc::new(location.open().map_err(|_| missing())?);
    let found = Found { directory, name, path: path.to_owned(), form };
    if found.open().is_some() { Ok(found) } else { Err(missing()) }
}

impl Found {
    /// Opens the file, if a capture wrote it.
    pub(crate) fn open(&self) -> Option<File> {
        self.directory.open_marked(OsStr::new(&self.name)).ok().map(File::from)
    }

    /// Deletes the file.
    ///
    /// # Errors
    /// It is being written, or cannot be deleted.
    pub(crate) fn delete(&self) -> Result<(), Refusal> {
        let path = &self.path;
        match self.directory.remove_own(OsStr::new(&self.name), |_| false) {
            Ok(Removal::Removed(_) | Removal::Absent) => Ok(()),
            Ok(Removal::Kept) => {
                let message = format!("`{path}` is being written: turn its capture off, or wait for the next file");
                Err(Refusal::failed(message))
            }
            Err(error) => Err(Refusal::failed(format!("`{path}` cannot be deleted: {error}"))),
        }
    }

    /// Its name for a download.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn entry(&self) -> Option<Entry> {
        let file = self.open()?;
        let size = file.metadata().ok()?.len();
        let (about, index) = (About::read(&file), Index::read(&file));
        let is_written = self.directory.is_written(OsStr::new(&self.name));
        let times = index.as_ref().map(|index| (index.first, index.last));
        let times = times.or_else(|| about.as_ref().map(|about| (Stamp(about.first), Stamp(about.last))));
        Some(Entry {
            name: self.path.clone(),
            state: match self.form {
                _ if is_written => "open",
                Form::Compressed => "compressed",
                Form::Plain => "closed",
            },
            size,
            packets: about.as_ref().map(|about| about.packets),
            first: times.map(|(first, _)| timestamp(first)),
            last: times.map(|(_, last)| timestamp(last)),
            cube: about.as_ref().map(|about| about.cube.clone()),
            places: about.map_or_else(Vec::new, |about| about.places),
            is_indexed: index.is_some(),
        })
    }
}

/// The list of all files, as JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub(crate) fn list(roots: &Roots) -> Result<Vec<u8>, Refusal> {
    // One that was deleted meanwhile has no entry.
    let entries: Vec<Entry> = files(roots).iter().filter_map(Found::entry).collect();
    Ok(serde_json::to_vec(&entries)?)
}
