//! What the SDK gives a cube at its creation: who it is, and the host's log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::abi::HostHandle;

/// Severity of a line in the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something is lost or does not work.
    Error = 1,
    /// Something may go wrong, or went wrong and was mended.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
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
    /// A host before this key allowed no others.
    #[serde(default)]
    capture_roots: Vec<PathBuf>,
}

/// Who a cube is, and its line to the host. Clones are the same cube.
#[derive(Clone)]
pub struct Cube {
    info: Arc<CubeInfo>,
    host: Arc<HostHandle>,
}

impl Cube {
    pub(crate) fn new(info: CubeInfo, host: HostHandle) -> Self {
        Self { info: Arc::new(info), host: Arc::new(host) }
    }

    /// The name that the user gave. It has no `/` and no control characters and fits into 64 bytes.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The unique id that the host gave.
    pub fn uuid(&self) -> &str {
        &self.info.uuid
    }

    /// Where captures and other large results go: the daemon's `--capture-dir`, absolute.
    pub fn capture_dir(&self) -> &Path {
        &self.info.capture_dir
    }

    /// Other directories below which a path that a user gives may lead: the daemon's `--capture-root`, absolute.
    pub fn capture_roots(&self) -> &[PathBuf] {
        &self.info.capture_roots
    }

    /// Writes a line to the host's log, which adds the cube's name.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level as u8, message.into());
    }

    /// Asks the host to merge `patch` into this cube's configuration, as if a user had sent it: some time after this
    /// call, and with a line in the log when it cannot be.
    pub fn configure(&self, patch: &Value) {
        self.host.configure(patch.to_string().as_str().into());
    }
}
