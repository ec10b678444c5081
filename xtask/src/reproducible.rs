//! `./x package --check-reproducible`: does the same commit give the same bytes, wherever it is built?
//!
//! It is built here and in a clone whose path has another length, with a CARGO_HOME of another name. Both are whole builds:
//! the clone has a target directory of its own, and builds even the program that packs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{cargo, run as run_command};
use crate::packaging;

/// Packs here and there, and compares.
///
/// # Errors
/// There are changes that are not committed, a build fails, or a file differs.
pub(crate) fn check(args: &[String]) -> Result<()> {
    let changed = output(git(crate::root()).args(["status", "--porcelain"]))?;
    ensure!(changed.is_empty(), "the clone has what is committed, and this is not:\n{}", changed.trim_end());
    let place = crate::tasks::directory("dev")?.with_file_name("reproducible");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let [here, there] = ["here", "there"].map(|name| place.join(name));
    packaging::package(&with_out(&here, args))?;

    let (clone, home) = (place.join("a/clone/in/a/deeper/directory"), place.join("cargo-home"));
    run_command("git clone", git(crate::root()).args(["clone", "--quiet"]).arg(crate::root()).arg(&clone))?;
    symlink(cargo_home()?, &home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut again = cargo();
    again.current_dir(&clone).args(["run", "--quiet", "--locked", "--package", "xtask", "--", "package"]);
    again.args(with_out(&there, args)).env_remove("CARGO_TARGET_DIR").env("CARGO_HOME", home);
    run_command("the same in the clone", &mut again)?;

    let same = compare(&here, &there)?;
    println!(
        "reproducible: {same} files have the same bytes, built in {} and in {}",
        crate::root().display(),
        clone.display()
    );
    fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))
}

fn with_out(out: &Path, args: &[String]) -> Vec<String> {
    let out = ["--out".to_owned(), out.display().to_string()];
    out.into_iter().chain(args.iter().cloned()).collect()
}

fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(directory);
    git
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("neither CARGO_HOME nor HOME is set")
}

/// How many files both directories have, if all have the same bytes.
fn compare(here: &Path, there: &Path) -> Result<usize> {
    let names = |directory: &Path| -> Result<BTreeSet<String>> {
        let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let (ours, theirs) = (names(here)?, names(there)?);
    ensure!(ours == theirs, "packed here: {ours:?}; packed there: {theirs:?}");
    for name in &ours {
        let (one, other) = (here.join(name), there.join(name));
        let (bytes, others) = (fs::read(&one)?, fs::read(&other)?);
        if bytes != others {
            let at = bytes.iter().zip(&others).take_while(|(byte, other)| byte == other).count();
            bail!("from byte {at} on, {} differs from {}: `diffoscope` says how", one.display(), other.display());
        }
    }
    Ok(ours.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_or_a_file_more_is_found() {
        let place = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| place.path().join(name));
        for directory in [&here, &there] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("a.deb"), "same").unwrap();
        }
        assert_eq!(compare(&here, &there).unwrap(), 1);
        fs::write(there.join("a.deb"), "sale").unwrap();
        let error = compare(&here, &there).unwrap_err().to_string();
        assert!(error.starts_with("from byte 2 on, ") && error.contains("here/a.deb differs from "), "{error}");
        fs::write(there.join("b.deb"), "").unwrap();
        let error = compare(&here, &there).unwrap_err().to_string();
        assert!(error.contains(r#"packed there: {"a.deb", "b.deb"}"#), "{error}");
    }
}
