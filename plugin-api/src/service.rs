//! The trait that a plugin implements.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Action, ActionCall, Code, Cube, Datapath, Direction, Environment, Maps, Netdevs, Outcome, Program, Refusal,
    ServiceKind, Stream, Tag, Topic,
};

/// A port of a standard cube.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Index into the map `ports`. It is stable while the port exists.
    pub id: u32,
    /// Name.
    pub name: String,
    /// The netdev on the other side, if any.
    pub netdev: Option<String>,
}

/// A point that a transparent cube is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Identifies the point in [`Program::point`](crate::Program::point).
    pub id: u32,
    /// `br1:toveth1`, or a netdev.
    pub name: String,
    /// The netdev whose packets pass the point; `None` while the port has no peer.
    pub netdev: Option<String>,
    /// Whether the netdev is the loopback, on which every packet that leaves comes in again.
    #[serde(default)]
    pub is_loopback: bool,
    /// Whether packets on the netdev begin with the IP header, as on tun devices and tunnels. Only services that
    /// [say so](Service::TAKES_RAW_IP) are attached there.
    #[serde(default)]
    pub is_raw_ip: bool,
    /// Whether the point is the other end of the netdev, in another namespace: what comes in at the netdev is what leaves
    /// there. Hosts before version 1.3 do not have such points.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_reversed: bool,
    /// Whether a place such as `any` stands for the point: nobody named it. Hosts before version 1.3 have no such places.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_chosen: bool,
    /// What is set as the peer of the port: a netdev, which need not exist, or another cube's port. `None` where the point is a
    /// netdev, or the port has no peer. Hosts before version 1.3 do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

impl Datapath {
    /// The same with the program `entry` of the object at each of `points` that has a netdev, with `constants` (see
    /// [`constant`](crate::constant)). At a point that waits for its netdev, there is nothing to attach a program to.
    #[must_use]
    pub fn at(mut self, points: &[Point], direction: Direction, entry: &str, constants: &[(String, Vec<u8>)]) -> Self {
        let code = || Code::Elf { entry: entry.to_owned(), constants: constants.to_vec() };
        let points = points.iter().filter(|point| point.netdev.is_some());
        self.programs.extend(points.map(|point| Program {
            point: point.id,
            direction,
            stage: 0,
            object: 0,
            code: code(),
        }));
        self
    }
}

/// The wanted state of a cube: its configuration, and where it is attached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted<C> {
    /// The whole configuration, with defaults filled in.
    pub config: C,
    /// Ports of a standard cube.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Points of a transparent cube.
    #[serde(default)]
    pub points: Vec<Point>,
    /// Places that a transparent cube is attached to and that stand for points, such as `any` and `netns:web`, whether or not
    /// they stand for any now. Hosts before version 1.3 have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

/// A stream, opened for one reader.
#[derive(Debug)]
pub struct Opened {
    /// The read end of a pipe, or a regular file, of which clients can request ranges.
    pub fd: OwnedFd,
    /// Media type, one of those declared.
    pub media: String,
    /// The file name for a download.
    pub file_name: Option<String>,
    /// The id of this reader in the cube's state.
    pub id: Option<u64>,
}

