//! The trait that a plugin implements.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Action, Cube, Datapath, Maps, Refusal, ServiceKind, Stream, Tag};

/// A port of a standard cube.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Index into the map `ports`. It stays while the port lives.
    pub id: u32,
    /// Name.
    pub name: String,
    /// The netdev on the other side, if there is one.
    pub netdev: Option<String>,
}

/// A place that a transparent cube is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Names the place in [`Program::point`](crate::Program::point).
    pub id: u32,
    /// `br1:toveth1`, or a netdev.
    pub name: String,
    /// The netdev whose packets pass there; `None` while the port has no peer.
    pub netdev: Option<String>,
}

/// What a cube is to be: its configuration and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted<C> {
    /// The whole configuration, defaults filled in.
    pub config: C,
    /// Ports of a standard cube.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Places of a transparent cube.
    #[serde(default)]
    pub points: Vec<Point>,
}

/// A stream, opened for one reader.
#[derive(Debug)]
pub struct Opened {
    /// The reading end of a pipe, or a regular file, of which readers can have ranges.
    pub fd: OwnedFd,
    /// Media type, one of those declared.
    pub media: String,
    /// The name that a download is to be saved under.
    pub file_name: Option<String>,
    /// What the cube's state knows this reader by.
    pub id: Option<u64>,
}

/// A service: its implementor stands for one cube.
///
/// A change runs through [`datapath`](Self::datapath), then, when everything is loaded,
/// [`prepare`](Self::prepare), and ends with [`commit`](Self::commit) or [`abort`](Self::abort). The host makes one
/// change of a cube at a time; [`state`](Self::state) is asked from other threads meanwhile.
pub trait Service: Send + Sync + Sized + 'static {
    /// Name of the service, as in `polycubectl NAME add …`.
    const NAME: &'static str;
    /// One line for `services show`.
    const DESCRIPTION: &'static str;
    /// Whether cubes have ports or are attached to one.
    const KIND: ServiceKind;
    /// Configuration. The doc comments of its fields are the user's help.
    type Config: DeserializeOwned + Serialize + JsonSchema;
    /// State that `show` adds to the configuration. Objects are merged, everything else stands beside it.
    type State: Serialize + JsonSchema;

    /// Makes a cube.
    ///
    /// # Errors
    /// The plugin's reason; the cube does not come to be.
    fn create(cube: Cube) -> Result<Self, Refusal>;

    /// Says what to load, and changes nothing: the answer may be thrown away.
    ///
    /// # Errors
    /// The plugin's reason; the change is refused.
    fn datapath(&self, wanted: &Wanted<Self::Config>) -> Result<Datapath, Refusal>;

    /// Gets ready for `wanted`. The programs are loaded, and no packet has passed them yet.
    ///
    /// # Errors
    /// The plugin's reason; the host undoes what it did.
    fn prepare(&self, wanted: &Wanted<Self::Config>, maps: Maps) -> Result<(), Refusal>;

    /// The prepared programs are in the path, and the earlier ones have seen their last packet.
    fn commit(&self);

    /// Forgets what was prepared.
    fn abort(&self);

    /// The state. Reading it changes nothing.
    ///
    /// # Errors
    /// The plugin's reason, which the reader gets.
    fn state(&self) -> Result<Self::State, Refusal>;

    /// What [`action`](Self::action) carries out.
    fn actions() -> Vec<Action> {
        Vec::new()
    }

    /// Carries out one of the [`actions`](Self::actions). `input` fits its schema, defaults filled in; it is null for an
    /// action that takes nothing.
    ///
    /// # Errors
    /// The plugin's reason.
    fn action(&self, path: &str, input: &Value) -> Result<Value, Refusal> {
        let _ = input;
        Err(Refusal::new(Tag::OperationNotSupported, format!("`{path}` is no action of {}", Self::NAME)))
    }

    /// Called about once a second.
    fn tick(&self) {}

    /// The resources that [`open`](Self::open) answers.
    fn streams() -> Vec<Stream> {
        Vec::new()
    }

    /// Opens one of [`streams`](Self::streams) for one reader. `query` has the request's parameters, those declared
    /// and no others. Whatever fills a pipe learns from a broken pipe that the reader is gone.
    ///
    /// # Errors
    /// The plugin's reason.
    fn open(&self, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        let _ = query;
        Err(Refusal::no_stream(path))
    }
}
