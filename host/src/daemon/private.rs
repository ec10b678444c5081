//! A daemon for one capture: `polycubectl capture` starts it where none runs, and it ends with that.
//!
//! Pins outlive processes, so it pins in a file system that does not outlive it: it mounts one in a mount namespace of its
//! own, which goes with its last process, however that ends. Where it may not mount, it pins in a directory of its own in
//! the machine's, and removes what it pinned when it ends, unless it is killed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use crate::options::Options;
use crate::sys::process;

/// Where a file system of pins is mounted: the kernel makes this directory for it.
const BPFFS: &str = "/sys/fs/bpf";

/// Has the daemon use nothing but `directory` and what goes with it. There must be no other thread yet. Answers why it has
/// no file system of its own, if it has none.
pub(super) fn enter(directory: &Path, options: &mut Options) -> Option<io::Error> {
    options.ephemeral = true;
    options.socket = directory.join("socket");
    options.state_dir = directory.to_owned();
    options.capture_dir = directory.to_owned();
    options.log = "error".to_owned();
    options.conf_dir = None;
    // Names of links are made of it, so it is another one for each daemon.
    options.bpffs = PathBuf::from(BPFFS).join(format!("polycube-private-{}", std::process::id()));
    process::mount_own_bpffs(Path::new(BPFFS)).err()
}

/// Removes the directory of a daemon that ends.
pub(super) fn leave(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::debug!(directory = %directory.display(), %error, "cannot be removed");
    }
}

/// Returns when the process at the other end of standard input is gone; never if the daemon serves everyone.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn abandoned(is_private: bool) -> Result<impl Future<Output = ()>> {
    let (gone, is_gone) = oneshot::channel::<()>();
    if is_private {
        let read = move || {
            let mut byte = [0];
            let mut input = io::stdin();
            while input.read(&mut byte).is_ok_and(|count| count > 0) {}
            // The daemon may be ending already.
            let _ = gone.send(());
        };
        std::thread::Builder::new().name("lifeline".to_owned()).spawn(read).context("cannot start a thread")?;
    }
    Ok(async move {
        if is_private {
            drop(is_gone.await);
        } else {
            std::future::pending::<()>().await;
        }
    })
}
