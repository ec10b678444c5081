//! One call at a time: a cube's changes, actions and ticks take turns.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A cube's turn, which one caller has at a time.
pub(crate) struct Turn {
    state: Mutex<State>,
    is_free: Condvar,
    /// Called when the turn becomes free and somebody had asked for that.
    freed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// The holder of the turn, and its calls that have not returned.
    holders: usize,
    is_wanted: bool,
    /// Until then, the turn is kept for what wanted it.
    kept_until: Option<Instant>,
}

/// How long a turn that has become free is kept for what wanted it: a change needs a moment to come for it, and a tick
/// that is due just then must not take it away.
pub(super) const KEPT: Duration = Duration::from_millis(100);

impl Turn {
    pub(crate) fn new(freed: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), is_free: Condvar::new(), freed })
    }

    /// Takes the turn unless it is taken or wanted.
    pub(crate) fn take_if_idle(self: &Arc<Self>) -> Option<Taken> {
        let state = self.state();
        let is_kept = state.kept_until.is_some_and(|until| Instant::now() < until);
        if state.is_wanted || is_kept { None } else { self.take_now(state) }
    }

    /// Takes the turn as soon as it is free; `None` if it does not become free in time.
    pub(crate) fn take(self: &Arc<Self>, patience: Duration) -> Option<Taken> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.holders > 0 {
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.is_free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.take_now(state)
    }

    /// Asks to be called, once, when the turn becomes free. Until then, ticks stay away.
    pub(crate) fn want(&self) {
        let mut state = self.state();
        if state.holders > 0 {
            state.is_wanted = true;
            return;
        }
        drop(state);
        (self.freed)();
    }

    /// Whether something waits for the turn.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state().is_wanted
    }

    fn take_now(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Option<Taken> {
        if state.holders > 0 {
            return None;
        }
        *state = State { holders: 1, ..State::default() };
        Some(Taken(Arc::clone(self)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that was taken. It is free again when the last copy is dropped, so a call that is left behind keeps its copy.
pub(crate) struct Taken(Arc<Turn>);

impl Taken {
    pub(crate) fn is_of(&self, turn: &Arc<Turn>) -> bool {
        Arc::ptr_eq(&self.0, turn)
    }
}

impl Clone for Taken {
    fn clone(&self) -> Self {
        self.0.state().holders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.holders -= 1;
        let is_free = state.holders == 0;
        // Whatever wanted the turn may not come for it: ticks must not wait for that for long.
        let is_wanted = is_free && std::mem::take(&mut state.is_wanted);
        state.kept_until = is_wanted.then(|| Instant::now() + KEPT);
        drop(state);
        if is_free {
            self.0.is_free.notify_all();
            if is_wanted {
                (self.0.freed)();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_turn_is_free_when_the_last_call_of_its_holder_has_returned() {
        let freed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&freed);
        let turn = Turn::new(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let holder = turn.take(Duration::ZERO).unwrap();
        let call = holder.clone();
        drop(holder);
        assert!(turn.take(Duration::from_millis(1)).is_none(), "its call has not returned");
        turn.want();
        let before = Instant::now();
        drop(call);
        assert_eq!(freed.load(Ordering::SeqCst), 1);
        let is_kept = turn.take_if_idle().is_none();
        assert!(is_kept || before.elapsed() >= KEPT, "it is kept for what wanted it");
        std::thread::sleep(KEPT);
        assert!(turn.take_if_idle().is_some(), "what wanted it may have gone away");
        assert_eq!(freed.load(Ordering::SeqCst), 1, "nothing wanted it again");
        let holder = turn.take(Duration::ZERO).unwrap();
        turn.want();
        assert!(turn.is_wanted() && turn.take_if_idle().is_none());
        drop(holder);
        assert_eq!(freed.load(Ordering::SeqCst), 2);
    }
}
