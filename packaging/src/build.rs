//! Builds what packages have, such that the result does not depend on where.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

pub(crate) const PACKAGES: [&str; 7] = [
    "polycubed",
    "polycubectl",
    "pcn_helloworld",
    "pcn_packetcapture",
    "pcn_simplebridge",
    "pcn_span",
    "pcn_transparenthelloworld",
];

/// Stores in each program which crates it is made of, for `cargo audit bin` and image scanners. Built in half a minute.
const AUDITABLE: &str = "0.7.7";

/// The name of the section with the list, as it is among the names of sections.
const SECTION: &[u8] = b"\0.dep-v0\0";

/// The target directory: this program is in its directory of a profile.
pub(crate) fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program")?;
    let target = own.parent().and_then(Path::parent).context("this program is not in a target directory")?;
    Ok(target.to_owned())
}

/// Builds the programs; with `audited`, with the list of their crates inside.
pub(crate) fn run(root: &Path, target: &Path, profile: &str, audited: bool) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--locked", "--profile", profile]).arg("--target-dir").arg(target);
    if audited {
        let tools = target.join("tools");
        let auditable = tools.join("bin/cargo-auditable");
        if !auditable.exists() {
            eprintln!("./x: installing cargo-auditable {AUDITABLE} into {}", tools.display());
            let mut install = Command::new(&cargo);
            install.args(["install", "cargo-auditable", "--locked", "--version", AUDITABLE, "--root"]).arg(&tools);
            ensure!(install.status()?.success(), "cargo-auditable cannot be installed");
        }
        // What `cargo auditable build --locked` sets, but for the wrapper's path: cargo hashes that into the symbols of our
        // crates, as it is written. A bare name is the same everywhere.
        command.env("RUSTC_WORKSPACE_WRAPPER", "cargo-auditable").env("PATH", with_path(&tools.join("bin"))?);
        command.env("CARGO_AUDITABLE_ORIG_ARGS", r#"{"offline":false,"locked":true,"frozen":false,"config":[]}"#);
    }
    eprintln!("./x: building with link-time optimisation (profile {profile}), which takes some minutes");
    command.current_dir(root).args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).context("there is no HOME")?;
    // Some tools follow links.
    let real_home = home.canonicalize().with_context(|| format!("there is no {}", home.display()))?;
    // Of several that fit, rustc and gcc take the last: the target directory may be in the repository.
    let places = [
        (home.as_path(), "/cargo"),
        (real_home.as_path(), "/cargo"),
        (root, "/usr/src/polycube"),
        (target, "/usr/src/polycube/target"),
    ];
    let flags = |flag: &str| places.map(|(from, to)| format!("{flag}={}={to}", from.display()));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags("--remap-path-prefix").join("\u{1f}"));
    // Incremental builds keep the pieces of earlier ones, in their order.
    command.env("CARGO_INCREMENTAL", "0");
    command.env("CFLAGS", flags("-ffile-prefix-map").join(" "));
    command.env("SOURCE_DATE_EPOCH", epoch(root)?.to_string());
    ensure!(command.status().context("cannot run cargo")?.success(), "cargo build failed");
    if audited {
        PACKAGES.iter().try_for_each(|package| check_audited(&target.join(profile).join(file_of(package))))?;
    }
    Ok(())
}

/// What a package is built into.
fn file_of(package: &str) -> String {
    if package.starts_with("pcn_") { format!("lib{package}.so") } else { package.to_owned() }
}

/// Whether the section is there that cargo-auditable adds: without its wrapper, a build succeeds, too.
fn check_audited(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let has_list = bytes.windows(SECTION.len()).any(|window| window == SECTION);
    ensure!(has_list, "{} has no list of its crates: cargo-auditable did not run", program.display());
    Ok(())
}

/// PATH with `first` at its start.
fn with_path(first: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(iter::once(first.to_owned()).chain(env::split_paths(&path)))
        .with_context(|| format!("{} cannot be in PATH", first.display()))
}

/// The time of everything in the packages: SOURCE_DATE_EPOCH, or that of the last commit.
pub(crate) fn epoch(root: &Path) -> Result<u64> {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return given.parse().with_context(|| format!("SOURCE_DATE_EPOCH is not a number: {given}"));
    }
    let git = Command::new("git").current_dir(root).args(["log", "-1", "--format=%ct"]).stderr(Stdio::null()).output();
    let text = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    text.parse().context("this is not a clone with a commit: set SOURCE_DATE_EPOCH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_its_list_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "ELF.shstrtab\0.text\0.dep-v0\0.data").unwrap();
        check_audited(file.path()).unwrap();
        fs::write(file.path(), "ELF.shstrtab\0.text\0.dep-v01\0.data").unwrap();
        let error = check_audited(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("has no list of its crates: cargo-auditable did not run"), "{error}");
        assert_eq!(["pcn_span", "polycubed"].map(file_of), ["libpcn_span.so", "polycubed"]);
    }
}
