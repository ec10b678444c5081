//! Chains in words: whom packets pass at a port or a netdev, in their order.

use serde_json::{Value, json};

use crate::engine::View;
use crate::topology::Point;
use crate::wiring::Place;

/// The keys under which the words stand in a port, or in a place of a transparent cube.
pub const INGRESS: &str = "ingress-chain";
pub const EGRESS: &str = "egress-chain";

/// The ways of packets at a place, from the wire and to the wire: `a ---> b ---> br1:p1`, `br1:p1 ---> b ---> a`.
pub struct Ways {
    pub ingress: String,
    pub egress: String,
    /// Whether anything stands there, or anything is behind it but the host's own stack.
    pub is_ours: bool,
}

pub fn ways((topology, netdevs): Place<'_>, point: &Point) -> Ways {
    // A chain is what is wanted, whether the netdev is there or not. At the other end of a link is a chain of its own.
    let (port, netdev) = match point {
        Point::Port(cube, name) => {
            let found = topology.port(cube.as_str(), name.as_str());
            let peer = found.ok().and_then(|port| port.peer.as_ref());
            (Some(point.clone()), peer.filter(|peer| matches!(peer, Point::Netdev(_))))
        }
        Point::Netdev(name) => {
            let owner = topology.peer_owner(name).or_else(|| netdevs.link_port(name).cloned());
            (owner.map(|(cube, port)| Point::Port(cube, port)), Some(point))
        }
    };
    let outer = netdev.map_or(&[][..], |point| topology.chain(point));
    let inner = port.as_ref().map_or(&[][..], |point| topology.chain(point));
    let end = port.as_ref().map_or_else(|| "stack".to_owned(), ToString::to_string);
    let mut way: Vec<String> = outer.iter().chain(inner.iter().rev()).map(|one| one.cube.to_string()).collect();
    let is_ours = port.is_some() || !way.is_empty();
    way.push(end);
    let ingress = way.join(" ---> ");
    way.reverse();
    Ways { ingress, egress: way.join(" ---> "), is_ours }
}

/// What Polycube's `topology/NAME` answers; for a netdev that we do nothing with, its name.
pub fn of_topology(view: &View, point: &Point) -> Value {
    let Ways { ingress, egress, is_ours } = ways((&view.topology, &view.netdevs), point);
    let mut json = json!({ "name": point.to_string() });
    if is_ours {
        json["ingress service chain"] = ingress.into();
        json["egress service chain"] = egress.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::fixture::Model;

    #[track_caller]
    fn check(model: &Model, point: &str, ingress: &str, egress: &str) {
        let found = ways((&model.topology, &model.netdevs), &Point::parse(point).unwrap());
        assert_eq!((found.ingress.as_str(), found.egress.as_str()), (ingress, egress));
    }

    #[test]
    fn a_netdev_and_its_port_are_one_way() {
        let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")]);
        let model = model.tap("a", "br1:p").tap("b", "br1:p").tap("outer", "veth1").tap("x", "veth3").tap("y", "veth3");
        for point in ["br1:p", "veth1"] {
            check(&model, point, "outer ---> b ---> a ---> br1:p", "br1:p ---> a ---> b ---> outer");
        }
        check(&model, "veth2", "br1:q", "br1:q");
        check(&model, "veth3", "y ---> x ---> stack", "stack ---> x ---> y");
        check(&model, "veth9", "stack", "stack");
    }

    #[test]
    fn a_netdev_that_is_gone_and_its_port_are_one_way() {
        let mut model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p").tap("outer", "veth1");
        model.netdevs.name("veth1", None);
        for point in ["br1:p", "veth1"] {
            check(&model, point, "outer ---> a ---> br1:p", "br1:p ---> a ---> outer");
        }
    }
}
