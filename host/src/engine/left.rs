//! What could not follow when netdevs came or changed: it is left as it is, holds up nobody, and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::View;
use crate::topology::{Cube, CubeName, Point, Topology};
use crate::wiring::{Netdev, Netdevs};

/// How long it is left before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// What can be left as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its plugin is not told of what has changed around the cube, and its programs are those of before.
    Cube(CubeName),
    /// Nothing is attached to it, as if it did not exist.
    Netdev(Netdev),
}

/// Whose wish a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A user's or a plugin's: what it is about has to come about.
    Asked,
    /// The kernel's, whose netdevs have changed.
    Followed,
}

/// The parts that are left, and why.
#[derive(Clone, Debug, Default)]
pub struct Left {
    parts: BTreeMap<Part, String>,
    since: Option<Instant>,
}

impl Left {
    /// Those that stay left over a change from one model to another: it does not touch them, and of the netdevs, `named`
    /// are there.
    pub fn over(&self, current: &View, wanted: &View, named: &BTreeMap<String, u32>) -> Self {
        let (current, wanted) = (&current.topology, &wanted.topology);
        let mut still = self.clone();
        still.parts.retain(|part, _| match part {
            Part::Cube(cube) => !is_another(current, wanted, cube),
            Part::Netdev(netdev) => {
                named.get(&netdev.name) == Some(&netdev.ifindex)
                    && carries(current, &netdev.name) == carries(wanted, &netdev.name)
            }
        });
        still
    }

    /// Whether it is time to try again.
    pub fn is_due(&self) -> bool {
        !self.parts.is_empty() && self.since.is_none_or(|since| since.elapsed() >= PAUSE)
    }

    /// Leaves one more part; tells whether it was not left yet.
    pub fn add(&mut self, part: Part, reason: String) -> bool {
        self.since = Some(Instant::now());
        self.parts.insert(part, reason).is_none()
    }

    pub fn holds_cube(&self, cube: &CubeName) -> bool {
        self.parts.contains_key(&Part::Cube(cube.clone()))
    }

    /// Takes the netdevs that are left out of those that exist.
    pub fn hide(&self, named: &mut BTreeMap<String, u32>) {
        let hidden: BTreeSet<u32> = self.netdevs().map(|(netdev, _)| netdev.ifindex).collect();
        named.retain(|_, ifindex| !hidden.contains(ifindex));
    }

    /// What a user should know of a cube of `topology`.
    pub fn of_cube(&self, name: &CubeName, cube: &Cube) -> Option<String> {
        let own = self.parts.get(&Part::Cube(name.clone())).map(|reason| format!("left as it was before: {reason}"));
        let ports = cube.ports().filter_map(|(port, found)| {
            let Some(Point::Netdev(peer)) = &found.peer else { return None };
            let (_, reason) = self.netdevs().find(|(netdev, _)| netdev.name == *peer)?;
            Some(format!("port {port} is left down: {reason}"))
        });
        let reasons: Vec<String> = own.into_iter().chain(ports).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Tells the log of what was not left before for the same reason.
    pub fn tell_news(&self, before: &Self) {
        for (part, reason) in self.parts.iter().filter(|(part, reason)| before.parts.get(part) != Some(reason)) {
            match part {
                Part::Cube(cube) => tracing::error!(%cube, "left as it was before, and tried again: {reason}"),
                Part::Netdev(netdev) => {
                    tracing::error!(netdev = netdev.name, "left alone, and tried again: {reason}");
                }
            }
        }
    }

    fn netdevs(&self) -> impl Iterator<Item = (&Netdev, &String)> {
        self.parts.iter().filter_map(|(part, reason)| match part {
            Part::Netdev(netdev) => Some((netdev, reason)),
            Part::Cube(_) => None,
        })
    }
}

/// Whether a part may be left so that a change comes about: the change is not for its sake.
pub fn may_be_left(part: &Part, wish: Wish, current: &View, wanted: &View) -> bool {
    let (before, after) = (&current.topology, &wanted.topology);
    wish == Wish::Followed
        || match part {
            Part::Cube(cube) => !is_another(before, after, cube),
            Part::Netdev(netdev) => {
                let carries_more = carries(after, &netdev.name) > carries(before, &netdev.name);
                !carries_more && !is_wired(&current.netdevs, netdev)
            }
        }
}

fn is_wired(netdevs: &Netdevs, netdev: &Netdev) -> bool {
    netdevs.named.get(&netdev.name) == Some(&netdev.ifindex) || netdevs.links.values().any(|end| end == netdev)
}

/// Whether a cube is configured otherwise, or stands elsewhere.
fn is_another(before: &Topology, after: &Topology, cube: &CubeName) -> bool {
    let of = |topology: &Topology| {
        let points = topology.points(cube.as_str()).into_iter().map(|(id, point)| (id, point.clone()));
        Some((topology.cube(cube.as_str()).ok()?.1.clone(), points.collect::<Vec<_>>()))
    };
    of(before) != of(after)
}

/// How many cubes packets of a netdev pass; `None` if it is not in use.
fn carries(topology: &Topology, netdev: &str) -> Option<usize> {
    let outer = topology.chain(&Point::Netdev(netdev.to_owned())).len();
    let Some((cube, port)) = topology.peer_owner(netdev) else { return (outer > 0).then_some(outer) };
    Some(outer + topology.chain(&Point::Port(cube, port)).len() + 1)
}
