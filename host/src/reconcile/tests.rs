//! Changes in a world where netdevs come, go and are renamed, plugins refuse, panic and are busy, and the kernel fails.

mod parts;
mod reloading;
mod restoring;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use polycube_plugin_api::{Direction, MapSpec};

use super::double::{Behaviour, DoubleCubes, DoubleKernel, Plugin, State, cube};
use super::{Cubes as _, Reconciler, Refused};
use crate::model::{Deferred, Facts, Model, Origin, Part, renamed};
use crate::netdev::{Framing, Link, Table, ethernet};
use crate::registry::Registry;
use crate::topology::{CubeName, Place, Point, PortName, Role, Topology};
use crate::wiring::{Hook, MapDescription, Netdev, Netdevs, Touched, Wiring};

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
        let model = Model::new(registry);
        let reconciler = Reconciler::new(DoubleKernel::default(), DoubleCubes::default(), model);
        let mut world = Self { reconciler, present: Table::default(), changed: BTreeSet::new() };
        for number in 1..=4 {
            world.appear(ethernet(10 + number, &format!("veth{number}")));
        }
        world.appear(Link { framing: Framing::Other, ..ethernet(15, "tun5") });
        world
    }

    fn appear(&mut self, link: Link) {
        self.changed.extend(self.present.set(link).names);
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
            looks: BTreeMap::new(),
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
        assert!(kernel.announced.is_empty(), "no program is held that no step loads");
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
fn a_link_that_cannot_be_made_again_is_left_down_and_holds_up_nobody() {
    let mut world = World::new();
    let linked = |topology: &mut Topology| {
        for (cube, peer) in [("br1", "br2:p"), ("br2", "br1:p")] {
            topology.set_peer(cube, "p", Some(Point::parse(peer).unwrap())).unwrap();
        }
    };
    world
        .change(|topology| {
            for cube in ["br1", "br2"] {
                add(topology, cube, &[]);
                topology.add_port(cube, PortName::parse("p").unwrap(), String::new()).unwrap();
            }
            topology.add_port("br1", PortName::parse("q").unwrap(), String::new()).unwrap();
            topology.set_peer("br1", "q", Some(Point::parse("veth1").unwrap())).unwrap();
            linked(topology);
        })
        .unwrap();
    let ends: Vec<Netdev> = world.reconciler.kernel.pairs.iter().cloned().collect();
    for effects in 0.. {
        for end in &ends {
            world.changed.insert(end.name.clone());
        }
        world.appear(ethernet(11, if effects % 2 == 0 { "lan0" } else { "veth1" }));
        world.reconciler.kernel.fails_after = Some(effects);
        world.follow().unwrap();
        let is_through = world.reconciler.kernel.fails_after.take().is_some();
        world.assert_agreement();
        assert!(world.reconciler.netdevs().is_named(11), "the other port follows its netdev");
        world.change(|topology| topology.cube_mut("br1").unwrap().config = effects.into()).unwrap();
        world.follow().unwrap();
        assert_eq!(world.reconciler.netdevs().links().len(), 2, "the link is up again");
        world.assert_agreement();
        if is_through {
            break;
        }
    }
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

#[test]
fn a_late_map_is_taken_once_and_only_as_it_is_described() {
    let mut world = World::new();
    world.change(|topology| add(topology, "br1", &[("p1", "veth1")])).unwrap();
    let Reconciler { wiring, kernel, .. } = &mut world.reconciler;
    let (id, is) = wiring.maps.iter().next().map(|(id, is)| (id.clone(), Arc::clone(is))).unwrap();
    let spec = MapSpec { late: true, ..is.spec.clone() };
    let described =
        Arc::new(MapDescription { spec: spec.clone(), owner: is.owner.clone(), objects: is.objects.clone() });
    wiring.maps.insert(id.clone(), Arc::clone(&described));
    kernel.state.maps.remove(&id);

    let reconciler = &mut world.reconciler;
    let is_there = |reconciler: &Reconciler<_, _>| reconciler.late_map(&id.cube, &spec).unwrap().2.is_some();
    let made = || (&*described, id.clone());
    assert!(!is_there(reconciler));
    reconciler.kernel.fails_after = Some(0);
    assert!(reconciler.take_late_map(&id.cube, &spec, made()).is_err() && !is_there(reconciler));
    let earlier = MapDescription { spec: spec.clone(), owner: is.owner.clone(), objects: Vec::new() };
    reconciler.take_late_map(&id.cube, &spec, (&earlier, id.clone())).unwrap();
    assert!(!is_there(reconciler), "another object declares it now");
    reconciler.take_late_map(&id.cube, &spec, made()).unwrap();
    assert!(is_there(reconciler));
    reconciler.kernel.fails_after = Some(0);
    reconciler.take_late_map(&id.cube, &spec, made()).expect("another one is not asked of the kernel");
    let other = MapSpec { generation: spec.generation + 1, ..spec.clone() };
    let refused = reconciler.take_late_map(&id.cube, &other, made()).unwrap_err();
    assert_eq!(refused.message, "nothing describes a late map `data`");
}
