//! Which netdevs cubes can work on, and the names that netdevs are known by.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Draft;
use super::configuration::Absent;
use super::{Facts, Model};
use crate::netdev::{Framing, Link, Table};
use crate::problem::Problem;
use crate::topology::{CubeName, Point};

/// What a netdev is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The peer of a port, which takes its packets.
    Peer,
    /// A place where cubes look at packets that go on.
    Place,
    /// A place whose cubes know packets that begin with the IP header, too.
    IpPlace,
}

/// Why a netdev cannot be used for this, if it cannot. `br_add_if()` in net/bridge/br_if.c refuses the same kinds.
pub(crate) fn unfit(link: &Link, purpose: Use, present: &Table) -> Option<String> {
    let netdev = &link.name;
    match (link.framing, purpose, link.master) {
        (Framing::Other, ..) | (Framing::RawIp, Use::Peer | Use::Place, _) => Some(format!(
            "netdev `{netdev}` has no Ethernet headers, and cubes work on Ethernet frames: name another netdev"
        )),
        (Framing::Loopback, Use::Peer, _) => {
            Some(format!("netdev `{netdev}` is the host's loopback, which a cube would cut off: name another netdev"))
        }
        (Framing::Ethernet, Use::Peer, Some(master)) => {
            let master = present.link(master).map_or_else(|| master.to_string(), |link| link.name.clone());
            Some(format!(
                "netdev `{netdev}` is a port of `{master}`, which would get no more packets: \
                 `ip link set {netdev} nomaster` frees it"
            ))
        }
        (Framing::Ethernet, ..)
        | (Framing::Loopback, Use::Place | Use::IpPlace, _)
        | (Framing::RawIp, Use::IpPlace, _) => None,
    }
}

/// The netdevs in use whose name is another now, old name to new. `changed` are the names to look at.
pub(crate) fn renamed(changed: &BTreeSet<String>, facts: &Facts) -> BTreeMap<String, String> {
    let renamed = |old: &String| {
        let link = facts.present.link(*facts.wired.named().get(old)?)?;
        (link.name != *old).then(|| (old.clone(), link.name.clone()))
    };
    changed.iter().filter_map(renamed).collect()
}

impl Model {
    /// Whether the topology names this netdev.
    pub(crate) fn wants(&self, netdev: &str) -> bool {
        self.topology.peer_owner(netdev).is_some() || !self.topology.chain(&Point::Netdev(netdev.to_owned())).is_empty()
    }

    /// What the topology uses a netdev for.
    pub(crate) fn purpose(&self, netdev: &str) -> Use {
        let there = || self.topology.chain(&Point::Netdev(netdev.to_owned())).iter().map(|attached| &attached.cube);
        if self.topology.peer_owner(netdev).is_some() { Use::Peer } else { self.place(there()) }
    }

    /// The use of a netdev as a place of these cubes.
    pub(super) fn place<'a>(&self, cubes: impl IntoIterator<Item = &'a CubeName>) -> Use {
        let takes_raw_ip = |cube: &CubeName| {
            let found =
                self.topology.get(cube.as_str()).and_then(|(_, cube)| self.registry.service(&cube.service).ok());
            found.is_some_and(|service| service.model.service.takes_raw_ip)
        };
        if cubes.into_iter().all(takes_raw_ip) { Use::IpPlace } else { Use::Place }
    }
}

impl Draft<'_> {
    /// The same point; a netdev that is called by an alternative name gets its own. Otherwise one netdev could become
    /// two ports.
    pub(super) fn primary(&self, point: Point) -> Point {
        match point {
            Point::Netdev(name) => {
                let found = self.facts.present.named(&name).map(|link| link.name.clone());
                Point::Netdev(found.unwrap_or(name))
            }
            other @ (Point::Port(..) | Point::Selector(_)) => other,
        }
    }

    /// Refuses a netdev that does not exist, unless it is awaited, or whose packets are not for cubes, and our own ends of links. The caller
    /// knows the path of the problem.
    pub(super) fn check_netdev(&self, netdev: &str, purpose: Use) -> Result<(), Problem> {
        let Facts { present, wired, .. } = self.facts;
        let why = match present.named(netdev) {
            Some(link) => match wired.link_port(&link.name) {
                Some((cube, port)) => {
                    format!("netdev `{netdev}` is the daemon's own, the link at {cube}:{port}: name the port")
                }
                None => match unfit(link, purpose, present) {
                    Some(why) => why,
                    None => return Ok(()),
                },
            },
            None if self.model.topology.get(netdev).is_some() => {
                format!("`{netdev}` is a cube: name one of its ports, {netdev}:PORT")
            }
            None if self.absent == Absent::Awaited => return Ok(()),
            None => {
                let theirs = present.links().filter(|link| wired.link_port(&link.name).is_none());
                let message = format!("netdev `{netdev}` does not exist in the daemon's network namespace");
                return Err(Problem::bad("", message).knowing(netdev, theirs.map(|link| link.name.as_str())));
            }
        };
        Err(Problem::bad("", why))
    }
}
