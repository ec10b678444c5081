//! Lines in the host's log.

#![forbid(unsafe_code)]

use polycube_plugin_api::Level;

/// Writes a line to the host's log.
pub(crate) type Log = Box<dyn Fn(Level, &str) + Send + Sync>;
