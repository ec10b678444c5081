//! A real daemon in a lab, and the command line that talks to it.

mod attempt;
mod directory;
mod fixtures;
mod output;
mod process;
mod snapshot;

use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::http;
use crate::lab::{Lab, Namespace};
use crate::patience::eventually;
use directory::Directory;
pub(crate) use directory::KEPT;

pub use attempt::{NOBODY, attempt, attempt_as, copy_program};
pub use fixtures::plugin_dir;
pub use output::Output;
pub use snapshot::Snapshot;

const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
const LOG_TAIL: usize = 40;

/// A running `polycubed` with a temporary directory, a BPF file system and a socket of its own. Dropping it ends the
/// daemon and removes them.
#[derive(Debug)]
pub struct Daemon {
    host: Namespace,
    binaries: PathBuf,
    arguments: Vec<OsString>,
    child: Option<Child>,
    directory: Directory,
}

impl Daemon {
    /// Starts the daemon in the lab's host namespace and waits until it answers.
    ///
    /// # Errors
    /// Fails when the binaries are not built, or the daemon ends or does not answer within 20 s; the message has its
    /// log.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, &[])
    }

    /// As [`Daemon::start`], with more arguments, such as `--addr 127.0.0.1 --no-auth`. They come last; one
    /// that the kit also gives replaces the kit's, and then [`Daemon::capture_dir`] and the like do not apply.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(lab: &Lab, more: &[&str]) -> Result<Self> {
        Self::start_from(&binary_dir()?, lab, more)
    }

    /// As [`Daemon::start_with`], with the programs and plugins from another directory, such as another profile's.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_from(binaries: &Path, lab: &Lab, more: &[&str]) -> Result<Self> {
        let binaries = binaries.to_owned();
        let directory = Directory::make()?;
        let arguments = directory.arguments(&binaries, more);
        let mut daemon = Self { host: lab.host().clone(), binaries, arguments, child: None, directory };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts the daemon again, with the state and the pins that it left.
    ///
    /// # Errors
    /// Fails when it is still running, and as [`Daemon::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.restart_with(&[])?;
        self.wait_until_it_answers()
    }

    /// As [`Daemon::restart`], with more arguments for this time, and without waiting: the daemon may be made to fail.
    ///
    /// # Errors
    /// Fails when it is still running, or cannot be started.
    pub fn restart_with(&mut self, more: &[&str]) -> Result<()> {
        ensure!(self.child.is_none(), "the daemon is running: terminate or kill it first");
        let log = OpenOptions::new().create(true).append(true).open(self.directory.log())?;
        let program = self.binaries.join("polycubed");
        let mut command = self.host.command(&program);
        command.args(&self.arguments).args(more).current_dir(self.directory.path()).env("HOME", self.directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = process::spawn_tied(command).with_context(|| format!("cannot start {}", program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// Fails when the daemon ends before, or does not answer within 20 s; the message has its log.
    pub fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let answer = self.http("GET", "/polycube/v1/version/", None);
            if answer.as_ref().is_ok_and(|response| response.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.running()?.try_wait()? {
                self.child = None;
                bail!("the daemon exited at once, {status}:\n{}", self.log_tail());
            }
            if Instant::now() >= deadline {
                let last =
                    answer.map_or_else(|error| format!("{error:#}"), |response| format!("status {}", response.status));
                bail!("the daemon does not answer after {START_PATIENCE:?} ({last}):\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `polycubectl` with the words of a line, split at white space.
    ///
    /// # Panics
    /// Panics when there is no such program.
    #[track_caller]
    pub fn ctl(&self, line: &str) -> Output {
        self.ctl_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `polycubectl` with words that may contain spaces.
    ///
    /// # Panics
    /// As [`Daemon::ctl`].
    #[track_caller]
    pub fn ctl_words(&self, words: &[&str]) -> Output {
        self.ctl_reading(words, None)
    }

    /// Runs `polycubectl` with a pipe for standard input, as in `polycubectl cubes add < file`.
    ///
    /// # Panics
    /// As [`Daemon::ctl`].
    #[track_caller]
    pub fn ctl_reading(&self, words: &[&str], input: Option<&str>) -> Output {
        let program = self.binaries.join("polycubectl");
        let mut command = self.host.command(&program);
        command.args(words).current_dir(self.directory.path());
        command
            .env("HOME", self.directory.path())
            .env("POLYCUBECTL_URL", format!("unix://{}", self.socket().display()));
        let output = process::run(command, input, COMMAND_PATIENCE);
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        Output::new("polycubectl", words, &output)
    }

    /// One request to the REST API.
    ///
    /// # Errors
    /// Fails when the daemon does not answer; any status is an answer.
    pub fn http(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Result<http::Response> {
        self.http_with(&[], method, path, body)
    }

    /// One request with additional headers, such as `if-match`.
    ///
    /// # Errors
    /// As [`Daemon::http`].
    pub fn http_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<http::Response> {
        http::request(&self.socket(), headers, method, path, body)
    }

    /// Kills the daemon, as a crash would; state and pins stay.
    ///
    /// # Errors
    /// Fails when it is not running.
    pub fn kill9(&mut self) -> Result<()> {
        process::signal(self.running()?, Signal::KILL)?;
        self.running()?.wait()?;
        self.child = None;
        Ok(())
    }

    /// Asks the daemon to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// Fails when it is not running, or still is after 10 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        process::signal(self.running()?, Signal::TERM)?;
        let status = process::wait(self.running()?, STOP_PATIENCE)?;
        let status = status.with_context(|| format!("still running {STOP_PATIENCE:?} after SIGTERM"))?;
        self.child = None;
        Ok(status)
    }

    /// Waits until the daemon has ended by itself.
    ///
    /// # Errors
    /// Fails when it is not running, or still is after 10 s.
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let status = process::wait(self.running()?, STOP_PATIENCE)?;
        let status = status.with_context(|| format!("still running after {STOP_PATIENCE:?}"))?;
        self.child = None;
        Ok(status)
    }

    /// Whether it has not ended by itself.
    ///
    /// # Errors
    /// Fails when it was ended before.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.running()?.try_wait()?.is_none())
    }

    /// Runs `polycubectl` with a change, for a daemon that ends itself at one of its steps (`--fault`); false when it did.
    ///
    /// # Errors
    /// As [`Daemon::is_running`].
    pub fn outlives(&mut self, change: &str) -> Result<bool> {
        if self.ctl(change).code != Some(0) {
            return Ok(false);
        }
        // The last steps come after the answer.
        thread::sleep(Duration::from_millis(500));
        self.is_running()
    }

    fn running(&mut self) -> Result<&mut Child> {
        self.child.as_mut().context("the daemon is not running")
    }

    /// Sends it a signal: `STOP` and `CONT` make it a daemon that stands still.
    ///
    /// # Errors
    /// Fails when it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the daemon is not running")?;
        Ok(process::signal(child, signal)?)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The namespace it runs in.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.socket()
    }

    /// Where it writes captures.
    #[must_use]
    pub fn capture_dir(&self) -> PathBuf {
        self.directory.captures()
    }

    /// The directory of configurations that it applies when it starts; empty at first.
    #[must_use]
    pub fn conf_dir(&self) -> PathBuf {
        self.directory.configurations()
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.state()
    }

    /// Where it pins its programs and maps.
    #[must_use]
    pub fn bpffs_dir(&self) -> PathBuf {
        self.directory.bpffs()
    }

    /// Everything the daemon has pinned, as paths below its own directory, sorted.
    ///
    /// # Errors
    /// Fails when the directory cannot be read; one that does not exist holds nothing.
    pub fn pins(&self) -> Result<Vec<PathBuf>> {
        let root = self.directory.bpffs();
        let mut found = pins(&root)?;
        for pin in &mut found {
            *pin = pin.strip_prefix(&root)?.to_owned();
        }
        Ok(found)
    }

    /// Waits until the captures' rings have all of their memory, which they get after what made them has been answered.
    /// Those with `ring-memory=when-needed` may never get it.
    ///
    /// # Errors
    /// Fails when they do not get it.
    pub fn wait_for_large_rings(&self) -> Result<()> {
        eventually("large rings", || {
            let pins = self.pins()?;
            let count = |map: &str| pins.iter().filter(|pin| pin.to_string_lossy().contains(map)).count();
            Ok(count("LARGE") == count("RINGS"))
        })
    }

    /// What the daemon has logged, across restarts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.directory.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() && self.terminate().is_err() {
            let _ = self.kill9();
        }
        // A test that fails by returning an error does not panic. So the tail is always printed in a test; the harness
        // shows it only for failures.
        if thread::panicking() || runs_in_test_harness() {
            eprintln!("--- the daemon's log, last {LOG_TAIL} lines\n{}\n---", self.log_tail());
        }
    }
}

/// Files below a directory of a BPF file system, sorted; none when there is no such directory.
///
/// # Errors
/// Fails when a directory cannot be read.
pub fn pins(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let to = if entry.file_type()?.is_dir() { &mut left } else { &mut found };
            to.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn runs_in_test_harness() -> bool {
    env::current_exe().is_ok_and(|program| program.parent().is_some_and(|directory| directory.ends_with("deps")))
}

/// The directory of the built programs and plugins: `POLYCUBE_BIN_DIR`, or else the one that cargo built this program
/// into.
///
/// # Errors
/// Fails when a program is missing there, and names it.
pub fn binary_dir() -> Result<PathBuf> {
    let directory = match env::var_os("POLYCUBE_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let program = env::current_exe().context("cannot find the running program")?;
            let beside = program.parent().context("the running program has no directory")?;
            let built = if ["deps", "examples"].iter().any(|sub| beside.ends_with(sub)) {
                beside.parent()
            } else {
                Some(beside)
            };
            built.context("the target directory has no parent")?.to_owned()
        }
    };
    for program in ["polycubed", "polycubectl"] {
        let path = directory.join(program);
        ensure!(
            path.exists(),
            "{} is missing: run `cargo build --workspace` (with the same profile), or set POLYCUBE_BIN_DIR",
            path.display()
        );
    }
    directory.canonicalize().with_context(|| format!("cannot resolve {}", directory.display()))
}
