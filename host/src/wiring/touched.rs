//! What a change may wire differently: everything else keeps its programs, maps and slots without being looked at.

use std::collections::BTreeSet;

use super::{Netdev, Netdevs};
use crate::topology::{CubeName, Point, Topology, keys};

/// The cubes and netdevs that are wired anew.
///
/// Too many cost time and too few leave a stale program in a chain, so a cube counts as touched as soon as something
/// that it is asked with may differ: its configuration, its ports and points, and the netdevs there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub cubes: BTreeSet<CubeName>,
    /// Of the state before and after; told apart by ifindex.
    pub netdevs: BTreeSet<Netdev>,
}

/// What a wiring is made for.
pub(crate) type Place<'a> = (&'a Topology, &'a Netdevs);

impl Touched {
    /// What differs between two states, and `also`.
    pub(crate) fn between(before: Place<'_>, after: Place<'_>, also: impl IntoIterator<Item = CubeName>) -> Self {
        let states = [before, after];
        let difference = before.0.difference(after.0);
        let mut cubes = difference.cubes;
        cubes.extend(also);
        cubes.extend(keys(before.1.links().diff(after.1.links())).map(|(cube, _)| cube.clone()));
        let names: BTreeSet<&String> = keys(before.1.named().diff(after.1.named())).collect();
        let points = names.iter().map(|name| Point::Netdev((*name).clone()));
        let points: BTreeSet<Point> = difference.points.into_iter().chain(points).collect();
        for (topology, _) in states {
            cubes.extend(names.iter().filter_map(|name| topology.peer_owner(name)).map(|(cube, _)| cube));
            cubes.extend(points.iter().flat_map(|point| topology.chain(point)).map(|attached| attached.cube.clone()));
        }
        for (topology, _) in states {
            let ports = cubes.iter().flat_map(|cube| ports(topology, cube)).collect::<Vec<_>>();
            cubes.extend(ports.iter().flat_map(|port| topology.chain(port)).map(|attached| attached.cube.clone()));
        }
        let mut netdevs = BTreeSet::new();
        for (topology, there) in states {
            let of_cubes = cubes.iter().flat_map(|cube| {
                let points = topology.points(cube.as_str()).into_iter().map(|(_, point)| point.clone());
                points.chain(ports(topology, cube)).collect::<Vec<_>>()
            });
            for netdev in of_cubes.chain(points.iter().cloned()).filter_map(|point| there.of_point(topology, &point)) {
                // The same netdev may have another name afterwards.
                netdevs.replace(netdev);
            }
        }
        Self { cubes, netdevs }
    }
}

fn ports(topology: &Topology, cube: &CubeName) -> Vec<Point> {
    let Some((_, found)) = topology.get(cube.as_str()) else { return Vec::new() };
    found.ports().map(|(port, _)| Point::Port(cube.clone(), port.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{LogLevel, Place as At, PortName};
    use crate::wiring::fixture::Model;

    /// A bridge with a tap at its port `p` and no netdev at `q`, another bridge, and taps at `veth1` and `veth3`.
    fn lab() -> Model {
        Model::new()
            .bridge("br1", &[("p", "veth1"), ("q", "veth9")])
            .bridge("br2", &[("p", "veth2")])
            .tap("inner", "br1:p")
            .tap("outer", "veth1")
            .tap("far", "veth3")
    }

    fn point(text: &str) -> Point {
        Point::parse(text).unwrap()
    }

    /// Asserts the cubes and netdevs that an edit touches.
    #[track_caller]
    fn check(edit: impl FnOnce(&mut Model), cubes: &str, netdevs: &str) {
        check_also(edit, &[], cubes, netdevs);
    }

    #[track_caller]
    fn check_also(edit: impl FnOnce(&mut Model), also: &[&str], cubes: &str, netdevs: &str) {
        let before = lab();
        let mut after = before.clone();
        edit(&mut after);
        let also = also.iter().map(|name| CubeName::parse(name).unwrap());
        let touched = Touched::between((&before.topology, &before.netdevs), (&after.topology, &after.netdevs), also);
        let found: Vec<&str> = touched.cubes.iter().map(CubeName::as_str).collect();
        assert_eq!(found.join(" "), cubes, "cubes");
        let found: Vec<&str> = touched.netdevs.iter().map(|netdev| netdev.name.as_str()).collect();
        assert_eq!(found.join(" "), netdevs, "netdevs");
    }

    #[test]
    fn no_change_touches_nothing() {
        check(|_| {}, "", "");
    }

    #[test]
    fn a_cube_that_changes_touches_what_is_attached_to_its_ports() {
        check(|model| model.topology.cube_mut("br1").unwrap().loglevel = LogLevel::Trace, "br1 inner", "veth1");
        check(|model| model.topology.cube_mut("br2").unwrap().loglevel = LogLevel::Trace, "br2", "veth2");
        check(|model| model.topology.cube_mut("far").unwrap().loglevel = LogLevel::Trace, "far", "veth3");
        check_also(|_| {}, &["far"], "far", "veth3");
        check_also(|_| {}, &["br1"], "br1 inner", "veth1");
        check_also(|_| {}, &["not-there"], "not-there", "");
    }

    #[test]
    fn an_attachment_touches_all_of_its_chain() {
        check(|model| model.topology.attach("far", point("br1:p"), &At::Auto).unwrap(), "far inner", "veth1 veth3");
        check(|model| model.topology.attach("far", point("veth1"), &At::Auto).unwrap(), "far outer", "veth1 veth3");
        check(|model| model.topology.detach("outer", &point("veth1")).unwrap(), "outer", "veth1");
    }

    #[test]
    fn a_netdev_that_comes_goes_or_changes_touches_its_port_and_both_chains() {
        check(|model| model.netdevs.name("veth1", None), "br1 inner outer", "veth1");
        check(|model| model.netdevs.name("veth9", Some(19)), "br1 inner", "veth1 veth9");
        check(|model| model.netdevs.name("veth3", Some(23)), "far", "veth3 veth3");
        check(|model| model.netdevs.name("unused", Some(30)), "", "unused");
    }

    #[test]
    fn a_port_that_moves_touches_the_netdevs_before_and_after() {
        let peer = |model: &mut Model, peer: Option<&str>| {
            model.topology.set_peer("br2", "p", peer.map(point)).unwrap();
        };
        check(|model| peer(model, Some("veth3")), "br2", "veth2 veth3");
        check(|model| peer(model, None), "br2", "veth2");
        check(|model| model.topology.remove_cube("br2").unwrap(), "br2", "veth2");
        let add = |model: &mut Model| {
            model.topology.add_port("br2", PortName::parse("new").unwrap(), String::new()).unwrap();
        };
        check(add, "br2", "veth2");
    }

    #[test]
    fn a_renamed_netdev_is_one_netdev() {
        let rename = |model: &mut Model| {
            model.topology.rename_netdevs([("veth2".to_owned(), "lan0".to_owned())].into());
            model.netdevs.name("veth2", None);
            model.netdevs.name("lan0", Some(12));
        };
        check(rename, "br2", "lan0");
    }

    #[test]
    fn a_new_end_of_a_link_touches_its_port() {
        let end = Netdev { ifindex: 40, name: "pcn0a".to_owned() };
        let port = (CubeName::parse("br1").unwrap(), PortName::parse("q").unwrap());
        check(|model| model.netdevs.link(port, Some(end)), "br1 inner", "veth1");
    }
}
