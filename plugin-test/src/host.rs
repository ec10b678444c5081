//! The host, as a cube under test sees it: keeps what it logs and what it asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi_stable::std_types::{ROption, RStr, RString};
use polycube_plugin_api::Level;
use polycube_plugin_api::abi::HostAbi;
use serde_json::Value;

/// A line that a plugin wrote to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How severe it is.
    pub level: Level,
    /// What it says.
    pub message: String,
}

/// What a cube said to its host.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    lines: Vec<Line>,
    requests: Vec<Value>,
}

impl Heard {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.said().lines.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        std::mem::take(&mut self.said().requests)
    }

    /// Takes a line whose level has the number that it has at the border.
    pub(crate) fn hear(&self, level: u8, message: String) {
        let level = match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        };
        self.write(level, message);
    }

    fn write(&self, level: Level, message: String) {
        self.said().lines.push(Line { level, message });
    }
}

impl HostAbi for Heard {
    fn log(&self, level: u8, message: RStr<'_>) {
        self.hear(level, message.to_string());
    }

    fn configure(&self, patch: RStr<'_>) {
        match serde_json::from_str(patch.as_str()) {
            Ok(patch) => self.said().requests.push(patch),
            Err(error) => self.write(Level::Error, format!("the plugin asks for a change that is not JSON: {error}")),
        }
    }

    /// A netdev is the netdev of the point that it is; there are no ports of other cubes.
    fn netdev_at(&self, point: RStr<'_>) -> ROption<RString> {
        Some(point).filter(|point| !point.contains(':')).map(RString::from).into()
    }
}
