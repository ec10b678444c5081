//! The netdevs that exist, as plain data. Pure: `sys` fills the table in.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;

/// A netdev as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub ifindex: u32,
    pub name: String,
    /// Further names (`ip link property add dev … altname …`).
    pub alt_names: Vec<String>,
    /// `02:00:…`; empty where it has none.
    pub mac: String,
    pub mtu: u32,
    pub up: bool,
    pub framing: Framing,
    /// Ifindex of the bridge, bond or switch that the netdev is a port of.
    pub master: Option<u32>,
}

/// What packets begin with on a netdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Ethernet,
    /// Ethernet headers too, and the host itself at both ends.
    Loopback,
    /// Something else, or nothing: tun devices and tunnels have bare IP packets.
    Other,
}

/// All netdevs of a network namespace. Copies share what they have in common, so a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    links: OrdMap<u32, Arc<Link>>,
    /// Of names and alternative names.
    indexes: OrdMap<String, u32>,
}

impl Table {
    /// The netdev with this ifindex.
    pub(crate) fn link(&self, ifindex: u32) -> Option<&Arc<Link>> {
        self.links.get(&ifindex)
    }

    /// The netdev with this name or alternative name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Link>> {
        self.links.get(self.indexes.get(name)?)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.values()
    }

    /// Takes in what the kernel says of a netdev. Answers with the names that may stand for another netdev now.
    pub(crate) fn set(&mut self, link: Link) -> BTreeSet<String> {
        let changed = match self.links.get(&link.ifindex) {
            Some(before) if names(before).eq(names(&link)) => BTreeSet::new(),
            _ => self.remove(link.ifindex).into_iter().chain(names(&link).cloned()).collect(),
        };
        for name in names(&link) {
            self.indexes.insert(name.clone(), link.ifindex);
        }
        self.links.insert(link.ifindex, Arc::new(link));
        changed
    }

    /// Takes in that a netdev is gone. Answers with the names that it had.
    pub(crate) fn remove(&mut self, ifindex: u32) -> BTreeSet<String> {
        let Some(link) = self.links.remove(&ifindex) else { return BTreeSet::new() };
        for name in names(&link) {
            // Another netdev may have taken the name before this event was read.
            if self.indexes.get(name) == Some(&ifindex) {
                self.indexes.remove(name);
            }
        }
        names(&link).cloned().collect()
    }
}

fn names(link: &Link) -> impl Iterator<Item = &String> {
    std::iter::once(&link.name).chain(&link.alt_names)
}

/// Netdevs to test with.
#[cfg(test)]
pub(crate) fn ethernet(ifindex: u32, name: &str) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        alt_names: Vec::new(),
        mac: String::new(),
        mtu: 1500,
        up: true,
        framing: Framing::Ethernet,
        master: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_netdev_is_found_by_each_of_its_names() {
        let mut table = Table::default();
        let link = Link { alt_names: vec!["uplink".to_owned()], ..ethernet(3, "eth0") };
        assert_eq!(table.set(link.clone()), names(&["eth0", "uplink"]));
        assert_eq!(table.set(Link { mtu: 9000, ..link.clone() }), names(&[]), "no name changed");
        assert_eq!(table.named("uplink").map(|link| link.mtu), Some(9000));
        assert_eq!(table.set(Link { name: "lan0".to_owned(), ..link }), names(&["eth0", "lan0", "uplink"]));
        assert_eq!((table.named("eth0"), table.named("lan0").map(|link| link.ifindex)), (None, Some(3)));
        assert_eq!(table.remove(3), names(&["lan0", "uplink"]));
        assert_eq!(table, Table::default());
    }

    #[test]
    fn a_name_that_was_taken_over_stays_with_the_netdev_that_has_it() {
        let mut table = Table::default();
        table.set(ethernet(3, "eth0"));
        table.set(ethernet(4, "eth0"));
        table.remove(3);
        assert_eq!(table.named("eth0").map(|link| link.ifindex), Some(4));
    }
}
