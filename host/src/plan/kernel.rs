//! A kernel of sets and slots, which takes a plan's steps as literally as the real one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cleanup, Step, slots};
use crate::wiring::{Hook, MapId, NodeId, Source, Wiring};

/// What filters say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Reject,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kernel {
    maps: BTreeSet<MapId>,
    /// Loaded programs, with the maps that they use.
    nodes: BTreeMap<NodeId, Vec<MapId>>,
    roots: BTreeMap<Hook, u32>,
    attached: BTreeSet<Hook>,
    slots: BTreeMap<Source, NodeId>,
    ports: BTreeMap<(MapId, u32), u32>,
}

impl Kernel {
    /// The kernel in which `wiring` is in force, and nothing else.
    pub fn of(wiring: &Wiring) -> Self {
        Self {
            maps: wiring.maps.keys().cloned().collect(),
            nodes: wiring.nodes.iter().map(|(id, spec)| (id.clone(), spec.maps.clone())).collect(),
            roots: wiring.hooks.iter().map(|(hook, chain)| (hook.clone(), chain.port)).collect(),
            attached: wiring.hooks.keys().cloned().collect(),
            slots: slots(wiring).into_iter().filter_map(|(from, to)| Some((from, to?))).collect(),
            ports: wiring.ports.clone(),
        }
    }

    /// The programs that a packet at `hook` passes, when every filter says the same of it.
    pub fn path(&self, hook: &Hook, verdict: Verdict) -> Vec<NodeId> {
        let mut path: Vec<NodeId> = Vec::new();
        let behind = |node: &NodeId| {
            let accepted = self.slots.get(&Source::Accept(node.clone())).filter(|_| verdict == Verdict::Accept);
            accepted.or_else(|| self.slots.get(&Source::Node(node.clone())))
        };
        let root = Source::Root(hook.clone());
        let mut at = self.slots.get(&root).filter(|_| self.attached.contains(hook));
        while let Some(node) = at {
            assert!(self.nodes.contains_key(node), "{node:?} is linked and not loaded");
            assert!(!path.contains(node), "packets go in a circle: {path:?}");
            path.push(node.clone());
            at = behind(node);
        }
        path
    }

    /// Where each port's packets go out: map, port id and ifindex.
    pub fn ports(&self) -> impl Iterator<Item = (&MapId, u32, u32)> {
        self.ports.iter().map(|((map, port), ifindex)| (map, *port, *ifindex))
    }

    pub fn carry_out(&mut self, step: &Step, wiring: &Wiring) {
        match step {
            Step::CreateMap(map) => assert!(self.maps.insert(map.clone()), "{map:?} is there already"),
            Step::Load(node) => {
                let maps = wiring.nodes[node].maps.clone();
                assert!(maps.iter().all(|map| self.maps.contains(map)), "a map of {node:?} is not there yet");
                assert!(self.nodes.insert(node.clone(), maps).is_none(), "{node:?} is loaded already");
            }
            Step::Prepare(cube) => {
                let wanted = wiring.nodes.keys().filter(|node| node.key.cube == *cube);
                assert!(wanted.clone().all(|node| self.nodes.contains_key(node)), "{cube} is not loaded yet");
                assert!(wiring.maps_of(cube).all(|map| self.maps.contains(map)), "{cube} has no maps yet");
            }
            Step::LoadRoot(hook, port) => {
                assert!(self.roots.insert(hook.clone(), *port).is_none(), "{hook:?} has a root already");
            }
            Step::SetRootPort { hook, port, was } => assert_eq!(self.roots.insert(hook.clone(), *port), Some(*was)),
            Step::SetPort { map, port, ifindex, was } => self.set_port(map, *port, *ifindex, *was),
            Step::Link { from, to, was } => self.link(from, to.as_ref(), was.as_ref()),
            Step::Attach(hook) => {
                assert!(self.roots.contains_key(hook), "{hook:?} has no root yet");
                assert!(self.attached.insert(hook.clone()), "{hook:?} is attached already");
            }
            Step::AwaitAttach(hook) => assert!(self.attached.contains(hook), "{hook:?} is not being attached"),
            Step::Wait => {}
        }
    }

    pub fn undo(&mut self, step: &Step) {
        match step {
            Step::CreateMap(map) => self.drop_map(map),
            Step::Load(node) => self.unload(node),
            Step::Prepare(_) | Step::AwaitAttach(_) | Step::Wait => {}
            Step::LoadRoot(hook, _) => self.unload_root(hook),
            Step::SetRootPort { hook, port, was } => assert_eq!(self.roots.insert(hook.clone(), *was), Some(*port)),
            Step::SetPort { map, port, ifindex, was } => self.set_port(map, *port, *was, *ifindex),
            Step::Link { from, to, was } => self.link(from, was.as_ref(), to.as_ref()),
            Step::Attach(hook) => assert!(self.attached.remove(hook)),
        }
    }

    pub fn clean(&mut self, step: &Cleanup) {
        match step {
            Cleanup::Detach(hook) => assert!(self.attached.remove(hook), "{hook:?} is not attached"),
            Cleanup::Wait | Cleanup::Commit(_) => {}
            Cleanup::UnloadRoot(hook) => self.unload_root(hook),
            Cleanup::Unload(node) => self.unload(node),
            Cleanup::DropMap(map) => self.drop_map(map),
        }
    }

    fn link(&mut self, from: &Source, to: Option<&NodeId>, was: Option<&NodeId>) {
        let is_there = match from {
            Source::Root(hook) => self.roots.contains_key(hook),
            Source::Node(node) | Source::Accept(node) => self.nodes.contains_key(node),
        };
        assert!(is_there, "{from:?} is not loaded");
        assert!(to.is_none_or(|node| self.nodes.contains_key(node)), "{to:?} is not loaded");
        assert_eq!(self.slots.get(from), was, "the slot of {from:?} holds something else");
        match to {
            Some(node) => self.slots.insert(from.clone(), node.clone()),
            None => self.slots.remove(from),
        };
    }

    fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32, was: u32) {
        assert!(self.maps.contains(map), "{map:?} is not there");
        let place = (map.clone(), port);
        let before = if ifindex == 0 { self.ports.remove(&place) } else { self.ports.insert(place, ifindex) };
        assert_eq!(before.unwrap_or(0), was);
    }

    fn unload_root(&mut self, hook: &Hook) {
        assert!(!self.attached.contains(hook), "{hook:?} is attached");
        assert!(self.roots.remove(hook).is_some(), "{hook:?} has no root");
        self.slots.remove(&Source::Root(hook.clone()));
    }

    fn unload(&mut self, node: &NodeId) {
        let passes = |hook, verdict| self.path(hook, verdict).contains(node);
        let reached = self.attached.iter().any(|hook| passes(hook, Verdict::Accept) || passes(hook, Verdict::Reject));
        assert!(!reached, "packets still pass {node:?}");
        assert!(self.nodes.remove(node).is_some(), "{node:?} is not loaded");
        self.slots.remove(&Source::Node(node.clone()));
        self.slots.remove(&Source::Accept(node.clone()));
        // A slot that points to it holds it in the real kernel, out of every packet's way.
        self.slots.retain(|_, to| to != node);
    }

    fn drop_map(&mut self, map: &MapId) {
        assert!(self.nodes.values().all(|maps| !maps.contains(map)), "a program still uses {map:?}");
        assert!(self.maps.remove(map), "{map:?} is not there");
        self.ports.retain(|(of, _), _| of != map);
    }
}
