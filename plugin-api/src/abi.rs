//! The border between host and plugin: only strings, bytes, file descriptors and results cross it.
//!
//! Structured data crosses as JSON text, so that it can gain a field without a new ABI. The border grows by methods
//! with default bodies, added after the last method of the first version; existing items never change.
//! `docs/plugin-abi.md` has the rules. Plugin authors use [`Service`](crate::Service) instead.

// The code that `StableAbi` and `sabi_trait` generate uses full paths and leaves casts undocumented.
#![allow(missing_docs, non_local_definitions, unused_qualifications, clippy::undocumented_unsafe_blocks)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, ROption, RResult, RStr, RString, RVec},
};

use std::os::fd::{FromRawFd as _, OwnedFd};

use serde_json::Value;

use crate::Refusal;

/// Major version of this border. Host and plugin work together if theirs are equal.
pub const ABI_MAJOR: u32 = 1;
/// Minor version: counts the methods that were added since the major version began.
pub const ABI_MINOR: u32 = 3;

/// A result whose error is the JSON text of a [`Refusal`].
pub type Answer<T> = RResult<T, RString>;

/// A map of the cube, as the host passes it: the JSON text of its name and sizes, and a descriptor that the plugin then
/// owns.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct MapHandle {
    /// JSON: `{"name", "key_size", "value_size", "max_entries"}`.
    pub info: RString,
    /// An open descriptor of the map.
    pub fd: i32,
}

/// Programs to load: the JSON text of a [`Datapath`](crate::Datapath) and the objects that it refers to by index.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct DatapathText {
    /// JSON text.
    pub spec: RString,
    /// ELF objects and instructions.
    pub objects: RVec<RVec<u8>>,
}

/// A resource that the host copies to the client: the JSON text that describes it, and a descriptor that the host then
/// owns.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StreamHandle {
    /// JSON: `{"media", "file-name", "id"}`; only the first is required.
    pub info: RString,
    /// The read end of a pipe, or a regular file.
    pub fd: i32,
}

/// The way by which a cube's packets go from user space into the datapath: the JSON text that describes it, and descriptors
/// that the plugin then owns. `docs/plugin-abi.md` says what is written to them.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct SenderHandle {
    /// JSON: `{"cube": 7}`, the number of the cube.
    pub info: RString,
    /// A tap device, which takes one frame with each write(2).
    pub frames: i32,
    /// Map: where the exits of all cubes lead.
    pub exits: i32,
    /// Map: what became of each cube's frames.
    pub outcomes: i32,
}

/// What a plugin may ask of the host.
#[sabi_trait]
pub trait HostAbi: Send + Sync + 'static {
    /// Writes a line to the host's log; `level` is 1 (error) to 5 (trace).
    #[sabi(last_prefix_field)]
    fn log(&self, level: u8, message: RStr<'_>);
    /// Merges `patch` (JSON) into the cube's configuration, as a user's request would, some time after the call.
    fn configure(&self, patch: RStr<'_>) {
        // A host of ABI 1.0 cannot do it.
        let _ = patch;
    }
    /// Makes a map that the cube's datapath describes as `late`: `spec` is the JSON text of its
    /// [`MapSpec`](crate::MapSpec). Waits for the engine, so no call of the host may wait for it.
    fn make_map(&self, spec: RStr<'_>) -> Answer<MapHandle> {
        // A host of ABI 1.2 or earlier has made it already.
        let _ = spec;
        RResult::RErr(Refusal::failed("the daemon is too old to make a map later").text())
    }
    /// The name of the netdev whose packets pass a point, such as the port `br1:p1`; none while the port does not exist, or
    /// has no peer.
    fn netdev_at(&self, point: RStr<'_>) -> ROption<RString> {
        // A host of ABI 1.2 or earlier does not say.
        let _ = point;
        ROption::RNone
    }
    /// Opens the way by which the cube's packets go from user space into the datapath. To be called while the cube is
    /// created.
    fn sender(&self) -> Answer<SenderHandle> {
        // A host of ABI 1.2 or earlier cannot do it.
        RResult::RErr(
            Refusal::failed("this host takes no packets from plugins: it needs polycubed of ABI 1.3 or later").text(),
        )
    }
}

/// The host's side of one cube, as the plugin holds it.
pub type HostHandle = HostAbi_TO<RBox<()>>;

