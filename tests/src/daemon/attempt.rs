//! Daemons that are expected to give up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Uid;
use rustix::thread::set_thread_uid;

use super::place::Place;
use super::{Output, binary_dir, process};
use crate::lab::Lab;

/// A daemon that does not give up is killed after this long, and its exit code says so.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user whom nothing belongs to.
pub const NOBODY: u32 = 65534;

/// Runs a daemon in a place of its own until it ends by itself, and gives what it said. It logs errors only, so that
/// what it says is why it ended. `more` is as for [`super::Daemon::start_with`].
///
/// # Errors
/// Fails when it cannot be run at all.
pub fn attempt(lab: &Lab, more: &[&str]) -> Result<Output> {
    attempt_as(lab, 0, more)
}

/// As [`attempt`], as another user.
///
/// # Errors
/// As [`attempt`].
pub fn attempt_as(lab: &Lab, user: u32, more: &[&str]) -> Result<Output> {
    let binaries = binary_dir()?;
    let place = Place::make()?;
    let mut program = binaries.join("polycubed");
    if user != 0 {
        // A build directory may be closed to others.
        let copy = place.path().join("polycubed");
        fs::copy(&program, &copy).context("cannot copy the daemon")?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        program = copy;
    }
    let quiet = ["--log", "error"].into_iter().filter(|_| !more.contains(&"--log"));
    let arguments = place.arguments(&binaries, &quiet.chain(more.iter().copied()).collect::<Vec<_>>());
    let mut command = lab.host().command(&program);
    command.args(arguments).current_dir(place.path()).env("HOME", place.path());
    if user != 0 {
        let become_user = move || set_thread_uid(Uid::from_raw(user)).map_err(Into::into);
        // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor locks.
        unsafe { command.pre_exec(become_user) };
    }
    let output = process::run(command, None, PATIENCE).with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Output::new("polycubed", more, &output))
}
