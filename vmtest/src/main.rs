//! `./x vmtest`: do the programs work on a kernel that this machine does not run?
//!
//! A kernel of Debian's boots in qemu, with an initramfs of the built programs and their libraries. Everything is emulated,
//! because machines that are guests themselves have no working KVM: it is ten to twenty times slower, so the demo and the
//! scenario in `guest/scenario.sh` run, and black-box tests only by name (`--test`).

#![forbid(unsafe_code)]

mod architecture;
mod initramfs;
mod kernel;
mod machine;
mod system;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::system::System;

#[derive(Parser)]
#[command(name = "./x vmtest", about = "Runs the demo and a restart on another kernel, emulated")]
struct Arguments {
    /// Debian's kernels: 6.1 (Debian 12), 6.12 (Debian 13), 6.12-arm64
    #[arg(default_value = "6.1")]
    kernels: Vec<String>,
    /// A black-box test of `tests/tests` to run as well, built already; may be given several times
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Seconds after which the machine is stopped
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let own = env::current_exe().context("cannot find this program")?;
    let own: PathBuf = own.parent().context("this program is in no directory")?.into();
    let target = own.parent().context("the programs are in no target directory")?;
    let cache = target.join("vmtest");
    let mut failed = Vec::new();
    for version in &arguments.kernels {
        let kernel = kernel::fetch(version, &cache)?;
        let system = System::of(kernel.architecture, kernel.suite, &cache)?;
        let binaries = kernel.architecture.target().map_or_else(|| own.clone(), |name| target.join(name).join("debug"));
        let contents =
            initramfs::Contents { binaries: &binaries, tests: &arguments.test, kernel: &kernel, system: &system };
        let place = tempfile::tempdir()?;
        let image = initramfs::pack(&contents, place.path())?;
        eprintln!("./x: booting Linux {}, emulated", kernel.release);
        if let Err(error) = machine::run(&kernel, &image, Duration::from_secs(arguments.seconds)) {
            eprintln!("./x: Linux {}: {error:#}", kernel.release);
            failed.push(version.as_str());
        }
    }
    ensure!(failed.is_empty(), "vmtest failed on Linux {}", failed.join(", "));
    Ok(())
}

/// Runs a command whose output is of interest only if it fails, and returns what it printed.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status);
    }
    Ok(output.stdout)
}
