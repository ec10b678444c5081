//! Netdevs that come and go.

use std::collections::BTreeMap;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::{Engine, View};
use crate::problem::Problem;
use crate::sys::netlink::Event;
use crate::topology::{Point, Topology};

impl Engine {
    pub(super) fn netdev_event(&mut self, event: &Event) {
        let (Event::Gone(link) | Event::Seen(link)) = event;
        let is_in_use = self.netdevs.iter().any(|(name, ifindex)| *name == link.name || *ifindex == link.ifindex);
        if is_in_use || !self.current.topology.chain(&Point::Netdev(link.name.clone())).is_empty() {
            self.follow_netdevs();
        }
    }

    /// Compares the netdevs in use with those that exist. Events only say when to look: some are lost when there are many.
    pub(super) fn follow_netdevs(&mut self) {
        let now = match existing(&self.current.topology) {
            Ok(now) if now != self.netdevs => now,
            Ok(_) => return,
            Err(problem) => return tracing::error!("{}", problem.message),
        };
        let mut wanted = self.current.clone();
        for (netdev, _) in self.netdevs.iter().filter(|(name, ifindex)| now.get(*name) != Some(ifindex)) {
            if let Some((cube, port)) = self.current.topology.peer_owner(netdev) {
                tracing::warn!(netdev, "disappeared: port {cube}:{port} has no peer now");
                if let Err(problem) = wanted.topology.set_peer(cube.as_str(), port.as_str(), None) {
                    tracing::error!("{}", problem.message);
                }
            } else if !now.contains_key(netdev) {
                tracing::warn!(netdev, "disappeared: what is attached to it sees nothing until it returns");
            }
        }
        for netdev in now.keys().filter(|name| !self.netdevs.contains_key(*name)) {
            tracing::info!(netdev, "is there: what is attached to it sees its traffic");
        }
        self.rewire(wanted);
    }

    fn rewire(&mut self, wanted: View) {
        for problem in self.apply(wanted).err().into_iter().flat_map(|problems| problems.0) {
            tracing::error!(path = problem.path, "cannot follow a netdev: {}", problem.message);
        }
    }
}

/// The netdevs that `topology` names and that exist, with their ifindex.
pub(super) fn existing(topology: &Topology) -> Result<BTreeMap<String, u32>, Problem> {
    let failed = |error| Problem::failed("", format!("cannot look netdevs up: {error}"));
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).map_err(failed)?;
    let peers = topology.cubes().flat_map(|(_, cube)| cube.ports()).filter_map(|(_, port)| port.peer.as_deref());
    let attached = topology.chains().filter_map(|(point, _)| match point {
        Point::Netdev(name) => Some(name.as_str()),
        Point::Port(..) => None,
    });
    let found = |name: &str| Some((name.to_owned(), netdevice::name_to_index(&socket, name).ok()?));
    Ok(peers.chain(attached).filter_map(found).collect())
}
