//! Makes sure that one daemon uses a state directory at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::sys::regular;

/// The lock, in the state directory.
const FILE: &str = "lock";

/// Takes the lock of a state directory, which ends with the process.
///
/// The file says who has it, in words. A disk that is full does not take them, and the lock holds without.
///
/// # Errors
/// The directory cannot be made, or another daemon uses it.
pub(crate) fn take(state_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("--state-dir {}: no directory can be made there", state_dir.display()))?;
    let path = state_dir.join(FILE);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    lock(&file, state_dir)?;
    if let Err(error) = sign(&file) {
        let path = path.display();
        tracing::warn!(%path, %error, "cannot write the daemon's pid: a second daemon is refused without it");
        // An earlier daemon's is worse than none.
        if let Err(error) = file.set_len(0) {
            tracing::warn!(%path, %error, "cannot remove an earlier daemon's pid");
        }
    }
    Ok(file)
}

/// Takes the lock if a daemon has made one, and changes nothing.
///
/// # Errors
/// The file cannot be opened, or a daemon uses the directory.
pub(crate) fn keep_out(state_dir: &Path) -> Result<Option<File>> {
    let path = state_dir.join(FILE);
    let file = match regular::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| path.display().to_string())?,
    };
    lock(&file, state_dir)?;
    Ok(Some(file))
}

fn lock(file: &File, state_dir: &Path) -> Result<()> {
    if file.try_lock().is_ok() {
        return Ok(());
    }
    let owner = match regular::read_to_string(&state_dir.join(FILE)).unwrap_or_default().trim() {
        "" => "another polycubed".to_owned(),
        pid => format!("polycubed (pid {pid})"),
    };
    bail!("{owner} already uses {}: stop it, or give --state-dir another directory", state_dir.display())
}

/// Writes the process's id in the place of an earlier one: a file that is emptied first gives its block away, and a full disk
/// has no other.
fn sign(file: &File) -> io::Result<()> {
    let pid = format!("{}\n", std::process::id());
    file.write_all_at(pid.as_bytes(), 0)?;
    file.set_len(pid.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_replaces_a_longer_one_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, "1234567890123\n").unwrap();
        let _lock = take(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_state_directory_has_one_daemon_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("made/on/the/way");
        let first = take(&directory).unwrap();
        let message = take(&directory).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with(&format!("polycubed (pid {}) already uses ", std::process::id())), "{message}");
        drop(first);
        assert!(take(&directory).is_ok(), "the lock ends with its daemon");
        let kept = keep_out(&directory).unwrap().unwrap();
        assert!(take(&directory).is_err(), "what only looks keeps a daemon out, too");
        drop(kept);
        let none = parent.path().join("none");
        assert!(keep_out(&none).unwrap().is_none() && !none.exists(), "and makes nothing");
        std::fs::write(parent.path().join("file"), "").unwrap();
        let message = take(&parent.path().join("file")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("no directory can be made there"), "{message}");
    }
}
