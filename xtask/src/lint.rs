//! `./x lint`: every check that needs neither root nor a kernel.

use anyhow::Result;

use crate::command::{self, cargo, xtask};
use crate::{deny, tidy};

pub(crate) fn run() -> Result<()> {
    command::run("cargo fmt", cargo().args(["fmt", "--all", "--check"]))?;
    command::run(
        "cargo clippy",
        cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    command::run("ebpf --check", xtask()?.args(["ebpf", "--check"]))?;
    tidy::run()?;
    deny::check_commit_if_installed()
}
