//! `./x fuzz-api`: requests that Schemathesis makes from `/openapi.json`, sent to a daemon in its own lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, plugin_dir};
use polycube_tests::lab::Lab;

use crate::run_command;

/// What pip installs. Pinned, because a later release may have other checks.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// What must hold for each answer. Left out is what our own tests check better: `Allow` for paths that exist, and
/// values that do not match the schema but are coerced to ones that do, such as `"80"` to `80`.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      a_refused_request_changes_nothing";

/// Left out: a stream ends only when its reader does, and an action of the fixture fails.
const LEFT_OUT: &str = "/(stream|misanswer)$";

/// A service of the tests with what ours do not have: keys of several members, and actions in lists.
const FIXTURE: &str = "wall";

/// Seconds after which a request counts as hung.
const PATIENCE: &str = "20";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seconds to run
    seconds: u64,
    /// Seed of the random numbers [default: a new one each time, which is printed]
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binaries = crate::binaries()?;
    let target = binaries.parent().context("this program is not in a target directory")?;
    let place = target.join("fuzz-api");
    let program = install(&place)?;
    fs::write(place.join("hooks.py"), include_str!("fuzz_api/hooks.py"))?;

    let lab = Lab::new()?;
    lab.veth("veth1", &lab.peer("peer")?, "veth1")?;
    let plugins = plugin_dir(&[FIXTURE])?;
    let plugins = plugins.path().to_str().context("the directory of plugins is not UTF-8")?;
    let settings = ["--addr", "127.0.0.1", "--no-auth", "--plugin-dir", plugins];
    let mut daemon = Daemon::start_from(&binaries, &lab, &settings)?;
    let mut command = lab.host().command(&program);
    command.current_dir(&place).env("SCHEMATHESIS_HOOKS", "hooks.py").env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["run", "http://127.0.0.1:9000/openapi.json", "--workers", "1", "--continue-on-failure"]);
    command.args(["--exclude-path-regex", LEFT_OUT]);
    command.args(["--max-time", &arguments.seconds.to_string(), "--request-timeout", PATIENCE, "--checks", CHECKS]);
    if let Some(seed) = arguments.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let found = run_command("schemathesis", &mut command);
    daemon.terminate().context("the daemon does not stop")?;
    let pins = daemon.pins()?;
    ensure!(pins.is_empty(), "the daemon left {pins:?}");
    found
}

/// Installs Schemathesis into its own directory, unless it is already there.
fn install(place: &Path) -> Result<PathBuf> {
    let environment = place.join(SCHEMATHESIS);
    let program = environment.join("bin/schemathesis");
    if !program.exists() {
        fs::create_dir_all(place)?;
        let what = format!("installing {SCHEMATHESIS} from PyPI into {}", environment.display());
        run_command(&what, Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let pip = environment.join("bin/pip");
        run_command("pip install", Command::new(pip).args(["install", "--quiet", SCHEMATHESIS]))?;
    }
    Ok(program)
}
