//! From one wiring to the next, as steps. Pure: nothing here touches the kernel.
//!
//! Steps come in two halves. The first can fail and can be undone, so each knows what was before it. It ends with
//! every packet on the new way. The second drops what no packet passes any more; nothing in it is undone.

use std::collections::{BTreeMap, BTreeSet};

use polycube_layout::chain::NO_PORT;

use crate::topology::CubeName;
use crate::wiring::{Hook, MapId, NodeId, Source, Wiring};

/// A step that can fail and be undone.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    CreateMap(MapId),
    Load(NodeId),
    /// The plugin gets the maps and readies itself.
    Prepare(CubeName),
    LoadRoot(Hook, u32),
    SetRootPort {
        hook: Hook,
        port: u32,
        was: u32,
    },
    SetPort {
        map: MapId,
        port: u32,
        ifindex: u32,
        was: u32,
    },
    Link {
        from: Source,
        to: Option<NodeId>,
        was: Option<NodeId>,
    },
    /// Starts to put a root on its netdev, which takes the kernel about as long as all the rest. It leads nowhere yet.
    Attach(Hook),
    /// Until the root is on its netdev.
    AwaitAttach(Hook),
    /// Until no packet is on its way to where packets went before.
    Wait,
}

/// A step that takes away what is not in use any more.
#[derive(Clone, Debug, PartialEq)]
pub enum Cleanup {
    Detach(Hook),
    /// Until no CPU runs what was unlinked.
    Wait,
    UnloadRoot(Hook),
    Unload(NodeId),
    Commit(CubeName),
    DropMap(MapId),
}

/// The way from one wiring to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub cleanup: Vec<Cleanup>,
}

impl Plan {
    /// `touched` are the cubes that get a new configuration or new surroundings.
    pub fn new(old: &Wiring, new: &Wiring, touched: &BTreeSet<CubeName>) -> Self {
        let mut plan = Self::default();
        plan.create(old, new, touched);
        plan.link(old, new);
        plan.drop_unused(old, new, touched);
        plan
    }

    fn create(&mut self, old: &Wiring, new: &Wiring, touched: &BTreeSet<CubeName>) {
        let steps = &mut self.steps;
        let hooks = || new.hooks.iter().filter(|(hook, _)| !old.hooks.contains_key(*hook));
        steps.extend(hooks().map(|(hook, chain)| Step::LoadRoot(hook.clone(), chain.port)));
        steps.extend(hooks().map(|(hook, _)| Step::Attach(hook.clone())));
        steps.extend(new.maps.keys().filter(|map| !old.maps.contains_key(*map)).cloned().map(Step::CreateMap));
        steps.extend(new.nodes.keys().filter(|node| !old.nodes.contains_key(*node)).cloned().map(Step::Load));
        steps.extend(touched.iter().cloned().map(Step::Prepare));
        // No program that packets pass has such a map yet.
        steps.extend(ports(old, new).filter(|(map, ..)| !old.maps.contains_key(*map)).map(set_port));
        steps.extend(hooks().map(|(hook, _)| Step::AwaitAttach(hook.clone())));
    }

    /// New programs are linked while no packet reaches them; then each chain in use is relinked from its end to its
    /// root, so that a packet sees the old way or the new one and never a gap.
    ///
    /// Where a port moves from one netdev to another, the chain at the new one is whole before the cube sends there, and
    /// the chain at the old one until no packet is on its way to it.
    fn link(&mut self, old: &Wiring, new: &Wiring) {
        let before = slots(old);
        let after = slots(new);
        let (roots, unreached): (Vec<_>, Vec<_>) = after
            .iter()
            .filter(|(from, _)| !before.contains_key(*from))
            .filter_map(|(from, to)| relink(&before, from, to.as_ref()))
            .partition(|step| matches!(step, Step::Link { from: Source::Root(_), .. }));
        self.steps.extend(unreached);
        let moves: Vec<_> = ports(old, new).filter(|(map, ..)| old.maps.contains_key(*map)).collect();
        let left: BTreeSet<u32> = moves.iter().map(|(.., was)| *was).collect();
        let (left, others): (Vec<&Hook>, Vec<&Hook>) =
            new.hooks.keys().partition(|hook| left.contains(&hook.netdev.ifindex));
        for hook in others {
            self.relink_hook(hook, old, new, &before);
        }
        self.steps.extend(roots);
        self.move_ports(moves, left, |plan, hook| plan.relink_hook(hook, old, new, &before));
    }

