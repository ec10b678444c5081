//! Small disks that are soon full, or do not answer.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
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

/// A file system on a loop device that can be frozen, so that writes to it wait.
#[derive(Debug)]
pub struct FreezableDisk {
    directory: PathBuf,
    image: tempfile::TempDir,
}

impl FreezableDisk {
    /// A new one, of a few MiB.
    ///
    /// # Errors
    /// Fails without root, or without loop devices.
    pub fn new() -> Result<Self> {
        sweep();
        let image = tempfile::tempdir().context("cannot make a directory")?;
        let path = image.path().join("image");
        File::create(&path)?.set_len(16 << 20)?;
        run("mkfs.ext4", &["-q".as_ref(), path.as_os_str()])?;
        let name = format!("{PREFIX}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&name).tempdir().context("cannot make a directory")?.keep();
        let disk = Self { directory, image };
        run("mount", &["-o".as_ref(), "loop".as_ref(), path.as_os_str(), disk.directory.as_os_str()])?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Freezes it, until what is returned is dropped.
    ///
    /// # Errors
    /// Fails if it is frozen already.
    pub fn freeze(&self) -> Result<Freeze<'_>> {
        run("fsfreeze", &["-f".as_ref(), self.directory.as_os_str()])?;
        Ok(Freeze(self))
    }
}

impl Drop for FreezableDisk {
    fn drop(&mut self) {
        remove(&self.directory);
        // The loop device keeps the image until the last file on it is closed.
        let _ = fs::remove_file(self.image.path().join("image"));
    }
}

/// A disk that is frozen.
#[derive(Debug)]
pub struct Freeze<'a>(&'a FreezableDisk);

impl Drop for Freeze<'_> {
    fn drop(&mut self) {
        thaw(&self.0.directory);
    }
}

fn thaw(directory: &Path) {
    let _ = run("fsfreeze", &["-u".as_ref(), directory.as_os_str()]);
}

fn run(program: &str, arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
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
            thaw(&path);
            remove(&path);
        }
    }
}
