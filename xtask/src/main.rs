//! What `./x` runs: each task of a contributor is a subcommand, in its own module.

#![forbid(unsafe_code)]

mod bench;
mod command;
mod demo;
mod ebpf;
mod fuzz_api;
mod fuzz_filter;
mod lint;
mod machine;
mod sdk;
mod test;
mod tidy;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "./x", about = "The project's own tasks", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check formatting, lints, the built eBPF objects, house rules and licences
    Lint,
    /// Check only the house rules
    Tidy,
    /// Build everything, then run all tests; needs root
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What CI runs: lint, then test
    Ci,
    /// Show a capture of real traffic, in a lab that is removed afterwards; needs root
    Demo(demo::Arguments),
    /// Measure the packets' path, compared with other programs in the same run; needs root
    Bench {
        /// Passed on to the benches: names, `--rounds N`, `--minutes N`, `--json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compare random filters on random packets with libpcap's verdicts; needs root
    FuzzFilter(fuzz_filter::Arguments),
    /// Send the daemon random requests, generated from its OpenAPI document; needs root, and PyPI the first time
    FuzzApi(fuzz_api::Arguments),
    /// Build the eBPF programs into ebpf/objects
    Ebpf(ebpf::Arguments),
    /// Make the SDK for plugins outside this repository: crates, polycube.h, templates and pages
    Sdk(sdk::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line without a backtrace: the tree failed the task, not this program.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Lint => lint::run(),
        Task::Tidy => tidy::run(),
        Task::Test { args } => test::run(&args),
        Task::Ci => lint::run().and_then(|()| test::run(&[])),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench { args } => bench::run(&args),
        Task::FuzzFilter(arguments) => fuzz_filter::run(&arguments),
        Task::FuzzApi(arguments) => fuzz_api::run(&arguments),
        Task::Ebpf(arguments) => ebpf::run(&arguments),
        Task::Sdk(arguments) => sdk::run(&arguments),
    }
}

/// The repository.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
