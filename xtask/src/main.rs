//! What `./x` hands over to: the one entry for everything that a contributor does.

#![forbid(unsafe_code)]

mod command;
mod lint;
mod machine;
mod test;
mod tidy;

use std::path::Path;

use clap::{Parser, Subcommand};

/// Builds, checks and tests this repository.
#[derive(Parser)]
#[command(name = "./x")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check format, lints, built eBPF objects, house rules and licences
    Lint,
    /// Check the house rules alone
    Tidy,
    /// Build everything, then run all tests; needs root
    Test {
        /// Go on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What CI runs: lint, then test
    Ci,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Lint => lint::run(),
        Task::Tidy => tidy::run(),
        Task::Test { args } => test::run(&args),
        Task::Ci => lint::run().and_then(|()| test::run(&[])),
    }
}

/// The repository.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
