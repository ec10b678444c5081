//! `./x demo`: what the README promises, on real traffic, in a lab that is gone afterwards.
//!
//! It runs the commands of Polycube's guide to packetcapture unchanged, as far as this version supports them.

mod decode;
mod footprint;
mod interruption;
mod stage;
mod tour;

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use footprint::Footprint;
use interruption::Interruption;
use stage::Stage;

pub(crate) fn run() -> Result<()> {
    let user = fs::metadata("/proc/self").context("/proc is not mounted")?.uid();
    ensure!(user == 0, "the demo needs root, for network namespaces and eBPF: run `./x demo`, which uses sudo");
    let interruption = Interruption::watch()?;
    let binaries = crate::binaries()?;
    let stage = Stage::set(&binaries)?;
    let shown = tour::give(&stage, &interruption);
    let footprint = Footprint::of(&stage);
    let remains = stage.strike().and_then(|remains| footprint?.prove_gone(remains.pins).map(|()| remains));
    // When several steps fail, the first failure is the one to report.
    interruption.explain(shown)?;
    tour::print_what_is_next(&remains?.keep_captures()?, &binaries);
    Ok(())
}