/// A service: an instance of the implementing type is one cube.
///
/// A change calls [`datapath`](Self::datapath), then, when everything is loaded, [`prepare`](Self::prepare), and
/// finally [`commit`](Self::commit) or [`abort`](Self::abort). The host makes one change to a cube at a time;
/// meanwhile, other threads may call [`state`](Self::state).
pub trait Service: Send + Sync + Sized + 'static {
    /// Name of the service, as in `polycubectl NAME add …`.
    const NAME: &'static str;
    /// One line for `services show`.
    const DESCRIPTION: &'static str;
    /// Whether cubes have ports or are attached to one.
    const KIND: ServiceKind;
    /// Whether a transparent cube also works where packets begin with the IP header: without, it gets Ethernet frames alone.
    const TAKES_RAW_IP: bool = false;
    /// Configuration. The doc comments of its fields are the user's help.
    type Config: DeserializeOwned + Serialize + JsonSchema;
    /// State that `show` adds to the configuration. Objects are merged; other values appear beside it.
    type State: Serialize + JsonSchema;

    /// Creates a cube.
    ///
    /// # Errors
    /// The plugin's reason; the cube is not created.
    fn create(cube: Cube) -> Result<Self, Refusal>;

    /// Returns what to load, and changes nothing: the host may discard the answer.
    ///
    /// # Errors
    /// The plugin's reason; the change is refused.
    fn datapath(&self, wanted: &Wanted<Self::Config>) -> Result<Datapath, Refusal>;

    /// Prepares for `wanted`. The programs are loaded, and no packet has passed them yet. What is needed of the
    /// configuration and the maps goes into a [`Staged`](crate::Staged), and rings to their
    /// [`RingReader`](crate::maps::RingReader): these follow the commit or the abort by themselves.
    ///
    /// # Errors
    /// The plugin's reason; the host undoes its part.
    fn prepare(&self, wanted: &Wanted<Self::Config>, maps: Maps) -> Result<(), Refusal> {
        let _ = (wanted, maps);
        Ok(())
    }

    /// The prepared programs are in the path; the earlier ones have seen their last packet. What is
    /// [`Staged`](crate::Staged) is in force already.
    fn commit(&self) {}

    /// Forgets what was prepared and is not [`Staged`](crate::Staged).
    fn abort(&self) {}

    /// The state. Reading it changes nothing.
    ///
    /// # Errors
    /// The plugin's reason, which the client gets.
    fn state(&self) -> Result<Self::State, Refusal>;

    /// The actions that [`action`](Self::action) performs.
    fn actions() -> Vec<Action> {
        Vec::new()
    }

    /// Performs one of the [`actions`](Self::actions) that have no words in braces and change no configuration; others need
    /// [`act`](Self::act). `input` is valid under its schema, with defaults filled in; it
    /// is null for an action without input.
    ///
    /// # Errors
    /// The plugin's reason.
    fn action(&self, path: &str, input: &Value) -> Result<Value, Refusal> {
        let _ = input;
        Err(Refusal::new(Tag::OperationNotSupported, format!("{} has no action `{path}`", Self::NAME)))
    }

    /// Called about once a second.
    fn tick(&self) {}

    /// The netdevs at the cube's ports and points, as they are now. Called soon after a [`commit`](Self::commit) that
    /// changes them, and when one of them goes down or comes up; each call reports all of them. It must return quickly,
    /// like a [`tick`](Self::tick).
    fn netdevs(&self, netdevs: &Netdevs) {
        let _ = netdevs;
    }

    /// What [`environment`](Self::environment) is to report. While no cube wants it, the host does not look.
    fn observes() -> Vec<Topic> {
        Vec::new()
    }

    /// Reports addresses, neighbours and routes of the host's network namespace, of the topics that
    /// [`observes`](Self::observes) names: everything first, then changes, at most some ten times a second. It must return
    /// quickly, like a [`tick`](Self::tick).
    fn environment(&self, news: &Environment) {
        let _ = news;
    }

    /// The resources that [`open`](Self::open) serves.
    fn streams() -> Vec<Stream> {
        Vec::new()
    }

    /// Opens one of [`streams`](Self::streams) for one reader. `query` contains only declared parameters. If `fd` is a
    /// pipe, the writer learns from a broken pipe that the reader is gone.
    ///
    /// # Errors
    /// The plugin's reason.
    fn open(&self, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        let _ = query;
        Err(Refusal::no_stream(path))
    }

    /// Opens one of [`streams`](Self::streams) that [can be written into files](Stream::into_files) for a client that has
    /// handed over a file of its own: what the client would read goes into `file`, from its position on, and what follows
    /// there is cut off. [`Opened::fd`] is a pipe that carries reports, a line of JSON each, of media type
    /// `application/x-ndjson`. It is closed when the file is complete; a reader that closes it ends the stream.
    ///
    /// # Errors
    /// The plugin's reason; then the file is as it was.
    fn open_into(&self, path: &str, query: &BTreeMap<String, String>, file: OwnedFd) -> Result<Opened, Refusal> {
        let _ = (query, file);
        Err(Refusal::no_stream(path))
    }

    /// Performs one of the [`actions`](Self::actions); by default, [`action`](Self::action) does. Match on
    /// [`ActionCall::action`], which is the declared path; [`ActionCall::key`] has the words in the place of those in braces.
    ///
    /// An action that changes the configuration answers with a whole new one, made of [`ActionCall::config`], and changes
    /// nothing itself: the host makes the change, which is checked, prepared and committed as any other, and answers when it
    /// is in force. If another change of the cube comes first, the host calls again with the new configuration.
    ///
    /// # Errors
    /// The plugin's reason.
    fn act(&self, call: &ActionCall<Self::Config>) -> Result<Outcome<Self::Config>, Refusal> {
        self.action(&call.action, call.raw_input()).map(Outcome::raw)
    }

    /// Resources of the service as a whole, which are there without a cube: what outlives cubes, or is about all of them.
    /// Their paths stand below `services/NAME/`, so the first word is not `reload`.
    fn shared_streams() -> Vec<Stream> {
        Vec::new()
    }

    /// Opens one of [`shared_streams`](Self::shared_streams) for one reader, as [`open`](Self::open) does. `host` has the
    /// directories, the limits and the log of a cube, and is none: its name is the service's.
    ///
    /// # Errors
    /// The plugin's reason.
    fn open_shared(host: &Cube, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        let _ = (host, query);
        Err(Refusal::no_stream(path))
    }

    /// Deletes one of [`shared_streams`](Self::shared_streams) that is [`deletable`](Stream::deletable).
    ///
    /// # Errors
    /// The plugin's reason.
    fn delete_shared(host: &Cube, path: &str) -> Result<(), Refusal> {
        let _ = host;
        Err(Refusal::no_stream(path))
    }
}
