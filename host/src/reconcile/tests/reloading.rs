//! A service is loaded again, and its cubes go on with the new code or, all of them, with the old.

use std::sync::Arc;

use polycube_plugin_api::ServiceKind;

use super::*;
use crate::plugins::double::plugin;
use crate::registry::Service;
use crate::wiring::MapId;

/// A bridge and two captures, whose service is loaded.
fn started() -> World {
    let mut world = World::new();
    let service = Service::new(plugin("double", ServiceKind::Transparent)).unwrap();
    world.reconciler.model.registry.add(Arc::new(service)).unwrap();
    world
        .change(|topology| {
            add(topology, "br1", &[("p", "veth1"), ("q", "veth2")]);
            add_tap(topology, "a", &["br1:p", "veth4"]);
            add_tap(topology, "b", &["br1:p", "veth3"]);
        })
        .unwrap();
    world
}

/// Loads the service again, as this version.
fn reload(world: &mut World, code: u32) -> Result<BTreeMap<CubeName, String>, Refused> {
    world.reconciler.cubes.code = code;
    let mut model = world.reconciler.model().clone();
    let service = Service::new(plugin("double", ServiceKind::Transparent)).unwrap();
    model.registry.replace(Arc::new(service)).unwrap();
    let facts = world.facts();
    world.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request)
}

fn codes(world: &World) -> Vec<u32> {
    assert!(world.reconciler.cubes.fresh.is_empty(), "no instance is left beside another");
    world.reconciler.cubes.plugins.values().map(|plugin| plugin.code).collect()
}

fn maps(world: &World) -> Vec<MapId> {
    world.reconciler.wiring.maps.keys().cloned().collect()
}

fn programs(world: &World) -> Vec<u64> {
    world.reconciler.wiring.nodes.keys().map(|node| node.revision).collect()
}

#[test]
fn cubes_get_new_code_and_keep_their_maps() {
    let mut world = started();
    let (maps_before, programs_before) = (maps(&world), programs(&world));
    reload(&mut world, 0).unwrap();
    assert_eq!((maps(&world), programs(&world)), (maps_before.clone(), programs_before.clone()), "nothing has changed");
    reload(&mut world, 1).unwrap();
    assert_eq!(codes(&world), [1, 1, 1]);
    assert_eq!(maps(&world), maps_before);
    assert!(programs(&world).iter().all(|revision| !programs_before.contains(revision)), "each program is another");
    world.assert_agreement();
}

#[test]
fn a_map_that_the_new_code_declares_otherwise_is_another_one() {
    let mut world = started();
    let before = maps(&world);
    world.reconciler.kernel.unfit.insert(name("a"));
    reload(&mut world, 0).unwrap();
    let changed: Vec<_> = maps(&world).into_iter().filter(|map| !before.contains(map)).collect();
    assert_eq!(changed.iter().map(|map| map.cube.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(maps(&world).len(), before.len());
    world.assert_agreement();
}

#[test]
fn a_reload_that_fails_at_any_effect_leaves_everything_as_it_was() {
    for effects in 0.. {
        let mut world = started();
        let before = world.snapshot();
        world.reconciler.kernel.fails_after = Some(effects);
        let reloaded = reload(&mut world, 1);
        if world.reconciler.kernel.fails_after.take().is_some() {
            assert!(reloaded.is_ok() && effects > 10, "a reload has more than {effects} effects");
            assert_eq!(codes(&world), [1, 1, 1]);
            break;
        }
        assert!(reloaded.is_err());
        assert_eq!(world.snapshot(), before, "after {effects} effects");
        assert_eq!(codes(&world), [0, 0, 0], "after {effects} effects");
        world.assert_agreement();
    }
}

#[test]
fn a_cube_that_cannot_go_on_with_new_code_keeps_all_from_it() {
    for behaviour in
        [Behaviour::RefusesCreate, Behaviour::RefusesDatapath, Behaviour::RefusesPrepare, Behaviour::Panics]
    {
        let mut world = started();
        let before = world.snapshot();
        world.reconciler.cubes.behaviour.insert(name("b"), behaviour);
        let Err(Refused::Problems(problems)) = reload(&mut world, 1) else { panic!("{behaviour:?} is not refused") };
        assert_eq!(problems.0[0].path, "b", "{behaviour:?}");
        assert_eq!(world.snapshot(), before, "{behaviour:?}");
        assert_eq!(codes(&world), [0, 0, 0], "{behaviour:?}");
        world.assert_agreement();
        world.reconciler.cubes.behaviour.clear();
        reload(&mut world, 2).unwrap();
        assert_eq!(codes(&world), [2, 2, 2]);
    }
}

#[test]
fn new_code_takes_the_place_of_code_that_has_failed_or_was_left_behind() {
    let mut world = started();
    world.reconciler.cubes.behaviour.insert(name("a"), Behaviour::Panics);
    let panicked = world.change(|topology| topology.cube_mut("a").unwrap().config = 2.into());
    assert!(panicked.is_err() && world.reconciler.cubes.plugins[&name("a")].failed);
    world.reconciler.cubes.behaviour.clear();
    world.reconciler.cubes.behaviour.insert(name("b"), Behaviour::RefusesDatapath);
    world.disappear(13);
    world.follow().unwrap();
    assert!(world.reconciler.model().deferred.has_cube(&name("b")));
    world.reconciler.cubes.behaviour.clear();
    reload(&mut world, 1).unwrap();
    assert!(!world.reconciler.cubes.plugins[&name("a")].failed);
    assert!(world.reconciler.model().deferred.is_empty());
    assert_eq!(codes(&world), [1, 1, 1]);
    world.assert_agreement();
}
