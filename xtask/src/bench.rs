//! `./x bench`: builds everything as users do, then runs the benches.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> Result<()> {
    // The benches start the daemon, the command line and the plugins, which are in the same directory.
    run_command("cargo build", cargo().args(["build", "--release", "--workspace", "--locked"]))?;
    // `cargo run -p` would build the plugins again: with the features of fewer crates.
    let target = crate::root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    run_command("bench", Command::new(target.join("release/bench")).args(args).current_dir(crate::root()))
}
