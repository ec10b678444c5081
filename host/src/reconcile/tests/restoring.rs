//! A daemon starts and brings back what is stored, whatever fails.

use super::*;
use crate::model::Origin;

/// Two linked bridges, and captures at ports and netdevs.
fn lab(topology: &mut Topology) {
    add(topology, "br1", &[("p", "veth1"), ("q", "veth2")]);
    add(topology, "br2", &[("p", "veth3")]);
    for cube in ["br1", "br2"] {
        topology.add_port(cube, PortName::parse("link").unwrap(), String::new()).unwrap();
    }
    topology.set_peer("br1", "link", Some(Point::parse("br2:link").unwrap())).unwrap();
    topology.set_peer("br2", "link", Some(Point::parse("br1:link").unwrap())).unwrap();
    add_tap(topology, "a", &["br1:p", "veth4"]);
    add_tap(topology, "b", &["br1:p", "br2:p", "veth3"]);
}

/// A world in which a daemon has just started, and the model that it brings back.
fn started() -> (World, Model) {
    let mut stored = World::new();
    stored.change(lab).unwrap();
    let mut world = World::new();
    world.reconciler.kernel.has_found = true;
    (world, stored.reconciler.model().clone())
}

fn restore(world: &mut World, model: Model) -> Result<BTreeMap<CubeName, String>, Refused> {
    let facts = world.facts();
    world.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Restore)
}

#[test]
fn everything_is_there_again() {
    let (mut world, model) = started();
    let topology = model.topology.clone();
    restore(&mut world, model).unwrap();
    assert_eq!(world.reconciler.model().topology, topology);
    assert!(world.reconciler.model().deferred.is_empty());
    world.assert_agreement();
    world.reconciler.release_found();
    assert!(world.reconciler.kernel.kept.is_empty());
}

#[test]
fn a_kernel_that_fails_at_any_effect_costs_no_more_than_the_part_to_blame() {
    for effects in 0.. {
        let (mut world, model) = started();
        let topology = model.topology.clone();
        world.reconciler.kernel.fails_after = Some(effects);
        restore(&mut world, model).unwrap();
        let is_through = world.reconciler.kernel.fails_after.take().is_some();
        world.assert_agreement();
        assert_eq!(world.reconciler.model().topology, topology, "after {effects} effects");
        // What was deferred is tried again, and succeeds.
        world.follow().unwrap();
        world.assert_agreement();
        assert!(world.reconciler.model().deferred.is_empty(), "after {effects} effects");
        assert_eq!(world.reconciler.netdevs().links().len(), 2, "after {effects} effects");
        if is_through {
            assert!(effects > 30, "two bridges and two captures are more than {effects} effects");
            break;
        }
    }
}

#[test]
fn what_a_plugin_refuses_waits_and_the_rest_is_there() {
    for behaviour in [Behaviour::RefusesCreate, Behaviour::RefusesDatapath, Behaviour::RefusesPrepare] {
        for cube in ["br1", "b"] {
            let (mut world, model) = started();
            world.reconciler.cubes.behaviour.insert(name(cube), behaviour);
            restore(&mut world, model).unwrap();
            world.assert_agreement();
            let model = world.reconciler.model();
            let is_aside = behaviour == Behaviour::RefusesCreate;
            assert_eq!(model.unrestored.contains_key(cube), is_aside, "{behaviour:?} {cube}");
            assert_eq!(model.topology.get(cube).is_none(), is_aside, "{behaviour:?} {cube}");
            assert_eq!(model.deferred.has_cube(&name(cube)), !is_aside, "{behaviour:?} {cube}");
            assert!(world.reconciler.cubes.plugins[&name("br2")].committed.is_some());
            world.reconciler.release_found();
            assert_eq!(world.reconciler.kernel.kept, BTreeSet::from([name(cube)]), "its pins stay");
        }
    }
}
