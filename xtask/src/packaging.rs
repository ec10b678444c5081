//! `./x package` and `./x install`: hands over to the crate `packaging`, which brings archives and compression.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

pub(crate) fn run(task: &str, args: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--locked", "-p", "polycube-packaging", "--", task];
    run_command(task, cargo().args(run).args(args))
}
