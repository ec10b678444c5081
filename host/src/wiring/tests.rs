use polycube_loader::described::{Checked, Reach};
use polycube_plugin_api::{Code, Direction, Jumps, Program, Target};

use super::fixture::{BOTH, LAST, Model};
use super::{NodeId, Source, Wiring};
use crate::topology::{LogLevel, Point};

/// Asserts the cubes that packets pass at a hook, in their order.
#[track_caller]
fn check(model: &Model, netdev: &str, direction: Direction, expected: &str) {
    let wiring = model.wire(&Wiring::default());
    let chain = wiring.hooks.iter().find(|(hook, _)| hook.netdev.name == netdev && hook.direction == direction);
    let nodes = chain.into_iter().flat_map(|(_, chain)| &chain.nodes);
    let names: Vec<_> = nodes.map(|node| node.key.cube.as_str()).collect();
    assert_eq!(names.join(" "), expected, "{netdev} {direction:?}");
}

#[test]
fn a_port_is_passed_from_the_wire_to_the_cube_and_back() {
    let model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p").tap("b", "br1:p");
    check(&model, "veth1", Direction::Ingress, "b a br1");
    check(&model, "veth1", Direction::Egress, "a b");
}

#[test]
fn a_netdev_is_passed_from_the_wire_to_the_stack_and_back() {
    let model = Model::new().tap("a", "veth1").tap("b", "veth1");
    check(&model, "veth1", Direction::Ingress, "b a");
    check(&model, "veth1", Direction::Egress, "a b");
}

#[test]
fn what_is_attached_to_the_netdev_of_a_port_stands_outside_of_the_port() {
    let model = Model::new().bridge("br1", &[("p", "veth1")]).tap("outer", "veth1").tap("inner", "br1:p");
    check(&model, "veth1", Direction::Ingress, "outer inner br1");
    check(&model, "veth1", Direction::Egress, "inner outer");
}

