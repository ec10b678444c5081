//! The directory of configurations, `/etc/polycube/conf.d`: applied when the daemon starts, and again when it is asked to.
//!
//! Its files are one document, in the order of their names: each may describe a part of what is wanted, and what none of
//! them mentions stays as it is. Nothing is applied by halves. One mistake in one file, and the daemon goes on with what
//! it has, which is what was stored before, and one line of the log names the file, the line and the reason.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::{fs, iter};

use polycube_document::{Document, MergeError, ParseError, Place, merge};
use serde_json::Value;

use crate::engine::Handle;
use crate::model::{Absent, Apply, Change, Mode, Others};
use crate::problem::Problems;
use crate::sys::regular;

/// How the names of files end that are read; editors and package managers leave others there.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Most bytes of a file, as of a configuration that comes over REST.
const SIZE: u64 = 16 << 20;

/// Problems that a line of the log names.
const MOST_NAMED: usize = 8;

/// Why nothing of a directory was applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfError {
    #[error("cannot list {}: {source}", directory.display())]
    List { directory: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} is larger than {} MiB", file.display(), SIZE >> 20)]
    Size { file: PathBuf },
    #[error("{}:{}:{}: not valid {}: {}", file.display(), .source.line, .source.column, .source.language, .source.reason)]
    Parse { file: PathBuf, source: ParseError },
    #[error("{place}{source}{first}")]
    Merge { place: String, source: Box<MergeError>, first: String },
    #[error("{}", lines.join("; "))]
    Refused { lines: Vec<String> },
    #[error("the files were not read: {0}")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// Applies the files in `directory` as one change, and logs what came of it. For the start of the daemon, when what is
/// stored has been brought back, and for each time that it is to read its configuration again.
pub(crate) async fn apply(directory: &Path, engine: &Handle) {
    match try_apply(directory, engine).await {
        Ok(Some(report)) => {
            let count = |result: &str| {
                let lists = ["cubes", "chains"].into_iter().filter_map(|kind| report[kind].as_array());
                lists.flatten().filter(|entry| entry["result"] == result).count()
            };
            let (created, changed, left) = (count("created"), count("changed"), count("left"));
            tracing::info!(directory = %directory.display(), created, changed, left, "configuration applied");
        }
        Ok(None) => tracing::debug!(directory = %directory.display(), "there is no configuration to apply"),
        Err(error) => tracing::error!("{error}: nothing in {} was applied", directory.display()),
    }
}

/// Answers what applying the files changed; `None` where they say nothing.
///
/// # Errors
/// The first file that cannot be used, or everything that is wrong with what they say together.
async fn try_apply(directory: &Path, engine: &Handle) -> Result<Option<Value>, ConfError> {
    let path = directory.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(ConfError::Interrupted)?;
    let Configuration { files, document } = read?;
    if document.value == serde_json::json!({}) {
        return Ok(None);
    }
    // A netdev may come later than the daemon.
    let apply =
        Apply { document: document.value.clone(), others: Others::Stay, absent: Absent::Awaited, mode: Mode::CarryOut };
    match engine.change(Change::Apply(apply)).await {
        Ok(report) => Ok(Some(report)),
        Err(problems) => Err(ConfError::Refused { lines: lines(&problems, &files, &document) }),
    }
}

/// Everything in a directory.
struct Configuration {
    files: Vec<PathBuf>,
    document: Document,
}

fn read(directory: &Path) -> Result<Configuration, ConfError> {
    let files = files(directory).map_err(|source| ConfError::List { directory: directory.to_owned(), source })?;
    let mut documents = Vec::new();
    for file in &files {
        let text = text(file)?;
        let document = Document::parse(&text);
        documents.push(document.map_err(|source| ConfError::Parse { file: file.clone(), source })?);
    }
    let document = merge(documents).map_err(|source| {
        let (place, first) = match &source {
            MergeError::NotMapping { place } => (*place, None),
            MergeError::Twice { place, first, .. } => (*place, *first),
        };
        let place = place.map(|place| format!("{}: ", shown(&files, place))).unwrap_or_default();
        let first = first.map(|first| format!(", {}", shown(&files, first))).unwrap_or_default();
        ConfError::Merge { place, source: Box::new(source), first }
    })?;
    Ok(Configuration { files, document })
}

/// The files to read, in the order of their names.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !is_hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(file: &Path) -> Result<String, ConfError> {
    let failed = |source| ConfError::Read { file: file.to_owned(), source };
    let mut text = String::new();
    // The file may grow while it is read.
    let read = regular::open(file).and_then(|opened| opened.take(SIZE + 1).read_to_string(&mut text));
    if read.map_err(failed)? as u64 > SIZE {
        return Err(ConfError::Size { file: file.to_owned() });
    }
    Ok(text)
}

/// Each problem with the place in a file that it is about.
fn lines(problems: &Problems, files: &[PathBuf], document: &Document) -> Vec<String> {
    let named = problems.0.iter().take(MOST_NAMED).map(|problem| {
        let path = match problem.path.strip_prefix("config") {
            Some(path) => path.trim_start_matches('/').to_owned(),
            // What a plugin refuses is about its cube.
            None => format!("cubes/{}", problem.path),
        };
        let place = document.place(&path).filter(|place| place.line > 0);
        let place = place.map(|place| format!("{}: ", shown(files, place))).unwrap_or_default();
        format!("{place}{problem}")
    });
    let more = problems.0.len().saturating_sub(MOST_NAMED);
    named.chain(iter::once(format!("and {more} more")).filter(|_| more > 0)).collect()
}

fn shown(files: &[PathBuf], place: Place) -> String {
    let file = files.get(place.document).map(|file| file.display().to_string()).unwrap_or_default();
    format!("{file}:{}:{}", place.line, place.column)
}

#[cfg(test)]
mod tests;
