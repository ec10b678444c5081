//! Netdevs that come and go.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use polycube_plugin_api::Level;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::left::{Left, Part, Wish};
use super::{Engine, View};
use crate::plugins::LOG_TARGET;
use crate::problem::Problem;
use crate::sys::netlink::{Event, Framing, Link};
use crate::topology::{Point, Topology};
use crate::wiring::Netdev;

impl Engine {
    pub(super) fn netdev_event(&mut self, event: &Event) {
        let (Event::Gone(link) | Event::Seen(link)) = event;
        let is_known =
            self.current.netdevs.named.iter().any(|(name, ifindex)| *name == link.name || *ifindex == link.ifindex);
        let is_link = self.current.netdevs.links.values().any(|end| end.ifindex == link.ifindex);
        let topology = &self.current.topology;
        let is_wanted =
            topology.peer_owner(&link.name).is_some() || !topology.chain(&Point::Netdev(link.name.clone())).is_empty();
        if is_known || is_link || is_wanted {
            self.follow_netdevs();
        }
    }

    /// Compares the netdevs in use with those that exist. Events only say when to look: some are lost when there are many.
    pub(super) fn follow_netdevs(&mut self) {
        let mut wanted = self.current.clone();
        let now = existing(&wanted.topology).and_then(|now| {
            self.follow_renames(&mut wanted.topology, &now)?;
            existing(&wanted.topology)
        });
        let mut now = match now {
            Ok(now) => now,
            Err(problem) => return tracing::error!("{}", problem.message),
        };
        if !self.current.left.is_due() {
            self.current.left.hide(&mut now);
            if now == self.current.netdevs.named && self.links_are_there() {
                return;
            }
        }
        let before = self.current.netdevs.named.clone();
        match self.apply(wanted, Wish::Followed) {
            Ok(()) => self.tell_of_netdevs(&before),
            Err(problems) => {
                for problem in problems.0 {
                    tracing::error!(path = problem.path, "cannot follow a netdev: {}", problem.message);
                }
            }
        }
    }

    /// Tells the log which netdevs came or went since there were those of `before`.
    fn tell_of_netdevs(&self, before: &BTreeMap<String, u32>) {
        let View { topology, netdevs, .. } = &self.current;
        let now = &netdevs.named;
        let there = |netdev: &str, ifindex| now.get(netdev) == Some(&ifindex);
        for (netdev, ifindex) in before.iter().filter(|(netdev, ifindex)| !there(netdev, **ifindex)) {
            if now.values().any(|other| other == ifindex) {
                continue;
            }
            self.tell(topology, netdev, Turn::Gone);
        }
        for netdev in now.keys().filter(|name| !before.contains_key(*name)) {
            self.tell(topology, netdev, Turn::There);
        }
    }

    /// Tells of a netdev's turn in the log of every cube that stands there.
    fn tell(&self, topology: &Topology, netdev: &str, turn: Turn) {
        let owner = topology.peer_owner(netdev);
        let points = owner.clone().map(|(cube, port)| Point::Port(cube, port)).into_iter();
        let points = points.chain([Point::Netdev(netdev.to_owned())]);
        let attached = points.flat_map(|point| topology.chain(&point).to_vec()).map(|one| (one.cube, None));
        let owner = owner.map(|(cube, port)| (cube, Some(port.to_string())));
        for (cube, port) in owner.into_iter().chain(attached) {
            let port = port.as_deref();
            match turn {
                Turn::Gone if self.admits(&cube, Level::Warn) => {
                    let message = "the netdev disappeared: nothing passes until it returns";
                    tracing::warn!(target: LOG_TARGET, %cube, port, netdev, message);
                }
                Turn::There if self.admits(&cube, Level::Info) => {
                    tracing::info!(target: LOG_TARGET, %cube, port, netdev, "the netdev is there");
                }
                _ => {}
            }
        }
    }

