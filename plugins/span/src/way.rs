//! Where copies go: found when the configuration comes into force, and again every second, because netdevs, routes and
//! neighbours come and go.

use std::io;
use std::net::IpAddr;

use polycube_layout::span::{Destination, HEADER_ROOM};
use polycube_plugin_api::{NetdevState, Point, Refusal, Tag};

use crate::config::{Collector, Config};
use crate::header::Header;
use crate::netlink::{Netlink, RouteError};

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
    /// The router, or the collector itself, and whether it answers, if that is known.
    pub(crate) neighbour: Option<(IpAddr, Option<bool>)>,
    pub(crate) problem: Option<String>,
}

/// Why copies do not get to a collector.
#[derive(Debug, thiserror::Error)]
enum NoWay {
    #[error("cannot ask the kernel for the way to {address}: {source}")]
    Kernel { address: IpAddr, source: io::Error },
    #[error("there is no route to {address}")]
    NoRoute { address: IpAddr },
    #[error("the route to {address} is of the type `{kind}`: nothing is sent there")]
    Barred { address: IpAddr, kind: &'static str },
    #[error("{address} is an address of this machine, where nothing would arrive: to mirror to a netdev, set `target`")]
    Own { address: IpAddr },
    #[error("the source {from} is not an address of this machine")]
    Foreign { from: IpAddr },
    #[error("the route to {address} has no source address: set `source`")]
    NoSource { address: IpAddr },
    #[error("waiting for the netdev `{netdev}` on the way to {address}, {}", what_it_is(*state))]
    NotUp { address: IpAddr, netdev: String, state: NetdevState },
}

impl Goal {
    /// # Errors
    /// Two goals, or one that makes no sense.
    pub(crate) fn of(config: &Config) -> Result<Self, Refusal> {
        let target = config.target.as_deref().filter(|target| !target.is_empty());
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

    /// The way there now; `netdev_at` finds the netdev at a port. It may have come to be one of those that are mirrored.
    pub(crate) fn way(&self, mirrored: &[Point], netdev_at: impl Fn(&str) -> Option<String>) -> Way {
        match self {
            Self::None => Way::none("nowhere to mirror to: set target, or the address of a collector".to_owned()),
            Self::Netdev(name) => to_netdev(name, None, mirrored),
            Self::Port(port) => match netdev_at(port) {
                Some(name) => to_netdev(&name, Some(port), mirrored),
                None => Way::none(format!("waiting for the port {port}, which does not exist, or has no peer")),
            },
            Self::Collector(address, collector) => {
                to_collector(*address, collector).unwrap_or_else(|reason| Way::none(reason.to_string()))
            }
        }
    }

    /// The netdev that copies would go to, by its own name, if it is known.
    pub(crate) fn netdev(&self, netdev_at: impl Fn(&str) -> Option<String>) -> Option<String> {
        match self {
            Self::Netdev(name) => {
                let found = Netlink::open().and_then(|netlink| netlink.named(name));
                Some(found.ok().flatten().map_or_else(|| name.clone(), |link| link.name))
            }
            Self::Port(port) => netdev_at(port),
            Self::None | Self::Collector(..) => None,
        }
    }

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

/// The way out of a netdev, or into the `port` that it is at.
fn to_netdev(name: &str, port: Option<&str>, mirrored: &[Point]) -> Way {
    let link = match Netlink::open().and_then(|netlink| netlink.named(name)) {
        Ok(Some(link)) => link,
        Ok(None) => return Way::none(format!("waiting for the netdev `{name}`, which does not exist")),
        Err(error) => return Way::none(format!("cannot look up the netdev `{name}`: {error}")),
    };
    let at = port.map(|port| format!(" at {port}")).unwrap_or_default();
    if let Some(point) = mirrored.iter().find(|point| point.netdev.as_ref() == Some(&link.name)) {
        let place = if point.name == link.name { String::new() } else { format!(", at {}", point.name) };
        return Way::none(format!("`{}`{at} is what is mirrored{place}: copies would be mirrored again", link.name));
    }
    // What comes in by a netdev does not pass its carrier.
    let is_lost = link.state == NetdevState::Down || link.state == NetdevState::NoCarrier && port.is_none();
    if is_lost {
        return Way::none(format!("waiting for the netdev `{}`{at}, {}", link.name, what_it_is(link.state)));
    }
    Way {
        destination: Destination { ifindex: link.ifindex, ..NOWHERE },
        netdev: Some(link.name),
        source: None,
        neighbour: None,
        problem: None,
    }
}

/// Why a netdev takes no copies.
fn what_it_is(state: NetdevState) -> &'static str {
    if state == NetdevState::NoCarrier { "which has no carrier" } else { "which is down" }
}

fn to_collector(address: IpAddr, collector: &Collector) -> Result<Way, NoWay> {
    let kernel = |source| NoWay::Kernel { address, source };
    let no_route = |error| match error {
        RouteError::None => NoWay::NoRoute { address },
        RouteError::Barred(kind) => NoWay::Barred { address, kind },
        RouteError::Kernel(source) => kernel(source),
    };
    let netlink = Netlink::open().map_err(kernel)?;
    if let Some(from) = collector.source
        && !netlink.route(from, None).is_ok_and(|route| route.is_local)
    {
        return Err(NoWay::Foreign { from });
    }
    let route = netlink.route(address, collector.source).map_err(no_route)?;
    if route.is_local {
        return Err(NoWay::Own { address });
    }
    let link = netlink.link(route.ifindex).map_err(kernel)?;
    if link.state != NetdevState::Up {
        return Err(NoWay::NotUp { address, netdev: link.name, state: link.state });
    }
    let source = collector.source.or(route.source).ok_or(NoWay::NoSource { address })?;
    let next = route.gateway.unwrap_or(address);
    let answers = netlink.answers(route.ifindex, next);
    let Header { bytes, length, sum } = Header::new(collector, address, source);
    let mtu = route.mtu.filter(|mtu| *mtu != 0).unwrap_or(link.mtu);
    let is_silent = answers == Some(false);
    let problem = is_silent.then(|| format!("{next} does not answer on {}: copies are lost there", link.name));
    Ok(Way {
        destination: Destination { ifindex: route.ifindex, mtu, sum, length: length as u32, header: bytes },
        netdev: Some(link.name),
        source: Some(source),
        neighbour: Some((next, answers)),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(config: &Value, expected: Result<Option<&str>, &str>) {
        let config: Config = serde_json::from_value(config.clone()).unwrap();
        let found = Goal::of(&config).map(|goal| goal.way(&[], |_| None).problem).map_err(|refusal| refusal.message);
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
