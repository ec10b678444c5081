use std::collections::BTreeSet;

use polycube_plugin_api::{Direction, Level};
use proptest::prelude::*;

use super::{Cleanup, Plan, Step};
use crate::problem::Problem;
use crate::reconcile::double::{DoubleKernel, State, Verdict};
use crate::reconcile::{Cubes, Handed, Requests, World};
use crate::registry::Registry;
use crate::topology::{Cube, CubeName, LogLevel, Place, Point, PortName};
use crate::wiring::fixture::{BOTH, LAST, Model};
use crate::wiring::{CubeDatapath, Hook, Netdev, NodeId, Source, Wiring};

fn bridge() -> Model {
    Model::new().bridge("br1", &[("p", "veth1"), ("q", "veth2")])
}

fn direction(direction: Direction) -> &'static str {
    if direction == Direction::Ingress { "in" } else { "out" }
}

fn hook(hook: &Hook) -> String {
    format!("{}-{}", hook.netdev.name, direction(hook.direction))
}

fn node(node: &NodeId) -> String {
    let filter = if node.key.stage < LAST { " filter" } else { "" };
    format!("{}-{}{filter}", node.key.cube, direction(node.key.direction))
}

fn target(to: Option<&NodeId>) -> String {
    to.map_or_else(|| "end".to_owned(), node)
}

fn step(step: &Step) -> String {
    match step {
        Step::CreateMap(map) => format!("create {}/{}", map.cube, map.name),
        Step::Load(id) => format!("load {}", node(id)),
        Step::Prepare(cube) => format!("prepare {cube}"),
        Step::LoadRoot(at, port) => format!("root {} port {}", hook(at), port.cast_signed()),
        Step::SetRootPort { hook: at, port, was } => {
            format!("root {} port {} -> {}", hook(at), was.cast_signed(), port.cast_signed())
        }
        Step::SetPort { map, port, ifindex, was } => format!("{}:{port} {was} -> {ifindex}", map.cube),
        Step::Link { from, to, was } => {
            let from = match from {
                Source::Root(at) => hook(at),
                Source::Node(id) => node(id),
                Source::Accept(id) => format!("{} accepts", node(id)),
            };
            format!("link {from}: {} -> {}", target(was.as_ref()), target(to.as_ref()))
        }
        Step::Attach(at) => format!("attach {}", hook(at)),
        Step::AwaitAttach(at) => format!("await {}", hook(at)),
        Step::Wait => "wait".to_owned(),
    }
}

fn cleanup(step: &Cleanup) -> String {
    match step {
        Cleanup::Detach(at) => format!("detach {}", hook(at)),
        Cleanup::Wait => "wait".to_owned(),
        Cleanup::UnloadRoot(at) => format!("unload root {}", hook(at)),
        Cleanup::Unload(id) => format!("unload {}", node(id)),
        Cleanup::Commit(cube) => format!("commit {cube}"),
        Cleanup::DropMap(map) => format!("drop {}/{}", map.cube, map.name),
    }
}

/// Asserts every step of the way from one model to another.
#[track_caller]
fn check(old: &Model, new: &Model, steps: &[&str], cleanups: &[&str]) {
    let plan = old.plan_to(new);
    assert_eq!(plan.steps.iter().map(step).collect::<Vec<_>>(), steps);
    assert_eq!(plan.cleanup.iter().map(cleanup).collect::<Vec<_>>(), cleanups);
}

#[test]
fn a_first_attachment_is_on_its_netdev_and_prepared_before_it_is_linked_from_the_end() {
    let new = Model::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p");
    check(
        &Model::new(),
        &new,
        &[
            "root veth1-in port 0",
            "root veth1-out port 0",
            "attach veth1-in",
            "attach veth1-out",
            "create a/data",
            "create br1/data",
            "create br1/ports",
            "load a-in",
            "load a-out",
            "load br1-in",
            "prepare a",
            "prepare br1",
            "br1:0 0 -> 11",
            "await veth1-in",
            "await veth1-out",
            "link a-in: end -> br1-in",
            "link veth1-in: end -> a-in",
            "link veth1-out: end -> a-out",
        ],
        &["commit a", "commit br1"],
    );
}

