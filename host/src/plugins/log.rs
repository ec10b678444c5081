//! What a cube writes to the host's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use polycube_plugin_api::Level;

use crate::topology::LogLevel;

/// The target of cubes' log lines. The cube's `loglevel` alone decides which of them are written.
pub(crate) const LOG_TARGET: &str = "cube";

/// A cube's part of the log.
pub(super) struct CubeLog {
    cube: Arc<str>,
    /// The highest level that is written.
    threshold: AtomicU8,
}

impl CubeLog {
    pub(super) fn new(cube: Arc<str>, level: LogLevel) -> Self {
        Self { cube, threshold: AtomicU8::new(threshold(level)) }
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.threshold.store(threshold(level), Ordering::Relaxed);
    }

    pub(super) fn admits(&self, level: Level) -> bool {
        self.admits_number(level as u8)
    }

    fn admits_number(&self, level: u8) -> bool {
        level <= self.threshold.load(Ordering::Relaxed)
    }

    /// A panic is logged at every level: the cube has to be created again.
    pub(super) fn panicked(&self, message: &str, consequence: &str) {
        tracing::error!(target: LOG_TARGET, cube = &*self.cube, "the plugin {message}; {consequence}");
    }

    pub(super) fn write(&self, level: Level, message: &str) {
        self.write_number(level as u8, message);
    }

    /// `level` is that of the plugin ABI.
    pub(super) fn write_number(&self, level: u8, message: &str) {
        if !self.admits_number(level) {
            return;
        }
        let cube = &*self.cube;
        match level {
            0 | 1 => tracing::error!(target: LOG_TARGET, cube, "{message}"),
            2 => tracing::warn!(target: LOG_TARGET, cube, "{message}"),
            3 => tracing::info!(target: LOG_TARGET, cube, "{message}"),
            4 => tracing::debug!(target: LOG_TARGET, cube, "{message}"),
            _ => tracing::trace!(target: LOG_TARGET, cube, "{message}"),
        }
    }
}

/// The highest level that is written.
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
