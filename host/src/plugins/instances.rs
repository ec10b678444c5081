//! The instances of all cubes, as a change calls them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imbl::OrdMap;
use serde_json::{Value, json};

use super::Plugin;
use super::caller::Caller;
use super::calls::{Calls, PATIENCE};
use super::failures::Failures;
use super::instance::{Connections, Failure, Instance, MakeMap, MapCopy, NetdevAt, Request};
use super::log;
use super::turn::Taken;
use crate::slow_path::SlowPath;
use crate::topology::{Cube, CubeName};
use crate::wiring::CubeDatapath;

/// How long a change waits for cubes that are in a call, before it is put off: ticks are short.
const CLAIM: Duration = Duration::from_millis(50);

/// Directories for captures, absolute, and what captures may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureDirs {
    /// The default.
    pub dir: PathBuf,
    /// Others that a client may choose.
    pub roots: Vec<PathBuf>,
    /// Bytes of memory that all captures together may use; `None` leaves that to the plugin, as the next one does.
    pub memory: Option<u64>,
    /// Bytes of a disk that captures leave free.
    pub floor: Option<u64>,
    /// The group that may read captures.
    pub group: Option<u32>,
    /// Where captures are served by PCAP-over-IP.
    pub over_ip: Option<String>,
}

impl CaptureDirs {
    /// Their members of what the SDK's `Cube` is made of.
    pub(super) fn members(&self) -> Value {
        json!({
            "capture-dir": self.dir,
            "capture-roots": self.roots,
            "capture-memory": self.memory,
            "capture-floor": self.floor,
            "capture-group": self.group,
            "pcap-over-ip": self.over_ip,
        })
    }
}

/// What instances are created with.
pub(crate) struct Surroundings {
    pub calls: Arc<Calls>,
    pub failures: Arc<Failures>,
    pub capture_dirs: CaptureDirs,
    /// The way for the plugin of a cube to ask for changes. It returns at once: a change may be waiting for the plugin.
    pub requests: Box<dyn Fn(&CubeName) -> Request + Send>,
    /// The way to get a map that a plugin described as late. It waits for the engine.
    pub late_maps: Box<dyn Fn(&CubeName) -> MakeMap + Send>,
    /// The way to learn which netdev is at a point.
    pub netdev_at: NetdevAt,
    /// The way to learn that a cube's turn became free.
    pub freed: Box<dyn Fn() -> Box<dyn Fn() + Send + Sync> + Send>,
    /// The way of packets from user space.
    pub slow_path: Option<Arc<SlowPath>>,
}

/// All instances, and the one thread that calls them for changes.
pub(crate) struct Instances {
    all: OrdMap<CubeName, Arc<Instance>>,
    surroundings: Surroundings,
    caller: Caller,
    claimed: Vec<Taken>,
    /// Instances with other code, each beside the one that it is to replace.
    fresh: BTreeMap<CubeName, Arc<Instance>>,
    /// Those that were removed and not dropped yet.
    removed: Vec<Arc<Instance>>,
    /// How long a call may take.
    patience: Duration,
    /// How long a change waits for the turn of a cube.
    claim_patience: Duration,
}

