//! What a plugin is to hear of the netdevs of its cube.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The latest report for a cube. Only the latest counts: a plugin that is busy misses those before it.
#[derive(Default)]
pub(super) struct Report(Mutex<State>);

#[derive(Default)]
struct State {
    latest: Option<Arc<str>>,
    is_due: bool,
}

impl Report {
    /// Makes `text` the latest report. Answers whether the plugin has to hear it.
    pub(super) fn set(&self, text: &str) -> bool {
        let mut state = self.state();
        if state.latest.as_deref() != Some(text) {
            *state = State { latest: Some(text.into()), is_due: true };
        }
        state.is_due
    }

    /// The latest report, if it was not taken before.
    pub(super) fn take(&self) -> Option<Arc<str>> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_due) { state.latest.clone() } else { None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_report_is_due_once() {
        let report = Report::default();
        assert_eq!(report.take(), None);
        assert!(report.set("a") && report.set("a"), "nothing has heard it yet");
        assert_eq!(report.take().as_deref(), Some("a"));
        assert!(!report.set("a"), "it is known");
        assert!(report.set("b") && report.set("c"));
        assert_eq!((report.take().as_deref(), report.take()), (Some("c"), None));
        assert!(report.set("a"), "it is not the latest any more");
    }
}
