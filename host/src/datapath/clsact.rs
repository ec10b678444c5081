//! The queueing disciplines that clsact filters hang on.

use std::collections::HashSet;

use aya::programs::tc::{TcError, qdisc_add_clsact};
use rustix::io::Errno;

use crate::sys::netlink;
use crate::wiring::Netdev;

/// The netdevs, by ifindex, that got theirs from this daemon.
#[derive(Default)]
pub struct Clsact(HashSet<u32>);

impl Clsact {
    /// Sees to it that `netdev` has one.
    pub fn add(&mut self, netdev: &Netdev) -> Result<(), TcError> {
        match qdisc_add_clsact(&netdev.name) {
            Ok(()) => {
                self.0.insert(netdev.ifindex);
                Ok(())
            }
            // Another root's, or another program's: a netdev has at most one.
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes it off, if it is ours and nobody's filter hangs on it.
    pub fn remove_if_idle(&mut self, netdev: &Netdev) {
        if !self.0.contains(&netdev.ifindex) {
            return;
        }
        match netlink::remove_idle_clsact(netdev.ifindex) {
            Ok(true) => {
                self.0.remove(&netdev.ifindex);
            }
            Ok(false) => {}
            Err(error) => {
                self.0.remove(&netdev.ifindex);
                // A netdev that is gone has taken it along.
                tracing::debug!(netdev = netdev.name, %error, "removing clsact");
            }
        }
    }
}
