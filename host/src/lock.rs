//! Makes sure that one daemon uses a state directory at a time.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

/// Takes the lock of a state directory, which ends with the process.
///
/// # Errors
/// The directory cannot be made, or another daemon uses it.
pub(crate) fn take(state_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("--state-dir {}: no directory can be made there", state_dir.display()))?;
    let path = state_dir.join("lock");
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.as_mut().map_err(|error| anyhow!("{}: {error}", path.display()))?;
    if file.try_lock().is_err() {
        let owner = std::fs::read_to_string(&path).unwrap_or_default();
        bail!(
            "polycubed (pid {}) already uses {}: stop it, or give --state-dir another directory",
            owner.trim(),
            state_dir.display()
        );
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file.try_clone()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_daemon_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("made/on/the/way");
        let first = take(&directory).unwrap();
        let message = take(&directory).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with(&format!("polycubed (pid {}) already uses ", std::process::id())), "{message}");
        drop(first);
        assert!(take(&directory).is_ok(), "the lock ends with its daemon");
        std::fs::write(parent.path().join("file"), "").unwrap();
        let message = take(&parent.path().join("file")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("no directory can be made there"), "{message}");
    }
}
