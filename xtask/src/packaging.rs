//! `./x package` and `./x install`: hands over to the crate `packaging`, which brings archives and compression.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

pub(crate) fn run(task: &str, args: &[String]) -> Result<()> {
    // Compression takes minutes without optimisation; installing compresses nothing.
    let profile = if task == "package" { "release" } else { "dev" };
    let run = ["run", "--quiet", "--locked", "--profile", profile, "-p", "polycube-packaging", "--", task];
    run_command(task, cargo().args(run).args(args))
}
