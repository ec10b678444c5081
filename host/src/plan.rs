//! From one wiring to the next, as steps. Pure: nothing here touches the kernel.
//!
//! Steps come in two halves. The first can fail and can be undone, so each knows what was before it. It ends with
//! every packet on the new way. The second drops what no packet passes any more; nothing in it is undone.

use std::collections::{BTreeMap, BTreeSet};

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
    Attach(Hook),
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
        steps.extend(new.maps.keys().filter(|map| !old.maps.contains_key(*map)).cloned().map(Step::CreateMap));
        steps.extend(new.nodes.keys().filter(|node| !old.nodes.contains_key(*node)).cloned().map(Step::Load));
        steps.extend(touched.iter().cloned().map(Step::Prepare));
        for (hook, chain) in &new.hooks {
            match old.hooks.get(hook) {
                None => steps.push(Step::LoadRoot(hook.clone(), chain.port)),
                Some(was) if was.port != chain.port => {
                    steps.push(Step::SetRootPort { hook: hook.clone(), port: chain.port, was: was.port });
                }
                Some(_) => {}
            }
        }
        for ((map, port), ifindex) in &new.ports {
            let was = old.ports.get(&(map.clone(), *port)).copied().unwrap_or(0);
            if was != *ifindex {
                steps.push(Step::SetPort { map: map.clone(), port: *port, ifindex: *ifindex, was });
            }
        }
    }

    /// New programs are linked while no packet reaches them; then each chain in use is relinked from its end to its
    /// root, so that a packet sees the old way or the new one and never a gap.
    fn link(&mut self, old: &Wiring, new: &Wiring) {
        let (before, after) = (slots(old), slots(new));
        let change = |from: &Source, to: &Option<NodeId>| {
            let was = before.get(from).cloned().flatten();
            (was != *to).then(|| Step::Link { from: from.clone(), to: to.clone(), was })
        };
        let unreached = |from: &&Source| !before.contains_key(*from);
        self.steps.extend(after.iter().filter(|(from, _)| unreached(from)).filter_map(|(from, to)| change(from, to)));
        for (hook, chain) in &new.hooks {
            for (from, to) in chain.slots(hook).into_iter().rev().filter(|(from, _)| before.contains_key(from)) {
                let step = change(&from, &to);
                self.steps.extend(step.filter(|step| !self.steps.contains(step)));
            }
        }
        self.steps.extend(new.hooks.keys().filter(|hook| !old.hooks.contains_key(*hook)).cloned().map(Step::Attach));
        for ((map, port), was) in &old.ports {
            if new.maps.contains_key(map) && !new.ports.contains_key(&(map.clone(), *port)) {
                self.steps.push(Step::SetPort { map: map.clone(), port: *port, ifindex: 0, was: *was });
            }
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

/// What stands in every slot that packets can reach.
fn slots(wiring: &Wiring) -> BTreeMap<Source, Option<NodeId>> {
    wiring.hooks.iter().flat_map(|(hook, chain)| chain.slots(hook)).collect()
}

#[cfg(test)]
mod kernel;
#[cfg(test)]
mod tests;
