//! A daemon for one capture, where none runs: it serves this program alone, and ends with it.
//!
//! Each of the two notices the end of the other. The daemon reads a pipe that only this program has the other end of. Its
//! programs and maps are pinned in a file system of a mount namespace of its own, which goes with it, so nothing stays in the
//! kernel even if it is killed; what is then left is a directory with a socket, which this program removes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, capabilities};

use crate::endpoint::Endpoint;

const PROGRAM: &str = "polycubed";
const SOCKET: &str = "socket";
/// Where its directory is made: the first that exists and can be written.
const PLACES: [&str; 2] = ["/run", "/tmp"];
/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(1);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    #[error(
        "{place} is a port of a cube, and cubes need a daemon, which is not running: name a netdev, or start polycubed"
    )]
    NoCubes { place: String },
    #[error(
        "no daemon runs, and only root can capture without one: sudo polycubectl capture …, or start it with: sudo polycubed"
    )]
    NotRoot,
    #[error("no daemon runs, and there is no {} to start one for this capture", path.display())]
    NoProgram { path: PathBuf },
    #[error("no daemon runs, and none can be started for this capture: {0}")]
    Start(#[source] io::Error),
    #[error("the daemon that was started for this capture has ended at once: the reason is above")]
    Ended,
}

/// A daemon that ends when this is dropped.
pub(crate) struct PrivateDaemon {
    child: Child,
    /// The daemon ends when it is closed.
    lifeline: Option<ChildStdin>,
    directory: PathBuf,
}

/// Whether this process may load programs into the kernel (CAP_BPF and what else the daemon needs).
pub(crate) fn is_allowed() -> bool {
    let needed = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

impl PrivateDaemon {
    /// Starts one, which asks container runtimes at `container_sockets`, and waits until it listens.
    ///
    /// # Errors
    /// There is no program beside this one, or it does not start.
    pub(crate) fn start(container_sockets: &[PathBuf]) -> Result<Self, PrivateError> {
        let own = std::env::current_exe().map_err(PrivateError::Start)?;
        let program = own.with_file_name(PROGRAM);
        if !program.is_file() {
            return Err(PrivateError::NoProgram { path: program });
        }
        let directory = make_directory().map_err(PrivateError::Start)?;
        let mut command = Command::new(program);
        command
            .args(["--config", "/dev/null", "--private"])
            .arg(&directory)
            .args(container_sockets.iter().flat_map(|socket| [Path::new("--container-socket"), socket]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        // Ctrl-C is for this program, which then ends the daemon.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| {
            let _ = fs::remove_dir_all(&directory);
            PrivateError::Start(error)
        })?;
        let lifeline = child.stdin.take();
        let mut daemon = Self { child, lifeline, directory };
        daemon.wait_until_it_listens()?;
        Ok(daemon)
    }

    fn wait_until_it_listens(&mut self) -> Result<(), PrivateError> {
        let (socket, deadline) = (self.directory.join(SOCKET), Instant::now() + PATIENCE);
        loop {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(());
            }
            let has_ended = self.child.try_wait().map_err(PrivateError::Start)?.is_some();
            if has_ended || Instant::now() > deadline {
                return Err(PrivateError::Ended);
            }
            sleep(POLL);
        }
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let socket = self.directory.join(SOCKET);
        Endpoint { url: Some(format!("unix://{}", socket.display())), ..Endpoint::default() }
    }

    /// Ends it, and returns when nothing of it is left.
    pub(crate) fn end(self) {}
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        self.lifeline = None;
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // What it has in the kernel goes with it.
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            sleep(POLL);
        }
        // The daemon removes it, unless it was killed.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A new directory that nobody else can use.
fn make_directory() -> io::Result<PathBuf> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES {
        for attempt in 0..16_u32 {
            let path = Path::new(place).join(format!("polycube-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
    }
    Err(last)
}
