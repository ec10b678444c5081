//! Daemons that are expected to give up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Uid;
use rustix::thread::set_thread_uid;

use super::directory::Directory;
use super::{Output, binary_dir, process};
use crate::lab::Lab;

/// A daemon that does not give up is killed after this long, which its exit code shows.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user `nobody`, who owns nothing.
pub const NOBODY: u32 = 65534;

/// Runs a daemon in a new directory until it exits by itself, and returns its output. It logs only errors, so the
/// output is why it exited. `more` is as for [`super::Daemon::start_with`].
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
    let directory = Directory::make()?;
    let mut program = binaries.join("polycubed");
    if user != 0 {
        program = copy_program("polycubed", directory.path())?;
    }
    let quiet = ["--log", "error"].into_iter().filter(|_| !more.contains(&"--log"));
    let arguments = directory.arguments(&binaries, &quiet.chain(more.iter().copied()).collect::<Vec<_>>());
    let mut command = lab.host().command(&program);
    command.args(arguments).current_dir(directory.path()).env("HOME", directory.path());
    if user != 0 {
        let become_user = move || set_thread_uid(Uid::from_raw(user)).map_err(Into::into);
        // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor locks.
        unsafe { command.pre_exec(become_user) };
    }
    let output = process::run(command, None, PATIENCE).with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Output::new("polycubed", more, &output))
}

/// Copies a built program into `directory`, and makes that accessible to all users, which a build directory may not be.
///
/// # Errors
/// Fails when the program is not built.
pub fn copy_program(name: &str, directory: &Path) -> Result<PathBuf> {
    let copy = directory.join(name);
    // Another process copies it. If this one had the copy open for writing, a child that another test starts meanwhile
    // would inherit the descriptor, and the program could not run (execve(2), ETXTBSY).
    let status = Command::new("cp").arg(binary_dir()?.join(name)).arg(&copy).status().context("cannot run cp")?;
    ensure!(status.success(), "cannot copy {name} to {}", copy.display());
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}
