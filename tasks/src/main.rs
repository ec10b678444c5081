//! The tasks of `./x` that need a lab: the demo, and random requests.
//!
//! They are apart from xtask, which is built before anything else and so stays small. xtask builds what they run.

#![forbid(unsafe_code)]

mod demo;
mod fuzz_api;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "tasks", about = "Tasks of ./x that need a lab", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show a capture of real traffic, in a lab that is removed afterwards
    Demo,
    /// Send the daemon random requests, generated from its OpenAPI document
    FuzzApi(fuzz_api::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo => demo::run(),
        Task::FuzzApi(arguments) => fuzz_api::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line without a backtrace: the tree failed the task, not this program.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of this program, with the daemon, the command line and the plugins of the same profile.
fn binaries() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program")?;
    own.parent().map(Into::into).context("this program is in no directory")
}

/// Prints on stderr what runs, and runs it.
fn run_command(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("./x: {what}");
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}
