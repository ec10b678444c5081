//! The queueing disciplines that clsact filters hang on.

use std::io;

use aya::programs::ProgramError;
use aya::programs::tc::{TcError, qdisc_add_clsact};
use rustix::io::Errno;

use super::marks::Marks;
use super::{DatapathError, failed};
use crate::sys::clsact;
use crate::wiring::Netdev;

/// The kernel's name of it.
const KIND: &str = "clsact";

/// The netdevs that got theirs from this daemon, or from one before.
pub(super) struct Clsact(Marks);

impl Clsact {
    pub(super) fn new(marks: Marks) -> Self {
        Self(marks)
    }

    /// Sees to it that `netdev` has one.
    pub(super) fn add(&mut self, netdev: &Netdev) -> Result<(), DatapathError> {
        match qdisc_add_clsact(&netdev.name) {
            Ok(()) => {
                self.0.add(netdev.ifindex);
                Ok(())
            }
            // Another root's, or another program's: a netdev has at most one, or `ingress` in its place, on which a filter
            // for egress would see what comes in.
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                match clsact::kind(netdev.ifindex) {
                    Ok(Some(kind)) if kind != KIND => Err(DatapathError::Taken { netdev: netdev.name.clone(), kind }),
                    Ok(_) => Ok(()),
                    Err(error) => Err(failed(netdev, ProgramError::IOError(io::Error::other(error)))),
                }
            }
            Err(error) => Err(failed(netdev, error.into())),
        }
    }

    /// Takes a netdev's for somebody else's.
    pub(super) fn forget(&mut self, netdev: &Netdev) {
        self.0.remove(netdev.ifindex);
    }

    /// Removes those that are ours and have no filters.
    pub(super) fn remove_idle(&mut self) {
        for ifindex in self.0.all() {
            self.remove_if_idle(&Netdev { ifindex, name: String::new() });
        }
    }

    /// Removes it, if it is ours and has no filters.
    pub(super) fn remove_if_idle(&mut self, netdev: &Netdev) {
        if !self.0.contains(netdev.ifindex) {
            return;
        }
        match clsact::remove_idle(netdev.ifindex) {
            Ok(true) => self.0.remove(netdev.ifindex),
            Ok(false) => {}
            Err(error) => {
                self.0.remove(netdev.ifindex);
                // A netdev that is gone has taken it along.
                tracing::debug!(ifindex = netdev.ifindex, %error, "removing clsact");
            }
        }
    }
}