#[test]
fn an_insertion_touches_one_slot_that_packets_reach() {
    let old = bridge().tap("a", "br1:p").load("a", &[Direction::Ingress], 0);
    let new = old.clone().tap("b", "br1:p").load("b", &[Direction::Ingress], 0);
    check(
        &old,
        &new,
        &["create b/data", "load b-in", "prepare b", "link b-in: end -> a-in", "link veth1-in: a-in -> b-in"],
        &["commit b"],
    );
    let mut middle = new.clone().tap("c", "veth3").load("c", &[Direction::Ingress], 0);
    let at = Point::parse("br1:p").unwrap();
    middle.topology.detach("c", &Point::Netdev("veth3".to_owned())).unwrap();
    middle.topology.attach("c", at, &Place::After("a".to_owned())).unwrap();
    check(
        &new,
        &middle,
        &["create c/data", "load c-in", "prepare c", "link c-in: end -> a-in", "link b-in: a-in -> c-in"],
        &["commit c"],
    );
}

#[test]
fn a_removal_is_one_slot_and_unloads_after_the_last_packet() {
    let new = bridge();
    let old = new.clone().tap("a", "br1:p").load("a", &[Direction::Ingress], 0);
    check(&old, &new, &["link veth1-in: a-in -> br1-in"], &["wait", "unload a-in", "drop a/data"]);
}

#[test]
fn a_replacement_is_loaded_beside_what_it_replaces() {
    let old = bridge().tap("a", "br1:p").load("a", &[Direction::Ingress], 0);
    let new = old.clone().load("a", &[Direction::Ingress], 1);
    check(
        &old,
        &new,
        &["load a-in", "prepare a", "link a-in: end -> br1-in", "link veth1-in: a-in -> a-in"],
        &["wait", "unload a-in", "commit a"],
    );
}

#[test]
fn a_filter_comes_and_goes_before_its_cube_in_one_slot() {
    let inward = &[Direction::Ingress];
    let plain = bridge().tap("a", "br1:p").load("a", inward, 0);
    let filtered = plain.clone().load_stages("a", inward, &[(0, 0), (LAST, 0)]);
    check(
        &plain,
        &filtered,
        &[
            "load a-in filter",
            "prepare a",
            "link a-in filter: end -> br1-in",
            "link a-in filter accepts: end -> a-in",
            "link veth1-in: a-in -> a-in filter",
        ],
        &["commit a"],
    );
    check(
        &filtered,
        &plain,
        &["prepare a", "link veth1-in: a-in filter -> a-in"],
        &["wait", "unload a-in filter", "commit a"],
    );
}

#[test]
fn a_port_that_loses_its_peer_leaves_no_way_to_it() {
    let old = bridge();
    let mut new = old.clone();
    new.topology.set_peer("br1", "q", None).unwrap();
    check(&old, &new, &["br1:1 12 -> 0"], &["detach veth2-in", "wait", "unload root veth2-in"]);
}

#[test]
fn a_netdev_that_becomes_a_peer_keeps_its_hook() {
    let old = Model::new().bridge("br1", &[]).tap("a", "veth1").load("a", BOTH, 0);
    let mut new = old.clone();
    new.topology.add_port("br1", PortName::parse("p").unwrap(), String::new()).unwrap();
    new.topology.set_peer("br1", "p", Some(Point::parse("veth1").unwrap())).unwrap();
    check(
        &old,
        &new,
        &[
            "load br1-in",
            "root veth1-in port -1 -> 0",
            "link a-in: end -> br1-in",
            "root veth1-out port -1 -> 0",
            "br1:0 0 -> 11",
        ],
        &[],
    );
}