    /// A port moves when the chain that it moves to is whole; a chain that ports leave changes when they have left.
    fn move_ports(&mut self, mut moves: Vec<Move<'_>>, mut left: Vec<&Hook>, mut relink: impl FnMut(&mut Self, &Hook)) {
        while !moves.is_empty() || !left.is_empty() {
            let waits = |(.., ifindex, _): &Move<'_>| left.iter().any(|hook| hook.netdev.ifindex == *ifindex);
            let (mut later, now): (Vec<_>, Vec<_>) = moves.into_iter().partition(waits);
            self.steps.extend(now.into_iter().map(set_port));
            let is_sent_to = |hook: &&Hook| later.iter().any(|(.., was)| *was == hook.netdev.ifindex);
            let (mut still, free): (Vec<_>, Vec<_>) = left.into_iter().partition(is_sent_to);
            if free.is_empty() {
                // Ports that take each other's netdevs: one of them has to be first.
                self.steps.extend(later.drain(..).map(set_port));
            }
            let changed = self.steps.len();
            let free = if free.is_empty() { std::mem::take(&mut still) } else { free };
            free.into_iter().for_each(|hook| relink(self, hook));
            if self.steps.len() > changed {
                self.steps.insert(changed, Step::Wait);
            }
            (moves, left) = (later, still);
        }
    }

    /// A cube gets packets of a port only while the root says which port it is.
    fn relink_hook(&mut self, hook: &Hook, old: &Wiring, new: &Wiring, before: &BTreeMap<Source, Option<NodeId>>) {
        let chain = &new.hooks[hook];
        let slots = chain.slots(hook).into_iter().rev().filter(|(from, _)| before.contains_key(from));
        let links: Vec<Step> = slots.filter_map(|(from, to)| relink(before, &from, to.as_ref())).collect();
        let links = links.into_iter().filter(|step| !self.steps.contains(step)).collect::<Vec<_>>();
        let was = old.hooks.get(hook).map_or(chain.port, |chain| chain.port);
        let port = (was != chain.port).then(|| Step::SetRootPort { hook: hook.clone(), port: chain.port, was });
        if chain.port == NO_PORT {
            self.steps.extend(links.into_iter().chain(port));
        } else {
            self.steps.extend(port.into_iter().chain(links));
        }
    }

    fn drop_unused(&mut self, old: &Wiring, new: &Wiring, touched: &BTreeSet<CubeName>) {
        let gone: Vec<&Hook> = old.hooks.keys().filter(|hook| !new.hooks.contains_key(*hook)).collect();
        let unused: Vec<&NodeId> = old.nodes.keys().filter(|node| !new.nodes.contains_key(*node)).collect();
        let cleanup = &mut self.cleanup;
        cleanup.extend(gone.iter().map(|hook| Cleanup::Detach((*hook).clone())));
        if !gone.is_empty() || !unused.is_empty() {
            cleanup.push(Cleanup::Wait);
        }
        cleanup.extend(gone.into_iter().map(|hook| Cleanup::UnloadRoot(hook.clone())));
        cleanup.extend(unused.into_iter().map(|node| Cleanup::Unload(node.clone())));
        cleanup.extend(touched.iter().cloned().map(Cleanup::Commit));
        cleanup.extend(old.maps.keys().filter(|map| !new.maps.contains_key(*map)).cloned().map(Cleanup::DropMap));
    }
}

/// A port's entry in a map `ports`: port id, ifindex, and what it was; 0 is none.
type Move<'a> = (&'a MapId, u32, u32, u32);

/// Entries that differ. Those of maps that go are not among them.
fn ports<'a>(old: &'a Wiring, new: &'a Wiring) -> impl Iterator<Item = Move<'a>> {
    let entries: BTreeSet<&(MapId, u32)> = old.ports.keys().chain(new.ports.keys()).collect();
    entries.into_iter().filter(|(map, _)| new.maps.contains_key(map)).filter_map(|entry| {
        let ifindex = |wiring: &Wiring| wiring.ports.get(entry).copied().unwrap_or(0);
        let (map, port) = entry;
        (ifindex(old) != ifindex(new)).then(|| (map, *port, ifindex(new), ifindex(old)))
    })
}

fn set_port((map, port, ifindex, was): Move<'_>) -> Step {
    Step::SetPort { map: map.clone(), port, ifindex, was }
}

/// The step that points a slot elsewhere, unless it points there.
fn relink(before: &BTreeMap<Source, Option<NodeId>>, from: &Source, to: Option<&NodeId>) -> Option<Step> {
    let was = before.get(from).cloned().flatten();
    (was.as_ref() != to).then(|| Step::Link { from: from.clone(), to: to.cloned(), was })
}

/// What stands in every slot that packets can reach.
fn slots(wiring: &Wiring) -> BTreeMap<Source, Option<NodeId>> {
    wiring.hooks.iter().flat_map(|(hook, chain)| chain.slots(hook)).collect()
}

#[cfg(test)]
mod kernel;
#[cfg(test)]
mod tests;
