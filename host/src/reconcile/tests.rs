//! Sequences of changes, in a world where netdevs come, go and are renamed, plugins refuse, panic and are busy, and the
//! kernel fails at any step.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use polycube_plugin_api::Direction;
use proptest::prelude::*;
use serde_json::Value;

use super::double::{Behaviour, DoubleCubes, DoubleKernel, Plugin, State, cube};
use super::{Cubes as _, Reconciler, Refused};
use crate::model::{Deferred, Facts, Model, Origin, Part, renamed};
use crate::netdev::{Framing, Link, Table, ethernet};
use crate::registry::Registry;
use crate::topology::{CubeName, Place, Point, PortName, Role, Topology};
use crate::wiring::{Hook, Netdev, Netdevs, Touched, Wiring};

/// A reconciler and the netdevs around it.
struct World {
    reconciler: Reconciler<DoubleKernel, DoubleCubes>,
    present: Table,
    changed: BTreeSet<String>,
}

/// What a change must leave as it was when it fails.
#[derive(Debug, PartialEq)]
struct Snapshot {
    topology: Topology,
    deferred: Deferred,
    netdevs: Netdevs,
    state: State,
    promiscuous: BTreeSet<u32>,
    pairs: usize,
    plugins: BTreeMap<CubeName, Option<String>>,
}

impl World {
    /// `veth1` to `veth4` with indexes 11 to 14, and `tun5`, which has no Ethernet headers.
    fn new() -> Self {
        let registry = Registry::new().unwrap();
        let model = Model { topology: Topology::default(), registry, deferred: Deferred::default() };
        let reconciler = Reconciler::new(DoubleKernel::default(), DoubleCubes::default(), model);
        let mut world = Self { reconciler, present: Table::default(), changed: BTreeSet::new() };
        for number in 1..=4 {
            world.appear(ethernet(10 + number, &format!("veth{number}")));
        }
        world.appear(Link { framing: Framing::Other, ..ethernet(15, "tun5") });
        world
    }

    fn appear(&mut self, link: Link) {
        self.changed.extend(self.present.set(link));
    }

    fn disappear(&mut self, ifindex: u32) {
        self.changed.extend(self.present.remove(ifindex));
    }

    fn facts(&self) -> Facts {
        let cubes = &self.reconciler.cubes;
        let failed = cubes.plugins.keys().filter_map(|name| Some((name.clone(), cubes.failure(name)?)));
        Facts {
            present: self.present.clone(),
            wired: self.reconciler.netdevs().clone(),
            failed: failed.collect(),
            seed: [0; 16],
        }
    }

    /// Follows the netdevs, as the engine does before each change.
    fn follow(&mut self) -> Result<BTreeMap<CubeName, String>, Refused> {
        let changed = std::mem::take(&mut self.changed);
        let facts = self.facts();
        let mut model = self.reconciler.model().clone();
        model.topology.rename_netdevs(renamed(&changed, &facts));
        self.reconciler.retry_deferred();
        self.reconciler.find_losses(&facts.present);
        self.reconciler.reconcile(model, &facts, &changed, Origin::Netdevs)
    }

