//! Links between ports of two cubes: each is a veth pair of its own.

use std::collections::BTreeSet;

use super::{Attempt, Cubes, Kernel, Reconciler};
use crate::netdev::Table;
use crate::problem::Problem;
use crate::topology::CubeName;
use crate::wiring::{Netdev, PortKey};

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Makes the pairs of the links that the attempt wants at these cubes, and of links one of whose ends is among
    /// `names`: it may have been deleted or renamed by hand.
    pub(super) fn make_links(
        &mut self,
        attempt: &mut Attempt,
        cubes: &BTreeSet<CubeName>,
        names: &BTreeSet<String>,
        present: &Table,
    ) -> Result<(), Problem> {
        for port in self.linked_ports(attempt, cubes, names) {
            let topology = &attempt.model.topology;
            let Some(other) = topology.link_of(&port.0, &port.1) else {
                attempt.netdevs.link(port, None);
                continue;
            };
            let is_there = |end: &&Netdev| present.link(end.ifindex).is_some_and(|link| link.name == end.name);
            let end = |port: &PortKey| attempt.netdevs.links().get(port).filter(is_there).cloned();
            let made =
                |port: &PortKey| attempt.netdevs.links().get(port).is_some_and(|end| attempt.pairs.contains(end));
            if made(&port) || made(&other) || (end(&port).is_some() && end(&other).is_some()) {
                continue;
            }
            self.report_lost_link(attempt, &port);
            let [one, two] = self.kernel.make_pair(&port, &other)?;
            attempt.pairs.push(one.clone());
            attempt.netdevs.link(port, Some(one));
            attempt.netdevs.link(other, Some(two));
        }
        Ok(())
    }

    /// The ports that have a link before or after the change and that it may touch.
    fn linked_ports(
        &self,
        attempt: &Attempt,
        cubes: &BTreeSet<CubeName>,
        names: &BTreeSet<String>,
    ) -> BTreeSet<PortKey> {
        let mut ports = BTreeSet::new();
        for topology in [&self.model.topology, &attempt.model.topology] {
            for cube in cubes {
                let Some((_, found)) = topology.get(cube.as_str()) else { continue };
                for (port, _) in found.ports() {
                    if let Some(other) = topology.link_of(cube, port) {
                        ports.extend([(cube.clone(), port.clone()), other]);
                    }
                }
            }
        }
        ports.extend(names.iter().filter_map(|name| self.netdevs.link_port(name)).cloned());
        ports
    }
}
