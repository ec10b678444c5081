//! The netdevs that exist, as plain data. Pure: `sys` fills the table in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use polycube_plugin_api::NetdevState;

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
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// Whether it is set up and has carrier (`IFF_RUNNING`), as `br_port_carrier_check()` in net/bridge/br_if.c asks.
    pub running: bool,
    /// How often the kernel has seen its carrier go (`IFLA_CARRIER_DOWN_COUNT`).
    pub carrier_losses: u32,
    /// Set by the [`Table`]: another number than before means that the netdev was not running for a moment, or that it is
    /// another netdev.
    pub epoch: u64,
    pub framing: Framing,
    /// Ifindex of the bridge, bond or switch that the netdev is a port of.
    pub master: Option<u32>,
    /// The other end of a veth pair, where that is in another network namespace.
    pub peer: Option<Peer>,
}

/// A netdev of another network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The number of that namespace in the daemon's.
    pub nsid: i32,
    pub ifindex: u32,
}

impl Link {
    pub(crate) fn state(&self) -> NetdevState {
        match (self.up, self.running) {
            (false, _) => NetdevState::Down,
            (true, false) => NetdevState::NoCarrier,
            (true, true) => NetdevState::Up,
        }
    }
}

/// Another network namespace as the daemon's sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Its number in the daemon's namespace; none if no netdev leads there.
    pub nsid: Option<i32>,
    /// Its netdevs, by ifindex, as far as they can be listed.
    pub netdevs: BTreeMap<u32, String>,
    /// Whether it is known to be the daemon's own.
    pub is_own: bool,
}

/// What packets begin with on a netdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Ethernet,
    /// Ethernet headers too, and the host itself at both ends.
    Loopback,
    /// The IP header: tun devices and tunnels.
    RawIp,
    /// Something else.
    Other,
}

/// What the names of the tap devices begin with by which plugins of a daemon send packets; a number follows.
pub(crate) const TAP: &str = "pcnin";

/// Whether a netdev of this name is such a tap device.
pub(crate) fn is_tap(name: &str) -> bool {
    name.strip_prefix(TAP).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Why no netdev can have this as its name (`dev_valid_name()` in net/core/dev.c). It may be an alternative name, which can be
/// longer.
pub(crate) fn misnamed(name: &str) -> Option<String> {
    // IFNAMSIZ, less the zero at the end.
    const LONGEST: usize = 15;
    let is_odd = |byte: u8| matches!(byte, b'/' | b':') || byte.is_ascii_whitespace();
    if matches!(name, "" | "." | "..") || name.bytes().any(is_odd) {
        Some(format!("`{name}` cannot be the name of a netdev"))
    } else if name.len() > LONGEST {
        Some(format!("`{name}` cannot be the name of a netdev, which has at most {LONGEST} bytes"))
    } else {
        None
    }
}

/// All netdevs of a network namespace. Copies share what they have in common, so a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    links: OrdMap<u32, Arc<Link>>,
    /// Of names and alternative names.
    indexes: OrdMap<String, u32>,
    /// The last [`Link::epoch`] that was given.
    epochs: u64,
}

