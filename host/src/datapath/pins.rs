//! The daemon's own directory in the bpf filesystem.
//!
//! ```text
//! netdevs/3-ingress/{program,next,link}
//! netdevs/3-clsact/
//! cubes/sniffer/0-ingress-0-7/{program,next,accept}
//! cubes/sniffer/maps/RINGS-3
//! ```

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_plugin_api::Direction;

use super::{DatapathError, clsact};
use crate::sys::bpf;
use crate::wiring::{Hook, MapId, NodeId};

/// What a daemon makes in its directory.
const OWN: [&str; 2] = ["cubes", ROOTS];

/// Where the roots are.
pub(super) const ROOTS: &str = "netdevs";

/// What stands in the directory of a program.
const PROGRAM: [&str; 4] = ["program", NEXT, ACCEPT, "link"];

/// Where pins are kept.
pub(crate) struct Pins {
    directory: PathBuf,
    /// Locked while the daemon lives.
    _lock: File,
}

impl Pins {
    /// Takes `directory` over, and removes what an earlier daemon left in it.
    ///
    /// # Errors
    /// The directory cannot be made or emptied, a daemon that runs uses it, or there is something in it that no daemon
    /// made: then nothing is removed.
    pub(crate) fn take(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = File::open(directory)?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(io::Error::other("another polycubed pins there: stop it, or give --bpffs another directory"));
        }
        let left: Vec<PathBuf> =
            std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        if let Some(other) = left.iter().find(|path| OWN.iter().all(|own| !path.ends_with(own))) {
            let message = format!(
                "{} is in it, which is not polycubed's: give --bpffs a directory that nobody else uses",
                other.display()
            );
            return Err(io::Error::other(message));
        }
        if !left.is_empty() {
            tracing::info!(directory = %directory.display(), "removing what an earlier daemon left pinned");
        }
        clsact::sweep(&directory.join(ROOTS))?;
        for path in left {
            std::fs::remove_dir_all(path)?;
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self, pin: &Path) -> PathBuf {
        self.directory.join(pin)
    }

    pub(crate) fn pin(&self, object: BorrowedFd<'_>, pin: &Path) -> Result<(), DatapathError> {
        let path = self.path(pin);
        let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        parent
            .and_then(|()| bpf::pin(object, &path))
            .map_err(|source| DatapathError::Pin { path: path.display().to_string(), source })
    }

    /// Removes a pin or a program's directory, and the directories that this leaves empty. Takes no descriptor, so that
    /// a change that failed for want of one can be undone.
    pub(crate) fn unpin(&self, pin: &Path) {
        let path = self.path(pin);
        let removed = if path.is_dir() { remove_program(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(pin = %path.display(), %error, "cannot unpin");
        }
        let mut parents = path.ancestors().skip(1).take_while(|parent| *parent != self.directory);
        while parents.next().is_some_and(|parent| std::fs::remove_dir(parent).is_ok()) {}
    }
}

fn remove_program(directory: &Path) -> io::Result<()> {
    for pin in PROGRAM {
        match std::fs::remove_file(directory.join(pin)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_dir(directory)
}

pub(super) fn map(id: &MapId) -> PathBuf {
    ["cubes", &escape(id.cube.as_str()), "maps", &format!("{}-{}", escape(&id.name), id.revision)].iter().collect()
}

pub(super) fn node(id: &NodeId) -> PathBuf {
    let node = format!("{}-{}-{}-{}", id.key.point, direction(id.key.direction), id.key.stage, id.revision);
    ["cubes", &escape(id.key.cube.as_str()), &node].iter().collect()
}

/// By ifindex: a netdev's name may change.
pub(super) fn root(hook: &Hook) -> PathBuf {
    [ROOTS, &format!("{}-{}", hook.netdev.ifindex, direction(hook.direction))].iter().collect()
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
    use super::{Pins, escape};

    #[test]
    fn pins_have_no_dots() {
        assert_eq!(escape("eth0.5"), "eth0%2e5");
        assert_eq!(escape("br_1-a"), "br_1-a");
    }

    #[test]
    fn what_others_pinned_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("polycubed-pins-{}", std::process::id()));
        let pin = |name: &str| {
            std::fs::create_dir_all(directory.join(name)).unwrap();
            std::fs::write(directory.join(name).join("program"), "").unwrap();
        };
        pin("cubes");
        pin("others");
        let message = Pins::take(&directory).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("others is in it"), "{message}");
        assert!(directory.join("others/program").exists() && directory.join("cubes/program").exists());
        std::fs::remove_dir_all(directory.join("others")).unwrap();
        assert!(Pins::take(&directory).is_ok());
        assert!(!directory.join("cubes").exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
