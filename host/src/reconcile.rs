//! Brings kernel and plugins from one model to the next.
//!
//! A change has reached this room as a new [`Model`], which is sound in itself. Whether the world can follow shows here,
//! in this order: instances of new cubes are created, veth pairs for new links are made, the plugins of touched cubes
//! say what to load, the wiring of what is touched is computed, and the plan from the old wiring to the new one is
//! carried out. Each of these can fail, and then everything before it is undone in reverse order: the state is the one
//! before, in the model, the wiring, the kernel and the plugins. When all of it has succeeded, what is no longer wanted
//! is removed, which cannot fail.
//!
//! A change of netdevs cannot be refused: it has happened. So the part that is to blame is deferred, and the rest is tried
//! again without it (see [`Deferred`]). [`Reconciler`] keeps the pause after which deferred parts are tried again.
//!
//! When the daemon starts, the plan leads from nothing to what is stored, and the kernel takes over what an earlier daemon
//! left there. A step that fails is not undone then: it would take away what packets pass. Instead, everything goes back to
//! what was found, and the next attempt takes it over.
//!
//! [`Kernel`] and [`Cubes`] are traits, so that property tests run sequences of changes against doubles that fail
//! anywhere.

mod cubes;
#[cfg(test)]
pub(crate) mod double;
mod execute;
mod instances;
mod kept;
mod kernel;
mod links;
mod losses;
mod report;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use imbl::OrdMap;

pub(crate) use cubes::{Cubes, Handed};
pub(crate) use execute::{Requests, World};
use instances::cannot_go_on;
pub(crate) use kernel::{Kernel, Live};
use losses::Losses;
use request::request;

use crate::model::{Deferred, Facts, Model, Origin, Part, unfit};
use crate::netdev::Table;
use crate::plan::{Plan, Step};
use crate::problem::{Problem, Problems};
use crate::topology::{CubeName, Point, Topology, keys};
use crate::wiring::{CubeDatapath, Datapaths, Netdev, Netdevs, PortKey, Source, Touched, Wiring};

/// How long a deferred part waits before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a change waits for what goes on in the background: a few detachments are through by then.
const FINISH: Duration = Duration::from_millis(100);

/// Why the world did not follow.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// These cubes' plugins are in a call: try again when they have returned.
    Busy(BTreeSet<CubeName>),
    Problems(Problems),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problems(problem.into())
    }
}

/// Why kernel or plugins did not take a wiring, and the part to blame, where that is known.
struct Failure {
    part: Option<Part>,
    problem: Problem,
}

/// What is in force.
pub(crate) struct Reconciler<K, C> {
    kernel: K,
    cubes: C,
    model: Model,
    netdevs: Netdevs,
    wiring: Wiring,
    /// What each cube was asked with.
    requests: OrdMap<CubeName, Arc<str>>,
    /// What it answered.
    datapaths: Datapaths,
    /// When something was deferred last.
    deferred_at: Option<Instant>,
    losses: Losses,
    /// Ports whose link could not be made or wired when netdevs changed: they are down until it can.
    broken_links: BTreeSet<PortKey>,
}

