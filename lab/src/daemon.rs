//! A real daemon in a lab, with the plugins of one directory.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::lab::{Lab, Namespace};

const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A running `polycubed` that stores nothing, with a directory, a BPF file system and a socket of its own. It ends when it is
/// dropped, or when the thread that started it ends.
#[derive(Debug)]
pub struct Daemon {
    host: Namespace,
    binaries: Option<PathBuf>,
    directory: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts the daemon in the lab's host namespace, with the plugins in `plugins`, and waits until it listens.
    ///
    /// # Errors
    /// There is no `polycubed` in `POLYCUBE_BIN_DIR` or `PATH`, or it ends or does not listen within 20 s; the message has its
    /// log.
    pub fn start(lab: &Lab, plugins: &Path) -> Result<Self> {
        Self::launch(lab, env::var_os("POLYCUBE_BIN_DIR").map(PathBuf::from), plugins)
    }

    /// As [`Daemon::start`], with `polycubed` and `polycubectl` from the directory `binaries`.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_from(lab: &Lab, binaries: &Path, plugins: &Path) -> Result<Self> {
        Self::launch(lab, Some(binaries.to_owned()), plugins)
    }

    fn launch(lab: &Lab, binaries: Option<PathBuf>, plugins: &Path) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("polycube-lab-{}-{number}", std::process::id()));
        let pins = directory.join("bpf");
        for made in [&directory, &pins, &directory.join("captures"), &directory.join("conf.d")] {
            fs::create_dir(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        mount("bpf", &pins, "bpf", MountFlags::empty(), None).context("cannot mount a BPF file system: run as root")?;
        let log = File::create(directory.join("log"))?;
        let mut command = lab.host().command(program(binaries.as_deref(), "polycubed"));
        command.args(["--ephemeral", "--config", "/dev/null", "--log", "info", "--plugin-dir"]).arg(plugins);
        let own = [
            ("--socket", "s.sock"),
            ("--state-dir", "state"),
            ("--bpffs", "bpf/polycube"),
            ("--capture-dir", "captures"),
            ("--conf-dir", "conf.d"),
        ];
        for (option, name) in own {
            command.arg(option).arg(directory.join(name));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor locks.
        unsafe { command.pre_exec(|| set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into)) };
        let child = command.spawn().context("cannot start polycubed: set POLYCUBE_BIN_DIR, or add it to PATH")?;
        let mut daemon = Self { host: lab.host().clone(), binaries, directory, child };
        daemon.wait_until_it_listens()?;
        Ok(daemon)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("polycubed exited at once, {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "polycubed does not listen after {START_PATIENCE:?}:\n{}", self.log());
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Runs `polycubectl` with the words of a line, split at white space, and returns what it prints.
    ///
    /// # Errors
    /// It cannot be run, or fails; the message has what it prints then.
    pub fn ctl(&self, line: &str) -> Result<String> {
        let mut command: Command = self.host.command(program(self.binaries.as_deref(), "polycubectl"));
        let url = format!("unix://{}", self.socket().display());
        command.args(line.split_whitespace()).env("POLYCUBECTL_URL", url).env("HOME", &self.directory);
        let output = command.stdin(Stdio::null()).output().context("cannot run polycubectl")?;
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        ensure!(output.status.success(), "polycubectl {line}: {}\n{out}{err}", output.status);
        Ok(out)
    }

    /// Its Unix socket, for clients of the REST API.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("s.sock")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read(self.directory.join("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Asks it to end, and ends it if it does not.
    fn end(&mut self) -> Result<()> {
        // The child has not been waited for, so its id cannot belong to another process yet.
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a child has a positive id")?;
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("polycubed was still running {STOP_PATIENCE:?} after SIGTERM");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}\n---", self.log());
        }
        // Both are in a directory for such leftovers.
        let _ = unmount(self.directory.join("bpf"), UnmountFlags::DETACH);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn program(binaries: Option<&Path>, name: &str) -> OsString {
    binaries.map_or_else(|| name.into(), |directory| directory.join(name).into())
}
