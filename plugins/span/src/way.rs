//! Where copies go: found when the configuration comes into force, and again every second, because netdevs, routes and
//! neighbours come and go.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use polycube_layout::span::{Destination, HEADER_ROOM};
use polycube_plugin_api::{Refusal, Tag};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::config::{Collector, Config};
use crate::header::Header;
use crate::netlink::Netlink;

/// Where copies are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Nowhere: it is not set.
    None,
    /// Out of a netdev.
    Netdev(String),
    /// Into a port of a cube.
    Port(String),
    /// To a collector.
    Collector(IpAddr, Collector),
}

/// Where copies go now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) destination: Destination,
    /// The netdev by which they leave.
    pub(crate) netdev: Option<String>,
    /// The source address of the outer header.
    pub(crate) source: Option<IpAddr>,
    /// The router, or the collector itself, and whether it has not answered.
    pub(crate) neighbour: Option<(IpAddr, bool)>,
    pub(crate) problem: Option<String>,
}

impl Goal {
    /// # Errors
    /// Two goals, or one that makes no sense.
    pub(crate) fn of(config: &Config) -> Result<Self, Refusal> {
        let target = config.target.as_deref().map(str::trim).filter(|target| !target.is_empty());
        match (config.collector.checked()?, target) {
            (Some(_), Some(target)) => {
                let why = format!("copies go to target={target} or to the collector: clear one of them");
                Err(Refusal::new(Tag::InvalidValue, why).at("target"))
            }
            (Some((address, collector)), None) => Ok(Self::Collector(address, collector.clone())),
            // The kernel gives no netdev a name with a colon.
            (None, Some(target)) if target.contains(':') => Ok(Self::Port(target.to_owned())),
            (None, Some(target)) => Ok(Self::Netdev(target.to_owned())),
            (None, None) => Ok(Self::None),
        }
    }

    /// The way there now; `netdev_at` finds the netdev at a port. A port may come to one of the netdevs that are mirrored.
    pub(crate) fn way(&self, mirrored: &BTreeSet<String>, netdev_at: impl Fn(&str) -> Option<String>) -> Way {
        match self {
            Self::None => Way::none("nowhere to mirror to: set target, or the address of a collector".to_owned()),
            Self::Netdev(name) => to_netdev(name),
            Self::Port(port) => match netdev_at(port) {
                Some(name) if mirrored.contains(&name) => {
                    Way::none(format!("{name}, at {port}, is what is mirrored: copies would be mirrored again"))
                }
                Some(name) => to_netdev(&name),
                None => Way::none(format!("waiting for the port {port}, which does not exist, or has no peer")),
            },
            Self::Collector(address, collector) => to_collector(*address, collector)
                .unwrap_or_else(|error| Way::none(no_route(*address, collector, &error))),
        }
    }
}

impl Goal {
    /// What happens on the way that was found, in a line.
    pub(crate) fn in_words(&self, way: &Way) -> String {
        let netdev = way.netdev.as_deref().unwrap_or_default();
        match (self, &way.problem) {
            (_, Some(problem)) => problem.clone(),
            (Self::Collector(address, collector), None) => {
                let (kind, from) = (collector.encapsulation, way.source.map(|source| format!(" from {source}")));
                format!("mirroring to {address} by {kind}, over {netdev}{}", from.unwrap_or_default())
            }
            (Self::Port(port), None) => format!("mirroring into {port}, at {netdev}"),
            _ => format!("mirroring to {netdev}"),
        }
    }
}

impl Way {
    fn none(problem: String) -> Self {
        Self { destination: NOWHERE, netdev: None, source: None, neighbour: None, problem: Some(problem) }
    }
}

const NOWHERE: Destination = Destination { ifindex: 0, mtu: 0, sum: 0, length: 0, header: [0; HEADER_ROOM] };

fn to_netdev(name: &str) -> Way {
    match index(name) {
        Ok(ifindex) => Way {
            destination: Destination { ifindex, ..NOWHERE },
            netdev: Some(name.to_owned()),
            source: None,
            neighbour: None,
            problem: None,
        },
        Err(_) => Way::none(format!("waiting for the netdev `{name}`, which does not exist")),
    }
}

fn index(name: &str) -> io::Result<u32> {
    // Any socket asks for netdevs.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(socket, name)?)
}

fn to_collector(address: IpAddr, collector: &Collector) -> io::Result<Way> {
    let netlink = Netlink::open()?;
    let route = netlink.route(address, collector.source)?;
    let link = netlink.link(route.ifindex)?;
    let unknown = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the route has no source address");
    let source = collector.source.or(route.source).ok_or_else(unknown)?;
    let next = route.gateway.unwrap_or(address);
    let has_failed = netlink.has_failed(route.ifindex, next);
    let Header { bytes, length, sum } = Header::new(collector, address, source);
    let mtu = route.mtu.filter(|mtu| *mtu != 0).unwrap_or(link.mtu);
    let problem = has_failed.then(|| format!("{next} does not answer on {}: copies are lost there", link.name));
    Ok(Way {
        destination: Destination { ifindex: route.ifindex, mtu, sum, length: length as u32, header: bytes },
        netdev: Some(link.name),
        source: Some(source),
        neighbour: Some((next, has_failed)),
        problem,
    })
}

fn no_route(address: IpAddr, collector: &Collector, error: &io::Error) -> String {
    match collector.source {
        Some(source) => format!("there is no route to {address} from {source}: {error}"),
        None => format!("there is no route to {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(config: &Value, expected: Result<Option<&str>, &str>) {
        let config: Config = serde_json::from_value(config.clone()).unwrap();
        let found = Goal::of(&config)
            .map(|goal| goal.way(&BTreeSet::new(), |_| None).problem)
            .map_err(|refusal| refusal.message);
        let found = found.as_ref().map(Option::as_deref).map_err(String::as_str);
        assert_eq!(found, expected);
    }

    #[test]
    fn copies_go_to_one_place() {
        check(&json!({}), Ok(Some("nowhere to mirror to: set target, or the address of a collector")));
        check(&json!({ "target": "lo" }), Ok(None));
        check(&json!({ "target": "absent0" }), Ok(Some("waiting for the netdev `absent0`, which does not exist")));
        let problem = "waiting for the port br1:p1, which does not exist, or has no peer";
        check(&json!({ "target": "br1:p1" }), Ok(Some(problem)));
        let both = json!({ "target": "lo", "collector": { "address": "192.0.2.9" } });
        check(&both, Err("copies go to target=lo or to the collector: clear one of them"));
    }
}
