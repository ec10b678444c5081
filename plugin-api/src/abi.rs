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
    std_types::{RBox, RResult, RStr, RString, RVec},
};

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
    /// Reports what has changed in the host's network namespace (JSON of an [`Environment`](crate::Environment)), of the
    /// topics that the service observes.
    fn environment(&self, news: RStr<'_>) -> Answer<()> {
        // A plugin of ABI 1.2 or earlier observes nothing.
        let _ = news;
        RResult::ROk(())
    }
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
    /// "capture-group"}`.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(cube: RStr<'_>, host: HostHandle) -> Answer<CubeHandle>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "pcn";
    const NAME: &'static str = "polycube plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
