//! One cube of a plugin, as the host calls it.

use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RStr, RVec};
use polycube_plugin_api::abi::{Answer, CubeHandle, HostAbi, HostAbi_TO, MapHandle};
use polycube_plugin_api::{Code, Datapath, Direction, Level, Program, Refusal, Tag};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Plugin;
use crate::datapath::CubeMap;
use crate::topology::LogLevel;
use crate::wiring::CubeDatapath;

/// Why a call of a plugin brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Refused(Refusal),
    /// The plugin panicked, now or earlier: its instance is not called again.
    #[error("the plugin failed ({0}): delete the cube and create it again")]
    Failed(String),
    #[error("the plugin answers with something that is no JSON of the expected form: {0}")]
    Nonsense(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal,
            other => Self::failed(other.to_string()),
        }
    }
}

/// What a plugin asks the engine for.
pub type Request = Box<dyn Fn(Value) + Send + Sync>;

/// A stream that a plugin has opened for one reader.
#[derive(Debug)]
pub struct Stream {
    pub info: StreamInfo,
    pub fd: OwnedFd,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StreamInfo {
    pub media: String,
    pub file_name: Option<String>,
    pub id: Option<u64>,
}

/// What the log knows the lines of cubes by: how many there are is the cube's `loglevel` alone to say.
pub const LOG_TARGET: &str = "cube";

/// Who writes a cube's lines.
struct Voice {
    cube: String,
    /// The highest level that passes.
    threshold: AtomicU8,
}

impl Voice {
    fn admits(&self, level: u8) -> bool {
        level <= self.threshold.load(Ordering::Relaxed)
    }

    /// A panic is told at every level: somebody has to create the cube anew.
    fn tell_of_panic(&self, message: &str, what_now: &str) {
        tracing::error!(target: LOG_TARGET, cube = self.cube.as_str(), "the plugin {message}; {what_now}");
    }

    fn say(&self, level: u8, message: &str) {
        if !self.admits(level) {
            return;
        }
        let cube = self.cube.as_str();
        match level {
            0 | 1 => tracing::error!(target: LOG_TARGET, cube, "{message}"),
            2 => tracing::warn!(target: LOG_TARGET, cube, "{message}"),
            3 => tracing::info!(target: LOG_TARGET, cube, "{message}"),
            4 => tracing::debug!(target: LOG_TARGET, cube, "{message}"),
            _ => tracing::trace!(target: LOG_TARGET, cube, "{message}"),
        }
    }
}

/// A cube's code. Its datapath goes on when the code fails.
pub struct Instance {
    handle: CubeHandle,
    voice: Arc<Voice>,
    failed: OnceLock<String>,
}

impl Instance {
    /// Makes the plugin's side of a cube; `birth` is what the SDK's `Cube` is read from, `configure` takes the changes
    /// of its configuration that it asks for itself.
    ///
    /// # Errors
    /// The plugin's reason.
    pub fn create(
        plugin: &Plugin,
        name: &str,
        birth: &Value,
        level: LogLevel,
        configure: Request,
    ) -> Result<Self, Failure> {
        let voice = Arc::new(Voice { cube: name.to_owned(), threshold: AtomicU8::new(threshold(level)) });
        let host = Host { voice: Arc::clone(&voice), configure };
        let host = HostAbi_TO::from_value(host, TD_Opaque);
        let birth = birth.to_string();
        match (plugin.root.create())(RStr::from(birth.as_str()), host) {
            ROk(handle) => Ok(Self { handle, voice, failed: OnceLock::new() }),
            RErr(text) => {
                let failure = refusal(&text);
                if let Failure::Failed(message) = &failure {
                    voice.tell_of_panic(message, "the cube is not created");
                }
                Err(failure)
            }
        }
    }

    pub fn set_level(&self, level: LogLevel) {
        self.voice.threshold.store(threshold(level), Ordering::Relaxed);
    }

    /// Whether the cube's `loglevel` lets lines of this severity pass, the host's own too.
    pub fn admits(&self, level: Level) -> bool {
        self.voice.admits(level as u8)
    }

    fn say(&self, level: Level, message: &str) {
        self.voice.say(level as u8, message);
    }

    /// The message of the panic that ended this instance.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub fn datapath(&self, wanted: &str) -> Result<CubeDatapath, Failure> {
        self.say(Level::Trace, &format!("asked for a datapath for {wanted}"));
        let answer = self.call(|cube| cube.datapath(wanted.into()))?;
        let Datapath { programs, maps, .. } =
            serde_json::from_str(&answer.spec).map_err(|error| Failure::Nonsense(error.to_string()))?;
        let objects: Vec<Arc<[u8]>> = answer.objects.iter().map(|object| Arc::from(object.as_slice())).collect();
        if let Some(program) = programs.iter().find(|program| program.object >= objects.len()) {
            return Err(Failure::Nonsense(format!("a program is in object {} of {}", program.object, objects.len())));
        }
        if self.admits(Level::Debug) {
            let list = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
            let maps = list(maps.iter().map(|map| map.name.clone()).collect());
            let programs = list(programs.iter().map(in_words).collect());
            self.say(Level::Debug, &format!("asks for programs: {programs}; maps: {maps}"));
        }
        Ok(CubeDatapath { programs, maps, objects })
    }