#[test]
fn a_port_that_moves_leaves_a_whole_chain_behind_until_nothing_goes_there() {
    let old = Model::new().bridge("br1", &[("p", "veth1")]).tap("inner", "br1:p").tap("x", "veth1").tap("y", "veth2");
    let old = ["inner", "x", "y"].iter().fold(old, |model, tap| model.load(tap, &[Direction::Egress], 0));
    let mut new = old.clone();
    new.topology.set_peer("br1", "p", Some(Point::parse("veth2").unwrap())).unwrap();
    check(
        &old,
        &new,
        &[
            "root veth2-in port 0",
            "attach veth2-in",
            "load inner-out",
            "await veth2-in",
            "link inner-out: end -> y-out",
            "root veth2-out port -1 -> 0",
            "link veth2-out: y-out -> inner-out",
            "link veth2-in: end -> br1-in",
            "br1:0 11 -> 12",
            "wait",
            "link veth1-out: inner-out -> x-out",
            "root veth1-out port 0 -> -1",
        ],
        &["detach veth1-in", "wait", "unload root veth1-in", "unload inner-out"],
    );
}

#[test]
fn a_program_on_the_way_out_comes_before_what_is_attached_without_a_gap() {
    let old = bridge().tap("a", "br1:p").load("a", &[Direction::Egress], 0);
    let new = old.clone().load("br1", BOTH, 0);
    let steps = [
        "root veth2-out port 1",
        "attach veth2-out",
        "load br1-out",
        "load br1-out",
        "prepare br1",
        "await veth2-out",
        "link br1-out: end -> a-out",
        "link veth1-out: a-out -> br1-out",
        "link veth2-out: end -> br1-out",
    ];
    check(&old, &new, &steps, &["commit br1"]);
    check(
        &new,
        &old,
        &["prepare br1", "link veth1-out: br1-out -> a-out"],
        &["detach veth2-out", "wait", "unload root veth2-out", "unload br1-out", "unload br1-out", "commit br1"],
    );
}

#[test]
fn no_change_needs_no_step() {
    let model = bridge().tap("a", "br1:p").tap("b", "veth3");
    assert_eq!(model.plan_to(&model), Plan::default());
    assert_eq!(Model::new().plan_to(&Model::new()), Plan::default());
}

/// Where each tap stands, if it does. Taps never change places, so that the order of those that stay is one.
const TAPS: [(&str, &str); 7] =
    [("a", "br1:p"), ("b", "br1:p"), ("c", "br1:p"), ("d", "veth1"), ("e", "veth1"), ("f", "br2:q"), ("g", "veth3")];

prop_compose! {
    fn models()(
        bridges in [any::<bool>(), any::<bool>()],
        leaving in [any::<bool>(), any::<bool>()],
        flavours in [0_u32..4, 0_u32..4],
        peers in [any::<bool>(), any::<bool>(), any::<bool>()],
        moved in any::<bool>(),
        taps in prop::array::uniform7(prop::option::of((0_usize..4, 0_u32..4, prop::option::of(0_u32..2)))),
        gone in prop::option::weighted(0.2, 1_u32..4),
    ) -> Model {
        let mut model = Model::new();
        let ports: [&[(&str, &str)]; 2] = [&[("p", "veth1"), ("p2", "veth2")], &[("q", "veth3")]];
        for (index, name) in ["br1", "br2"].into_iter().enumerate().filter(|(index, _)| bridges[*index]) {
            let directions = if leaving[index] { BOTH } else { &BOTH[..1] };
            model = model.bridge(name, ports[index]).load(name, directions, flavours[index]);
        }
        for (index, (cube, port)) in [("br1", "p"), ("br1", "p2"), ("br2", "q")].into_iter().enumerate() {
            if !peers[index] && model.topology.cube(cube).is_ok() {
                model.topology.set_peer(cube, port, None).unwrap();
            }
        }
        if moved && model.topology.cube("br1").is_ok() && model.topology.peer_owner("veth3").is_none() {
            model.topology.set_peer("br1", "p", Some(Point::parse("veth3").unwrap())).unwrap();
        }
        for ((name, point), wanted) in TAPS.into_iter().zip(taps) {
            let Some((directions, flavour, filter)) = wanted else { continue };
            if point.split_once(':').is_none_or(|(cube, _)| model.topology.cube(cube).is_ok()) {
                let directions = [&[][..], &BOTH[..1], &BOTH[1..], BOTH][directions];
                let stages: Vec<_> = filter.map(|filter| (0, filter)).into_iter().chain([(LAST, flavour)]).collect();
                model = model.tap(name, point).load_stages(name, directions, &stages);
            }
        }
        if let Some(number) = gone {
            model.netdevs.name(&format!("veth{number}"), None);
        }
        model
    }
}

