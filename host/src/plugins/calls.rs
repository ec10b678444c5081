//! Calls of plugins that have not returned yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::log::LOG_TARGET;

/// A call that takes longer is logged: a plugin does its work in threads of its own.
pub(super) const SLOW: Duration = Duration::from_millis(200);

/// A call that takes longer makes its cube count as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// All calls that are under way, of all cubes.
#[derive(Default)]
pub(crate) struct Calls(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    /// Id of the instance.
    instance: u64,
    cube: Arc<str>,
    call: &'static str,
    since: Instant,
    is_reported: bool,
}

/// A call that has been going on for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub call: &'static str,
    pub since: Duration,
}

impl Calls {
    /// Enters a call, until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, instance: u64, cube: &Arc<str>, call: &'static str) -> Entered {
        let since = Instant::now();
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        state.open.insert(id, Open { instance, cube: Arc::clone(cube), call, since, is_reported: false });
        Entered { calls: Arc::clone(self), id }
    }

    /// The oldest call of an instance that has taken longer than [`PATIENCE`].
    pub(crate) fn stuck(&self, instance: u64) -> Option<Stuck> {
        let state = self.state();
        let own = state.open.values().filter(|open| open.instance == instance);
        let stuck = own.map(|open| Stuck { call: open.call, since: open.since.elapsed() });
        stuck.filter(|stuck| stuck.since >= PATIENCE).max_by_key(|stuck| stuck.since)
    }

    /// Logs calls that have become stuck since the last time.
    pub(crate) fn report_stuck(&self) {
        for open in self.state().open.values_mut() {
            if !open.is_reported && open.since.elapsed() >= PATIENCE {
                open.is_reported = true;
                let (cube, call) = (&*open.cube, open.call);
                let message = "the plugin has not returned for 10 s: the cube is stuck until it does";
                tracing::error!(target: LOG_TARGET, cube, call, message);
            }
        }
    }

    /// Makes all calls that are under way as old as those that count as stuck.
    #[cfg(test)]
    pub(super) fn age(&self) {
        for open in self.state().open.values_mut() {
            open.since = Instant::now().checked_sub(PATIENCE).unwrap();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
pub(crate) struct Entered {
    calls: Arc<Calls>,
    id: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(open) = self.calls.state().open.remove(&self.id) else { return };
        let took = open.since.elapsed();
        if took >= SLOW {
            let (cube, call, milliseconds) = (&*open.cube, open.call, took.as_millis());
            tracing::warn!(target: LOG_TARGET, cube, call, "the plugin took {milliseconds} ms for a call");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_until_it_returns() {
        let calls = Arc::new(Calls::default());
        let entered = calls.enter(7, &Arc::from("br1"), "tick");
        assert_eq!(calls.stuck(7), None, "it has just begun");
        calls.age();
        assert_eq!(calls.stuck(7).map(|stuck| stuck.call), Some("tick"));
        assert_eq!(calls.stuck(8), None, "another cube is not stuck");
        calls.report_stuck();
        assert!(calls.state().open.values().all(|open| open.is_reported));
        drop(entered);
        assert_eq!(calls.stuck(7), None);
    }
}
