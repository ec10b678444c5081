//! `./x bench`: builds everything as users do, then runs the benches.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> Result<()> {
    // The benches start the daemon, the command line and the plugins, which are in the same directory.
    run_command("cargo build", cargo().args(["build", "--release", "--workspace", "--locked"]))?;
    let bench = ["run", "--quiet", "--release", "--locked", "-p", "polycube-benches", "--"];
    run_command("bench", cargo().args(bench).args(args))
}
