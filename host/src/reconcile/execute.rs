//! Carries out a plan, and undoes it in reverse order when a step fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Cubes, Handed, Kernel};
use crate::plan::{Cleanup, Plan, Step};
use crate::problem::Problem;
use crate::topology::CubeName;
use crate::wiring::{CubeExits, MapId, Wiring};

/// What each plugin is asked with: the JSON text of a `Wanted`.
pub(crate) type Requests = BTreeMap<CubeName, Arc<str>>;

/// Everything that a plan has effects on.
pub(crate) struct World<'a, K: Kernel> {
    pub kernel: &'a mut K,
    pub cubes: &'a mut dyn Cubes<K::Map>,
    pub requests: &'a Requests,
    /// Where packets of user space can go when the steps are through.
    pub exits: &'a [CubeExits],
    /// Whether what an earlier daemon left is being taken over.
    pub is_restoring: bool,
    /// Maps that this plan has made, and did not take over.
    pub made: BTreeSet<MapId>,
}

impl<K: Kernel> World<'_, K> {
    /// Brings the world from the wiring that `plan` starts at to `wiring`.
    ///
    /// # Errors
    /// The first step that failed, and why; everything before it is undone, and the datapath is as it was.
    pub(crate) fn execute<'p>(&mut self, plan: &'p Plan, wiring: &Wiring) -> Result<(), (&'p Step, Problem)> {
        for (done, step) in plan.steps.iter().enumerate() {
            #[cfg(debug_assertions)]
            crate::fault::step();
            if is_load(step) && !plan.steps[..done].last().is_some_and(is_load) {
                self.load_ahead(&plan.steps[done..], wiring);
            }
            if let Err(problem) = self.carry_out(step, wiring) {
                self.kernel.load_ahead(&[]);
                tracing::debug!(?step, ?problem, "undoing");
                if self.is_restoring {
                    self.put_back(&plan.steps[..=done]);
                } else {
                    self.undo(&plan.steps[..=done]);
                }
                return Err((step, problem));
            }
        }
        self.kernel.set_exits(self.exits);
        for step in &plan.cleanup {
            #[cfg(debug_assertions)]
            crate::fault::step();
            self.clean(step);
        }
        self.kernel.keep_taken();
        Ok(())
    }

    /// Announces the programs that `steps` begins with.
    fn load_ahead(&mut self, steps: &[Step], wiring: &Wiring) {
        let nodes = steps.iter().map_while(|step| if let Step::Load(node) = step { Some(node) } else { None });
        let nodes: Vec<_> = nodes.map(|node| (node, &*wiring.nodes[node])).collect();
        if nodes.len() > 1 {
            self.kernel.load_ahead(&nodes);
        }
    }

    pub(crate) fn carry_out(&mut self, step: &Step, wiring: &Wiring) -> Result<(), Problem> {
        let kernel = &mut *self.kernel;
        match step {
            Step::CreateMap(map) => {
                kernel.create_map(map, &wiring.maps[map])?;
                if !kernel.is_map_taken(map) {
                    self.made.insert(map.clone());
                }
                Ok(())
            }
            Step::Load(node) => kernel.load(node, &wiring.nodes[node]),
            Step::Prepare(cube) => {
                let mut maps = Vec::new();
                for id in wiring.maps_of(cube) {
                    if let Some(map) = kernel.map(id) {
                        maps.push(Handed { name: &id.name, map, is_new: self.made.contains(id) });
                    }
                }
                let request = self.requests.get(cube).map_or("", |request| request);
                self.cubes.prepare(cube, request, &maps)
            }
            Step::LoadRoot(hook, port) => kernel.load_root(hook, *port),
            Step::SetRootPort { hook, port, .. } => kernel.set_root_port(hook, *port),
            Step::SetPort { map, port, ifindex, .. } => kernel.set_port(map, *port, *ifindex),
            Step::Link { from, to, .. } => kernel.link(from, to.as_ref()),
            Step::Attach(hook) => kernel.attach(hook),
            Step::AwaitAttach(hook) => kernel.await_attach(hook),
            Step::Wait => {
                kernel.settle();
                Ok(())
            }
        }
    }

    /// Has the plugins forget what `steps` prepared, and takes everything in the kernel for found again.
    fn put_back(&mut self, steps: &[Step]) {
        for step in steps.iter().rev() {
            if let Step::Prepare(cube) = step {
                self.cubes.abort(cube);
            }
        }
        self.kernel.put_back();
    }

    /// Undoes `steps`, of which the last may be half done.
    pub(crate) fn undo(&mut self, steps: &[Step]) {
        let mut unlinked = false;
        for step in steps.iter().rev() {
            let undone = match step {
                Step::Attach(hook) => {
                    unlinked = true;
                    self.kernel.undo_attach(hook);
                    Ok(())
                }
                Step::AwaitAttach(_) => Ok(()),
                Step::Link { from, was, .. } => {
                    unlinked = true;
                    self.kernel.undo_link(from, was.as_ref())
                }
                Step::SetPort { map, port, was, .. } => self.kernel.undo_port(map, *port, *was),
                Step::SetRootPort { hook, was, .. } => self.kernel.set_root_port(hook, *was),
                Step::LoadRoot(hook, _) => {
                    self.settle(&mut unlinked);
                    self.kernel.undo_root(hook);
                    Ok(())
                }
                Step::Prepare(cube) => {
                    self.settle(&mut unlinked);
                    self.cubes.abort(cube);
                    Ok(())
                }
                Step::Load(node) => {
                    self.settle(&mut unlinked);
                    self.kernel.undo_load(node);
                    Ok(())
                }
                Step::CreateMap(map) => {
                    self.kernel.undo_map(map);
                    Ok(())
                }
                Step::Wait => {
                    self.kernel.settle();
                    Ok(())
                }
            };
            if let Err(Problem { message, .. }) = undone {
                tracing::error!(?step, "cannot undo a step: {message}; restart the daemon to get a clean datapath");
            }
        }
    }

    pub(crate) fn clean(&mut self, step: &Cleanup) {
        match step {
            Cleanup::Detach(hook) => self.kernel.detach(hook),
            Cleanup::Wait => self.kernel.settle(),
            Cleanup::UnloadRoot(hook) => self.kernel.unload_root(hook),
            Cleanup::Unload(node) => self.kernel.unload(node),
            Cleanup::Commit(cube) => self.cubes.commit(cube),
            Cleanup::DropMap(map) => self.kernel.drop_map(map),
        }
    }

    fn settle(&mut self, unlinked: &mut bool) {
        if std::mem::take(unlinked) {
            self.kernel.settle();
        }
    }
}

fn is_load(step: &Step) -> bool {
    matches!(step, Step::Load(_))
}