/// What has changed of a netdev.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The names that may stand for another netdev now.
    pub names: BTreeSet<String>,
    /// Whether it went down, came up, or did both, or has another MAC address or MTU.
    pub is_state: bool,
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

    /// Takes in what the kernel says of a netdev.
    pub(crate) fn set(&mut self, mut link: Link) -> Changed {
        let before = self.links.get(&link.ifindex).cloned();
        link.epoch = match &before {
            Some(before) if !was_lost(before, &link) => before.epoch,
            _ => {
                self.epochs += 1;
                self.epochs
            }
        };
        let reported = |link: &Link| (link.epoch, link.state(), link.mac.clone(), link.mtu);
        let is_state = before.as_ref().is_none_or(|before| reported(before) != reported(&link));
        let changed = match &before {
            Some(before) if names(before).eq(names(&link)) => {
                // It stands for something else now, though not under another name.
                let is_moved = before.peer != link.peer;
                is_moved.then(|| link.name.clone()).into_iter().collect()
            }
            _ => self.remove(link.ifindex).into_iter().chain(names(&link).cloned()).collect(),
        };
        for name in names(&link) {
            self.indexes.insert(name.clone(), link.ifindex);
        }
        self.links.insert(link.ifindex, Arc::new(link));
        Changed { names: changed, is_state }
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

/// Whether a netdev that was running is not any more, or was not for a moment: the kernel merges events that follow each
/// other quickly (`linkwatch_add_event()` in net/core/link_watch.c), and counts what it does not report.
fn was_lost(before: &Link, now: &Link) -> bool {
    before.running && (!now.running || now.carrier_losses != before.carrier_losses)
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
        running: true,
        carrier_losses: 0,
        epoch: 0,
        framing: Framing::Ethernet,
        master: None,
        peer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn some_texts_cannot_be_the_name_of_a_netdev() {
        for name in ["eth0", "enp0s31f6.4094", "veth-a_b", "123456789012345", "...", "straße"] {
            assert_eq!(misnamed(name), None, "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "br1:", "a\tb", "1234567890123456"] {
            assert!(misnamed(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_daemons_tap_devices_are_known_by_their_names() {
        for (name, expected) in
            [("pcnin0", true), ("pcnin12", true), ("pcnin", false), ("pcnina", false), ("eth0", false)]
        {
            assert_eq!(is_tap(name), expected, "{name}");
        }
    }

    #[test]
    fn a_netdev_is_found_by_each_of_its_names() {
        let mut table = Table::default();
        let link = Link { alt_names: vec!["uplink".to_owned()], ..ethernet(3, "eth0") };
        assert_eq!(table.set(link.clone()).names, names(&["eth0", "uplink"]));
        assert_eq!(table.set(Link { mtu: 9000, ..link.clone() }).names, names(&[]), "no name changed");
        let peer = Some(Peer { nsid: 1, ifindex: 2 });
        let moved = table.set(Link { mtu: 9000, peer, ..link.clone() }).names;
        assert_eq!(moved, names(&["eth0"]), "selectors may choose it now");
        table.set(Link { mtu: 9000, ..link.clone() });
        assert_eq!(table.named("uplink").map(|link| link.mtu), Some(9000));
        assert_eq!(table.set(Link { name: "lan0".to_owned(), ..link }).names, names(&["eth0", "lan0", "uplink"]));
        assert_eq!((table.named("eth0"), table.named("lan0").map(|link| link.ifindex)), (None, Some(3)));
        assert_eq!(table.remove(3), names(&["lan0", "uplink"]));
        assert_eq!((table.links.len(), table.indexes.len()), (0, 0));
    }

    /// A netdev's states one after the other: whether it is up and running, and how often its carrier went.
    #[test]
    fn each_loss_of_a_netdev_begins_an_epoch() {
        let mut table = Table::default();
        let mut set = |up, running, carrier_losses| {
            let changed = table.set(Link { up, running, carrier_losses, ..ethernet(3, "eth0") });
            let link = table.link(3).unwrap();
            (changed.is_state, link.state(), link.epoch)
        };
        assert_eq!(set(true, true, 0), (true, NetdevState::Up, 1), "it is new");
        assert_eq!(set(true, true, 0), (false, NetdevState::Up, 1));
        assert_eq!(set(true, false, 1), (true, NetdevState::NoCarrier, 2));
        assert_eq!(set(true, true, 1), (true, NetdevState::Up, 2), "that it is back is no further loss");
        assert_eq!(set(true, true, 2), (true, NetdevState::Up, 3), "nobody saw it go");
        assert_eq!(set(false, false, 3), (true, NetdevState::Down, 4));
        assert_eq!(set(false, false, 4), (false, NetdevState::Down, 4), "what is down is not lost once more");
        assert_eq!(set(true, false, 4), (true, NetdevState::NoCarrier, 4));
        table.remove(3);
        assert_eq!(table.set(ethernet(3, "eth0")), Changed { names: names(&["eth0"]), is_state: true });
        assert_eq!(table.link(3).map(|link| link.epoch), Some(5), "it is another one of the same index");
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