/// A change on its way: what will be in force, and what to undo if it fails.
struct Attempt {
    model: Model,
    netdevs: Netdevs,
    created: Vec<CubeName>,
    /// Cubes whose service has other code now.
    renewed: BTreeSet<CubeName>,
    /// One end of each pair that was made.
    pairs: Vec<Netdev>,
    /// Ports whose link is left down.
    broken: BTreeSet<PortKey>,
}

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    pub(crate) fn new(kernel: K, cubes: C, model: Model) -> Self {
        let wiring = Wiring::after(kernel.last_revision());
        Self {
            kernel,
            cubes,
            model,
            netdevs: Netdevs::default(),
            wiring,
            requests: OrdMap::new(),
            datapaths: OrdMap::new(),
            deferred_at: None,
            losses: Losses::default(),
            broken_links: BTreeSet::new(),
        }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn netdevs(&self) -> &Netdevs {
        &self.netdevs
    }

    /// What the cubes asked to have loaded.
    pub(crate) fn datapaths(&self) -> &Datapaths {
        &self.datapaths
    }

    pub(crate) fn cubes(&self) -> &C {
        &self.cubes
    }

    /// Has the plugins of deleted cubes finish. To be called when nothing refers to them any more.
    pub(crate) fn drop_removed(&mut self) {
        self.cubes.drop_removed();
    }

    /// Whether deferred parts are to be tried again now.
    pub(crate) fn is_retry_due(&self) -> bool {
        let is_any = !self.model.deferred.is_empty() || !self.broken_links.is_empty();
        is_any && self.deferred_at.is_none_or(|since| since.elapsed() >= PAUSE)
    }

    /// Has deferred parts tried again without a pause: what was in the way may be gone.
    pub(crate) fn retry_deferred(&mut self) {
        self.deferred_at = None;
    }

    /// Waits until nothing goes on in the background, at most for `patience`.
    pub(crate) fn finish(&mut self, patience: Duration) {
        self.kernel.finish(patience);
    }

    /// Puts `model` in force. `changed` are the names of netdevs that may be another netdev, or none, since last time.
    /// Answers with the cubes whose plugins failed when everything was through: that cannot be undone, because packets
    /// already pass the new programs.
    ///
    /// # Errors
    /// What the first plugin or the kernel refused; then nothing has changed.
    pub(crate) fn reconcile(
        &mut self,
        model: Model,
        facts: &Facts,
        changed: &BTreeSet<String>,
        origin: Origin,
    ) -> Result<BTreeMap<CubeName, String>, Refused> {
        let difference = self.model.topology.difference(&model.topology);
        let renewed = self.renewed(&model);
        let mut attempt = Attempt {
            model,
            netdevs: self.netdevs.clone(),
            created: Vec::new(),
            renewed,
            pairs: Vec::new(),
            broken: BTreeSet::new(),
        };
        let retried = self.keep_deferred(&mut attempt, facts, origin);
        let names = self.names(&attempt.model.topology, &difference.cubes, &difference.points, changed, &retried.0);
        self.defer_unfit(&mut attempt.model, facts, &names);
        let made = self
            .create(&mut attempt, &difference.cubes, origin)
            .and_then(|()| Ok(self.renew(&attempt)?))
            .and_then(|()| Ok(self.make_links(&mut attempt, &difference.cubes, &names, &facts.present, origin)?))
            .and_then(|()| self.settle(&mut attempt, &names, &retried.1, &facts.present, origin));
        self.cubes.release();
        #[cfg(debug_assertions)]
        crate::fault::step();
        let touched = match made {
            Ok(touched) => touched,
            Err(refused) => {
                self.undo(&attempt, origin);
                return Err(refused);
            }
        };
        let Attempt { model, netdevs, broken, renewed, .. } = attempt;
        self.losses.close();
        self.broken_links = broken;
        self.report_deferred(&model.deferred);
        let before = std::mem::replace(&mut self.model, model);
        let wired = std::mem::replace(&mut self.netdevs, netdevs);
        self.remove_unused((&before.topology, &wired), &difference.cubes);
        self.kernel.finish(FINISH);
        self.report_netdevs(&before.topology, &wired, &names);
        let sound = |cube: &CubeName| renewed.contains(cube) || !facts.failed.contains_key(cube);
        let sound = touched.cubes.into_iter().filter(sound);
        Ok(sound.filter_map(|cube| Some((cube.clone(), self.cubes.failure(&cube)?))).collect())
    }

    /// Leaves deferred what stays so. Answers with the names of netdevs and the cubes that are to be tried again.
    fn keep_deferred(
        &mut self,
        Attempt { model, renewed, .. }: &mut Attempt,
        facts: &Facts,
        origin: Origin,
    ) -> (BTreeSet<String>, BTreeSet<CubeName>) {
        let before = self.model.deferred.clone();
        model.deferred = if origin == Origin::Netdevs && self.is_retry_due() {
            self.deferred_at = Some(Instant::now());
            Deferred::default()
        } else {
            before.kept(&self.model.topology, &model.topology, &facts.present)
        };
        model.deferred.forget_cubes(renewed);
        self.losses.defer(model, &facts.present);
        let (mut names, mut cubes) = before.subjects();
        let kept = model.deferred.subjects();
        names.retain(|name| !kept.0.contains(name));
        cubes.retain(|cube| !kept.1.contains(cube));
        (names, cubes)
    }

    /// The names of netdevs to look at.
    fn names(
        &self,
        topology: &Topology,
        cubes: &BTreeSet<CubeName>,
        points: &BTreeSet<Point>,
        changed: &BTreeSet<String>,
        retried: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = changed.union(retried).cloned().collect();
        for topology in [&self.model.topology, topology] {
            let cubes = cubes.iter().filter_map(|cube| topology.get(cube.as_str()));
            let peers = cubes.flat_map(|(_, cube)| cube.ports()).filter_map(|(_, port)| port.peer.as_ref());
            names.extend(peers.chain(points).filter_map(|point| match point {
                Point::Netdev(name) => Some(name.clone()),
                Point::Port(..) | Point::Selector(_) => None,
            }));
        }
        names
    }

    /// Defers netdevs that have come and that no cube can work on: another device may have the name of one that could.
    fn defer_unfit(&self, model: &mut Model, facts: &Facts, names: &BTreeSet<String>) {
        for name in names {
            if !model.wants(name) {
                continue;
            }
            let Some(link) = facts.present.named(name).filter(|link| link.name == **name) else { continue };
            if self.netdevs.is_named(link.ifindex) {
                continue;
            }
            if let Some(why) = unfit(link, model.purpose(name), &facts.present) {
                model.deferred.add(Part::Netdev(Netdev { ifindex: link.ifindex, name: name.clone() }), why);
            }
        }
    }

    /// Tries to wire, and defers what is to blame and may be, until the rest can follow.
    fn settle(
        &mut self,
        attempt: &mut Attempt,
        names: &BTreeSet<String>,
        retried: &BTreeSet<CubeName>,
        present: &Table,
        origin: Origin,
    ) -> Result<Touched, Refused> {
        loop {
            self.name_netdevs(attempt, names, present);
            let mut touched = Touched::between(
                (&self.model.topology, &self.netdevs),
                (&attempt.model.topology, &attempt.netdevs),
                retried.union(&attempt.renewed).cloned(),
            );
            touched.netdevs.extend(self.losses.open(present));
            self.claim(attempt, &touched, origin)?;
            let Err(Failure { part, problem }) = self.attempt(attempt, &touched, origin) else { return Ok(touched) };
            self.cubes.release();
            if origin != Origin::Request && self.break_link(attempt, part.as_ref(), &problem) {
                continue;
            }
            let before = (&self.model.topology, &self.netdevs);
            if let Some(Part::Cube(cube)) = &part
                && attempt.renewed.contains(cube)
            {
                return Err(cannot_go_on(cube, problem).into());
            }
            let deferred = part
                .filter(|part| part.may_be_deferred(origin, before, &attempt.model.topology))
                .is_some_and(|part| attempt.model.deferred.add(part, problem.to_string()));
            if !deferred {
                return Err(problem.into());
            }
            self.deferred_at = Some(Instant::now());
        }
    }

    /// Reserves the touched cubes. Where netdevs changed, a busy cube is deferred like one that refuses.
    fn claim(&mut self, attempt: &mut Attempt, touched: &Touched, origin: Origin) -> Result<(), Refused> {
        let wanted = |attempt: &Attempt| -> BTreeSet<CubeName> {
            let model = &attempt.model;
            let is_called =
                |cube: &&CubeName| model.topology.get(cube.as_str()).is_some() && !model.deferred.has_cube(cube);
            touched.cubes.iter().filter(is_called).cloned().collect()
        };
        while let Err(busy) = self.cubes.claim(&wanted(attempt)) {
            if origin == Origin::Request {
                return Err(Refused::Busy(busy));
            }
            for cube in busy {
                attempt.model.deferred.add(Part::Cube(cube), "its plugin is busy".to_owned());
            }
            self.deferred_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Says which netdevs the names of users stand for. A deferred netdev does not exist.
    fn name_netdevs(&self, attempt: &mut Attempt, names: &BTreeSet<String>, present: &Table) {
        let Attempt { model, netdevs, .. } = attempt;
        let (deferred, _) = model.deferred.subjects();
        for name in names.union(&deferred) {
            let link = present.named(name).filter(|link| link.name == *name && model.wants(name));
            let there = link.filter(|link| !model.deferred.has_netdev(link.ifindex));
            netdevs.name_link(name, there.map(|link| &**link));
        }
    }

    /// Brings plugins and kernel to the attempt's wiring, or leaves both as they are.
    fn attempt(&mut self, attempt: &Attempt, touched: &Touched, origin: Origin) -> Result<(), Failure> {
        let place = (&attempt.model.topology, &attempt.netdevs);
        let mut requests = self.requests.clone();
        let mut datapaths = self.datapaths.clone();
        let mut asked = Requests::new();
        for name in &touched.cubes {
            let Some((_, cube)) = attempt.model.topology.get(name.as_str()) else {
                requests.remove(name);
                datapaths.remove(name);
                continue;
            };
            let request = request(name, cube, place, &attempt.model.registry);
            let is_renewed = attempt.renewed.contains(name);
            let is_same = !is_renewed && requests.get(name).is_some_and(|before| **before == *request);
            let is_deferred = attempt.model.deferred.has_cube(name);
            // The datapath of a failed plugin stays as it is, like that of a deferred cube.
            let is_kept = requests.contains_key(name) && (is_deferred || self.cubes.failure(name).is_some());
            if is_same || is_kept {
                continue;
            }
            let datapath = if is_deferred {
                CubeDatapath::default()
            } else {
                let part = Some(Part::Cube(name.clone()));
                let datapath = self.cubes.datapath(name, &request).map_err(|problem| Failure { part, problem })?;
                asked.insert(name.clone(), Arc::clone(&request));
                requests.insert(name.clone(), request);
                datapath
            };
            datapaths.insert(name.clone(), Arc::new(datapath));
        }
        let unfit = self.unfit_maps(attempt, &datapaths);
        let wiring =
            self.wiring.without_maps(&unfit).rewire(place, &datapaths, touched).map_err(|too_long| Failure {
                problem: Problem::bad("attach", too_long.to_string()),
                part: Some(Part::Netdev(too_long.hook.netdev)),
            })?;
        let is_restoring = origin == Origin::Restore;
        let called = asked.keys().cloned().collect();
        let plan = if is_restoring {
            Plan::restoring(&wiring, &called)
        } else if self.kernel.has_found() {
            Plan::taking_over(&self.wiring, &wiring, &called)
        } else {
            Plan::new(&self.wiring, &wiring, &called)
        };
        tracing::debug!(?plan, "plan");
        let (kernel, cubes) = (&mut self.kernel, &mut self.cubes);
        let exits = wiring.exits(touched.cubes.iter(), (&self.model.topology, place));
        let mut world = World { kernel, cubes, requests: &asked, exits: &exits, is_restoring, made: BTreeSet::new() };
        world.execute(&plan, &wiring).map_err(|(step, problem)| Failure { part: part_of(step), problem })?;
        self.set_promiscuous(&wiring);
        for name in &touched.cubes {
            if let Some((_, cube)) = attempt.model.topology.get(name.as_str()) {
                self.cubes.set_level(name, cube.loglevel);
            }
        }
        (self.wiring, self.requests, self.datapaths) = (wiring, requests, datapaths);
        Ok(())
    }

    /// A bridge needs the frames that are addressed to others, as `br_add_if()` in net/bridge/br_if.c has it.
    fn set_promiscuous(&mut self, new: &Wiring) {
        let entries: Vec<_> = keys(self.wiring.ports.diff(&new.ports)).collect();
        let of = |wiring: &Wiring| -> BTreeSet<u32> {
            entries.iter().filter_map(|entry| wiring.ports.get(*entry).copied()).collect()
        };
        let (before, after) = (of(&self.wiring), of(new));
        for ifindex in before.difference(&after) {
            self.kernel.set_promiscuous(*ifindex, false);
        }
        for ifindex in after.difference(&before) {
            self.kernel.set_promiscuous(*ifindex, true);
        }
    }

    /// Removes what the change before has left: instances of deleted cubes, and pairs of links that are gone.
    fn remove_unused(&mut self, (topology, before): (&Topology, &Netdevs), changed: &BTreeSet<CubeName>) {
        let is_gone = |name: &&CubeName| {
            topology.get(name.as_str()).is_some() && self.model.topology.get(name.as_str()).is_none()
        };
        for name in changed.iter().filter(is_gone) {
            self.cubes.remove(name);
        }
        let gone = before.links().diff(self.netdevs.links());
        let ends: Vec<Netdev> = keys(gone).filter_map(|port| before.links().get(port)).cloned().collect();
        for end in &ends {
            self.kernel.delete_pair(end);
        }
    }

    /// Undoes what was done before the kernel's part of a change.
    fn undo(&mut self, attempt: &Attempt, origin: Origin) {
        // Pairs of an earlier daemon are among those of a restored model, and packets pass them.
        if origin == Origin::Restore {
            self.kernel.put_pairs_back();
        } else {
            attempt.pairs.iter().rev().for_each(|end| self.kernel.delete_pair(end));
        }
        for name in attempt.created.iter().rev() {
            self.cubes.remove(name);
        }
        for name in &attempt.renewed {
            self.cubes.forget_renewed(name);
        }
        self.cubes.drop_removed();
    }
}

/// The part that a step is about.
fn part_of(step: &Step) -> Option<Part> {
    Some(match step {
        Step::CreateMap(map) | Step::SetPort { map, .. } => Part::Cube(map.cube.clone()),
        Step::Load(node) | Step::Link { from: Source::Node(node) | Source::Accept(node), .. } => {
            Part::Cube(node.key.cube.clone())
        }
        Step::Prepare(cube) => Part::Cube(cube.clone()),
        Step::LoadRoot(hook, _)
        | Step::SetRootPort { hook, .. }
        | Step::Attach(hook)
        | Step::AwaitAttach(hook)
        | Step::Link { from: Source::Root(hook), .. } => Part::Netdev(hook.netdev.clone()),
        Step::Wait => return None,
    })
}
