//! `polycubed`: hosts network functions as plugins and chains their eBPF programs into the path of a port.
//!
//! Rooms, each above what it uses: `daemon` → `rest` → `engine` → `execute`, `plan` → `wiring` → `datapath`,
//! `plugins` → `topology`, `schema` → `sys`.

mod daemon;
mod datapath;
mod engine;
mod execute;
mod options;
mod plan;
mod plugins;
mod problem;
mod registry;
mod rest;
mod schema;
mod sys;
mod topology;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;
use options::Options;

/// `EX_USAGE` of sysexits(3).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // To stderr or, for --help, to stdout; when even that fails, the exit status is all there is.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match daemon::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polycubed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