    fn change(&mut self, edit: impl FnOnce(&mut Topology)) -> Result<BTreeMap<CubeName, String>, Refused> {
        let mut model = self.reconciler.model().clone();
        edit(&mut model.topology);
        let facts = self.facts();
        self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request)
    }

    fn snapshot(&self) -> Snapshot {
        let Reconciler { model, netdevs, kernel, cubes, .. } = &self.reconciler;
        Snapshot {
            topology: model.topology.clone(),
            deferred: model.deferred.clone(),
            netdevs: netdevs.clone(),
            state: kernel.state.clone(),
            promiscuous: kernel.promiscuous.clone(),
            pairs: kernel.pairs.len(),
            plugins: cubes.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.committed.clone())).collect(),
        }
    }

    /// Asserts that model, wiring, kernel and plugins say the same.
    fn assert_agreement(&self) {
        let Reconciler { model, netdevs, wiring, kernel, cubes, datapaths, .. } = &self.reconciler;
        assert_eq!(kernel.state, State::of(wiring), "the kernel is as the wiring says");
        let everything = Touched::between(
            (&Topology::default(), &Netdevs::default()),
            (&model.topology, netdevs),
            model.topology.cubes().map(|(name, _)| name.clone()),
        );
        let whole = Wiring::default().rewire((&model.topology, netdevs), datapaths, &everything).unwrap();
        assert!(wiring.hooks.keys().eq(whole.hooks.keys()), "{:?} and {:?}", wiring.hooks, whole.hooks);
        for (hook, chain) in &whole.hooks {
            let keys =
                |wiring: &Wiring| wiring.hooks[hook].nodes.iter().map(|node| node.key.clone()).collect::<Vec<_>>();
            assert_eq!(keys(wiring), keys(&whole), "{hook:?}");
            assert_eq!(wiring.hooks[hook].port, chain.port, "{hook:?}");
        }
        assert!(wiring.ports.values().eq(whole.ports.values()));
        assert_eq!(
            kernel.promiscuous,
            wiring.ports.values().copied().collect(),
            "ports, and nothing else, are promiscuous"
        );
        assert_eq!(kernel.pairs, netdevs.links().values().cloned().collect(), "each link has its pair");
        assert!(cubes.plugins.keys().eq(model.topology.cubes().map(|(name, _)| name)), "each cube has its plugin");
        assert!(cubes.plugins.values().all(|plugin| plugin.prepared.is_none()), "nothing is left prepared");
        assert!(cubes.claimed.is_empty(), "nothing is left claimed");
        for (name, Plugin { committed, failed, .. }) in &cubes.plugins {
            if !model.deferred.has_cube(name) && !failed {
                let asked = self.reconciler.requests.get(name).map(ToString::to_string);
                assert_eq!(*committed, asked, "{name} has committed to what it was asked with");
            }
        }
        for (name, ifindex) in netdevs.named() {
            let there = self.present.named(name).map(|link| link.ifindex);
            assert!(there == Some(*ifindex) || self.changed.contains(name), "{name} is wired and is not there");
        }
    }
}

fn name(name: &str) -> CubeName {
    CubeName::parse(name).unwrap()
}

fn add(topology: &mut Topology, cube_name: &str, ports: &[(&str, &str)]) {
    topology.add_cube(name(cube_name), cube(Role::Standard(OrdMap::new()))).unwrap();
    for (port, peer) in ports {
        topology.add_port(cube_name, PortName::parse(port).unwrap(), String::new()).unwrap();
        topology.set_peer(cube_name, port, Some(Point::parse(peer).unwrap())).unwrap();
    }
}

fn add_tap(topology: &mut Topology, cube_name: &str, points: &[&str]) {
    topology.add_cube(name(cube_name), cube(Role::Transparent)).unwrap();
    for point in points {
        topology.attach(cube_name, Point::parse(point).unwrap(), &Place::Auto).unwrap();
    }
}

#[test]
fn a_link_is_a_pair_that_goes_with_it() {
    let mut world = World::new();
    let link = |topology: &mut Topology, one: (&str, &str), other: Option<&str>| {
        topology.set_peer(one.0, one.1, other.map(|other| Point::parse(other).unwrap())).unwrap();
    };
    world
        .change(|topology| {
            add(topology, "br1", &[]);
            add(topology, "br2", &[]);
            for cube in ["br1", "br2"] {
                topology.add_port(cube, PortName::parse("p").unwrap(), String::new()).unwrap();
            }
            link(topology, ("br1", "p"), Some("br2:p"));
        })
        .unwrap();
    assert_eq!(world.reconciler.kernel.pairs.len(), 0, "only one end names the other");
    world.change(|topology| link(topology, ("br2", "p"), Some("br1:p"))).unwrap();
    assert_eq!(world.reconciler.kernel.pairs.len(), 2);
    world.assert_agreement();
    world.change(|topology| link(topology, ("br1", "p"), None)).unwrap();
    assert_eq!(world.reconciler.kernel.pairs.len(), 0);
    world.assert_agreement();
}

