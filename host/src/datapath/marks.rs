//! What was done to netdevs, and has to be undone some day: remembered in the directory of pins, so that the next daemon
//! knows it, too.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::pins::ROOTS;

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The netdev's clsact queueing discipline is ours.
    Clsact,
    /// The netdev is in promiscuous mode because a port needs it.
    Promiscuous,
}

impl Mark {
    const ALL: [Self; 2] = [Self::Clsact, Self::Promiscuous];

    fn word(self) -> &'static str {
        match self {
            Self::Clsact => "clsact",
            Self::Promiscuous => "promiscuous",
        }
    }

    /// Whether this is the name of a mark: `3-clsact`.
    pub(super) fn is_name(name: &str) -> bool {
        Self::ALL.into_iter().any(|mark| mark.ifindex(name).is_some())
    }

    fn ifindex(self, name: &str) -> Option<u32> {
        name.strip_suffix(self.word())?.strip_suffix('-')?.parse().ok()
    }
}

/// The netdevs with one mark. Each has an empty directory of its name.
#[derive(Debug)]
pub(crate) struct Marks {
    mark: Mark,
    /// By ifindex.
    netdevs: BTreeSet<u32>,
    directory: PathBuf,
}

impl Marks {
    /// Reads the marks in a directory of pins.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn read(pins: &Path, mark: Mark) -> io::Result<Self> {
        let directory = pins.join(ROOTS);
        let mut netdevs = BTreeSet::new();
        match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    netdevs.extend(entry?.file_name().to_str().and_then(|name| mark.ifindex(name)));
                }
            }
        }
        Ok(Self { mark, netdevs, directory })
    }

    pub(crate) fn contains(&self, ifindex: u32) -> bool {
        self.netdevs.contains(&ifindex)
    }

    /// The netdevs, by ifindex.
    pub(crate) fn all(&self) -> Vec<u32> {
        self.netdevs.iter().copied().collect()
    }

    pub(crate) fn add(&mut self, ifindex: u32) {
        self.netdevs.insert(ifindex);
        let path = self.path(ifindex);
        if let Err(error) = std::fs::create_dir_all(&path) {
            tracing::warn!(mark = %path.display(), %error, "cannot be made: after a crash, this would not be undone");
        }
    }

    pub(crate) fn remove(&mut self, ifindex: u32) {
        self.netdevs.remove(&ifindex);
        let path = self.path(ifindex);
        if let Err(error) = std::fs::remove_dir(&path) {
            tracing::debug!(mark = %path.display(), %error, "removing");
        }
        // Where it was the last thing in it.
        let _ = std::fs::remove_dir(&self.directory);
    }

    fn path(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("{ifindex}-{}", self.mark.word()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_known_to_the_next_daemon_and_each_kind_is_its_own() {
        let pins = tempfile::tempdir().unwrap();
        let read = |mark| Marks::read(pins.path(), mark).unwrap();
        assert!(read(Mark::Clsact).all().is_empty());
        let mut clsact = read(Mark::Clsact);
        clsact.add(3);
        clsact.add(12);
        read(Mark::Promiscuous).add(3);
        assert_eq!((read(Mark::Clsact).all(), read(Mark::Promiscuous).all()), (vec![3, 12], vec![3]));
        clsact.remove(3);
        assert!(!clsact.contains(3) && clsact.contains(12));
        assert_eq!((read(Mark::Clsact).all(), read(Mark::Promiscuous).all()), (vec![12], vec![3]));
        clsact.remove(12);
        read(Mark::Promiscuous).remove(3);
        assert!(!pins.path().join(ROOTS).exists(), "no empty directory is left");
    }

    #[test]
    fn names_of_roots_are_not_marks() {
        for (name, expected) in [
            ("3-clsact", true),
            ("12-promiscuous", true),
            ("3-ingress-5eed", false),
            ("clsact", false),
            ("x-clsact", false),
        ] {
            assert_eq!(Mark::is_name(name), expected, "{name}");
        }
    }
}
