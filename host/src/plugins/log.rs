//! What a cube writes to the host's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use polycube_plugin_api::Level;

use crate::topology::LogLevel;

/// The target of cubes' log lines. The cube's `loglevel` alone decides which of them are written.
pub(crate) const LOG_TARGET: &str = "cube";

/// Logs a panic, whatever the cube's `loglevel` is: the plugin has to be mended.
pub(super) fn panicked(cube: &str, message: &str, consequence: &str) {
    tracing::error!(target: LOG_TARGET, cube, "the plugin {message}; {consequence}");
}

/// A cube's part of the log.
#[derive(Debug)]
pub(super) struct CubeLog {
    cube: Arc<str>,
    /// The highest level that is written.
    threshold: AtomicU8,
}

impl CubeLog {
    pub(super) fn new(cube: Arc<str>, level: LogLevel) -> Self {
        Self { cube, threshold: AtomicU8::new(level.highest()) }
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.threshold.store(level.highest(), Ordering::Relaxed);
    }

    pub(super) fn panicked(&self, message: &str, consequence: &str) {
        panicked(&self.cube, message, consequence);
    }

    pub(super) fn admits(&self, level: Level) -> bool {
        self.admits_number(level as u8)
    }

    fn admits_number(&self, level: u8) -> bool {
        level <= self.threshold.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;

    const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn lines(work: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn a_loglevel_admits_itself_and_what_is_more_severe() {
        for (level, admitted) in [
            (LogLevel::Off, 0),
            (LogLevel::Critical, 1),
            (LogLevel::Err, 1),
            (LogLevel::Warn, 2),
            (LogLevel::Info, 3),
            (LogLevel::Debug, 4),
            (LogLevel::Trace, 5),
        ] {
            let log = CubeLog::new(Arc::from("br1"), LogLevel::Trace);
            log.set_level(level);
            let found = LEVELS.map(|severity| log.admits(severity));
            assert_eq!(found.iter().filter(|admits| **admits).count(), admitted, "{level:?}: {found:?}");
            assert!(found.is_sorted_by(|severer, milder| severer >= milder), "{level:?}: {found:?}");
        }
    }

    #[test]
    fn a_line_keeps_its_severity_and_names_its_cube() {
        let log = CubeLog::new(Arc::from("br1"), LogLevel::Warn);
        let written = lines(|| {
            for level in LEVELS {
                log.write(level, "a line");
            }
        });
        assert_eq!(written, ["ERROR cube: a line cube=\"br1\"", "WARN cube: a line cube=\"br1\""]);
        log.set_level(LogLevel::Trace);
        let written = lines(|| (0..=6).for_each(|number| log.write_number(number, "x")));
        let severities: Vec<&str> = written.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(severities, ["ERROR", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"], "6 is not a level of the ABI");
    }

    #[test]
    fn a_panic_is_logged_at_every_level() {
        let log = CubeLog::new(Arc::from("br1"), LogLevel::Off);
        let written = lines(|| {
            log.write(Level::Error, "not this");
            log.panicked("overflowed", "its datapath goes on as it is");
        });
        assert_eq!(written, ["ERROR cube: the plugin overflowed; its datapath goes on as it is cube=\"br1\""]);
    }
}
