//! The daemon's own directory in the bpf filesystem.
//!
//! ```text
//! netdevs/veth1-ingress/{program,next,link}
//! cubes/sniffer/0-ingress-0-7/{program,next,accept}
//! cubes/sniffer/maps/RINGS-3
//! ```

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use polycube_plugin_api::Direction;

use super::DatapathError;
use crate::sys::bpf;
use crate::wiring::{Hook, MapId, NodeId};

/// Where pins are kept.
pub struct Pins {
    directory: PathBuf,
    /// Locked while the daemon lives.
    _lock: File,
}

impl Pins {
    /// Takes `directory` over, and removes what an earlier daemon left in it.
    ///
    /// # Errors
    /// The directory cannot be made or emptied, or a daemon that runs uses it.
    pub fn take(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = File::open(directory)?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(io::Error::other("another polycubed pins there: stop it, or give --bpffs another directory"));
        }
        let left: Vec<PathBuf> =
            std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        if !left.is_empty() {
            tracing::info!(directory = %directory.display(), "removing what an earlier daemon left pinned");
        }
        for path in left {
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    pub fn path(&self, pin: &Path) -> PathBuf {
        self.directory.join(pin)
    }

    pub fn pin(&self, object: BorrowedFd<'_>, pin: &Path) -> Result<(), DatapathError> {
        let path = self.path(pin);
        let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        parent
            .and_then(|()| bpf::pin(object, &path))
            .map_err(|source| DatapathError::Pin { path: path.display().to_string(), source })
    }

    /// Removes a pin or a directory of them, and the directories that this leaves empty.
    pub fn unpin(&self, pin: &Path) {
        let path = self.path(pin);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(pin = %path.display(), %error, "cannot unpin");
        }
        let mut parents = path.ancestors().skip(1).take_while(|parent| *parent != self.directory);
        while parents.next().is_some_and(|parent| std::fs::remove_dir(parent).is_ok()) {}
    }
}

pub fn map(id: &MapId) -> PathBuf {
    ["cubes", &escape(id.cube.as_str()), "maps", &format!("{}-{}", escape(&id.name), id.revision)].iter().collect()
}

pub fn node(id: &NodeId) -> PathBuf {
    let node = format!("{}-{}-{}-{}", id.key.point, direction(id.key.direction), id.key.stage, id.revision);
    ["cubes", &escape(id.key.cube.as_str()), &node].iter().collect()
}

pub fn root(hook: &Hook) -> PathBuf {
    ["netdevs", &format!("{}-{}", escape(&hook.netdev.name), direction(hook.direction))].iter().collect()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// bpffs takes no dots in names (`bpf_lookup()` in kernel/bpf/inode.c).
fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => (byte as char).to_string(),
            other => format!("%{other:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn pins_have_no_dots() {
        assert_eq!(escape("eth0.5"), "eth0%2e5");
        assert_eq!(escape("br_1-a"), "br_1-a");
    }
}
