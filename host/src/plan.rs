//! From one wiring to the next, as steps. Pure: nothing here touches the kernel.
//!
//! Steps come in two halves. The first half can fail and can be undone, so each step knows what was there before. When
//! it is through, every packet takes the new way. The second half drops what no packet passes any more; nothing in it
//! is undone.
//!
//! A plan looks only at what the two wirings do not share, so it takes as long as there is to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use polycube_layout::chain::NO_PORT;

use crate::topology::{CubeName, keys};
use crate::wiring::{Chain, Hook, MapId, NodeId, Source, Wiring};

/// A step that can fail and be undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    CreateMap(MapId),
    Load(NodeId),
    /// The plugin gets the maps and prepares the change.
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
    /// Starts to attach a root to its netdev, which takes the kernel about as long as everything else. Its slot is empty.
    Attach(Hook),
    /// Waits until the root is attached.
    AwaitAttach(Hook),
    /// Waits until no packet is on its way to where packets went before.
    Wait,
}

/// A step that removes what is no longer in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cleanup {
    Detach(Hook),
    /// Waits until no CPU runs what was unlinked.
    Wait,
    UnloadRoot(Hook),
    Unload(NodeId),
    Commit(CubeName),
    DropMap(MapId),
}

/// The way from one wiring to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub cleanup: Vec<Cleanup>,
}

impl Plan {
    /// `asked` are the cubes whose plugins have to adopt a new configuration or new surroundings.
    pub(crate) fn new(old: &Wiring, new: &Wiring, asked: &BTreeSet<CubeName>) -> Self {
        Self::build(old, new, asked, false)
    }

    /// The same where a program that is new to the wiring may be there already, with slots that lead anywhere.
    pub(crate) fn taking_over(old: &Wiring, new: &Wiring, asked: &BTreeSet<CubeName>) -> Self {
        Self::build(old, new, asked, true)
    }

    fn build(old: &Wiring, new: &Wiring, asked: &BTreeSet<CubeName>, takes_over: bool) -> Self {
        let mut plan = Self::default();
        plan.create(old, new, asked);
        plan.link(old, new, takes_over);
        plan.drop_unused(old, new, asked);
        plan
    }

    /// The way to `new` where parts of it may be in force already: every slot is written, each chain's
    /// from its end to its root, so that a packet that passes the chain meanwhile misses nothing.
    pub(crate) fn restoring(new: &Wiring, asked: &BTreeSet<CubeName>) -> Self {
        let (mut plan, old) = (Self::default(), Wiring::default());
        plan.create(&old, new, asked);
        for (hook, chain) in &new.hooks {
            let slots = chain.slots(hook).into_iter().rev();
            plan.steps.extend(slots.map(|(from, to)| Step::Link { from, to, was: None }));
        }
        plan.drop_unused(&old, new, asked);
        plan
    }

    fn create(&mut self, old: &Wiring, new: &Wiring, asked: &BTreeSet<CubeName>) {
        let steps = &mut self.steps;
        let hooks: Vec<(&Hook, &Arc<Chain>)> = added(&old.hooks, &new.hooks).collect();
        steps.extend(hooks.iter().map(|(hook, chain)| Step::LoadRoot((*hook).clone(), chain.port)));
        steps.extend(hooks.iter().map(|(hook, _)| Step::Attach((*hook).clone())));
        steps.extend(added(&old.maps, &new.maps).map(|(map, _)| Step::CreateMap(map.clone())));
        steps.extend(added(&old.nodes, &new.nodes).map(|(node, _)| Step::Load(node.clone())));
        steps.extend(asked.iter().cloned().map(Step::Prepare));
        // No program that packets pass has such a map yet.
        steps.extend(ports(old, new).into_iter().filter(|(map, ..)| !old.maps.contains_key(*map)).map(set_port));
        steps.extend(hooks.iter().map(|(hook, _)| Step::AwaitAttach((*hook).clone())));
    }

