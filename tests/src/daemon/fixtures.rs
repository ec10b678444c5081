//! Plugins that exist only for tests.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::binary_dir;

/// A directory for `--plugin-dir` with the real plugins and the named ones of `tests/fixtures`.
///
/// # Errors
/// Fails when a plugin is not built, and names it.
pub fn plugin_dir(fixtures: &[&str]) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let real = ["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]
        .map(|service| (format!("libpcn_{service}.so"), service));
    let fixtures = fixtures.iter().map(|service| (format!("lib{service}.so"), *service));
    for (built, service) in real.into_iter().chain(fixtures) {
        let built = binary_dir()?.join(built);
        ensure!(built.exists(), "{} is missing: run `cargo build --workspace`", built.display());
        symlink(built, directory.path().join(format!("libpcn_{service}.so")))?;
    }
    Ok(directory)
}
