//! What the SDK gives a cube when it is created: its identity, and the host's log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use serde::Deserialize;
use serde_json::Value;

use crate::abi::{Answer, HostHandle, SenderHandle};
use crate::datapath::{Map, MapSpec};
use crate::refusal::Refusal;
use crate::stages::{Stage, Stages};
use crate::threads::{self, JoinHandle};

/// Severity of a line in the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something is lost or does not work.
    Error = 1,
    /// Something may go wrong, or went wrong and was repaired.
    Warn,
    /// Useful to an operator.
    Info,
    /// Useful to a developer.
    Debug,
    /// Everything.
    Trace,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CubeInfo {
    name: String,
    uuid: String,
    capture_dir: PathBuf,
    /// Older hosts do not send this key, and allow no other directories.
    #[serde(default)]
    capture_roots: Vec<PathBuf>,
    /// Older hosts do not send these keys.
    #[serde(default)]
    capture_memory: Option<u64>,
    #[serde(default)]
    capture_floor: Option<u64>,
    #[serde(default)]
    capture_group: Option<u32>,
    #[serde(default)]
    pcap_over_ip: Option<String>,
    /// Whether the request is for the service as a whole, which is not a cube.
    #[serde(default)]
    is_shared: bool,
}

/// A cube's identity, and its connection to the host. Clones refer to the same cube.
#[derive(Clone)]
pub struct Cube {
    info: Arc<CubeInfo>,
    host: Arc<HostHandle>,
    stages: Arc<Stages>,
}

impl Cube {
    pub(crate) fn new(info: CubeInfo, host: HostHandle) -> Self {
        let host = Arc::new(host);
        threads::register(&host);
        Self { info: Arc::new(info), host, stages: Arc::default() }
    }

    /// Whether it stands for the service as a whole, and not for a cube.
    pub(crate) fn is_shared(&self) -> bool {
        self.info.is_shared
    }

    /// What follows the phases of this cube's changes.
    pub(crate) fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }

    /// Has `stage` follow the phases of this cube's changes as long as it exists.
    pub(crate) fn enlist<S: Stage + 'static>(&self, stage: &Arc<S>) {
        let stage: Weak<S> = Arc::downgrade(stage);
        self.stages.enlist(stage);
    }

    /// The name that the user chose. It contains no `/` and no control characters and is at most 64 bytes long.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The unique id that the host assigned.
    pub fn uuid(&self) -> &str {
        &self.info.uuid
    }

    /// Directory for captures and other large results: the daemon's `--capture-dir`, absolute.
    pub fn capture_dir(&self) -> &Path {
        &self.info.capture_dir
    }

    /// Other directories that may contain the paths that users give: the daemon's `--capture-root`, absolute.
    pub fn capture_roots(&self) -> &[PathBuf] {
        &self.info.capture_roots
    }

    /// Bytes of memory that all captures together may use: the daemon's `--capture-memory`, if it is set.
    pub fn capture_memory(&self) -> Option<u64> {
        self.info.capture_memory
    }

    /// Bytes of a disk that captures leave free: the daemon's `--capture-floor`, if it is set.
    pub fn capture_floor(&self) -> Option<u64> {
        self.info.capture_floor
    }

    /// The group that may read captures: the one that may use the daemon's socket, if it exists.
    pub fn capture_group(&self) -> Option<u32> {
        self.info.capture_group
    }

    /// Where captures are served by PCAP-over-IP, `[ADDRESS:]PORT[/FORMAT]`: the daemon's `--pcap-over-ip`, if it is set.
    pub fn pcap_over_ip(&self) -> Option<&str> {
        self.info.pcap_over_ip.as_deref()
    }

    /// Writes a line to the host's log, which adds the cube's name.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level as u8, message.into());
    }

    /// The name of the netdev whose packets pass a point, such as the port `br1:p1`: the netdev itself, if the point is one.
    /// `None` while the port does not exist, or has no peer. What it says is as of the last change that has ended.
    pub fn netdev_at(&self, point: &str) -> Option<String> {
        self.host.netdev_at(point.into()).into_option().map(String::from)
    }

    /// Starts a thread that works for this cube: if it panics, the cube's log says where. `name` is at most 15 bytes long, or
    /// the kernel shows the beginning only.
    ///
    /// # Errors
    /// The operating system starts no thread.
    ///
    /// # Panics
    /// If `name` contains a zero byte.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        threads::spawn(Arc::clone(&self.host), name, work)
    }

    /// Opens the way of this cube's packets from user space.
    pub(crate) fn sender(&self) -> Answer<SenderHandle> {
        self.host.sender()
    }

    /// Asks the host to merge `patch` into this cube's configuration, as if a user had sent it. This happens some time
    /// after the call; a failure is logged.
    pub fn configure(&self, patch: &Value) {
        self.host.configure(patch.to_string().as_str().into());
    }

    /// Has the host make the map `spec`, which the datapath in force describes as late. One that is there already is what it
    /// returns.
    ///
    /// The calling thread makes it, and waits before and afterwards until the host has no other change to make. So call this on
    /// a thread that no method of the service waits for.
    ///
    /// # Errors
    /// The datapath in force has no such map, the kernel does not make it, or the host is from before ABI 1.3.
    pub fn make_map(&self, spec: &MapSpec) -> Result<Map, Refusal> {
        let spec = serde_json::to_string(spec)?;
        match self.host.make_map(spec.as_str().into()).into_result() {
            Ok(handle) => Map::adopt(&handle),
            Err(text) => Err(serde_json::from_str(&text)?),
        }
    }
}
