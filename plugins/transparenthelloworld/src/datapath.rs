//! What the cube asks the host to load.

use polycube_plugin_api::{Datapath, Direction, Point, constant};

use crate::config::{Action, Config};

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/transparenthelloworld.o");

/// A direction in which everything passes needs no program.
pub(crate) fn datapath(config: Config, points: &[Point]) -> Datapath {
    let mut datapath = Datapath::of(OBJECT);
    for (direction, action) in [(Direction::Ingress, config.ingress_action), (Direction::Egress, config.egress_action)]
    {
        if action != Action::Pass {
            let constants = [constant("ACTION", action.number().to_ne_bytes())];
            datapath = datapath.at(points, direction, "hello", &constants);
        }
    }
    datapath.packets(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_program_where_packets_do_not_just_pass() {
        let points = [Point {
            id: 0,
            name: "veth1".into(),
            netdev: Some("veth1".into()),
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        }];
        let directions = |ingress_action, egress_action| {
            let datapath = datapath(Config { ingress_action, egress_action }, &points);
            datapath.programs.iter().map(|program| program.direction).collect::<Vec<_>>()
        };
        assert_eq!(directions(Action::Pass, Action::Pass), []);
        assert_eq!(directions(Action::Slowpath, Action::Pass), [Direction::Ingress]);
        assert_eq!(directions(Action::Drop, Action::Slowpath), [Direction::Ingress, Direction::Egress]);
    }
}