/// The cubes of a chain or of a way along it.
fn cubes(nodes: &[NodeId]) -> Vec<&str> {
    let mut cubes: Vec<_> = nodes.iter().map(|node| node.key.cube.as_str()).collect();
    cubes.dedup();
    cubes
}

/// At a hook that is there before and after, every packet passes every cube that is there before and after, once and
/// in its place, whatever step it comes between.
fn assert_no_gap(kernel: &State, old: &Wiring, new: &Wiring) -> Result<(), TestCaseError> {
    for (at, chain) in &old.hooks {
        let Some(then) = new.hooks.get(at) else { continue };
        let (before, after) = (cubes(&chain.nodes), cubes(&then.nodes));
        let both: Vec<_> = before.iter().filter(|cube| after.contains(cube)).collect();
        for verdict in [Verdict::Accept, Verdict::Reject] {
            let path = kernel.path(at, verdict);
            let now = cubes(&path);
            let passed: Vec<_> = now.iter().filter(|cube| both.contains(cube)).collect();
            prop_assert_eq!(&passed, &both, "{}: {:?} between {:?} and {:?}", hook(at), now, before, after);
            prop_assert!(now.iter().all(|cube| before.contains(cube) || after.contains(cube)), "{:?}", now);
        }
    }
    Ok(())
}

/// Where each port of a bridge sends, every tap is passed that stands before the port before and after, and what the bridge
/// itself has on the way out.
fn assert_no_way_around(kernel: &State, old: &Model, new: &Model) -> Result<(), TestCaseError> {
    for (map, id, ifindex) in kernel.ports() {
        let taps = |model: &Model| {
            let cube = model.topology.cube(map.cube.as_str()).ok().map(|(_, cube)| std::sync::Arc::clone(cube));
            let port = cube.and_then(|cube| Some(cube.ports().find(|(_, port)| port.id == id)?.0.clone()));
            let chain = port.map(|port| model.topology.chain(&Point::Port(map.cube.clone(), port)).to_vec());
            let sees =
                |cube: &CubeName| model.datapaths[cube].programs.iter().any(|p| p.direction == Direction::Egress);
            let own = chain.as_ref().map(|_| map.cube.clone());
            let attached = chain.unwrap_or_default().into_iter().map(|at| at.cube);
            own.into_iter().chain(attached).filter(sees).collect::<Vec<_>>()
        };
        let after = taps(new);
        let at = Hook { netdev: Netdev { ifindex, name: String::new() }, direction: Direction::Egress };
        for verdict in [Verdict::Accept, Verdict::Reject] {
            let path = kernel.path(&at, verdict);
            for tap in taps(old).iter().filter(|tap| after.contains(tap)) {
                prop_assert!(cubes(&path).contains(&tap.as_str()), "{}:{id} goes around {tap}: {path:?}", map.cube);
            }
        }
    }
    Ok(())
}

/// Plugins that take everything.
struct Willing;

impl Cubes<crate::wiring::MapId> for Willing {
    fn claim(&mut self, _: &BTreeSet<CubeName>) -> Result<(), BTreeSet<CubeName>> {
        Ok(())
    }
    fn release(&mut self) {}
    fn create(&mut self, _: &CubeName, _: &Cube, _: &Registry) -> Result<(), Problem> {
        Ok(())
    }
    fn renew(&mut self, _: &CubeName, _: &Cube, _: &Registry) -> Result<(), Problem> {
        Ok(())
    }

    fn forget_renewed(&mut self, _: &CubeName) {}