#[test]
fn a_link_that_cannot_be_made_leaves_no_pair() {
    let mut world = World::new();
    world
        .change(|topology| {
            for cube in ["br1", "br2"] {
                add(topology, cube, &[]);
                topology.add_port(cube, PortName::parse("p").unwrap(), String::new()).unwrap();
            }
        })
        .unwrap();
    let before = world.snapshot();
    let mut failures = 0;
    loop {
        world.reconciler.kernel.fails_after = Some(failures);
        let linked = world.change(|topology| {
            for (cube, peer) in [("br1", "br2:p"), ("br2", "br1:p")] {
                topology.set_peer(cube, "p", Some(Point::parse(peer).unwrap())).unwrap();
            }
        });
        if linked.is_ok() {
            break;
        }
        assert_eq!(world.snapshot(), before, "after {failures} effects");
        failures += 1;
    }
    assert!(failures > 10, "a pair, two roots and two programs are more than {failures} effects");
    world.assert_agreement();
}

#[test]
fn a_cube_that_cannot_follow_a_netdev_is_deferred_and_holds_up_nobody() {
    let mut world = World::new();
    world.change(|topology| add_tap(topology, "a", &["veth1", "veth2"])).unwrap();
    world.reconciler.cubes.behaviour.insert(name("a"), Behaviour::RefusesDatapath);
    world.disappear(11);
    world.follow().unwrap();
    assert!(world.reconciler.model().deferred.has_cube(&name("a")));
    world.change(|topology| add_tap(topology, "b", &["veth3"])).unwrap();
    world.assert_agreement();
    world.reconciler.cubes.behaviour.clear();
    world.follow().unwrap();
    assert!(world.reconciler.model().deferred.is_empty());
    world.assert_agreement();
}

#[test]
fn a_device_of_another_kind_under_a_known_name_is_left_alone() {
    let mut world = World::new();
    world.change(|topology| add(topology, "br1", &[("p", "veth1")])).unwrap();
    world.disappear(11);
    world.appear(Link { framing: Framing::Other, ..ethernet(21, "veth1") });
    world.follow().unwrap();
    assert!(world.reconciler.model().deferred.has_netdev(21));
    assert_eq!(world.reconciler.netdevs().of_name("veth1"), None);
    world.assert_agreement();
}

#[test]
fn a_root_that_was_taken_off_is_attached_again_and_the_second_time_left_alone() {
    let mut world = World::new();
    world.change(|topology| add(topology, "br1", &[("p", "veth1")])).unwrap();
    let hook = Hook { netdev: Netdev { ifindex: 11, name: String::new() }, direction: Direction::Ingress };
    world.reconciler.kernel.steal(&hook);
    world.follow().unwrap();
    world.assert_agreement();
    assert_eq!(world.reconciler.netdevs().of_name("veth1").map(|netdev| netdev.ifindex), Some(11));
    world.reconciler.kernel.steal(&hook);
    world.follow().unwrap();
    world.assert_agreement();
    let (model, br1) = (world.reconciler.model(), name("br1"));
    let (_, cube) = model.topology.get("br1").unwrap();
    assert_eq!(
        model.deferred.of_cube(&model.topology, &br1, cube).as_deref(),
        Some("port p is left down: another program took our program off 2 times: it is left alone for a while")
    );
}

#[test]
fn a_root_that_was_taken_off_a_renamed_netdev_is_attached_again() {
    let mut world = World::new();
    world.change(|topology| add(topology, "br1", &[("p", "veth1")])).unwrap();
    world.appear(ethernet(11, "lan0"));
    world.follow().unwrap();
    world
        .reconciler
        .kernel
        .steal(&Hook { netdev: Netdev { ifindex: 11, name: String::new() }, direction: Direction::Ingress });
    world.follow().unwrap();
    world.assert_agreement();
    assert!(world.reconciler.wiring.hooks.keys().any(|hook| hook.netdev.name == "lan0"), "it is wired again");
}

#[test]
fn a_change_of_a_busy_cube_is_put_off_and_others_are_made() {
    let mut world = World::new();
    world.change(|topology| add_tap(topology, "a", &["veth1"])).unwrap();
    world.reconciler.cubes.behaviour.insert(name("a"), Behaviour::Busy);
    let before = world.snapshot();
    let refused = world.change(|topology| topology.cube_mut("a").unwrap().config = 1.into());
    assert_eq!(refused, Err(Refused::Busy([name("a")].into())));
    assert_eq!(world.snapshot(), before);
    world.change(|topology| add_tap(topology, "b", &["veth2"])).unwrap();
    world.change(|topology| topology.remove_cube("a").unwrap()).unwrap();
    world.assert_agreement();
}

