use polycube_plugin_api::{Direction, Program};

use super::fixture::Model;
use super::{NodeId, Source, Wiring};

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
    let new = before.clone().load("a", super::fixture::BOTH, 1).wire(&old);
    let kept =
        |cube: &str| new.nodes.keys().filter(|node| node.key.cube.as_str() == cube).all(|n| old.nodes.contains_key(n));
    assert!(kept("br1") && !kept("a"));
    assert!(new.maps.keys().eq(old.maps.keys()), "a map of the same size is the same map");
    let other = before.load("a", super::fixture::BOTH, 2).wire(&old);
    assert!(!other.maps.keys().eq(old.maps.keys()), "a map of another size is another map");
}

/// What a cube sends to a hook must not meet other cubes, nor be skipped with the stages of its cube.
#[test]
fn what_stands_ahead_comes_before_all_cubes_and_is_not_a_stage_among_others() {
    let stages = &[(super::fixture::LAST, 0), (Program::AHEAD, 0)];
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
        let stages = &[(0, 0), (super::fixture::LAST, 0)];
        with_taps(count).load_stages("tap0", super::fixture::BOTH, stages).load_stages(
            "tap1",
            super::fixture::BOTH,
            stages,
        )
    };
    assert!(with_filters(30).try_wire(&Wiring::default()).is_ok());
    assert!(with_filters(31).try_wire(&Wiring::default()).is_err());
}