    fn remove(&mut self, _: &CubeName) {}
    fn drop_removed(&mut self) {}
    fn failure(&self, _: &CubeName) -> Option<String> {
        None
    }
    fn datapath(&mut self, _: &CubeName, _: &str) -> Result<CubeDatapath, Problem> {
        Ok(CubeDatapath::default())
    }
    fn prepare(&mut self, _: &CubeName, _: &str, _: &[Handed<'_, crate::wiring::MapId>]) -> Result<(), Problem> {
        Ok(())
    }
    fn abort(&mut self, _: &CubeName) {}
    fn commit(&mut self, _: &CubeName) {}
    fn set_level(&mut self, _: &CubeName, _: LogLevel) {}
    fn admits(&self, _: &CubeName, _: Level) -> bool {
        true
    }
}

/// Lets `work` have effects on a kernel, with plugins that take everything.
fn on<T>(kernel: &mut DoubleKernel, work: impl FnOnce(&mut World<'_, DoubleKernel>) -> T) -> T {
    work(&mut World {
        kernel,
        cubes: &mut Willing,
        requests: &Requests::new(),
        exits: &[],
        is_restoring: false,
        made: BTreeSet::new(),
    })
}

proptest! {
    #[test]
    fn any_way_has_no_gap_arrives_and_can_be_undone_anywhere(from in models(), to in models()) {
        let old = from.wire(&Wiring::default());
        let new = to.wire(&old);
        let plan = Plan::new(&old, &new, &from.touched(&to));
        let start = DoubleKernel::of(&old);
        let mut kernel = start.clone();
        for (done, step) in plan.steps.iter().enumerate() {
            on(&mut kernel, |world| world.carry_out(step, &new)).unwrap();
            assert_no_gap(&kernel.state, &old, &new)?;
            assert_no_way_around(&kernel.state, &from, &to)?;
            let mut back = kernel.clone();
            for step in plan.steps[..=done].iter().rev() {
                on(&mut back, |world| world.undo(std::slice::from_ref(step)));
                assert_no_gap(&back.state, &old, &new)?;
                assert_no_way_around(&back.state, &from, &to)?;
            }
            prop_assert_eq!(&back.state, &start.state, "undone after {:?}", step);
        }
        for step in &plan.cleanup {
            on(&mut kernel, |world| world.clean(step));
            assert_no_gap(&kernel.state, &old, &new)?;
        }
        prop_assert_eq!(kernel.state, State::of(&new));
    }

    #[test]
    fn what_is_rewired_is_what_wiring_everything_gives(from in models(), to in models()) {
        let old = from.wire(&Wiring::default());
        let (touched, whole) = (to.rewire(&from, &old), to.wire(&old));
        prop_assert_eq!(shape(&touched), shape(&whole));
        let plans = [&touched, &whole].map(|new| Plan::new(&old, new, &from.touched(&to)));
        prop_assert_eq!(plans[0].steps.len(), plans[1].steps.len());
        prop_assert_eq!(plans[0].cleanup.len(), plans[1].cleanup.len());
    }

    #[test]
    fn a_change_of_nothing_needs_no_step(model in models()) {
        prop_assert_eq!(model.plan_to(&model), Plan::default());
    }
}

/// A wiring without its revisions.
fn shape(wiring: &Wiring) -> impl PartialEq + std::fmt::Debug + use<> {
    let hooks = wiring.hooks.iter().map(|(hook, chain)| {
        let nodes: Vec<_> = chain.nodes.iter().map(|node| node.key.clone()).collect();
        (hook.clone(), hook.netdev.name.clone(), chain.port, nodes)
    });
    let nodes = wiring.nodes.iter().map(|(node, spec)| (node.key.clone(), spec.program.clone()));
    let maps = wiring.maps.iter().map(|(map, found)| (map.cube.clone(), map.name.clone(), found.spec.clone()));
    let ports = wiring.ports.iter().map(|((map, port), ifindex)| (map.cube.clone(), *port, *ifindex));
    (hooks.collect::<Vec<_>>(), nodes.collect::<Vec<_>>(), maps.collect::<Vec<_>>(), ports.collect::<Vec<_>>())
}
