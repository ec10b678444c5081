//! Faults on demand, for tests that need the daemon to fail at a certain place. Only development builds have them.

use std::sync::OnceLock;

/// The place where to fail.
static ARMED: OnceLock<String> = OnceLock::new();

/// Has the daemon fail at the place called `name`. Only the first call counts.
pub(crate) fn arm(name: &str) {
    ARMED.get_or_init(|| name.to_owned());
}

/// A place called `name`: panics if it is armed.
pub(crate) fn point(name: &str) {
    assert!(ARMED.get().is_none_or(|armed| armed != name), "fault point `{name}`");
}