/// What can happen.
#[derive(Clone, Debug)]
enum Happening {
    AddBridge(usize),
    AddTap(usize),
    Remove(usize),
    SetPeer(usize, usize, Option<usize>),
    Attach(usize, usize),
    Detach(usize, usize),
    Configure(usize, u32),
    Behave(usize, Behaviour),
    Appear(u32, usize),
    Disappear(u32),
    /// Another program takes ours off a hook, if it is there.
    Steal(u32, bool),
    Follow,
}

const BRIDGES: [&str; 3] = ["br1", "br2", "br3"];
const TAPS: [&str; 4] = ["a", "b", "c", "d"];
const PORTS: [&str; 2] = ["p", "q"];
const NETDEVS: [&str; 5] = ["veth1", "veth2", "veth3", "veth4", "tun5"];
const POINTS: [&str; 9] = ["br1:p", "br1:q", "br2:p", "br3:q", "veth1", "veth2", "veth3", "veth4", "tun5"];
const PEERS: [&str; 9] = ["br1:p", "br1:q", "br2:p", "br3:q", "veth1", "veth2", "veth3", "veth4", "br2:q"];

fn cubes() -> impl Iterator<Item = &'static str> {
    BRIDGES.into_iter().chain(TAPS)
}

fn happenings() -> impl Strategy<Value = Happening> {
    let cube = 0..BRIDGES.len() + TAPS.len();
    let behaviour = prop_oneof![
        4 => Just(Behaviour::Sound),
        1 => Just(Behaviour::RefusesDatapath),
        1 => Just(Behaviour::RefusesPrepare),
        1 => Just(Behaviour::Panics),
        1 => Just(Behaviour::Busy),
    ];
    prop_oneof![
        3 => (0..BRIDGES.len()).prop_map(Happening::AddBridge),
        3 => (0..TAPS.len()).prop_map(Happening::AddTap),
        1 => cube.clone().prop_map(Happening::Remove),
        6 => (0..BRIDGES.len(), 0..PORTS.len(), prop::option::weighted(0.8, 0..PEERS.len()))
            .prop_map(|(cube, port, peer)| Happening::SetPeer(cube, port, peer)),
        6 => (0..TAPS.len(), 0..POINTS.len()).prop_map(|(cube, point)| Happening::Attach(cube, point)),
        2 => (0..TAPS.len(), 0..POINTS.len()).prop_map(|(cube, point)| Happening::Detach(cube, point)),
        3 => (cube.clone(), 0_u32..6).prop_map(|(cube, flavour)| Happening::Configure(cube, flavour)),
        2 => (cube, behaviour).prop_map(|(cube, behaviour)| Happening::Behave(cube, behaviour)),
        3 => (11_u32..18, 0..NETDEVS.len()).prop_map(|(ifindex, name)| Happening::Appear(ifindex, name)),
        2 => (11_u32..18).prop_map(Happening::Disappear),
        2 => (11_u32..18, any::<bool>()).prop_map(|(ifindex, ingress)| Happening::Steal(ifindex, ingress)),
        3 => Just(Happening::Follow),
    ]
}

/// Makes an edit of the topology of what can be one.
fn edit(happening: &Happening, topology: &mut Topology) {
    // An edit that the topology refuses changes nothing, and the rooms below are what is tested here.
    let _ = match happening {
        Happening::AddBridge(at) => {
            let added = topology.add_cube(name(BRIDGES[*at]), cube(Role::Standard(OrdMap::new())));
            added.and_then(|()| {
                PORTS.iter().try_for_each(|port| topology.add_port(BRIDGES[*at], PortName::parse(port)?, String::new()))
            })
        }
        Happening::AddTap(at) => topology.add_cube(name(TAPS[*at]), cube(Role::Transparent)),
        Happening::Remove(at) => topology.remove_cube(cubes().nth(*at).unwrap()),
        Happening::SetPeer(cube, port, peer) => {
            let peer = peer.map(|peer| Point::parse(PEERS[peer]).unwrap());
            topology.set_peer(BRIDGES[*cube], PORTS[*port], peer)
        }
        Happening::Attach(cube, point) => {
            topology.attach(TAPS[*cube], Point::parse(POINTS[*point]).unwrap(), &Place::Auto)
        }
        Happening::Detach(cube, point) => topology.detach(TAPS[*cube], &Point::parse(POINTS[*point]).unwrap()),
        Happening::Configure(cube, flavour) => {
            topology.cube_mut(cubes().nth(*cube).unwrap()).map(|cube| cube.config = Value::from(*flavour))
        }
        _ => Ok(()),
    };
}

