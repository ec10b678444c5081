//! A small disk that is soon full.

use std::env;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const PREFIX: &str = "pcn-disk-";

/// A file system in memory, mounted on its own directory; dropping it removes both.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// A disk of that many MiB.
    ///
    /// # Errors
    /// Fails without root.
    pub fn new(mebibytes: u32) -> Result<Self> {
        sweep();
        let name = format!("{PREFIX}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&name).tempdir().context("cannot create a directory")?.keep();
        let disk = Self(directory);
        let options = CString::new(format!("size={mebibytes}m"))?;
        mount("tmpfs", &disk.0, "tmpfs", MountFlags::empty(), options.as_c_str()).context("cannot mount a tmpfs")?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Uses up `bytes`; deleting the returned file frees them.
    ///
    /// # Errors
    /// Fails when there is not that much left.
    pub fn fill(&self, bytes: usize) -> Result<PathBuf> {
        let path = self.0.join("filler");
        fs::write(&path, vec![0; bytes]).context("cannot fill the disk")?;
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(directory: &Path) {
    let _ = unmount(directory, UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(directory);
}

/// Removes what a killed run left.
fn sweep() {
    for path in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        let owner = name.and_then(|name| name.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&path);
        }
    }
}