    /// Whether nobody has deleted or renamed an end of ours.
    fn links_are_there(&self) -> bool {
        let Ok(socket) = lookup_socket() else { return true };
        let is_there = |end: &Netdev| netdevice::name_to_index(&socket, &end.name).ok() == Some(end.ifindex);
        let links = &self.current.netdevs.links;
        links.iter().filter(|(_, end)| !is_there(end)).fold(true, |_, ((cube, port), end)| {
            if self.admits(cube, Level::Warn) {
                let message = "the link disappeared: making it again";
                tracing::warn!(target: LOG_TARGET, %cube, %port, netdev = end.name, message);
            }
            false
        })
    }

    /// A netdev that has another name now is the same netdev.
    fn follow_renames(&self, topology: &mut Topology, now: &BTreeMap<String, u32>) -> Result<(), Problem> {
        let socket = lookup_socket()?;
        let mut names = BTreeMap::new();
        for (old, ifindex) in
            self.current.netdevs.named.iter().filter(|(name, ifindex)| now.get(*name) != Some(ifindex))
        {
            let Ok(new) = netdevice::index_to_name(&socket, *ifindex) else { continue };
            if new != *old {
                tracing::info!(netdev = old, "is called {new} now");
                names.insert(old.clone(), new);
            }
        }
        topology.rename_netdevs(names);
        Ok(())
    }

    /// Leaves those of `named` that have come and that no cube can work on: another device may have the name of one that
    /// could.
    pub(super) fn leave_unfit(
        &self,
        left: &mut Left,
        topology: &Topology,
        named: &BTreeMap<String, u32>,
    ) -> Result<(), Problem> {
        let is_known = |ifindex| self.current.netdevs.named.values().any(|known| known == ifindex);
        for (name, ifindex) in named.iter().filter(|(_, ifindex)| !is_known(*ifindex)) {
            let found = self.runtime.block_on(self.netlink.link(*ifindex));
            let found =
                found.map_err(|error| Problem::failed("", format!("cannot look netdev `{name}` up: {error}")))?;
            let as_what = if topology.peer_owner(name).is_some() { Use::Peer } else { Use::Place };
            if let Some(why) = found.and_then(|link| unfit(&link, as_what)) {
                left.add(Part::Netdev(Netdev { ifindex: *ifindex, name: name.clone() }), why);
            }
        }
        Ok(())
    }
}

/// What a netdev is to be.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// The peer of a port, which takes its packets.
    Peer,
    /// A place where cubes look at packets that go on.
    Place,
}

/// Why a netdev cannot be that, if so. `br_add_if()` in net/bridge/br_if.c refuses both kinds.
pub(super) fn unfit(link: &Link, as_what: Use) -> Option<String> {
    let netdev = &link.name;
    match (link.framing, as_what) {
        (Framing::Ethernet, _) | (Framing::Loopback, Use::Place) => None,
        (Framing::Loopback, Use::Peer) => {
            Some(format!("netdev `{netdev}` is the host's loopback, which a cube would cut off: name another netdev"))
        }
        (Framing::Other, _) => Some(format!(
            "netdev `{netdev}` has no Ethernet headers, and cubes work on Ethernet frames: name another netdev"
        )),
    }
}

/// What a netdev does.
#[derive(Clone, Copy)]
enum Turn {
    Gone,
    There,
}

/// The netdevs that `topology` names and that exist, with their ifindex.
pub(super) fn existing(topology: &Topology) -> Result<BTreeMap<String, u32>, Problem> {
    let socket = lookup_socket()?;
    let ports = topology.cubes().flat_map(|(_, cube)| cube.ports());
    let peers = ports.filter_map(|(_, port)| port.peer.as_ref()).chain(topology.chains().map(|(point, _)| point));
    let names = peers.filter_map(|point| match point {
        Point::Netdev(name) => Some(name.as_str()),
        Point::Port(..) => None,
    });
    let found = |name: &str| Some((name.to_owned(), netdevice::name_to_index(&socket, name).ok()?));
    Ok(names.filter_map(found).collect())
}

/// For the kernel's calls on netdevs by name, which take any socket.
pub(super) fn lookup_socket() -> Result<OwnedFd, Problem> {
    let failed = |error| Problem::failed("", format!("cannot look netdevs up: {error}"));
    socket(AddressFamily::UNIX, SocketType::DGRAM, None).map_err(failed)
}
