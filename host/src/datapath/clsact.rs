//! The queueing disciplines that clsact filters hang on.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::ProgramError;
use aya::programs::SchedClassifier;
use aya::programs::tc::{TcError, qdisc_add_clsact};
use rustix::io::Errno;

use super::{DatapathError, failed};
use crate::sys::clsact;
use crate::wiring::Netdev;

/// What the directory of a netdev's queueing discipline ends with; the kernel's name of it.
const MARK: &str = "clsact";

/// The netdevs that got theirs from this daemon.
pub(super) struct Clsact {
    /// By ifindex.
    ours: HashSet<u32>,
    /// Has an empty directory `3-clsact` for each, so that the next daemon knows them after a crash.
    marks: PathBuf,
}

impl Clsact {
    pub(super) fn new(marks: PathBuf) -> Self {
        Self { ours: HashSet::new(), marks }
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
                tracing::debug!(netdev = netdev.name, %error, "removing clsact");
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

/// Removes the filters and queueing disciplines of an earlier daemon, as its pins in `roots` tell them. A link goes with
/// its pin; a filter stays until somebody removes it.
///
/// # Errors
/// The pins cannot be read.
pub(super) fn sweep(roots: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(roots) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut programs: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ours = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((ifindex, what)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        let Ok(ifindex) = ifindex.parse() else { continue };
        if what == MARK {
            ours.push(ifindex);
        } else if !entry.path().join("link").exists()
            && let Ok(program) = SchedClassifier::from_pin(entry.path().join("program"))
        {
            let id = program.info().map_err(io::Error::other)?.id();
            programs.entry(ifindex).or_default().push(id);
        }
    }
    for (ifindex, programs) in programs {
        if let Err(error) = clsact::remove_filters(ifindex, &programs) {
            // A netdev that is gone has taken them along.
            tracing::debug!(ifindex, %error, "removing filters");
        }
    }
    for ifindex in ours {
        if let Err(error) = clsact::remove_idle(ifindex) {
            tracing::debug!(ifindex, %error, "removing clsact");
        }
    }
    Ok(())
}
