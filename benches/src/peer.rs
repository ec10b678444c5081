//! tcpdump and dumpcap, whose costs and losses are compared with ours.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use polycube_tests::lab::Interface;
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// A program that records packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Tcpdump,
    Dumpcap,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcpdump => "tcpdump",
            Self::Dumpcap => "dumpcap",
        }
    }

    /// Whether it is on the PATH.
    pub(crate) fn is_there(self) -> bool {
        let mut command = Command::new(self.name());
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// What it prints once it records.
    fn greeting(self) -> &'static str {
        match self {
            Self::Tcpdump => "listening on",
            Self::Dumpcap => "File: ",
        }
    }
}

/// A running recorder.
pub(crate) struct Peer {
    program: Program,
    child: Child,
    messages: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Peer {
    /// Records what crosses `interface` and matches the expression, if there is one, into a file in `directory`.
    pub(crate) fn start(
        program: Program,
        interface: &Interface,
        directory: &Path,
        snaplen: u32,
        expression: Option<&str>,
    ) -> Result<Self> {
        let name = program.name();
        let file = directory.join(format!("{name}.pcap"));
        let mut command = interface.namespace().command(name);
        command.args(["-n", "-i", interface.name(), "-s", &snaplen.to_string(), "-w"]).arg(&file);
        match program {
            Program::Tcpdump => command.args(["-Z", "root"]).args(expression),
            // Classic pcap, as the other recorders write.
            Program::Dumpcap => command.arg("-P").args(expression.iter().flat_map(|expression| ["-f", expression])),
        };
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context(name)?;
        let mut messages = BufReader::new(child.stderr.take().context("no standard error")?);
        let mut line = String::new();
        while !line.contains(program.greeting()) {
            line.clear();
            if messages.read_line(&mut line)? == 0 {
                let _ = child.wait();
                bail!("{name} exited at once");
            }
        }
        Ok(Self { program, child, messages, file })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid())
    }

    /// Ends it and returns the path of its file.
    pub(crate) fn stop(mut self) -> Result<PathBuf> {
        // It has not been waited for, so its id has not been reused.
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process id")?;
        kill_process(pid, Signal::INT)?;
        let mut rest = String::new();
        self.messages.read_to_string(&mut rest)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}: {rest}", self.program.name());
        Ok(std::mem::take(&mut self.file))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
