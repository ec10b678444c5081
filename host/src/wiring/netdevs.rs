//! The netdevs behind the ports and names of a topology.

use imbl::{OrdMap, OrdSet};

use super::Netdev;
use crate::netdev::{Framing, Link};
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
    /// Those of the named ones on which packets begin with the IP header, by their ifindex.
    raw_ip: OrdSet<u32>,
}

impl Netdevs {
    /// Sets the netdev that a user's name stands for.
    pub(crate) fn name(&mut self, name: &str, ifindex: Option<u32>) {
        if let Some(ifindex) = ifindex {
            self.raw_ip.remove(&ifindex);
        }
        let before = match ifindex {
            Some(ifindex) => self.named.insert(name.to_owned(), ifindex),
            None => self.named.remove(name),
        };
        if let Some(before) = before
            && self.names.get(&before).is_some_and(|named| named == name)
        {
            self.names.remove(&before);
            self.raw_ip.remove(&before);
        }
        if let Some(ifindex) = ifindex {
            self.names.insert(ifindex, name.to_owned());
        }
    }

    /// Whether packets on a netdev begin with the IP header.
    pub(crate) fn is_raw_ip(&self, ifindex: u32) -> bool {
        self.raw_ip.contains(&ifindex)
    }

    /// Sets the netdev that a user's name stands for, and what packets begin with there.
    pub(crate) fn name_link(&mut self, name: &str, link: Option<&Link>) {
        self.name(name, link.map(|link| link.ifindex));
        if let Some(link) = link.filter(|link| link.framing == Framing::RawIp) {
            self.raw_ip.insert(link.ifindex);
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
            Point::Selector(_) => None,
        }
    }

    /// The netdev whose packets pass what is attached to `point`.
    pub(crate) fn of_point(&self, topology: &Topology, point: &Point) -> Option<Netdev> {
        match point {
            Point::Netdev(netdev) => self.of_name(netdev),
            Point::Port(cube, name) => self.of_port(cube, name, topology.port(cube.as_str(), name.as_str()).ok()?),
            // It has no packets of its own: the netdevs that it chose are points, too.
            Point::Selector(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::fixture::Model;

    fn key(port: &str) -> PortKey {
        let Point::Port(cube, port) = Point::parse(port).unwrap() else { panic!("{port} is a netdev") };
        (cube, port)
    }

    fn netdev(ifindex: u32, name: &str) -> Netdev {
        Netdev { ifindex, name: name.to_owned() }
    }

    /// Applies names in order, and asserts which names stand for which netdevs then.
    #[track_caller]
    fn check_names(names: &[(&str, Option<u32>)], expected: &[(&str, u32)], named: &[u32]) {
        let mut netdevs = Netdevs::default();
        for (name, ifindex) in names {
            netdevs.name(name, *ifindex);
        }
        let found: Vec<_> = netdevs.named().iter().map(|(name, ifindex)| (name.as_str(), *ifindex)).collect();
        assert_eq!(found, expected);
        let found: Vec<u32> = (0..10).filter(|ifindex| netdevs.is_named(*ifindex)).collect();
        assert_eq!(found, named, "netdevs that have a name");
    }

    #[test]
    fn names_and_netdevs_are_told_apart_whatever_the_order_of_events() {
        check_names(&[("eth0", Some(3))], &[("eth0", 3)], &[3]);
        check_names(&[("eth0", Some(3)), ("eth0", None)], &[], &[]);
        check_names(&[("eth0", None)], &[], &[]);
        check_names(&[("eth0", Some(3)), ("eth0", Some(4))], &[("eth0", 4)], &[4]);
        check_names(&[("eth0", Some(3)), ("eth0", Some(3))], &[("eth0", 3)], &[3]);
        let renamed = [("lan0", 3)];
        check_names(&[("eth0", Some(3)), ("eth0", None), ("lan0", Some(3))], &renamed, &[3]);
        check_names(&[("eth0", Some(3)), ("lan0", Some(3)), ("eth0", None)], &renamed, &[3]);
        let swapped = [("eth0", 4), ("eth1", 3)];
        check_names(&[("eth0", Some(3)), ("eth1", Some(4)), ("eth0", Some(4)), ("eth1", Some(3))], &swapped, &[3, 4]);
    }

    #[test]
    fn an_end_of_a_link_leads_to_its_port_until_the_link_goes() {
        let mut netdevs = Netdevs::default();
        netdevs.link(key("br1:p"), Some(netdev(7, "pcn0a")));
        netdevs.link(key("br2:p"), Some(netdev(8, "pcn0b")));
        assert_eq!(netdevs.link_port("pcn0a"), Some(&key("br1:p")));
        netdevs.link(key("br1:p"), Some(netdev(9, "pcn1a")));
        assert_eq!((netdevs.link_port("pcn0a"), netdevs.link_port("pcn1a")), (None, Some(&key("br1:p"))));
        // The end is at another port before this one has let go of it.
        netdevs.link(key("br3:p"), Some(netdev(9, "pcn1a")));
        netdevs.link(key("br1:p"), None);
        assert_eq!(netdevs.link_port("pcn1a"), Some(&key("br3:p")));
        netdevs.link(key("br3:p"), None);
        netdevs.link(key("br2:p"), None);
        assert_eq!(netdevs, Netdevs::default());
    }

    #[test]
    fn the_owner_of_a_netdev_is_the_port_that_it_is_wired_to() {
        let model = Model::new().bridge("br2", &[("p", "veth8")]).bridge("br1", &[("p", "veth1"), ("q", "br2:p")]);
        let Model { topology, mut netdevs, .. } = model;
        netdevs.link(key("br1:q"), Some(netdev(21, "pcn0a")));
        let owner = |netdevs: &Netdevs, ifindex, name| {
            netdevs.owner(&netdev(ifindex, name), &topology).map(|(cube, port)| format!("{cube}:{port}"))
        };
        for (ifindex, name, expected) in [
            (11, "veth1", Some("br1:p")),
            (12, "veth2", None),
            (99, "veth1", None),
            (21, "pcn0a", Some("br1:q")),
            (99, "pcn0a", None),
        ] {
            assert_eq!(owner(&netdevs, ifindex, name).as_deref(), expected, "{ifindex}: {name}");
        }
        let of_point =
            |point: &str| netdevs.of_point(&topology, &Point::parse(point).unwrap()).map(|found| found.ifindex);
        for (point, expected) in [
            ("br1:p", Some(11)),
            ("br1:q", Some(21)),
            ("br2:p", None),
            ("veth2", Some(12)),
            ("veth9", None),
            ("br1:no-port", None),
            ("no-cube:p", None),
        ] {
            assert_eq!(of_point(point), expected, "{point}");
        }
        netdevs.name("veth1", None);
        assert_eq!(owner(&netdevs, 11, "veth1"), None, "the port is down");
    }
}