    pub fn prepare<'a>(&self, wanted: &str, maps: impl Iterator<Item = (&'a str, &'a CubeMap)>) -> Result<(), Failure> {
        let mut copies = Vec::new();
        for (name, map) in maps {
            let fd = map.fd.try_clone();
            let fd =
                fd.map_err(|error| Failure::Refused(Refusal::failed(format!("no descriptor for a map: {error}"))))?;
            let CubeMap { key_size, value_size, max_entries, .. } = map;
            let info =
                json!({ "name": name, "key_size": key_size, "value_size": value_size, "max_entries": max_entries });
            copies.push((info.to_string(), fd));
        }
        // From here on the plugin owns the descriptors.
        let handles: RVec<MapHandle> =
            copies.into_iter().map(|(info, fd)| MapHandle { info: info.into(), fd: fd.into_raw_fd() }).collect();
        self.call(|cube| cube.prepare(wanted.into(), handles))
    }

    pub fn commit(&self) -> Result<(), Failure> {
        self.call(CubeHandle::commit)
    }

    pub fn abort(&self) -> Result<(), Failure> {
        self.call(CubeHandle::abort)
    }

    pub fn state(&self) -> Result<Value, Failure> {
        let text = self.call(CubeHandle::state)?;
        serde_json::from_str(&text).map_err(|error| Failure::Nonsense(error.to_string()))
    }

    pub fn action(&self, path: &str, input: &Value) -> Result<Value, Failure> {
        let input = input.to_string();
        let text = self.call(|cube| cube.action(path.into(), input.as_str().into()))?;
        serde_json::from_str(&text).map_err(|error| Failure::Nonsense(error.to_string()))
    }

    pub fn open(&self, path: &str, query: &Value) -> Result<Stream, Failure> {
        let query = query.to_string();
        let handle = self.call(|cube| cube.open(path.into(), query.as_str().into()))?;
        // SAFETY: the plugin passes ownership of an open descriptor with every handle, once.
        let fd = unsafe { OwnedFd::from_raw_fd(handle.fd) };
        let info = serde_json::from_str(&handle.info).map_err(|error| Failure::Nonsense(error.to_string()))?;
        Ok(Stream { info, fd })
    }

    pub fn tick(&self) {
        // A panic is in the log already, and the other refusals are of no one's request.
        let _ = self.call(CubeHandle::tick);
    }

    fn call<T>(&self, call: impl FnOnce(&CubeHandle) -> Answer<T>) -> Result<T, Failure> {
        if let Some(message) = self.failed.get() {
            return Err(Failure::Failed(message.clone()));
        }
        let failure = match call(&self.handle) {
            ROk(value) => return Ok(value),
            RErr(text) => refusal(&text),
        };
        if let Failure::Failed(message) = &failure {
            self.voice.tell_of_panic(message, "its datapath goes on as it is");
            let _ = self.failed.set(message.clone());
        }
        Err(failure)
    }
}

/// `capture at point 3 ingress`.
fn in_words(program: &Program) -> String {
    let Program { point, direction, .. } = program;
    let what = match &program.code {
        Code::Elf { entry, .. } => entry,
        Code::Instructions { .. } => "a generated one",
    };
    let way = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    format!("{what} at point {point} {way}")
}

fn refusal(text: &str) -> Failure {
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) if refusal.tag == Tag::Panic => Failure::Failed(refusal.message),
        Ok(refusal) => Failure::Refused(refusal),
        Err(error) => Failure::Nonsense(error.to_string()),
    }
}

/// The host, as one cube sees it.
struct Host {
    voice: Arc<Voice>,
    configure: Request,
}

impl HostAbi for Host {
    fn log(&self, level: u8, message: RStr<'_>) {
        self.voice.say(level, message.as_str());
    }

    fn configure(&self, patch: RStr<'_>) {
        match serde_json::from_str(patch.as_str()) {
            Ok(patch) => (self.configure)(patch),
            Err(error) => {
                self.voice.say(Level::Error as u8, &format!("the plugin asks for a change that is no JSON: {error}"));
            }
        }
    }
}

/// The highest level that passes.
fn threshold(level: LogLevel) -> u8 {
    match level {
        LogLevel::Off => 0,
        LogLevel::Critical | LogLevel::Err => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
        LogLevel::Trace => 5,
    }
}
