//! What could not follow when netdevs came or changed.
//!
//! A netdev can appear, vanish or be renamed at any time, and nobody asked the cubes first. Then something may not be
//! able to follow: a chain that becomes too long with this netdev, a capture whose directory is gone, a device of
//! another kind under a known name. Refusing is not possible, because the netdev is already there, and stopping would
//! keep every other cube from changing. So the part that is to blame is *deferred*: a cube keeps the programs that it
//! had, a netdev is treated as if it did not exist. The reason is logged once and shown with the cube. The part is tried
//! again after a pause, and whenever a change touches it. A user's own change is never deferred: where the part is what
//! the change is about, the change is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::netdev::Table;
use crate::topology::{Cube, CubeName, Point, Topology};
use crate::wiring::{Netdev, Netdevs};

/// What can be deferred.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Its plugin does not hear of what has changed around the cube, and its programs stay as they were.
    Cube(CubeName),
    /// Nothing is attached to it, as if it did not exist.
    Netdev(Netdev),
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A user or a plugin asked for it: what it is about has to succeed.
    Request,
    /// Netdevs have changed.
    Netdevs,
}

/// The deferred parts, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deferred(BTreeMap<Part, String>);

impl Deferred {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Part, &String)> {
        self.0.iter()
    }

    /// Those that stay deferred when `before` becomes `after`: the change does not touch them, and their netdevs are
    /// still there.
    #[must_use]
    pub(crate) fn kept(&self, before: &Topology, after: &Topology, present: &Table) -> Self {
        let is_kept = |part: &Part| match part {
            Part::Cube(cube) => !is_changed(before, after, cube),
            Part::Netdev(netdev) => {
                present.named(&netdev.name).is_some_and(|link| link.ifindex == netdev.ifindex)
                    && carries(before, &netdev.name) == carries(after, &netdev.name)
            }
        };
        Self(self.0.iter().filter(|(part, _)| is_kept(part)).map(|(part, why)| (part.clone(), why.clone())).collect())
    }

    /// Defers one more part. Answers whether it was not deferred yet.
    pub(crate) fn add(&mut self, part: Part, reason: String) -> bool {
        self.0.insert(part, reason).is_none()
    }

    pub(crate) fn has_cube(&self, cube: &CubeName) -> bool {
        self.0.contains_key(&Part::Cube(cube.clone()))
    }

    pub(crate) fn has_netdev(&self, ifindex: u32) -> bool {
        self.netdevs().any(|(netdev, _)| netdev.ifindex == ifindex)
    }

    pub(crate) fn reason(&self, part: &Part) -> Option<&String> {
        self.0.get(part)
    }

    /// What a user should know about a cube.
    pub(crate) fn of_cube(&self, topology: &Topology, name: &CubeName, cube: &Cube) -> Option<String> {
        let own = self.0.get(&Part::Cube(name.clone())).map(|reason| format!("left as it was before: {reason}"));
        let ports = cube.ports().filter_map(|(port, found)| {
            let Some(Point::Netdev(peer)) = &found.peer else { return None };
            let (_, reason) = self.netdevs().find(|(netdev, _)| netdev.name == *peer)?;
            Some(format!("port {port} is left down: {reason}"))
        });
        let points = topology.points(name.as_str()).into_iter().filter_map(|(_, point)| {
            let Point::Netdev(attached) = point else { return None };
            let (_, reason) = self.netdevs().find(|(netdev, _)| netdev.name == *attached)?;
            Some(format!("not attached to {attached}: {reason}"))
        });
        let reasons: Vec<String> = own.into_iter().chain(ports).chain(points).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The names of the deferred netdevs and the deferred cubes.
    pub(crate) fn subjects(&self) -> (BTreeSet<String>, BTreeSet<CubeName>) {
        let cubes = self.0.keys().filter_map(|part| match part {
            Part::Cube(cube) => Some(cube.clone()),
            Part::Netdev(_) => None,
        });
        (self.netdevs().map(|(netdev, _)| netdev.name.clone()).collect(), cubes.collect())
    }

    fn netdevs(&self) -> impl Iterator<Item = (&Netdev, &String)> {
        self.0.iter().filter_map(|(part, reason)| match part {
            Part::Netdev(netdev) => Some((netdev, reason)),
            Part::Cube(_) => None,
        })
    }
}

impl Part {
    /// Whether the part may be deferred so that a change can be made: the change is not about it.
    pub(crate) fn may_be_deferred(&self, origin: Origin, before: (&Topology, &Netdevs), after: &Topology) -> bool {
        let (topology, netdevs) = before;
        origin == Origin::Netdevs
            || match self {
                Self::Cube(cube) => !is_changed(topology, after, cube),
                Self::Netdev(netdev) => {
                    // Our end of a link is only there because the change wants it.
                    let carried = carries(after, &netdev.name);
                    let is_more = carried > carries(topology, &netdev.name);
                    carried.is_some() && !is_more && !is_wired(netdevs, netdev)
                }
            }
    }
}

fn is_wired(netdevs: &Netdevs, netdev: &Netdev) -> bool {
    netdevs.of_name(&netdev.name).as_ref() == Some(netdev) || netdevs.link_port(&netdev.name).is_some()
}

/// Whether a cube is configured or attached differently.
fn is_changed(before: &Topology, after: &Topology, cube: &CubeName) -> bool {
    let of = |topology: &Topology| {
        let points = topology.points(cube.as_str()).into_iter().map(|(id, point)| (id, point.clone()));
        Some((Arc::clone(topology.get(cube.as_str())?.1), points.collect::<Vec<_>>()))
    };
    of(before) != of(after)
}

/// How many cubes packets of a netdev pass; `None` if it is not in use.
fn carries(topology: &Topology, netdev: &str) -> Option<usize> {
    let outer = topology.chain(&Point::Netdev(netdev.to_owned())).len();
    let Some((cube, port)) = topology.peer_owner(netdev) else { return (outer > 0).then_some(outer) };
    Some(outer + topology.chain(&Point::Port(cube, port)).len() + 1)
}
