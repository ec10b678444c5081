//! Faults on demand, for tests that need the daemon to fail at a certain place. Only development builds have them.
//!
//! `delete CUBE` panics when that cube is deleted. `restore N` and `change N` kill the process at the Nth step of bringing
//! back what is stored, or of the changes after that: as `kill -9` would, at the moment when it matters. `upgrade` takes
//! every program that was found for one of another version. `trial` has the process abort that tries the store.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The place where to fail.
static ARMED: OnceLock<String> = OnceLock::new();

/// Steps so far, of the phase that the daemon is in.
static STEPS: AtomicU32 = AtomicU32::new(0);

/// Whether what is stored has been brought back.
static RESTORED: AtomicBool = AtomicBool::new(false);

/// Has the daemon fail at the place called `name`. Only the first call counts.
pub(crate) fn arm(name: &str) {
    ARMED.get_or_init(|| name.to_owned());
}

/// Whether the fault called `name` is wanted.
pub(crate) fn is_armed(name: &str) -> bool {
    ARMED.get().is_some_and(|armed| armed == name)
}

/// A place called `name`: panics if it is armed.
pub(crate) fn point(name: &str) {
    assert!(!is_armed(name), "fault point `{name}`");
}

/// From now on, steps are those of changes.
pub(crate) fn restored() {
    RESTORED.store(true, Ordering::Relaxed);
    STEPS.store(0, Ordering::Relaxed);
}

/// A step: kills the process if it is armed.
pub(crate) fn step() {
    let Some(armed) = ARMED.get() else { return };
    let phase = if RESTORED.load(Ordering::Relaxed) { "change" } else { "restore" };
    let number = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    if *armed == format!("{phase} {number}") {
        tracing::error!("fault at {armed}");
        crate::sys::process::kill_self();
    }
}
