//! Links between ports of two cubes: each is a veth pair of its own.

use std::collections::BTreeMap;

use rustix::net::netdevice;

use super::Engine;
use super::netdevs::lookup_socket;
use crate::problem::Problem;
use crate::topology::{CubeName, PortName, Topology};
use crate::wiring::Netdev;

/// The end of a link at each linked port.
pub(super) type Ends = BTreeMap<(CubeName, PortName), Netdev>;

impl Engine {
    /// The ends of all links that `topology` wants. Pairs that there are stay, the others are made, and told by one end
    /// in `made`.
    pub(super) fn link_ends(&self, topology: &Topology, made: &mut Vec<Netdev>) -> Result<Ends, Problem> {
        let socket = lookup_socket()?;
        let is_there = |end: &&Netdev| netdevice::name_to_index(&socket, &end.name).ok() == Some(end.ifindex);
        let current = &self.current.netdevs.links;
        let mut ends = Ends::new();
        for [one, other] in topology.links() {
            let there = |port| current.get(port).filter(is_there).cloned();
            let pair = match (there(&one), there(&other)) {
                (Some(a), Some(b)) => [a, b],
                _ => self.make_pair(&one, &other)?,
            };
            if !current.values().any(|end| *end == pair[0]) {
                made.push(pair[0].clone());
            }
            ends.extend([one, other].into_iter().zip(pair));
        }
        Ok(ends)
    }

    fn make_pair(&self, one: &(CubeName, PortName), other: &(CubeName, PortName)) -> Result<[Netdev; 2], Problem> {
        let [one, other] = [one, other].map(|(cube, port)| format!("{cube}:{port}"));
        let pair = self.runtime.block_on(self.netlink.add_pair(&self.link_prefix, &format!("{one} - {other}")));
        let pair = pair.map_err(|error| {
            Problem::failed("connect", format!("cannot make a veth pair between {one} and {other}: {error}"))
        })?;
        Ok(pair.map(|(name, ifindex)| Netdev { ifindex, name }))
    }

    /// Deletes the pairs of these ends.
    pub(super) fn delete_links<'a>(&self, ends: impl IntoIterator<Item = &'a Netdev>) {
        for end in ends {
            // With one end the other goes, and whoever deleted it by hand was faster.
            if let Err(error) = self.runtime.block_on(self.netlink.delete(end.ifindex)) {
                tracing::debug!(netdev = end.name, %error, "deleting a link");
            }
        }
    }
}
