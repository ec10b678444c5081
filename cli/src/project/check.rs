//! `plugin check`: what a plugin is. A plugin is code, so the daemon's program loads it, in a process that does nothing else.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The program that has the daemon's loader.
const DAEMON: &str = "polycubed";

/// Why nothing is known of a plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("cannot start {}, which loads the plugin for a moment: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{}: loading it ended the process, with signal {signal}: a daemon would have ended, too", file.display())]
    Crashed { file: PathBuf, signal: i32 },
    #[error("{} is a directory: give the file that is built there, such as {}", directory.display(), example.display())]
    Directory { directory: PathBuf, example: PathBuf },
    #[error("{0}")]
    Refused(String),
    #[error("{} does not answer with JSON: is it of another version than polycubectl?", program.display())]
    Answer { program: PathBuf },
}

/// Everything that the daemon would find out about a plugin.
///
/// # Errors
///
/// The daemon would refuse it, or end.
pub(crate) fn check(file: &Path) -> Result<Value, CheckError> {
    if file.is_dir() {
        let name = file.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let name = name.unwrap_or_else(|| "NAME".to_owned());
        let is_crate = file.join("Cargo.toml").is_file();
        let example = if is_crate { format!("target/release/libpcn_{name}.so") } else { format!("{name}.o") };
        return Err(CheckError::Directory { directory: file.to_owned(), example: file.join(example) });
    }
    let program = daemon();
    let output = Command::new(&program).arg("check-plugin").arg(file).output();
    let output = output.map_err(|source| CheckError::Start { program: program.clone(), source })?;
    if let Some(signal) = output.status.signal() {
        return Err(CheckError::Crashed { file: file.to_owned(), signal });
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // The last line is the reason: a plugin can write others before it.
        let reason = said.trim_end().lines().last().unwrap_or("no reason is given");
        return Err(CheckError::Refused(reason.trim_start_matches("polycubed: ").to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| CheckError::Answer { program })
}

/// The daemon's program beside our own, or the one on PATH.
fn daemon() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|program| program.canonicalize().ok());
    let beside = beside.map(|program| program.with_file_name(DAEMON));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from(DAEMON))
}