/// What the host asks of one cube. Calls may come from several threads at once.
#[sabi_trait]
pub trait CubeAbi: Send + Sync + 'static {
    /// Says what to load for the `wanted` configuration (JSON). Changes nothing.
    fn datapath(&self, wanted: RStr<'_>) -> Answer<DatapathText>;
    /// Everything is loaded and no packet has passed it yet. `commit` or `abort` follows.
    fn prepare(&self, wanted: RStr<'_>, maps: RVec<MapHandle>) -> Answer<()>;
    /// The prepared programs are in the path; the earlier ones have seen their last packet.
    fn commit(&self) -> Answer<()>;
    /// The change is cancelled: the cube forgets what was prepared, and what was running continues.
    fn abort(&self) -> Answer<()>;
    /// The cube's state (JSON). Reading it changes nothing.
    fn state(&self) -> Answer<RString>;
    /// Carries out the action at `path` (`fdb/flush`) with `input` (JSON); answers with JSON.
    fn action(&self, path: RStr<'_>, input: RStr<'_>) -> Answer<RString>;
    /// Called about once a second.
    #[sabi(last_prefix_field)]
    fn tick(&self) -> Answer<()>;
    /// Opens the stream at `path` (`files/sniffer.pcap`) with the parameters `query` (JSON, an object of strings).
    fn open(&self, path: RStr<'_>, query: RStr<'_>) -> Answer<StreamHandle> {
        let _ = query;
        RResult::RErr(Refusal::no_stream(path.as_str()).text())
    }
    /// Reports the netdevs at the cube's ports and points (JSON of a [`Netdevs`](crate::Netdevs)), all of them as they
    /// are now. Called soon after a commit that changes them, and when one of them goes down or comes up.
    fn netdevs(&self, netdevs: RStr<'_>) -> Answer<()> {
        // A plugin of ABI 1.1 or earlier does not depend on it.
        let _ = netdevs;
        RResult::ROk(())
    }
    /// Carries out an action. `call` is JSON: `{"action", "keys", "input", "config"}`, the action's path as it is declared,
    /// the words in the place of those in braces by their names, the input, and the cube's configuration. Answers with
    /// JSON: `{"output", "config"}`, both optional; a configuration is to replace exactly the one in `call`.
    fn act(&self, call: RStr<'_>) -> Answer<RString> {
        // A plugin of ABI 1.2 or earlier declares no words in braces, and changes no configuration.
        act_without_keys(call, |path, input| self.action(path, input))
    }

    /// Reports what has changed in the host's network namespace (JSON of an [`Environment`](crate::Environment)), of the
    /// topics that the service observes.
    fn environment(&self, news: RStr<'_>) -> Answer<()> {
        // A plugin of ABI 1.2 or earlier observes nothing.
        let _ = news;
        RResult::ROk(())
    }

    /// Opens the stream at `path` as [`open`](Self::open) does, for a client that has handed over `file`, a descriptor that
    /// the plugin then owns: the stream's bytes go into it, from its position on. Answers with a pipe that carries reports.
    fn open_into(&self, path: RStr<'_>, query: RStr<'_>, file: i32) -> Answer<StreamHandle> {
        let _ = query;
        // SAFETY: the host has handed it over.
        drop(unsafe { OwnedFd::from_raw_fd(file) });
        RResult::RErr(Refusal::no_stream(path.as_str()).text())
    }
}

/// [`CubeAbi::act`] of a plugin that only has [`CubeAbi::action`].
fn act_without_keys(call: RStr<'_>, action: impl FnOnce(RStr<'_>, RStr<'_>) -> Answer<RString>) -> Answer<RString> {
    let call: Value = match serde_json::from_str(call.as_str()) {
        Ok(call) => call,
        Err(error) => return RResult::RErr(Refusal::failed(error.to_string()).text()),
    };
    let (path, input) = (call["action"].as_str().unwrap_or_default(), call["input"].to_string());
    action(path.into(), input.as_str().into()).map(|output| format!(r#"{{"output":{output}}}"#).into())
}

/// One cube, as the host holds it.
pub type CubeHandle = CubeAbi_TO<RBox<()>>;

/// What a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// The service (JSON text of a [`ServiceSchema`](crate::ServiceSchema)).
    pub describe: extern "C" fn() -> Answer<RString>,
    /// Makes a cube. `cube` is JSON: `{"name", "uuid", "capture-dir", "capture-roots", "capture-memory", "capture-floor",
    /// "capture-group", "pcap-over-ip"}`.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(cube: RStr<'_>, host: HostHandle) -> Answer<CubeHandle>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "pcn";
    const NAME: &'static str = "polycube plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