impl Instances {
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        let (caller, claimed, removed) = (Caller::default(), Vec::new(), Vec::new());
        let (all, fresh) = (OrdMap::new(), BTreeMap::new());
        let (patience, claim_patience) = (PATIENCE, CLAIM);
        Self { all, surroundings, caller, claimed, fresh, removed, patience, claim_patience }
    }

    pub(crate) fn all(&self) -> &OrdMap<CubeName, Arc<Instance>> {
        &self.all
    }

    pub(crate) fn get(&self, name: &CubeName) -> Option<&Arc<Instance>> {
        self.all.get(name)
    }

    /// The instance that a change calls: of a cube that is renewed, the one with the new code.
    pub(crate) fn called(&self, name: &CubeName) -> Option<&Arc<Instance>> {
        self.fresh.get(name).or_else(|| self.all.get(name))
    }

    /// Takes the turns of those cubes that exist, until [`Instances::release`].
    ///
    /// # Errors
    /// The cubes whose turn is taken; then no turn is kept.
    pub(crate) fn claim(&mut self, cubes: &BTreeSet<CubeName>) -> Result<(), BTreeSet<CubeName>> {
        let mut busy = BTreeSet::new();
        let found = cubes.iter().filter_map(|name| Some((name, Arc::clone(self.called(name)?))));
        for (name, instance) in found.collect::<Vec<_>>() {
            // One that is wanted already has been waited for.
            let is_worth_waiting = busy.is_empty() && !instance.turn().is_wanted();
            let patience = if is_worth_waiting { self.claim_patience } else { Duration::ZERO };
            match instance.turn().take(patience) {
                Some(turn) => self.claimed.push(turn),
                None => drop(busy.insert(name.clone())),
            }
        }
        if busy.is_empty() {
            return Ok(());
        }
        self.release();
        for instance in busy.iter().filter_map(|name| self.called(name)) {
            instance.turn().want();
        }
        Err(busy)
    }

    pub(crate) fn release(&mut self) {
        self.claimed.clear();
    }

    /// Creates the instance of a cube.
    ///
    /// # Errors
    /// The plugin's reason.
    pub(crate) fn create(&mut self, name: &CubeName, cube: &Cube, plugin: &Plugin) -> Result<(), Failure> {
        let created = self
            .make(name, cube, plugin)
            .inspect_err(|failure| not_created(name, failure, "the cube is not created"))?;
        self.all.insert(name.clone(), Arc::new(created));
        Ok(())
    }

    /// Creates an instance with other code beside the one that a cube has. Until [`Instances::commit`] or
    /// [`Instances::forget_renewed`], changes call it alone.
    ///
    /// # Errors
    /// The plugin's reason.
    pub(crate) fn renew(&mut self, name: &CubeName, cube: &Cube, plugin: &Plugin) -> Result<(), Failure> {
        let goes_on = "the cube goes on with the code before";
        let made = self.make(name, cube, plugin).inspect_err(|failure| not_created(name, failure, goes_on));
        let mut fresh = made?;
        // The turn of a stuck instance never becomes free: it is left behind, as when its cube is deleted.
        if let Some(running) = self.all.get(name).filter(|running| running.stuck().is_none()) {
            fresh.share_turn(running.turn());
        }
        self.fresh.insert(name.clone(), Arc::new(fresh));
        Ok(())
    }

    /// Whether a cube has an instance with other code beside the one that runs.
    pub(crate) fn is_renewed(&self, name: &CubeName) -> bool {
        self.fresh.contains_key(name)
    }

    /// Drops the instance with other code: the one before goes on.
    pub(crate) fn forget_renewed(&mut self, name: &CubeName) {
        self.removed.extend(self.fresh.remove(name));
    }

    /// Ends the instance before, and puts the one with other code in its place.
    fn adopt(&mut self, name: &CubeName) {
        let Some(fresh) = self.fresh.remove(name) else { return };
        let Some(before) = self.all.insert(name.clone(), Arc::clone(&fresh)) else { return };
        let patience = if before.stuck().is_some() { Duration::ZERO } else { self.patience };
        if self.caller.call(patience, move || before.replace(fresh), drop).is_none() {
            tracing::warn!(cube = %name, "the code before has not returned: it is left behind");
        }
    }

    fn make(&mut self, name: &CubeName, cube: &Cube, plugin: &Plugin) -> Result<Instance, Failure> {
        let Surroundings { calls, failures, capture_dirs, requests, late_maps, netdev_at, freed, slow_path } =
            &self.surroundings;
        let connections = Connections {
            calls: Arc::clone(calls),
            failures: Arc::clone(failures),
            configure: requests(name),
            make_map: late_maps(name),
            netdev_at: Arc::clone(netdev_at),
            freed: freed(),
            slow_path: slow_path.clone(),
        };
        let mut info = capture_dirs.members();
        info["name"] = name.as_str().into();
        info["uuid"] = json!(cube.uuid);
        let (plugin, cube_name, level) = (plugin.clone(), name.clone(), cube.loglevel);
        let create = move || Instance::create(&plugin, cube_name.as_str(), &info, level, connections);
        self.caller.call(self.patience, create, drop).unwrap_or_else(|| Err(overdue("create")))
    }

    pub(crate) fn remove(&mut self, name: &CubeName) {
        self.removed.extend(self.all.remove(name));
    }

    /// Drops the removed instances, unless a reader still has them. Their plugins may have things to finish, and have as
    /// long for it as for a call, all together.
    pub(crate) fn drop_removed(&mut self) {
        let deadline = Instant::now() + self.patience;
        for instance in std::mem::take(&mut self.removed) {
            let patience = deadline.saturating_duration_since(Instant::now());
            // A plugin that takes longer goes on alone.
            let _ = self.caller.call(patience, move || Instance::release(instance), drop);
        }
    }

    pub(crate) fn datapath(&mut self, name: &CubeName, request: &str) -> Result<CubeDatapath, Failure> {
        let request = request.to_owned();
        self.call(name, "datapath", move |instance| instance.datapath(&request), |_, _| {})
    }

    /// A plugin that comes back late from this has to forget what it prepared: the change was undone.
    pub(crate) fn prepare(&mut self, name: &CubeName, request: &str, maps: Vec<MapCopy>) -> Result<(), Failure> {
        let request = request.to_owned();
        let forget = |instance: &Instance, prepared: Result<(), Failure>| {
            // Its log has the reason where this fails, too.
            let _ = prepared.and_then(|()| instance.abort());
        };
        self.call(name, "prepare", move |instance| instance.prepare(&request, maps), forget)
    }

    pub(crate) fn abort(&mut self, name: &CubeName) -> Result<(), Failure> {
        self.call(name, "abort", Instance::abort, |_, _| {})
    }

    /// Where the cube is renewed, the instance before ends first: both may want the same files.
    pub(crate) fn commit(&mut self, name: &CubeName) -> Result<(), Failure> {
        self.adopt(name);
        if let Some(instance) = self.called(name) {
            instance.commit_lines();
        }
        self.call(name, "commit", Instance::commit, |_, _| {})
    }

    /// Calls a plugin that was claimed. One that does not return in time keeps the cube's turn.
    fn call<T: Send + 'static>(
        &mut self,
        name: &CubeName,
        what: &'static str,
        call: impl FnOnce(&Instance) -> Result<T, Failure> + Send + 'static,
        late: impl FnOnce(&Instance, Result<T, Failure>) + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(instance) = self.called(name).cloned() else { return Err(overdue(what)) };
        // New code that does not return must not keep the turn of the cube, which goes on with the code before.
        let holds = |turn: &&Taken| turn.is_of(instance.turn()) && !self.is_renewed(name);
        let turn = self.claimed.iter().find(holds).cloned();
        let late_instance = Arc::clone(&instance);
        let answer = self.caller.call(
            self.patience,
            move || {
                let answer = call(&instance);
                (answer, turn)
            },
            move |(answer, _turn)| late(&late_instance, answer),
        );
        answer.map_or_else(|| Err(overdue(what)), |(answer, _turn)| answer)
    }
}

fn not_created(name: &CubeName, failure: &Failure, consequence: &str) {
    if let Failure::NotCreated(message) = failure {
        log::panicked(name.as_str(), message, consequence);
    }
}

fn overdue(call: &'static str) -> Failure {
    Failure::Stuck { call, seconds: PATIENCE.as_secs() }
}
