//! `plugin dev`: builds a project, loads it into the daemon, and does it again when a file changes.
//!
//! The daemon's log is not part of its API. Where the daemon writes to the journal, as a service does, its lines are followed
//! there.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::grammar::{Development, Request};
use crate::project::{BuildError, Built, CheckError, Installed, build, check, newest};
use crate::session::Session;

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Builds, loads and follows, until Ctrl-C.
///
/// # Errors
///
/// The first build or load that fails with `--once`; otherwise only what no change of a file can mend.
pub(super) fn run(asked: &Development, session: &Session) -> Result<(), Failure> {
    loop {
        let seen = newest(&asked.project);
        let done = build(&asked.project)
            .map_err(Failure::from)
            .and_then(|built| load(&built, asked.plugin_dir.as_deref(), session));
        if asked.once {
            return done;
        }
        let mut log = None;
        match done {
            Ok(()) => log = follow(),
            Err(
                failure @ Failure::Build(
                    BuildError::NoProject { .. } | BuildError::Start { .. } | BuildError::NoDirectory,
                ),
            ) => {
                return Err(failure);
            }
            Err(failure) => note(&failure.to_string()),
        }
        while newest(&asked.project) <= seen {
            thread::sleep(LOOK);
        }
        if let Some(mut log) = log {
            // It may have ended by itself.
            let _ = log.kill().and_then(|()| log.wait());
        }
    }
}

/// Says something on standard error: standard output has the log.
fn note(line: &str) {
    // There is nowhere to report that stderr is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Puts a plugin where the daemon finds it, and has the daemon load it. A build that is refused replaces nothing.
fn load(built: &Built, plugin_dir: Option<&Path>, session: &Session) -> Result<(), Failure> {
    let services = ask(session, Method::GET, "services/".to_owned(), None)?;
    let services = services.as_array().cloned().unwrap_or_default();
    let loaded = services.iter().find(|service| service["name"] == built.service.as_str());
    let directory = plugin_dir
        .map(Path::to_owned)
        .or_else(|| loaded.or(services.first()).and_then(directory_of))
        .ok_or(BuildError::NoDirectory)?;
    match check(built.file()) {
        // The daemon's program can be elsewhere. The daemon checks what it loads, too.
        Ok(_) | Err(CheckError::Start { .. }) => {}
        Err(refused) => return Err(refused.into()),
    }
    let installed = Installed::put(&built.files, &directory)?;
    if let Err(refused) = ask_to_load(built, loaded.is_some(), installed.path(), session) {
        installed.put_back()?;
        return Err(refused);
    }
    installed.keep()?;
    let service = &built.service;
    note(&if loaded.is_some() {
        format!("polycubectl: service `{service}` is reloaded")
    } else {
        format!("polycubectl: service `{service}` is loaded: try `polycubectl {service} add f1`")
    });
    Ok(())
}

/// Has the daemon load a file: this very one, and not one with its name in another directory.
fn ask_to_load(built: &Built, is_loaded: bool, file: &Path, session: &Session) -> Result<(), Failure> {
    let (Built { service, kind, .. }, uri) = (built, file.to_string_lossy());
    let (path, body) = if is_loaded {
        (format!("services/{service}/reload/"), json!({ "uri": uri }))
    } else {
        ("services/".to_owned(), json!({ "type": kind, "uri": uri, "name": service }))
    };
    ask(session, Method::POST, path, Some(body)).map(drop)
}

/// The directory of a service's file.
fn directory_of(service: &Value) -> Option<PathBuf> {
    let file = Path::new(service["servicecontroller"].as_str()?);
    file.parent().filter(|directory| directory.is_dir()).map(Path::to_owned)
}

fn ask(session: &Session, method: Method, path: String, body: Option<Value>) -> Result<Value, Failure> {
    let answer = session.accepted(&Request { method, path, body })?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

/// Shows the daemon's lines of the journal, from now on.
fn follow() -> Option<Child> {
    let mut journal = Command::new("journalctl");
    journal.args(["--follow", "--lines=0", "--output=cat", "--identifier=polycubed"]).stderr(Stdio::null());
    let started = journal.spawn();
    if started.is_err() {
        note("polycubectl: journalctl is not installed: the log is on the daemon's standard error");
    }
    started.ok()
}
