//! `./x demo`: what the README promises, on real traffic, in a lab that is gone afterwards.
//!
//! It runs the commands of Polycube's guide to packetcapture unchanged, as far as this version supports them.

mod decode;
mod footprint;
mod interruption;
mod stage;
mod tour;

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{cargo, run as run_command};
use footprint::Footprint;
use interruption::Interruption;
use stage::Stage;

/// What the demo runs. The other packages are left alone: optimising them doubles the time to the first packet.
const PACKAGES: [&str; 4] = ["polycubed", "polycubectl", "pcn_packetcapture", "pcn_simplebridge"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Cargo profile to build and run
    #[arg(long, default_value = "release")]
    profile: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let user = fs::metadata("/proc/self").context("/proc is not mounted")?.uid();
    ensure!(user == 0, "the demo needs root, for network namespaces and eBPF: run `./x demo`, which uses sudo");
    let what = format!("cargo build, profile {}: the first build takes some minutes", arguments.profile);
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    run_command(&what, cargo().args(["build", "--locked", "--profile", &arguments.profile]).args(packages))?;

    let interruption = Interruption::watch()?;
    let stage = Stage::set(&binaries(&arguments.profile)?)?;
    let shown = tour::give(&stage, &interruption);
    let footprint = Footprint::of(&stage);
    let remains = stage.strike().and_then(|remains| footprint?.prove_gone(remains.pins).map(|()| remains));
    // When several steps fail, the first failure is the one to report.
    interruption.explain(shown)?;
    tour::print_what_is_next(&remains?.keep_captures()?);
    Ok(())
}

/// Where cargo puts what it builds with a profile, relative to the directory of this program's own profile.
fn binaries(profile: &str) -> Result<PathBuf> {
    let directory = if profile == "dev" { "debug" } else { profile };
    let own = env::current_exe().context("cannot find xtask itself")?;
    let target = own.parent().and_then(|own| own.parent()).context("xtask is not in a target directory")?;
    Ok(target.join(directory))
}