    /// New programs are linked while no packet reaches them; then each chain in use is relinked from its end to its
    /// root, so that a packet sees the old way or the new one and never a gap.
    ///
    /// Where a port moves from one netdev to another, the chain at the new one is whole before the cube sends there, and
    /// the chain at the old one until no packet is on its way to it.
    fn link(&mut self, old: &Wiring, new: &Wiring, takes_over: bool) {
        let changed: BTreeSet<&Hook> = keys(old.hooks.diff(&new.hooks)).collect();
        let before = slots(old, &changed);
        let chains = changed.iter().filter_map(|hook| new.hooks.get_key_value(*hook));
        let (roots, unreached): (Vec<_>, Vec<_>) = chains
            .flat_map(|(hook, chain)| chain.slots(hook).into_iter().rev())
            .filter(|(from, to)| !before.contains_key(from) && (takes_over || to.is_some()))
            .map(|(from, to)| Step::Link { from, to, was: None })
            .partition(|step| matches!(step, Step::Link { from: Source::Root(_), .. }));
        self.steps.extend(unreached);
        let moves: Vec<_> = ports(old, new).into_iter().filter(|(map, ..)| old.maps.contains_key(*map)).collect();
        let left: BTreeSet<u32> = moves.iter().map(|(.., was)| *was).collect();
        let (left, others): (Vec<&Hook>, Vec<&Hook>) = changed
            .into_iter()
            .filter(|hook| new.hooks.contains_key(*hook))
            .partition(|hook| left.contains(&hook.netdev.ifindex));
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

    /// A cube only gets packets while the root says which port they are from.
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

    fn drop_unused(&mut self, old: &Wiring, new: &Wiring, asked: &BTreeSet<CubeName>) {
        let gone: Vec<&Hook> = added(&new.hooks, &old.hooks).map(|(hook, _)| hook).collect();
        let unused: Vec<&NodeId> = added(&new.nodes, &old.nodes).map(|(node, _)| node).collect();
        let cleanup = &mut self.cleanup;
        cleanup.extend(gone.iter().map(|hook| Cleanup::Detach((*hook).clone())));
        if !gone.is_empty() || !unused.is_empty() {
            cleanup.push(Cleanup::Wait);
        }
        cleanup.extend(gone.into_iter().map(|hook| Cleanup::UnloadRoot(hook.clone())));
        cleanup.extend(unused.into_iter().map(|node| Cleanup::Unload(node.clone())));
        cleanup.extend(asked.iter().cloned().map(Cleanup::Commit));
        cleanup.extend(added(&new.maps, &old.maps).map(|(map, _)| Cleanup::DropMap(map.clone())));
    }
}

/// The entries of `new` whose keys `old` does not have.
fn added<'a, K: Ord, V: PartialEq>(
    old: &'a OrdMap<K, V>,
    new: &'a OrdMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    old.diff(new).filter_map(|item| match item {
        DiffItem::Add(key, value) => Some((key, value)),
        DiffItem::Remove(..) | DiffItem::Update { .. } => None,
    })
}

/// A port's entry in a map `ports`: port id, ifindex, and what it was; 0 is none.
type Move<'a> = (&'a MapId, u32, u32, u32);

/// Entries that differ. Those of maps that are dropped are not among them.
fn ports<'a>(old: &'a Wiring, new: &'a Wiring) -> Vec<Move<'a>> {
    let entries = keys(old.ports.diff(&new.ports)).filter(|(map, _)| new.maps.contains_key(map));
    let ifindex = |wiring: &Wiring, entry| wiring.ports.get(entry).copied().unwrap_or(0);
    entries.map(|entry| (&entry.0, entry.1, ifindex(new, entry), ifindex(old, entry))).collect()
}

fn set_port((map, port, ifindex, was): Move<'_>) -> Step {
    Step::SetPort { map: map.clone(), port, ifindex, was }
}

/// The step that makes a slot hold something else, unless it already does.
fn relink(before: &BTreeMap<Source, Option<NodeId>>, from: &Source, to: Option<&NodeId>) -> Option<Step> {
    let was = before.get(from).cloned().flatten();
    (was.as_ref() != to).then(|| Step::Link { from: from.clone(), to: to.cloned(), was })
}

/// What every slot at these hooks holds.
fn slots(wiring: &Wiring, hooks: &BTreeSet<&Hook>) -> BTreeMap<Source, Option<NodeId>> {
    let chains = hooks.iter().filter_map(|hook| wiring.hooks.get_key_value(*hook));
    chains.flat_map(|(hook, chain)| chain.slots(hook)).collect()
}

#[cfg(test)]
mod tests;
