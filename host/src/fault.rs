//! Faults on demand, for tests that need the daemon to fail at a certain place. Not part of a normal build.

/// The variable of the environment that names where to fail.
const VARIABLE: &str = "POLYCUBED_FAULT";

/// Panics if the environment asks for it here.
pub fn point(name: &str) {
    assert!(std::env::var(VARIABLE).as_deref() != Ok(name), "fault point `{name}`");
}
