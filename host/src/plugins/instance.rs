//! One cube of a plugin, as the host calls it.

mod hear;
mod host;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RVec};
use host::Host;
use polycube_plugin_api::abi::{Answer, CubeHandle, HostAbi_TO, MapHandle};
use polycube_plugin_api::{Datapath, Level, MapSpec, Refusal, ServiceKind, Tag, Topic};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Plugin;
use super::calls::{Calls, Stuck};
use super::described::{self, Asked, Fault, Known, in_words};
use super::doors::Doors;
use super::failures::Failures;
use super::lines::{self, Reading};
use super::log::CubeLog;
use super::objects::Objects;
use super::report::Report;
use super::turn::Turn;
use crate::datapath::CubeMap;
use crate::environment::Told;
use crate::problem::AFTER_PANIC;
use crate::slow_path::SlowPath;
use crate::topology::LogLevel;
use crate::wiring::CubeDatapath;

/// Why a call of a plugin did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Refused(Refusal),
    /// The plugin panicked, now or earlier: its instance is not called again.
    #[error("the plugin failed ({0}): {AFTER_PANIC}")]
    Panicked(String),
    /// The plugin panicked when it was to make its side of a cube.
    #[error("the cube is not created: the plugin failed ({0}): fix the plugin and run `services reload SERVICE`")]
    NotCreated(String),
    #[error("the plugin's answer is not JSON of the expected form: {0}")]
    Malformed(String),
    #[error("the datapath of service `{service}` cannot be used: {fault}")]
    Unusable { service: String, fault: Fault },
    /// An earlier call, or this one, has not returned.
    #[error(
        "the cube is stuck: its plugin has not returned from `{call}` for {seconds} s; wait, or delete the cube and create it again"
    )]
    Stuck { call: &'static str, seconds: u64 },
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal,
            other => Self::failed(other.to_string()),
        }
    }
}

/// The netdev whose packets pass a point.
pub(crate) type NetdevAt = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a plugin asks the engine for.
pub(crate) type Request = Box<dyn Fn(Value) + Send + Sync>;

/// Makes a map that a plugin described as late, and waits until it is there.
pub(crate) type MakeMap = Box<dyn Fn(MapSpec) -> Result<MapCopy, Refusal> + Send + Sync>;

/// A stream that a plugin has opened for one reader.
#[derive(Debug)]
pub(crate) struct Stream {
    pub info: StreamInfo,
    pub fd: OwnedFd,
}

/// What a plugin answers to the call of an action.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Acted {
    #[serde(default)]
    pub output: Value,
    /// The configuration that the cube is to have.
    #[serde(default)]
    pub config: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StreamInfo {
    pub media: String,
    pub file_name: Option<String>,
    pub id: Option<u64>,
}

/// A cube's code. Its datapath goes on when the code fails.
pub(crate) struct Instance {
    side: RwLock<Side>,
    /// Distinguishes it from a later one of the same name.
    id: u64,
    cube: Arc<str>,
    service: String,
    kind: ServiceKind,
    /// The objects of the latest datapath, which are those of other cubes, too: most changes describe the same ones.
    latest: Mutex<Vec<Arc<Known>>>,
    objects: Arc<Objects>,
    log: Arc<CubeLog>,
    turn: Arc<Turn>,
    netdevs: Report,
    lines: Mutex<Lines>,
    /// What the service wants to hear of the daemon's network namespace, and what the cube has heard.
    observes: Vec<Topic>,
    environment: Mutex<Told>,
    calls: Arc<Calls>,
    failures: Arc<Failures>,
    failed: OnceLock<String>,
}

/// The lines that the cube's programs write: those that are read, and what a change has prepared.
#[derive(Default)]
struct Lines {
    reading: Option<Reading>,
    prepared: Option<lines::Maps>,
}

/// The plugin's side of a cube.
enum Side {
    Running(CubeHandle),
    /// It has ended, and another instance has the cube: whatever still holds this one reaches that one.
    Replaced(Arc<Instance>),
}

