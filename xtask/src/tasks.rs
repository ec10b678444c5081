//! `./x demo`, `./x fuzz-api`, `./x vmtest`, `./x pictures` and `./x book`: builds what they run, and starts them.
//!
//! The first two are programs of the crate `tasks`, because they bring the test kit and with it a third of the daemon's crates.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{cargo, run as run_command};

/// What the demo runs. The tests need more, and the benches are the slowest to build.
const PACKAGES: [&str; 5] = ["polycubed", "polycubectl", "pcn_packetcapture", "pcn_simplebridge", "polycube-tasks"];

/// Of these packages: plugins are libraries, and the program for Wireshark is left out.
const TARGETS: [&str; 7] = ["--lib", "--bin", "polycubed", "--bin", "polycubectl", "--bin", "tasks"];

/// What `./x vmtest` builds besides.
const OTHERS: [&str; 3] = ["pcn_helloworld", "pcn_span", "pcn_transparenthelloworld"];

/// How the names of kernels for aarch64 end, and what builds programs for them.
const FOREIGN: &str = "-arm64";
const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: (&str, &str) = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");

/// Builds in a profile, which is also that of this program unless it is asked for, so that no crate is built twice.
pub(crate) fn demo(profile: &str) -> Result<()> {
    let directory = directory(profile)?;
    let first = if directory.join("tasks").exists() { "" } else { "; the first time, this takes some minutes" };
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let mut build = cargo();
    build.args(["build", "--locked", "--profile", profile]).args(packages).args(TARGETS);
    // The demo needs neither what speeds up the next build nor the lines in a panic's backtrace, and both take up disk.
    build.args(["--config", &format!("profile.{profile}.debug=false")]).env("CARGO_INCREMENTAL", "0");
    run_command(&format!("building what the demo runs (1 of 2){first}"), &mut build)?;
    eprintln!("./x: the demo (2 of 2)");
    // In place of this program, so that Ctrl-C ends the demo alone, which cleans up.
    let error = Command::new(directory.join("tasks")).arg("demo").exec();
    Err(error).context("cannot start the demo")
}

pub(crate) fn fuzz_api(args: &[String]) -> Result<()> {
    crate::machine::check()?;
    run_command("cargo build", cargo().args(["build", "--locked", "--workspace"]))?;
    run_command("fuzz-api", Command::new(directory("dev")?.join("tasks")).arg("fuzz-api").args(args))
}

pub(crate) fn vmtest(args: &[String]) -> Result<()> {
    let (foreign, own) = kernels(args);
    if foreign {
        let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
        let mut build = cargo();
        build.args(["build", "--locked", "--target", TARGET]).args(packages).args(TARGETS).env(LINKER.0, LINKER.1);
        run_command(&format!("cargo build --target {TARGET}"), &mut build)?;
    }
    let programs = PACKAGES.iter().chain(&OTHERS).filter(|_| own).chain(&["polycube-vmtest"]);
    let packages = programs.flat_map(|package| ["--package", package]);
    run_command("cargo build", cargo().args(["build", "--locked"]).args(packages))?;
    run_command("vmtest", Command::new(directory("dev")?.join("vmtest")).args(args))
}

/// Whether there are kernels for aarch64 among the arguments, and whether there are such for this machine.
fn kernels(args: &[String]) -> (bool, bool) {
    let is_version = |arg: &&String| arg.contains('.') && arg.starts_with(|letter: char| letter.is_ascii_digit());
    let (foreign, own): (Vec<&String>, Vec<&String>) =
        args.iter().filter(is_version).partition(|arg| arg.ends_with(FOREIGN));
    (!foreign.is_empty(), foreign.is_empty() || !own.is_empty())
}

/// Where the demo is recorded. `tests/tests/demo.rs` compares it with what the demo prints.
const RECORDING: &str = "docs/pictures/demo.cast";

pub(crate) fn pictures(records: bool) -> Result<()> {
    if records {
        record()?;
    }
    run_command("pictures", cargo().args(["run", "--quiet", "--locked", "-p", "polycube-pictures"]))
}

fn record() -> Result<()> {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    run_command("cargo build", cargo().args(["build", "--locked"]).args(packages))?;
    let binaries = directory("dev")?;
    eprintln!("./x: demo");
    let output = Command::new(binaries.join("tasks")).arg("demo").output().context("cannot start the demo")?;
    ensure!(output.status.success(), "demo: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the demo prints what is not UTF-8")?;
    let captures = text.lines().find_map(|line| line.strip_prefix("The captures are kept in ")?.split_once(": "));
    let (captures, _) = captures.context("the demo does not say where its captures are")?;
    fs::remove_dir_all(captures).with_context(|| format!("cannot remove {captures}"))?;
    let text = text.replace(captures, "/tmp/polycube-demo").replace(&binaries.display().to_string(), "target/debug");
    let path = crate::root().join(RECORDING);
    fs::write(&path, format!("./x demo: a bridge, and a capture at one of its ports{text}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn book(args: &[String]) -> Result<()> {
    run_command("book", cargo().args(["run", "--quiet", "--locked", "-p", "polycube-book", "--"]).args(args))
}

/// Where cargo puts what it builds with a profile, relative to the directory of this program's own profile.
pub(crate) fn directory(profile: &str) -> Result<PathBuf> {
    let name = if profile == "dev" { "debug" } else { profile };
    let own = env::current_exe().context("cannot find xtask itself")?;
    let target = own.parent().and_then(|own| own.parent()).context("xtask is not in a target directory")?;
    Ok(target.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_for_a_kernel_fits_its_architecture() {
        let check = |line: &str, expected: (bool, bool)| {
            let args = line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(kernels(&args), expected, "{line}");
        };
        check("", (false, true));
        check("6.1 6.12 --test chains --seconds 900", (false, true));
        check("6.12-arm64 --seconds 900", (true, false));
        check("6.1 6.12-arm64", (true, true));
    }
}
