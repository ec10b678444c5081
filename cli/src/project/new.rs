//! `plugin new`: a project in a new directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::sdk::{NoSdk, Sdk, VERSION};
use super::templates::{self, File, Patches};
use crate::grammar::{Language, NewPlugin};

/// Why a project is not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    #[error("{} already exists: choose another name, or remove it", directory.display())]
    Exists { directory: PathBuf },
    #[error(transparent)]
    Sdk(#[from] NoSdk),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes a project into a directory with the plugin's name, and answers with what to do next.
///
/// # Errors
///
/// The directory exists or cannot be written, or the SDK is not found.
pub(crate) fn write(asked: &NewPlugin) -> Result<String, NewError> {
    let directory = PathBuf::from(&asked.name);
    let patches = if asked.language == Language::Object {
        Patches::default()
    } else {
        let sdk = Sdk::find(asked.sdk.as_deref())?;
        Patches { user: sdk.of_user_side(), kernel: sdk.of_kernel_side() }
    };
    match fs::create_dir(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(NewError::Exists { directory }),
        Err(source) => return Err(NewError::Write { path: directory, source }),
    }
    for file in templates::files(asked, &patches, VERSION) {
        let path = directory.join(&file.path);
        put(&path, &file).map_err(|source| NewError::Write { path, source })?;
    }
    Ok(next(asked))
}

fn put(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if file.is_program { 0o755 } else { 0o644 };
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    opened.write_all(file.text.as_bytes())
}

fn next(NewPlugin { name, language, .. }: &NewPlugin) -> String {
    let (build, built) = match language {
        Language::C | Language::Rust => ("cargo build --release", format!("target/release/libpcn_{name}.so")),
        Language::Object => ("make", format!("{name}.o")),
    };
    format!(
        "{name}/ has the project. Next:\n  cd {name}\n  {build}\n  polycubectl plugin check {built}\n  sudo tests/packets.sh {}\n  polycubectl plugin dev\n",
        if *language == Language::Object { "." } else { "target/release" }
    )
}
