//! `./x fuzz-filter`: random filters on random packets, judged by libpcap, for as long as you like.

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::machine;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seconds to run
    seconds: u64,
    /// Seed of the random numbers; another seed makes other filters and packets
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    machine::check()?;
    let test = ["test", "--release", "--locked", "-p", "polycube-filter", "--test", "kernel", "random"];
    let mut command = cargo();
    command.args(test).args(["--", "--nocapture"]);
    command.env("FUZZ_SECONDS", arguments.seconds.to_string()).env("FUZZ_SEED", arguments.seed.to_string());
    run_command("fuzz-filter", &mut command)
}
