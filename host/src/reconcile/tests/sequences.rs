//! Any sequence of changes and happenings, and a kernel that fails at any effect.

use imbl::OrdMap;
use polycube_plugin_api::Direction;
use proptest::prelude::*;
use serde_json::Value;

use super::super::Refused;
use super::super::double::{Behaviour, State, cube};
use super::{World, name};
use crate::netdev::{Framing, Link, ethernet};
use crate::topology::{Place, Point, PortName, Role, Topology};
use crate::wiring::{Hook, Netdev};

/// What can happen.
#[derive(Clone, Debug)]
enum Happening {
    AddBridge(usize),
    AddTap(usize),
    Remove(usize),
    SetPeer(usize, usize, Option<usize>),
    Attach(usize, usize),
    Detach(usize, usize),
    /// The chain at a point begins with another of its cubes.
    Rotate(usize, usize),
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
        2 => (0..POINTS.len(), 1..4_usize).prop_map(|(point, by)| Happening::Rotate(point, by)),
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
        Happening::Rotate(point, by) => {
            let point = Point::parse(POINTS[*point]).unwrap();
            let mut cubes: Vec<_> = topology.chain(&point).iter().map(|attachment| attachment.cube.clone()).collect();
            if !cubes.is_empty() {
                let by = by % cubes.len();
                cubes.rotate_left(by);
                topology.arrange(&point, &cubes);
            }
            Ok(())
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
            let is_edit = !matches!(happening, Happening::Follow | Happening::Appear(..) | Happening::Disappear(_));
            if is_edit {
                // A change follows the netdevs first, and that stays when the change itself is refused.
                let _ = world.follow();
            }
            let before = world.snapshot();
            let panics = world.reconciler.cubes.plugins.values().filter(|plugin| plugin.failed).count();
            let happened = happen(&mut world, happening);
            world.assert_agreement();
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
