//! Does `./x` bring the Rust that Cargo.toml asks for?

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// What rustup is for these tests: it installs a cargo that says what it is asked for.
const RUSTUP: &str = r#"#!/bin/sh
mkdir -p "$CARGO_HOME/bin"
printf '#!/bin/sh\nif [ "$1" = --version ]; then echo cargo 99.0.0; else echo "runs: cargo $*"; fi\n' >"$CARGO_HOME/bin/cargo"
chmod +x "$CARGO_HOME/bin/cargo"
"#;

/// Fetches rustup, from the addresses that `@` matches.
const CURL: &str = r#"#!/bin/sh
while [ $# -gt 1 ]; do case $1 in -o) to=$2 ;; esac; shift; done
case $1 in @) cp "${0%/*}/rustup-init" "$to" ;; *) exit 6 ;; esac
"#;

/// A program that is being written cannot run, and a process that another test starts meanwhile holds it open.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `./x tidy` where cargo has this version; what it says.
fn run(version: &str, addresses: &str) -> Result<(bool, String)> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let place: TempDir = tempfile::tempdir()?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in ["x", "Cargo.toml"] {
        fs::copy(repository.join(file), place.path().join(file)).with_context(|| file.to_owned())?;
    }
    let programs = place.path().join("programs");
    fs::create_dir(&programs)?;
    let cargo =
        format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'cargo {version}'; else echo \"runs: old $*\"; fi\n");
    for (name, text) in [("cargo", cargo.as_str()), ("curl", &CURL.replace('@', addresses)), ("rustup-init", RUSTUP)] {
        fs::write(programs.join(name), text)?;
        fs::set_permissions(programs.join(name), Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(place.path().join("x"));
    command.arg("tidy").env_clear().env("HOME", place.path()).env("CARGO_HOME", place.path().join("cargo-home"));
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    let output = command.output()?;
    let said = [output.stderr, output.stdout].concat();
    Ok((output.status.success(), String::from_utf8(said)?))
}

#[test]
fn a_cargo_that_is_new_enough_is_used() -> Result<()> {
    for version in ["1.95.0 (f2d3ce0bd 2026-03-21)", "1.100.0", "2.0.0"] {
        let (done, said) = run(version, "nowhere")?;
        assert!(
            done && said.ends_with("runs: old xtask tidy\n") && !said.contains("this needs Rust"),
            "{version}: {said}"
        );
    }
    Ok(())
}

#[test]
fn an_old_cargo_is_replaced_for_this_project() -> Result<()> {
    for version in ["1.63.0", "1.94.1"] {
        let (done, said) = run(version, "https://sh.rustup.rs")?;
        assert!(done && said.ends_with("runs: cargo xtask tidy\n"), "{said}");
        assert!(said.contains(&format!("and cargo here is {version}")), "{said}");
    }
    Ok(())
}

#[test]
fn rustup_comes_from_its_static_address_too() -> Result<()> {
    let (done, said) = run("1.63.0", "https://static.rust-lang.org/*")?;
    assert!(
        done && said.contains("sh.rustup.rs does not answer") && said.ends_with("runs: cargo xtask tidy\n"),
        "{said}"
    );
    let (done, said) = run("1.63.0", "nowhere")?;
    assert!(!done && said.contains("or later by hand"), "{said}");
    Ok(())
}