/// What a new instance is connected to.
pub(crate) struct Connections {
    pub calls: Arc<Calls>,
    pub failures: Arc<Failures>,
    /// Takes the changes of its configuration that the plugin itself asks for.
    pub configure: Request,
    /// Takes the late maps that it asks for.
    pub make_map: MakeMap,
    pub netdev_at: NetdevAt,
    /// Called when the cube's turn becomes free and somebody waits for it.
    pub freed: Box<dyn Fn() + Send + Sync>,
    /// The way of its packets from user space.
    pub slow_path: Option<Arc<SlowPath>>,
}

impl Connections {
    /// Those of an instance that is not a cube of the model: what it asks for is refused with `no_maps`, or has no effect.
    pub(crate) fn none(no_maps: &'static str) -> Self {
        Self {
            calls: Arc::default(),
            failures: Arc::default(),
            configure: Box::new(drop),
            make_map: Box::new(move |_| Err(Refusal::failed(no_maps))),
            netdev_at: Arc::new(|_| None),
            freed: Box::new(|| ()),
            slow_path: None,
        }
    }
}

impl Instance {
    /// Makes the plugin's side of a cube; `info` is what the SDK's `Cube` is read from.
    ///
    /// # Errors
    /// The plugin's reason. A panic is not logged here: what follows from it depends on why the cube is made.
    pub(crate) fn create(
        plugin: &Plugin,
        name: &str,
        info: &Value,
        level: LogLevel,
        connections: Connections,
    ) -> Result<Self, Failure> {
        let cube: Arc<str> = name.into();
        let Connections { calls, failures, configure, make_map, netdev_at, freed, slow_path } = connections;
        let id = failures.next_id();
        let log = Arc::new(CubeLog::new(Arc::clone(&cube), level));
        let doors = Doors::new(slow_path, info);
        let host = Host { log: Arc::clone(&log), configure, make_map, netdev_at, doors };
        let host = HostAbi_TO::from_value(host, TD_Opaque);
        let info = info.to_string();
        let entered = calls.enter(id, &cube, "create");
        let created = plugin.create(&info, host);
        drop(entered);
        match created {
            ROk(handle) => Ok(Self {
                side: RwLock::new(Side::Running(handle)),
                id,
                cube,
                service: plugin.service.name.clone(),
                kind: plugin.service.kind,
                latest: Mutex::default(),
                objects: Arc::clone(&plugin.objects),
                log,
                turn: Turn::new(freed),
                netdevs: Report::default(),
                lines: Mutex::default(),
                observes: plugin.service.observes.clone(),
                environment: Mutex::default(),
                calls,
                failures,
                failed: OnceLock::new(),
            }),
            RErr(text) => Err(match refusal(&text) {
                Failure::Panicked(message) => Failure::NotCreated(message),
                failure => failure,
            }),
        }
    }

    /// Drops this use of the instance. The last one ends the plugin's side of the cube, which is a call like any other.
    pub(crate) fn release(self: Arc<Self>) {
        let entered = self.calls.enter(self.id, &self.cube, "drop");
        drop(self);
        drop(entered);
    }

    /// Gives the instance the turn of the one that it is to replace: a turn is the cube's.
    pub(crate) fn share_turn(&mut self, turn: &Arc<Turn>) {
        self.turn = Arc::clone(turn);
    }