fn happen(world: &mut World, happening: &Happening) -> Result<(), Refused> {
    match happening {
        Happening::Behave(cube, behaviour) => {
            world.reconciler.cubes.behaviour.insert(name(cubes().nth(*cube).unwrap()), *behaviour);
            Ok(())
        }
        Happening::Appear(ifindex, at) => {
            let taken = world.present.named(NETDEVS[*at]).is_some_and(|link| link.ifindex != *ifindex);
            if !taken {
                let framing = if *ifindex > 15 { Framing::Other } else { Framing::Ethernet };
                world.appear(Link { framing, ..ethernet(*ifindex, NETDEVS[*at]) });
            }
            Ok(())
        }
        Happening::Disappear(ifindex) => {
            world.disappear(*ifindex);
            Ok(())
        }
        Happening::Follow => world.follow().map(drop),
        Happening::Steal(ifindex, ingress) => {
            let direction = if *ingress { Direction::Ingress } else { Direction::Egress };
            let hook = Hook { netdev: Netdev { ifindex: *ifindex, name: String::new() }, direction };
            if world.reconciler.wiring.hooks.contains_key(&hook) && world.present.link(*ifindex).is_some() {
                world.reconciler.kernel.steal(&hook);
            }
            world.follow().map(drop)
        }
        change => {
            world.follow()?;
            world.change(|topology| edit(change, topology)).map(drop)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn after_any_sequence_model_wiring_kernel_and_plugins_agree(sequence in prop::collection::vec(happenings(), 1..40)) {
        let mut world = World::new();
        for happening in &sequence {
            let before = world.snapshot();
            let panics = world.reconciler.cubes.plugins.values().filter(|plugin| plugin.failed).count();
            let happened = happen(&mut world, happening);
            world.assert_agreement();
            let is_edit = !matches!(happening, Happening::Follow | Happening::Appear(..) | Happening::Disappear(_));
            if happened.is_err() && is_edit && before.deferred == world.reconciler.model().deferred {
                let after = world.snapshot();
                prop_assert_eq!(&after.topology, &before.topology, "{:?}", happening);
                prop_assert!(panics <= world.reconciler.cubes.plugins.values().filter(|plugin| plugin.failed).count());
            }
        }
        world.reconciler.cubes.behaviour.clear();
        world.change(|topology| *topology = Topology::default()).unwrap();
        prop_assert_eq!(&world.reconciler.kernel.state, &State::default(), "everything is taken out again");
        world.assert_agreement();
    }

    #[test]
    fn a_change_that_fails_at_any_effect_leaves_everything_as_it_was(
        sequence in prop::collection::vec(happenings(), 1..20),
        last in happenings(),
    ) {
        let run = |world: &mut World| -> bool {
            for happening in &sequence {
                // What is refused here is the other test's concern.
                let _ = happen(world, happening);
            }
            world.follow().is_ok()
        };
        let mut world = World::new();
        prop_assume!(run(&mut world));
        for effects in 0.. {
            let before = world.snapshot();
            world.reconciler.kernel.fails_after = Some(effects);
            let changed = world.change(|topology| edit(&last, topology));
            let refused_by_kernel = world.reconciler.kernel.fails_after.take().is_none();
            if changed.is_ok() {
                break;
            }
            prop_assert_eq!(&world.snapshot(), &before, "{:?} after {} effects", last, effects);
            world.assert_agreement();
            if !refused_by_kernel {
                break;
            }
        }
    }
}

#[test]
fn a_deferred_part_is_named() {
    let mut world = World::new();
    world.change(|topology| add_tap(topology, "a", &["veth1"])).unwrap();
    world.reconciler.cubes.behaviour.insert(name("a"), Behaviour::Busy);
    world.disappear(11);
    world.follow().unwrap();
    let deferred = &world.reconciler.model().deferred;
    assert_eq!(deferred.reason(&Part::Cube(name("a"))).map(String::as_str), Some("its plugin is busy"));
}
