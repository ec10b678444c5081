//! The queueing disciplines that clsact filters hang on.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;
use aya::programs::tc::{TcError, qdisc_add_clsact};
use rustix::io::Errno;

use super::{DatapathError, failed};
use crate::sys::clsact;
use crate::wiring::Netdev;

/// What the directory of a netdev's queueing discipline ends with; the kernel's name of it.
pub(super) const MARK: &str = "clsact";

/// The netdevs that got theirs from this daemon.
pub(super) struct Clsact {
    /// By ifindex.
    ours: HashSet<u32>,
    /// Has an empty directory `3-clsact` for each, so that the next daemon knows them.
    marks: PathBuf,
}

impl Clsact {
    /// Knows those that an earlier daemon made by their marks.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub(super) fn new(marks: PathBuf) -> io::Result<Self> {
        let mut ours = HashSet::new();
        match std::fs::read_dir(&marks) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    let name = entry?.file_name();
                    let ifindex = name.to_str().and_then(|name| name.strip_suffix(MARK)?.strip_suffix('-'));
                    ours.extend(ifindex.and_then(|ifindex| ifindex.parse::<u32>().ok()));
                }
            }
        }
        Ok(Self { ours, marks })
    }

    /// Sees to it that `netdev` has one.
    pub(super) fn add(&mut self, netdev: &Netdev) -> Result<(), DatapathError> {
        match qdisc_add_clsact(&netdev.name) {
            Ok(()) => {
                self.ours.insert(netdev.ifindex);
                if let Err(error) = std::fs::create_dir(self.mark(netdev.ifindex)) {
                    tracing::warn!(netdev = netdev.name, %error, "clsact cannot be marked, and would stay after a crash");
                }
                Ok(())
            }
            // Another root's, or another program's: a netdev has at most one, or `ingress` in its place, on which a filter
            // for egress would see what comes in.
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                match clsact::kind(netdev.ifindex) {
                    Ok(Some(kind)) if kind != MARK => Err(DatapathError::Taken { netdev: netdev.name.clone(), kind }),
                    Ok(_) => Ok(()),
                    Err(error) => Err(failed(netdev, ProgramError::IOError(io::Error::other(error)))),
                }
            }
            Err(error) => Err(failed(netdev, error.into())),
        }
    }

    /// Removes those that are ours and have no filters.
    pub(super) fn remove_idle(&mut self) {
        for ifindex in self.ours.clone() {
            self.remove_if_idle(&Netdev { ifindex, name: String::new() });
        }
    }

    /// Removes it, if it is ours and has no filters.
    pub(super) fn remove_if_idle(&mut self, netdev: &Netdev) {
        if !self.ours.contains(&netdev.ifindex) {
            return;
        }
        match clsact::remove_idle(netdev.ifindex) {
            Ok(true) => self.forget(netdev.ifindex),
            Ok(false) => {}
            Err(error) => {
                self.forget(netdev.ifindex);
                // A netdev that is gone has taken it along.
                tracing::debug!(ifindex = netdev.ifindex, %error, "removing clsact");
            }
        }
    }

    fn forget(&mut self, ifindex: u32) {
        self.ours.remove(&ifindex);
        if let Err(error) = std::fs::remove_dir(self.mark(ifindex)) {
            tracing::debug!(ifindex, %error, "removing the mark of clsact");
        }
    }

    fn mark(&self, ifindex: u32) -> PathBuf {
        self.marks.join(format!("{ifindex}-{MARK}"))
    }
}
