//! Addresses, neighbours and routes of the host's network namespace, as the host reports them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a service may want to hear of: [`Service::observes`](crate::Service::observes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// IP addresses of netdevs.
    Addresses,
    /// Entries of the tables of ARP and IPv6's neighbour discovery.
    Neighbours,
    /// Unicast routes of the table `main`.
    Routes,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// What has changed in the host's network namespace since the last report.
///
/// The first report of a cube has everything, and so has each one that [`is_whole`](Self::is_whole). Large reports come in
/// parts, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Whether what was reported before is to be forgotten: this part is the first of everything.
    #[serde(default)]
    pub is_whole: bool,
    /// Whether more parts of the same report follow.
    #[serde(default)]
    pub is_partial: bool,
    /// Addresses.
    #[serde(default)]
    pub addresses: Changes<Address>,
    /// Neighbours.
    #[serde(default)]
    pub neighbours: Changes<Neighbour>,
    /// Routes.
    #[serde(default)]
    pub routes: Changes<Route>,
}

/// Things that are new or other than before, and things that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes<T> {
    /// As they are now: each replaces what has the same identity.
    #[serde(default = "Vec::new")]
    pub set: Vec<T>,
    /// As they were.
    #[serde(default = "Vec::new")]
    pub gone: Vec<T>,
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { set: Vec::new(), gone: Vec::new() }
    }
}

/// An IP address of a netdev. All members identify it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The netdev; see [`Netdev::ifindex`](crate::Netdev::ifindex).
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// What the host knows of a neighbour. Netdev and address identify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The netdev.
    pub ifindex: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its MAC address, `02:00:00:00:00:01`, if it is known.
    #[serde(default)]
    pub mac: Option<String>,
    /// How far it is known.
    pub state: NeighbourState,
}

/// How far a neighbour is known (`NUD_…` in the kernel's include/uapi/linux/neighbour.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighbourState {
    /// It has answered lately, or an upper layer has heard of it.
    Reachable,
    /// It has answered, and will be asked again when a packet is sent to it.
    Stale,
    /// It is asked at the moment.
    Asked,
    /// It does not answer.
    Failed,
    /// It was set by hand.
    Permanent,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// A route. Network, prefix and metric identify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads: `0.0.0.0` or `::` with the prefix 0 is the default route.
    pub network: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
    /// The kernel prefers lower ones.
    pub metric: u32,
    /// Ways there: one, except for multipath routes.
    pub hops: Vec<Hop>,
}

/// A way to a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hop {
    /// The netdev.
    pub ifindex: u32,
    /// The router; without one, the network is at the netdev itself.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_hosts_may_say_more() {
        let text = r#"{ "is_whole": true, "rules": [], "routes": { "set": [{ "network": "10.0.0.0", "prefix": 8, "metric": 0,
            "hops": [{ "ifindex": 3, "gateway": "192.0.2.1", "weight": 1 }] }] },
            "neighbours": { "gone": [{ "ifindex": 3, "address": "fe80::1", "state": "lost" }] } }"#;
        let found: Environment = serde_json::from_str(text).unwrap();
        let hop = Hop { ifindex: 3, gateway: Some([192, 0, 2, 1].into()) };
        let route = Route { network: [10, 0, 0, 0].into(), prefix: 8, metric: 0, hops: vec![hop] };
        assert_eq!((found.is_whole, found.is_partial, &found.routes.set), (true, false, &vec![route]));
        assert_eq!(found.neighbours.gone[0].state, NeighbourState::Other);
        let topics: Vec<Topic> = serde_json::from_str(r#"["routes", "rules"]"#).unwrap();
        assert_eq!(topics, [Topic::Routes, Topic::Other]);
    }

    #[test]
    fn what_is_written_is_as_documented() {
        let address = Address { ifindex: 3, address: [192, 0, 2, 7].into(), prefix: 24 };
        let text = serde_json::to_string(&address).unwrap();
        assert_eq!(text, r#"{"ifindex":3,"address":"192.0.2.7","prefix":24}"#);
        let states = [NeighbourState::Reachable, NeighbourState::Asked, NeighbourState::Permanent];
        assert_eq!(serde_json::to_string(&states).unwrap(), r#"["reachable","asked","permanent"]"#);
    }
}
