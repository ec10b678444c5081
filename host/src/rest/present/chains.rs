//! Chains in words: the cubes that packets pass at a port or a netdev, in order.

use polycube_plugin_api::Direction;
use serde_json::{Value, json};

use crate::engine::View;
use crate::topology::{CubeName, Point};
use crate::wiring::Place;

/// Keys of the chains in a port, or in a point where a transparent cube is attached.
pub(super) const INGRESS: &str = "ingress-chain";
pub(super) const EGRESS: &str = "egress-chain";

/// The chains at a point, from the wire and to the wire: `a ---> b ---> br1:p1`, `br1:p1 ---> b ---> a`.
pub(super) struct Chains {
    pub ingress: String,
    pub egress: String,
    /// Whether a cube is attached there, or the packets go to one.
    pub is_ours: bool,
}

/// `stands` says whether a cube can have programs for a direction.
fn between((topology, netdevs): Place<'_>, stands: impl Fn(&CubeName, Direction) -> bool, point: &Point) -> Chains {
    // A chain is what is wanted, whether the netdev exists or not. The other end of a link has another chain.
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
        // Its cubes stand at the netdevs that it stands for.
        Point::Selector(_) => (None, Some(point)),
    };
    let outer = netdev.map_or(&[][..], |point| topology.chain(point));
    let inner = port.as_ref().map_or(&[][..], |point| topology.chain(point));
    let end = port.as_ref().map_or_else(|| "stack".to_owned(), ToString::to_string);
    let is_ours = port.is_some() || !outer.is_empty();
    let passed = |direction| {
        let cubes = outer.iter().chain(inner.iter().rev()).map(|one| &one.cube);
        let cubes = cubes.filter(|cube| stands(cube, direction)).map(ToString::to_string);
        cubes.chain([end.clone()]).collect::<Vec<_>>()
    };
    let ingress = passed(Direction::Ingress).join(" ---> ");
    let egress = passed(Direction::Egress).into_iter().rev().collect::<Vec<_>>().join(" ---> ");
    Chains { ingress, egress, is_ours }
}

/// The chains of what is in force.
pub(super) fn at(view: &View, point: &Point) -> Chains {
    let stands = |cube: &CubeName, direction| {
        let service = view.topology.get(cube.as_str()).map(|(_, cube)| cube.service.as_str());
        let service = service.and_then(|name| view.registry.service(name).ok());
        service.is_none_or(|service| service.plugin.stands(direction))
    };
    between((&view.topology, &view.netdevs), stands, point)
}

/// What Polycube's `topology/NAME` answers; for a netdev that no cube uses, only its name.
pub(crate) fn of_topology(view: &View, point: &Point) -> Value {
    let Chains { ingress, egress, is_ours } = at(view, point);
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
        let stands = |cube: &CubeName, direction| cube.as_str() != "in" || direction == Direction::Ingress;
        let found = between((&model.topology, &model.netdevs), stands, &Point::parse(point).unwrap());
        assert_eq!((found.ingress.as_str(), found.egress.as_str()), (ingress, egress));
    }

    #[test]
    fn a_netdev_and_its_port_have_one_chain() {
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
    fn a_cube_stands_where_its_service_has_programs() {
        let model = Model::new().tap("in", "veth1").tap("both", "veth1");
        check(&model, "veth1", "both ---> in ---> stack", "stack ---> both");
    }

    #[test]
    fn a_netdev_that_is_gone_and_its_port_have_one_chain() {
        let mut model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p").tap("outer", "veth1");
        model.netdevs.name("veth1", None);
        for point in ["br1:p", "veth1"] {
            check(&model, point, "outer ---> a ---> br1:p", "br1:p ---> a ---> outer");
        }
    }
}
