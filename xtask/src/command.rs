//! Child processes that share our terminal.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// This program, to run another of its tasks.
pub(crate) fn xtask() -> Result<Command> {
    Ok(command(env::current_exe().context("cannot find xtask itself")?))
}

fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::root());
    command
}

/// Prints on stderr what runs, and runs it.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("./x: {what}");
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}
