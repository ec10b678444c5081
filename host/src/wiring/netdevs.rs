//! Which netdevs stand for the ports and names of a topology.

use std::collections::BTreeMap;

use super::Netdev;
use crate::topology::{CubeName, Point, Port, PortName, Topology};

/// The netdevs of a topology that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netdevs {
    /// Those that the user named, with their ifindex.
    pub named: BTreeMap<String, u32>,
    /// Those that the host made: its end of the link at each port that is linked to another cube's.
    pub links: BTreeMap<(CubeName, PortName), Netdev>,
}

impl Netdevs {
    /// The one whose packets pass a port; `None` while the port is down.
    pub fn of_port(&self, cube: &CubeName, name: &PortName, port: &Port) -> Option<Netdev> {
        match port.peer.as_ref()? {
            Point::Netdev(netdev) => self.of_name(netdev),
            Point::Port(..) => self.links.get(&(cube.clone(), name.clone())).cloned(),
        }
    }

    /// The one whose packets pass what is attached to `point`.
    pub fn of_point(&self, topology: &Topology, point: &Point) -> Option<Netdev> {
        match point {
            Point::Netdev(netdev) => self.of_name(netdev),
            Point::Port(cube, name) => self.of_port(cube, name, topology.port(cube.as_str(), name.as_str()).ok()?),
        }
    }

    /// The port at which `netdev` is our end of a link.
    pub fn link_port(&self, netdev: &str) -> Option<&(CubeName, PortName)> {
        self.links.iter().find(|(_, end)| end.name == netdev).map(|(port, _)| port)
    }

    fn of_name(&self, name: &str) -> Option<Netdev> {
        Some(Netdev { ifindex: *self.named.get(name)?, name: name.to_owned() })
    }
}
