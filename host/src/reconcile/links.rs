//! Links between ports of two cubes: each is a veth pair of its own.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Attempt, Cubes, Kernel, Reconciler};
use crate::model::{Origin, Part};
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
        origin: Origin,
    ) -> Result<(), Problem> {
        if origin == Origin::Request {
            attempt.broken.clone_from(&self.broken_links);
        }
        for port in self.linked_ports(attempt, cubes, names, origin) {
            attempt.broken.remove(&port);
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
            let [one, two] = match self.kernel.make_pair(&port, &other) {
                Ok(pair) => pair,
                Err(problem) if origin != Origin::Request => {
                    self.leave_down(attempt, [port, other], &problem);
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            #[cfg(debug_assertions)]
            crate::fault::step();
            attempt.pairs.push(one.clone());
            attempt.netdevs.link(port, Some(one));
            attempt.netdevs.link(other, Some(two));
        }
        Ok(())
    }

    /// Leaves a link down whose end could not be wired, so that everything else can follow the netdevs. Answers whether
    /// `part` is such an end.
    pub(super) fn break_link(&mut self, attempt: &mut Attempt, part: Option<&Part>, why: &Problem) -> bool {
        let Some(Part::Netdev(end)) = part else { return false };
        let Some(port) = attempt.netdevs.link_port(&end.name).cloned() else { return false };
        let Some(other) = attempt.model.topology.link_of(&port.0, &port.1) else { return false };
        for end in [&port, &other].into_iter().filter_map(|port| attempt.netdevs.links().get(port)) {
            if attempt.pairs.contains(end) {
                self.kernel.delete_pair(end);
            }
        }
        self.leave_down(attempt, [port, other], why);
        true
    }

    fn leave_down(&mut self, attempt: &mut Attempt, ports: [PortKey; 2], why: &Problem) {
        let (cube, port) = &ports[0];
        tracing::error!(%cube, %port, "the link is left down, and tried again: {why}");
        self.deferred_at = Some(Instant::now());
        for port in ports {
            attempt.netdevs.link(port.clone(), None);
            attempt.broken.insert(port);
        }
    }

    /// The ports that have a link before or after the change and that it may touch.
    fn linked_ports(
        &self,
        attempt: &Attempt,
        cubes: &BTreeSet<CubeName>,
        names: &BTreeSet<String>,
        origin: Origin,
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
        if origin == Origin::Netdevs {
            ports.extend(self.broken_links.iter().cloned());
        }
        ports
    }
}
