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
    /// The daemon starts, and brings back what was wanted before.
    Restore,
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

    /// Has cubes tried again.
    pub(crate) fn forget_cubes(&mut self, cubes: &BTreeSet<CubeName>) {
        self.0.retain(|part, _| !matches!(part, Part::Cube(cube) if cubes.contains(cube)));
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
        origin != Origin::Request
            || match self {
                Self::Cube(cube) => !is_changed(topology, after, cube),
                Self::Netdev(netdev) => {
                    // Our end of a link is only there because the change wants it.
                    let is_in_use = carries(after, &netdev.name).is_some();
                    let is_more = asked_for(after, &netdev.name) > asked_for(topology, &netdev.name);
                    is_in_use && !is_more && !is_wired(netdevs, netdev)
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

/// The same without the cubes that are there because a selector chose the netdev: such a cube goes where it can.
fn asked_for(topology: &Topology, netdev: &str) -> Option<usize> {
    let chain = topology.chain(&Point::Netdev(netdev.to_owned()));
    let chosen = chain.iter().filter(|one| one.chosen.is_some()).count();
    carries(topology, netdev).map(|all| all - chosen).filter(|rest| *rest > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdev::ethernet;
    use crate::topology::{LogLevel, Place};
    use crate::wiring::fixture;

    /// `br1` with its port `p` at `veth1` and `inner` there, and `outer` at `veth2`.
    fn lab() -> fixture::Model {
        fixture::Model::new().bridge("br1", &[("p", "veth1")]).tap("inner", "br1:p").tap("outer", "veth2")
    }

    fn present() -> Table {
        let mut present = Table::default();
        for number in 1..=3 {
            present.set(ethernet(10 + number, &format!("veth{number}")));
        }
        present
    }

    fn cube(name: &str) -> Part {
        Part::Cube(CubeName::parse(name).unwrap())
    }

    fn netdev(ifindex: u32, name: &str) -> Part {
        Part::Netdev(Netdev { ifindex, name: name.to_owned() })
    }

    fn point(text: &str) -> Point {
        Point::parse(text).unwrap()
    }

    fn deferred(parts: &[(Part, &str)]) -> Deferred {
        let mut deferred = Deferred::default();
        for (part, reason) in parts {
            assert!(deferred.add(part.clone(), (*reason).to_owned()));
        }
        deferred
    }

    /// An edit of a topology, by name.
    type Edit = (&'static str, fn(&mut Topology));

    const NOTHING: Edit = ("nothing", |_| {});
    const LEVEL: Edit = ("another loglevel", |topology| topology.cube_mut("br1").unwrap().loglevel = LogLevel::Trace);
    const ATTACHED: Edit = ("inner at veth3", |topology| {
        topology.attach("inner", point("veth3"), &Place::Auto).unwrap();
    });
    const AT_VETH1: Edit = ("outer at veth1", |topology| {
        topology.attach("outer", point("veth1"), &Place::Auto).unwrap();
    });
    const DETACHED: Edit = ("inner detached", |topology| topology.detach("inner", &point("br1:p")).unwrap());
    const MOVED: Edit = ("br1:p at veth3", |topology| {
        topology.set_peer("br1", "p", Some(point("veth3"))).unwrap();
    });
    const DELETED: Edit = ("br1 deleted", |topology| topology.remove_cube("br1").unwrap());

    #[test]
    fn a_part_stays_deferred_until_a_change_touches_it() {
        for (part, (name, edit), is_kept) in [
            (cube("br1"), NOTHING, true),
            (cube("br1"), LEVEL, false),
            (cube("br1"), MOVED, false),
            (cube("br1"), DELETED, false),
            (cube("br1"), ATTACHED, true),
            (cube("inner"), ATTACHED, false),
            (cube("inner"), DETACHED, false),
            (cube("inner"), LEVEL, true),
            (netdev(11, "veth1"), NOTHING, true),
            (netdev(11, "veth1"), LEVEL, true),
            (netdev(11, "veth1"), AT_VETH1, false),
            (netdev(11, "veth1"), DETACHED, false),
            (netdev(11, "veth1"), MOVED, false),
            (netdev(12, "veth2"), MOVED, true),
            (netdev(99, "veth1"), NOTHING, false),
            (netdev(19, "veth9"), NOTHING, false),
        ] {
            let before = lab().topology;
            let mut after = before.clone();
            edit(&mut after);
            let kept = deferred(&[(part.clone(), "why")]).kept(&before, &after, &present());
            assert_eq!(kept.reason(&part).is_some(), is_kept, "{part:?} with {name}");
        }
    }

    #[test]
    fn a_change_defers_only_what_it_is_not_about() {
        for (part, (name, edit), may_be_deferred) in [
            (cube("br1"), NOTHING, true),
            (cube("br1"), LEVEL, false),
            (cube("inner"), LEVEL, true),
            (cube("inner"), ATTACHED, false),
            // It is wired already, so it can follow.
            (netdev(11, "veth1"), LEVEL, false),
            // It has come to a place that was there before, and the change adds nothing to it.
            (netdev(99, "veth1"), LEVEL, true),
            (netdev(99, "veth1"), DETACHED, true),
            (netdev(99, "veth1"), AT_VETH1, false),
            (netdev(99, "veth1"), DELETED, false),
            (netdev(99, "veth3"), ATTACHED, false),
            (netdev(99, "veth3"), MOVED, false),
            (netdev(99, "veth3"), NOTHING, false),
        ] {
            let before = lab();
            let mut after = before.topology.clone();
            edit(&mut after);
            let state = (&before.topology, &before.netdevs);
            let asked = part.may_be_deferred(Origin::Request, state, &after);
            assert_eq!(asked, may_be_deferred, "{part:?} with {name}");
            let followed = part.may_be_deferred(Origin::Netdevs, state, &after);
            assert!(followed, "netdevs have changed already: {part:?} with {name}");
        }
    }

    #[test]
    fn a_cube_says_what_of_it_is_deferred() {
        let deferred = deferred(&[
            (cube("br1"), "its plugin is busy"),
            (netdev(11, "veth1"), "too long"),
            (netdev(12, "veth2"), "no Ethernet"),
        ]);
        let topology = lab().topology;
        for (name, expected) in [
            ("br1", Some("left as it was before: its plugin is busy; port p is left down: too long")),
            ("inner", None),
            ("outer", Some("not attached to veth2: no Ethernet")),
        ] {
            let (cube_name, found) = topology.get(name).unwrap();
            assert_eq!(deferred.of_cube(&topology, cube_name, found).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_part_is_deferred_once_and_keeps_the_last_reason() {
        let mut deferred = deferred(&[(netdev(11, "veth1"), "first"), (cube("br1"), "busy")]);
        assert!(!deferred.add(netdev(11, "veth1"), "second".to_owned()), "it was deferred before");
        assert!(!deferred.add(netdev(11, "renamed"), "third".to_owned()), "a name does not make another netdev");
        assert_eq!(deferred.reason(&netdev(11, "veth1")).map(String::as_str), Some("third"));
        assert!(deferred.has_netdev(11) && !deferred.has_netdev(12));
        assert!(deferred.has_cube(&CubeName::parse("br1").unwrap()));
        let (names, cubes) = deferred.subjects();
        assert_eq!((names.len(), cubes.len()), (1, 1));
    }
}
