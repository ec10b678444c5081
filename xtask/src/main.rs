//! What `./x` runs: each task of a contributor is a subcommand, in its own module.

#![forbid(unsafe_code)]

mod bench;
mod command;
mod deny;
mod ebpf;
mod fuzz_filter;
mod lint;
mod machine;
mod packaging;
mod reproducible;
mod sdk;
mod tasks;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// Check licences, duplicates, sources and advisories of all crates; the advisories need GitHub
    Deny {
        /// Take the advisories from this clone of their database, without GitHub
        #[arg(long, value_name = "DIR")]
        database: Option<PathBuf>,
    },
    /// Build everything, then run all tests; needs root
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What CI runs: lint, then test
    Ci,
    /// Show a capture of real traffic, in a lab that is removed afterwards; needs root
    Demo {
        /// Cargo profile to build and run
        #[arg(long, default_value = "dev")]
        profile: String,
    },
    /// Measure the packets' path, compared with other programs in the same run; needs root
    Bench {
        /// Passed on to the benches: names, `--rounds N`, `--minutes N`, `--json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compare random filters on random packets with libpcap's verdicts; needs root
    FuzzFilter(fuzz_filter::Arguments),
    /// Send the daemon random requests, generated from its OpenAPI document; needs root, and PyPI the first time
    FuzzApi {
        /// Passed on: how many seconds to run, and `--seed N`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<String>,
    },
    /// Make the packages: .deb, tarball, image, chart, list of crates
    Package {
        /// Build the last commit again in another place, and compare every byte of what is packed
        #[arg(long)]
        check_reproducible: bool,
        /// Passed on: `--out DIR`, `--level N`, `--profile NAME`, `--no-build`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check the chart with Helm, then install, use, upgrade, remove and purge the .deb in fresh roots of Debian and Ubuntu;
    /// needs root and their mirrors
    Packagetest {
        /// Passed on: releases such as `bookworm`, `--chart-only`, `--profile NAME`, `--no-build`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the programs and install them, into /usr/local or `--prefix DIR`
    Install {
        /// Passed on: `--prefix DIR`, `--uninstall`, `--profile NAME`, `--no-build`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the demo and a restart on another kernel, emulated: 6.1, 6.12, 6.12-arm64
    Vmtest {
        /// Passed on: versions, `--test NAME`, `--seconds N`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Draw the pictures of the documentation from docs/pictures
    Pictures {
        /// Run the demo first, and record it for its picture; needs root
        #[arg(long)]
        record: bool,
    },
    /// Make a book of the documentation, in HTML
    Book {
        /// Passed on: `--out DIR`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
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
        Task::Deny { database } => deny::run(database.as_deref()),
        Task::Test { args } => test::run(&args),
        Task::Ci => lint::run().and_then(|()| test::run(&[])),
        Task::Demo { profile } => tasks::demo(&profile),
        Task::Bench { args } => bench::run(&args),
        Task::FuzzFilter(arguments) => fuzz_filter::run(&arguments),
        Task::FuzzApi { args } => tasks::fuzz_api(&args),
        Task::Package { check_reproducible: true, args } => reproducible::check(&args),
        Task::Package { check_reproducible: false, args } => packaging::package(&args),
        Task::Packagetest { args } => packaging::trial(&args),
        Task::Install { args } => packaging::install(&args),
        Task::Vmtest { args } => tasks::vmtest(&args),
        Task::Pictures { record } => tasks::pictures(record),
        Task::Book { args } => tasks::book(&args),
        Task::Ebpf(arguments) => ebpf::run(&arguments),
        Task::Sdk(arguments) => sdk::run(&arguments),
    }
}

/// The repository.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