#[test]
fn a_cube_at_several_points_has_a_program_at_each() {
    let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")]).tap("a", "br1:p").tap("b", "br1:q");
    let model = model.also("a", "br1:q").also("a", "veth3").also("a", "veth1");
    check(&model, "veth1", Direction::Ingress, "a a br1");
    check(&model, "veth2", Direction::Ingress, "a b br1");
    check(&model, "veth2", Direction::Egress, "b a");
    check(&model, "veth3", Direction::Egress, "a");
    let nodes = model.wire(&Wiring::default()).nodes;
    let points: Vec<_> = nodes.keys().filter(|id| id.key.cube.as_str() == "a").map(|id| id.key.point).collect();
    assert_eq!(points, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn a_program_on_the_way_out_of_a_port_comes_first_and_knows_the_port() {
    let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2"), ("r", "veth9")]).load("br1", BOTH, 0);
    let model = model.tap("outer", "veth1").tap("inner", "br1:p");
    check(&model, "veth1", Direction::Ingress, "outer inner br1");
    check(&model, "veth1", Direction::Egress, "br1 inner outer");
    check(&model, "veth2", Direction::Egress, "br1");
    let wiring = model.wire(&Wiring::default());
    let leaving = wiring.hooks.iter().filter(|(hook, _)| hook.direction == Direction::Egress);
    let leaving: Vec<_> = leaving.map(|(_, chain)| (chain.port, chain.nodes[0].key.point)).collect();
    assert_eq!(leaving, [(0, 0), (1, 1)], "the root says which port it is, and each port has an instance");
    let count = wiring.nodes.keys().filter(|id| id.key.cube.as_str() == "br1").count();
    assert_eq!(count, 3, "none for the port that is down");
}

#[test]
fn a_program_on_the_way_out_of_a_port_that_moves_is_another_one() {
    let before = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth3")]).load("br1", BOTH, 0);
    let old = before.wire(&Wiring::default());
    let mut model = before.clone();
    model.topology.set_peer("br1", "p", Some(Point::parse("veth2").unwrap())).unwrap();
    let new = model.rewire(&before, &old);
    let leaving = |wiring: &Wiring, port: u32| {
        wiring.nodes.keys().find(|id| id.key.direction == Direction::Egress && id.key.point == port).cloned().unwrap()
    };
    assert_ne!(leaving(&new, 0), leaving(&old, 0), "packets may still pass the one at veth1");
    assert_eq!(leaving(&new, 1), leaving(&old, 1));
}

#[test]
fn a_netdev_that_is_renamed_keeps_its_hooks() {
    let mut model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "veth1");
    let old = model.wire(&Wiring::default());
    let before = model.clone();
    model.topology.rename_netdevs([("veth1".to_owned(), "lan0".to_owned())].into());
    model.netdevs.name("veth1", None);
    model.netdevs.name("lan0", Some(11));
    let new = model.rewire(&before, &old);
    assert_eq!(new.hooks, old.hooks);
    assert!(new.hooks.keys().all(|hook| hook.netdev.name == "lan0"), "{:?}", new.hooks);
}

#[test]
fn a_hook_that_nothing_looks_at_is_left_alone() {
    let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")]).tap("a", "br1:p");
    let model = model.load("a", &[Direction::Ingress], 0).tap("idle", "veth3").load("idle", &[], 0);
    check(&model, "veth1", Direction::Egress, "");
    let hooks: Vec<_> = model.wire(&Wiring::default()).hooks.into_iter().map(|(hook, _)| hook.netdev.name).collect();
    assert_eq!(hooks, ["veth1", "veth2"]);
}

#[test]
fn ports_are_told_apart_by_their_ids() {
    let model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")]).tap("a", "veth3");
    let wiring = model.wire(&Wiring::default());
    let roots: Vec<_> = wiring.hooks.iter().map(|(hook, chain)| (hook.netdev.name.as_str(), chain.port)).collect();
    assert_eq!(roots, [("veth1", 0), ("veth2", 1), ("veth3", u32::MAX), ("veth3", u32::MAX)]);
    let ports: Vec<_> = wiring.ports.iter().map(|((_, id), ifindex)| (*id, *ifindex)).collect();
    assert_eq!(ports, [(0, 11), (1, 12)]);
}

#[test]
fn a_netdev_that_does_not_exist_is_not_wired() {
    let mut model = Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")]).tap("a", "br1:p");
    model.netdevs.name("veth1", None);
    let wiring = model.wire(&Wiring::default());
    assert_eq!((wiring.hooks.len(), wiring.ports.len()), (1, 1));
    assert!(wiring.nodes.keys().all(|node| node.key.cube.as_str() == "br1"), "{:?}", wiring.nodes);
}

#[test]
fn what_is_unchanged_keeps_its_revision() {
    let before = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p");
    let old = before.wire(&Wiring::default());
    let new = before.clone().load("a", BOTH, 1).wire(&old);
    let kept =
        |cube: &str| new.nodes.keys().filter(|node| node.key.cube.as_str() == cube).all(|n| old.nodes.contains_key(n));
    assert!(kept("br1") && !kept("a"));
    assert!(new.maps.keys().eq(old.maps.keys()), "a map of the same size is the same map");
    let other = before.load("a", BOTH, 2).wire(&old);
    assert!(!other.maps.keys().eq(old.maps.keys()), "a map of another size is another map");
}

/// What a cube sends to a hook must not meet other cubes, nor be skipped with the stages of its cube.
#[test]
fn what_stands_ahead_comes_before_all_cubes_and_is_not_a_stage_among_others() {
    let stages = &[(LAST, 0), (Program::AHEAD, 0)];
    let model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p").tap("b", "br1:p").tap("c", "veth1");
    let model = model.load_stages("b", &[Direction::Egress], stages);
    check(&model, "veth1", Direction::Egress, "b a b c");
    let wiring = model.wire(&Wiring::default());
    let (hook, chain) = wiring.hooks.iter().find(|(hook, _)| hook.direction == Direction::Egress).unwrap();
    let name = |node: &NodeId| format!("{}{}", node.key.cube.as_str(), if node.key.is_ahead() { " ahead" } else { "" });
    let slots = chain.slots(hook).into_iter().map(|(source, target)| {
        let source = match &source {
            Source::Root(_) => "root".to_owned(),
            Source::Node(node) => name(node),
            Source::Accept(node) => format!("{} accept", name(node)),
        };
        format!("{source} > {}", target.as_ref().map_or_else(String::new, name))
    });
    assert_eq!(slots.collect::<Vec<_>>(), ["root > b ahead", "b ahead > a", "a > b", "b > c", "c > "]);
    assert!(wiring.nodes.iter().all(|(id, spec)| id.key.cube.as_str() != "b" || !spec.is_followed));
}

#[test]
fn a_chain_ends_where_the_kernels_tail_calls_end() {
    let with_taps = |count: usize| {
        let bridge = Model::new().bridge("br1", &[("p", "veth1")]);
        (0..count).fold(bridge, |model, number| model.tap(&format!("tap{number}"), "br1:p"))
    };
    assert!(with_taps(32).try_wire(&Wiring::default()).is_ok());
    let message = with_taps(33).try_wire(&Wiring::default()).unwrap_err().to_string();
    assert_eq!(
        message,
        "the ingress chain on veth1 would have 34 programs, each filter one of them: the kernel allows 33 tail calls; \
         detach a cube or clear a filter there first"
    );
    let with_filters = |count: usize| {
        let stages = &[(0, 0), (LAST, 0)];
        with_taps(count).load_stages("tap0", BOTH, stages).load_stages("tap1", BOTH, stages)
    };
    assert!(with_filters(30).try_wire(&Wiring::default()).is_ok());
    assert!(with_filters(31).try_wire(&Wiring::default()).is_err());
}

/// Lets the programs of a cube write lines, and jump.
fn add(model: &mut Model, cube: &str, logs: bool, tail_calls: usize) {
    let datapath = std::sync::Arc::make_mut(model.datapaths.get_mut(cube).unwrap());
    datapath.checked = Checked {
        logs,
        has_level: vec![logs],
        reaches: vec![Reach { tables: [0].into(), tail_calls }; datapath.programs.len()],
    };
    let target = Target { index: 1, object: 0, entry: "target".to_owned(), constants: Vec::new() };
    datapath.jumps = vec![Jumps { map: "calls".to_owned(), targets: vec![target] }];
}

#[test]
fn another_loglevel_is_another_program_if_the_program_writes_lines() {
    for (logs, expected) in [(true, [3, 4]), (false, [0, 0])] {
        let mut before = Model::new().bridge("br1", &[("p", "veth1")]);
        add(&mut before, "br1", logs, 1);
        let old = before.wire(&Wiring::default());
        let mut after = before.clone();
        after.topology.cube_mut("br1").unwrap().loglevel = LogLevel::Debug;
        let new = after.rewire(&before, &old);
        let level = |wiring: &Wiring| {
            let spec = wiring.nodes.values().next().unwrap();
            let Code::Elf { constants, .. } = &spec.program.code else { panic!("{spec:?}") };
            let of = |constants: &[(String, Vec<u8>)]| {
                constants.iter().find(|(name, _)| name == "pcn_log_level").map_or(0, |(_, level)| level[0])
            };
            assert_eq!(of(constants), of(&spec.jumps[0].targets[0].constants), "what it jumps to has it, too");
            of(constants)
        };
        assert_eq!([level(&old), level(&new)], expected);
        assert_eq!(new.nodes.keys().eq(old.nodes.keys()), !logs, "nothing else is loaded anew");
        let names: Vec<_> = new.maps.keys().map(|map| map.name.as_str()).collect();
        assert_eq!(names.contains(&"pcn_log_lines"), logs, "{names:?}");
    }
}

#[test]
fn jumps_count_among_the_tail_calls_of_a_chain() {
    let with_jumps = |tail_calls: usize| {
        let mut model = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p");
        add(&mut model, "a", false, tail_calls);
        model.try_wire(&Wiring::default()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(with_jumps(31), Ok(()));
    assert_eq!(
        with_jumps(32),
        Err("the ingress chain on veth1 would have 2 programs, each filter one of them, and its cubes jump up to 32 times: \
             the kernel allows 33 tail calls; detach a cube or clear a filter there first"
            .to_owned())
    );
}
