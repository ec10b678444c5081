//! One daemon's directory: socket, state, pins, captures, log.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// Among the arguments of a daemon: it keeps cubes and datapath for the next start, as a service does. The kit's own word.
pub(crate) const KEPT: &str = "--kept";

const PREFIX: &str = "pcn-test-";
const LOCK: &str = "alive";

/// A temporary directory that contains its own BPF file system; dropping it removes both.
#[derive(Debug)]
pub(super) struct Directory {
    directory: TempDir,
    /// Held until drop: a later run removes directories whose lock is free.
    _lock: File,
}

impl Directory {
    pub(super) fn make() -> Result<Self> {
        sweep();
        let directory =
            tempfile::Builder::new().prefix(PREFIX).tempdir().context("cannot make a temporary directory")?;
        let path = directory.path();
        // The file is locked before it gets its final name, so another run never mistakes this directory for an
        // abandoned one.
        let unlocked = path.join("alive.new");
        let lock = File::create(&unlocked)?;
        lock.lock().context("cannot lock a temporary directory")?;
        fs::rename(&unlocked, path.join(LOCK))?;
        let place = Self { _lock: lock, directory };
        for directory in [place.state(), place.captures(), place.configurations(), place.mount_point()] {
            fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        mount("bpf", place.mount_point(), "bpf", MountFlags::empty(), None)
            .context("cannot mount a BPF file system: run as root, on a kernel with CONFIG_BPF_SYSCALL")?;
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The arguments of a daemon in this directory, followed by `more`. An option that `more` has is not given twice.
    /// Without [`KEPT`], the daemon is ephemeral.
    pub(super) fn arguments(&self, binaries: &Path, more: &[&str]) -> Vec<OsString> {
        let own: [(&str, &Path); 8] = [
            // The machine's own configuration file is not for tests.
            ("--config", Path::new("/dev/null")),
            ("--socket", &self.socket()),
            ("--state-dir", &self.state()),
            ("--bpffs", &self.bpffs()),
            ("--plugin-dir", binaries),
            ("--capture-dir", &self.captures()),
            ("--conf-dir", &self.configurations()),
            ("--log", Path::new("info")),
        ];
        let own = own.into_iter().filter(|(name, _)| !more.contains(name));
        let own = own.flat_map(|(name, value)| [OsString::from(name), value.into()]);
        let (kept, more): (Vec<&str>, Vec<&str>) = more.iter().partition(|argument| **argument == KEPT);
        let ephemeral = kept.is_empty().then(|| OsString::from("--ephemeral"));
        own.chain(ephemeral).chain(more.into_iter().map(Into::into)).collect()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path().join("s.sock")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(super) fn captures(&self) -> PathBuf {
        self.path().join("captures")
    }

    pub(super) fn configurations(&self) -> PathBuf {
        self.path().join("conf.d")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path().join("daemon.log")
    }

    fn mount_point(&self) -> PathBuf {
        self.path().join("bpf")
    }

    /// Below the mount, like the daemon's default: the daemon creates the directory itself.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.mount_point().join("polycube")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The mount may not exist if `make` failed half-way; a busy one is detached.
        let _ = unmount(self.mount_point(), UnmountFlags::DETACH);
    }
}

/// Removes what a killed run left. Its daemon died with it; its pins go with the mount.
fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                let _ = unmount(path.join("bpf"), UnmountFlags::DETACH);
                let _ = fs::remove_dir_all(&path);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}
