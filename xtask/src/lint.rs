//! `./x lint`: every check that needs neither root nor a kernel.

use std::process::Stdio;

use anyhow::Result;

use crate::command::{self, cargo, xtask};
use crate::tidy;

pub(crate) fn run() -> Result<()> {
    command::run("cargo fmt", cargo().args(["fmt", "--all", "--check"]))?;
    command::run(
        "cargo clippy",
        cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    command::run("ebpf --check", xtask()?.args(["ebpf", "--check"]))?;
    tidy::run()?;
    if cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        command::run("cargo deny", cargo().args(["deny", "check"]))
    } else {
        eprintln!(
            "./x: cargo deny is not installed, so licences and advisories go unchecked: cargo install cargo-deny"
        );
        Ok(())
    }
}
