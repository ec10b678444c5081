//! `./x test`: builds everything, then runs every test, as root on a kernel that supports what the daemon needs.

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::machine;

/// The daemon is built with places where tests can make it fail.
const FAULT_POINTS: [&str; 2] = ["--features", "polycubed/fault-points"];

pub(crate) fn run(args: &[String]) -> Result<()> {
    machine::check()?;
    // The black-box tests start the daemon, the command line and the plugins, which `cargo test` alone does not build.
    run_command("cargo build", cargo().args(["build", "--workspace", "--locked"]).args(FAULT_POINTS))?;
    run_command("cargo test", cargo().args(["test", "--workspace", "--locked"]).args(FAULT_POINTS).args(args))
}