    /// Ends the plugin's side when its calls have returned, and passes later calls on to `by`.
    pub(crate) fn replace(&self, by: Arc<Self>) {
        let entered = self.calls.enter(self.id, &self.cube, "drop");
        let side = {
            let mut side = self.side.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *side, Side::Replaced(by))
        };
        drop(side);
        drop(entered);
        *self.lines() = Lines::default();
        self.failures.remove(self.id);
    }

    /// What a cube's changes, actions and ticks take before they call the plugin.
    pub(crate) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    pub(crate) fn set_level(&self, level: LogLevel) {
        self.log.set_level(level);
    }

    /// Whether the cube's `loglevel` lets lines of this severity pass, the host's own too.
    pub(crate) fn admits(&self, level: Level) -> bool {
        self.log.admits(level)
    }

    /// The call that has not returned for [`PATIENCE`](super::PATIENCE) or longer.
    pub(crate) fn stuck(&self) -> Option<Stuck> {
        self.calls.stuck(self.id)
    }

    /// The message of the panic that ended this instance.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(crate) fn datapath(&self, wanted: &str) -> Result<CubeDatapath, Failure> {
        self.log.write(Level::Trace, &format!("asked for a datapath for {wanted}"));
        let answer = self.call_claimed("datapath", |cube| cube.datapath(wanted.into()))?;
        let malformed = |error: serde_json::Error| Failure::Malformed(error.to_string());
        let datapath: Datapath = serde_json::from_str(&answer.spec).map_err(malformed)?;
        let asked: Asked = serde_json::from_str(wanted).map_err(malformed)?;
        let objects = self.known(answer.objects.iter().map(RVec::as_slice));
        let checked = described::check(&datapath, &objects, self.kind, &asked)
            .map_err(|fault| Failure::Unusable { service: self.service.clone(), fault })?;
        let Datapath { programs, maps, jumps, left_out, .. } = datapath;
        if self.admits(Level::Debug) {
            let list = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
            let maps = list(maps.iter().map(|map| map.name.clone()).collect());
            let programs = list(programs.iter().map(in_words).collect());
            self.log.write(Level::Debug, &format!("asks for programs: {programs}; maps: {maps}"));
        }
        let objects = objects.iter().map(|object| Arc::clone(&object.bytes)).collect();
        Ok(CubeDatapath { programs, maps, jumps, left_out, objects, checked })
    }

    /// The objects of an answer, those of the answer before it or of another cube's where they are the same.
    fn known<'a>(&self, objects: impl Iterator<Item = &'a [u8]>) -> Vec<Arc<Known>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |bytes: &[u8]| {
            let known = latest.iter().find(|known| *known.bytes == *bytes);
            known.map_or_else(|| self.objects.of(bytes), Arc::clone)
        };
        let objects: Vec<Arc<Known>> = objects.map(known).collect();
        latest.clone_from(&objects);
        objects
    }

    /// Hands over copies of the maps' descriptors.
    pub(crate) fn prepare(&self, wanted: &str, maps: Vec<MapCopy>) -> Result<(), Failure> {
        self.call("prepare", |cube| {
            // From here on the plugin owns the descriptors. A plugin that is not called any more gets none.
            let handles: RVec<MapHandle> = maps.into_iter().map(MapHandle::from).collect();
            cube.prepare(wanted.into(), handles)
        })
    }

    pub(crate) fn commit(&self) -> Result<(), Failure> {
        self.call_claimed("commit", CubeHandle::commit)
    }

    pub(crate) fn abort(&self) -> Result<(), Failure> {
        self.call_claimed("abort", CubeHandle::abort)
    }

    /// Sets whose lines are read when the change is made.
    pub(crate) fn prepare_lines(&self, maps: Option<lines::Maps>) {
        self.lines().prepared = maps;
    }

    /// Reads the lines of the programs that are in the path now.
    pub(crate) fn commit_lines(&self) {
        let mut lines = self.lines();
        let Some(maps) = lines.prepared.take() else {
            lines.reading = None;
            return;
        };
        if lines.reading.as_ref().is_some_and(|reading| reading.reads(&maps)) {
            return;
        }
        lines.reading = match Reading::begin(maps, Arc::clone(&self.log)) {
            Ok(reading) => Some(reading),
            Err(error) => {
                self.log.write(Level::Error, &format!("the lines of its programs cannot be read: {error}"));
                None
            }
        };
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> Result<Value, Failure> {
        let text = self.call("state", CubeHandle::state)?;
        serde_json::from_str(&text).map_err(|error| Failure::Malformed(error.to_string()))
    }

    /// Calls an action; `call` is what the SDK's `ActionCall` is read from.
    pub(crate) fn act(&self, call: &Value) -> Result<Acted, Failure> {
        let call = call.to_string();
        let text = self.call("action", |cube| cube.act(call.as_str().into()))?;
        serde_json::from_str(&text).map_err(|error| Failure::Malformed(error.to_string()))
    }

    /// Opens a stream; with `file`, its bytes go there, and the stream has reports.
    pub(crate) fn open(&self, path: &str, query: &Value, file: Option<OwnedFd>) -> Result<Stream, Failure> {
        let query = query.to_string();
        let handle = self.call("open", |cube| match file {
            Some(file) => cube.open_into(path.into(), query.as_str().into(), file.into_raw_fd()),
            None => cube.open(path.into(), query.as_str().into()),
        })?;
        // SAFETY: the plugin passes ownership of an open descriptor with every handle, once.
        let fd = unsafe { OwnedFd::from_raw_fd(handle.fd) };
        let info = serde_json::from_str(&handle.info).map_err(|error| Failure::Malformed(error.to_string()))?;
        Ok(Stream { info, fd })
    }

    fn call<T>(&self, name: &'static str, call: impl FnOnce(&CubeHandle) -> Answer<T>) -> Result<T, Failure> {
        if let Some(Stuck { call, since }) = self.stuck() {
            return Err(Failure::Stuck { call, seconds: since.as_secs() });
        }
        self.call_claimed(name, call)
    }

    /// As [`Instance::call`], for a caller that has the cube's turn: only reads can be under way besides, and one of them
    /// that is stuck must not keep a change from its end.
    fn call_claimed<T>(&self, name: &'static str, call: impl FnOnce(&CubeHandle) -> Answer<T>) -> Result<T, Failure> {
        let side = self.side.read().unwrap_or_else(PoisonError::into_inner);
        let handle = match &*side {
            Side::Running(handle) => handle,
            Side::Replaced(by) => {
                let by = Arc::clone(by);
                drop(side);
                return by.call_claimed(name, call);
            }
        };
        if let Some(message) = self.failed.get() {
            return Err(Failure::Panicked(message.clone()));
        }
        let entered = self.calls.enter(self.id, &self.cube, name);
        let answer = call(handle);
        drop(entered);
        drop(side);
        let failure = match answer {
            ROk(value) => return Ok(value),
            RErr(text) => refusal(&text),
        };
        if let Failure::Panicked(message) = &failure {
            self.log.panicked(message, "its datapath goes on as it is");
            let _ = self.failed.set(message.clone());
            self.failures.add(self.id, &self.cube, message);
        }
        Err(failure)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.failures.remove(self.id);
    }
}

/// A map of a cube, as its plugin gets it.
pub(crate) struct MapCopy {
    /// JSON: name, key size, value size, number of entries, and whether it is new.
    info: String,
    fd: OwnedFd,
}

impl MapCopy {
    /// # Errors
    /// The descriptor cannot be copied.
    pub(crate) fn of(name: &str, map: &CubeMap, is_new: bool) -> io::Result<Self> {
        let CubeMap { key_size, value_size, max_entries, .. } = map;
        let info = json!({
            "name": name, "key_size": key_size, "value_size": value_size, "max_entries": max_entries, "new": is_new,
        });
        Ok(Self { info: info.to_string(), fd: map.fd.try_clone()? })
    }
}

/// With the handle, its receiver owns the descriptor.
impl From<MapCopy> for MapHandle {
    fn from(MapCopy { info, fd }: MapCopy) -> Self {
        Self { info: info.into(), fd: fd.into_raw_fd() }
    }
}

fn refusal(text: &str) -> Failure {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) if refusal.tag == Tag::Panic => Failure::Panicked(refusal.message),
        Ok(refusal) => Failure::Refused(refusal),
        Err(error) => Failure::Malformed(error.to_string()),
    }
}
