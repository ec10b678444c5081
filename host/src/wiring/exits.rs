//! Where packets that a cube's plugin sends can go. Pure.

use polycube_layout::slow::{IN, ON_EGRESS, ON_INGRESS, OUT};
use polycube_plugin_api::Direction;

use super::{NodeId, Place, Wiring};
use crate::topology::CubeName;

/// All exits of one cube.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CubeExits {
    /// The UUID of the cube: another cube of its name has exits of its own.
    pub owner: String,
    pub exits: Vec<Exit>,
}

/// One way out of a cube, for packets from user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// [`OUT`], [`IN`], [`ON_INGRESS`] or [`ON_EGRESS`].
    pub way: u32,
    /// Of the port or point.
    pub id: u32,
    pub ifindex: u32,
    /// The program of the cube after which a packet goes on.
    pub after: Option<NodeId>,
}

impl Wiring {
    /// The exits of the cubes called `names` in the state after a change. A cube that is gone, or another one under its
    /// name, leaves none.
    pub(crate) fn exits<'a>(
        &self,
        names: impl Iterator<Item = &'a CubeName>,
        (before, (after, netdevs)): (&crate::topology::Topology, Place<'_>),
    ) -> Vec<CubeExits> {
        let mut all = Vec::new();
        for name in names {
            let now = after.get(name.as_str());
            let was = before.get(name.as_str()).map(|(_, cube)| &cube.uuid);
            if let Some(owner) = was.filter(|was| now.is_none_or(|(_, cube)| cube.uuid != **was)) {
                all.push(CubeExits { owner: owner.clone(), exits: Vec::new() });
            }
            let Some((_, cube)) = now else { continue };
            let mut exits = Vec::new();
            for (port_name, port) in cube.ports() {
                let Some(netdev) = netdevs.of_port(name, port_name, port) else { continue };
                exits.extend([OUT, IN].map(|way| Exit { way, id: port.id, ifindex: netdev.ifindex, after: None }));
            }
            for (id, point) in after.points(name.as_str()) {
                let Some(netdev) = netdevs.of_point(after, point) else { continue };
                for (way, direction) in [(ON_INGRESS, Direction::Ingress), (ON_EGRESS, Direction::Egress)] {
                    // All stages of a cube have the same cube after them.
                    let after = self.nodes_at(name, id, direction).next().cloned();
                    exits.extend(after.map(|node| Exit { way, id, ifindex: netdev.ifindex, after: Some(node) }));
                }
            }
            all.push(CubeExits { owner: cube.uuid.clone(), exits });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::fixture::Model;

    /// Asserts the exits of a cube after a change, as way, id and ifindex.
    #[track_caller]
    fn check(before: &Model, after: &Model, cube: &str, expected: &[&[(u32, u32, u32)]]) {
        let wiring = after.wire(&Wiring::default());
        let name = CubeName::parse(cube).unwrap();
        let place = (&before.topology, (&after.topology, &after.netdevs));
        let found = wiring.exits([&name].into_iter(), place);
        let plain = |cube: &CubeExits| -> Vec<(u32, u32, u32)> {
            cube.exits.iter().map(|exit| (exit.way, exit.id, exit.ifindex)).collect()
        };
        let found: Vec<_> = found.iter().map(plain).collect();
        let expected: Vec<_> = expected.iter().map(|exits| exits.to_vec()).collect();
        assert_eq!(found, expected, "{cube}");
    }

    #[test]
    fn packets_can_leave_by_ports_with_a_netdev_and_go_on_where_programs_stand() {
        let none = Model::new();
        let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth9")]).tap("a", "br1:p").tap("b", "veth2");
        check(&none, &model, "br1", &[&[(OUT, 0, 11), (IN, 0, 11)]]);
        check(&none, &model, "a", &[&[(ON_INGRESS, 0, 11), (ON_EGRESS, 0, 11)]]);
        check(&none, &model, "b", &[&[(ON_INGRESS, 0, 12), (ON_EGRESS, 0, 12)]]);
        let one_way = model.clone().load("a", &[Direction::Ingress], 0);
        check(&none, &one_way, "a", &[&[(ON_INGRESS, 0, 11)]]);
    }

    #[test]
    fn a_cube_that_is_gone_leaves_no_exits() {
        let before = Model::new().tap("a", "veth2");
        check(&before, &Model::new(), "a", &[&[]]);
        check(&Model::new(), &Model::new(), "a", &[]);
    }
}
