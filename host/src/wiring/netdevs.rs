//! The netdevs behind the ports and names of a topology.

use imbl::OrdMap;

use super::Netdev;
use crate::topology::{CubeName, Point, Port, PortName, Topology};

/// A port, by its cube and its own name.
pub(crate) type PortKey = (CubeName, PortName);

/// The netdevs of a topology that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netdevs {
    /// Those that the user named, with their ifindex.
    named: OrdMap<String, u32>,
    /// Those that the host made: its end of the link at each port that is linked to another cube's.
    links: OrdMap<PortKey, Netdev>,
    /// The name of each named netdev: read off `named`.
    names: OrdMap<u32, String>,
    /// The port of each link's end, by the end's name: read off `links`.
    ends: OrdMap<String, PortKey>,
}

impl Netdevs {
    /// Sets the netdev that a user's name stands for.
    pub(crate) fn name(&mut self, name: &str, ifindex: Option<u32>) {
        let before = match ifindex {
            Some(ifindex) => self.named.insert(name.to_owned(), ifindex),
            None => self.named.remove(name),
        };
        if let Some(before) = before
            && self.names.get(&before).is_some_and(|named| named == name)
        {
            self.names.remove(&before);
        }
        if let Some(ifindex) = ifindex {
            self.names.insert(ifindex, name.to_owned());
        }
    }

    /// Sets our end of the link at a port.
    pub(crate) fn link(&mut self, port: PortKey, end: Option<Netdev>) {
        if let Some(before) = self.links.remove(&port)
            && self.ends.get(&before.name) == Some(&port)
        {
            self.ends.remove(&before.name);
        }
        if let Some(end) = end {
            self.ends.insert(end.name.clone(), port.clone());
            self.links.insert(port, end);
        }
    }

    /// Whether a user's name stands for the netdev with this ifindex.
    pub(crate) fn is_named(&self, ifindex: u32) -> bool {
        self.names.contains_key(&ifindex)
    }

    /// The names that users gave, with their ifindex.
    pub(crate) fn named(&self) -> &OrdMap<String, u32> {
        &self.named
    }

    /// Our end of the link at each linked port.
    pub(crate) fn links(&self) -> &OrdMap<PortKey, Netdev> {
        &self.links
    }

    /// The netdev whose packets pass a port; `None` while the port is down.
    pub(crate) fn of_port(&self, cube: &CubeName, name: &PortName, port: &Port) -> Option<Netdev> {
        match port.peer.as_ref()? {
            Point::Netdev(netdev) => self.of_name(netdev),
            Point::Port(..) => self.links.get(&(cube.clone(), name.clone())).cloned(),
        }
    }

    /// The netdev whose packets pass what is attached to `point`.
    pub(crate) fn of_point(&self, topology: &Topology, point: &Point) -> Option<Netdev> {
        match point {
            Point::Netdev(netdev) => self.of_name(netdev),
            Point::Port(cube, name) => self.of_port(cube, name, topology.port(cube.as_str(), name.as_str()).ok()?),
        }
    }

    /// The port at which the netdev called `name` is our end of a link.
    pub(crate) fn link_port(&self, name: &str) -> Option<&PortKey> {
        self.ends.get(name)
    }

    /// The port that gets the packets of `netdev`.
    pub(crate) fn owner(&self, netdev: &Netdev, topology: &Topology) -> Option<PortKey> {
        let linked = self.link_port(&netdev.name).filter(|port| self.links.get(*port) == Some(netdev)).cloned();
        let is_named = || self.of_name(&netdev.name).as_ref() == Some(netdev);
        linked.or_else(|| topology.peer_owner(&netdev.name).filter(|_| is_named()))
    }

    /// The netdev that a user's name stands for.
    pub(crate) fn of_name(&self, name: &str) -> Option<Netdev> {
        Some(Netdev { ifindex: *self.named.get(name)?, name: name.to_owned() })
    }
}
