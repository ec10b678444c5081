//! `./x package`, `./x packagetest` and `./x install`: hands over to the crate `packaging`, which brings archives and compression.

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::sdk;

/// Makes the SDK first, which the package for development consists of.
pub(crate) fn package(args: &[String]) -> Result<()> {
    let sdk = sdk::make(&crate::root().join("target/sdk"))?;
    // Compression takes minutes without optimisation.
    let mut run = cargo();
    run.args([
        "run",
        "--quiet",
        "--locked",
        "--profile",
        "release",
        "-p",
        "polycube-packaging",
        "--",
        "package",
        "--sdk",
    ]);
    run_command("package", run.arg(sdk).args(args))
}

pub(crate) fn install(args: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--locked", "-p", "polycube-packaging", "--", "install"];
    run_command("install", cargo().args(run).args(args))
}

pub(crate) fn trial(args: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--locked", "-p", "polycube-packaging", "--", "trial"];
    run_command("packagetest", cargo().args(run).args(args))
}
