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
