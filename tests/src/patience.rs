//! How long tests wait for what happens by itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

/// Waits until a condition holds.
///
/// # Errors
/// Fails when it does not within [`PATIENCE`], or cannot be checked.
pub fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().with_context(|| format!("waiting for {what}"))? {
        ensure!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        thread::sleep(POLL);
    }
    Ok(())
}
