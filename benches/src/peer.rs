//! Other programs that record, whose costs and losses are compared with ours.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    /// Records whole frames only: it has no snap length.
    NetsniffNg,
    /// Records what comes in, before the kernel makes a packet of it (XDP), and has no filter.
    Xdpdump,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcpdump => "tcpdump",
            Self::Dumpcap => "dumpcap",
            Self::NetsniffNg => "netsniff-ng",
            Self::Xdpdump => "xdpdump",
        }
    }

    /// Whether it is on the PATH. Some of them answer with a failure.
    pub(crate) fn is_there(self) -> bool {
        let mut command = Command::new(self.name());
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    }

    /// What it prints once it records.
    fn greeting(self) -> &'static str {
        match self {
            Self::Tcpdump | Self::Xdpdump => "listening on",
            Self::Dumpcap => "File: ",
            Self::NetsniffNg => "Running!",
        }
    }

    /// What makes it record into a file, of classic pcap, as the other recorders write.
    fn arguments(self, interface: &str, file: &Path, snaplen: u32, expression: Option<&str>) -> Vec<OsString> {
        let snaplen = snaplen.to_string();
        let mut arguments: Vec<OsString> = match self {
            Self::Tcpdump => ["-n", "-i", interface, "-s", &snaplen, "-Z", "root", "-w"].map(Into::into).into(),
            Self::Dumpcap => ["-n", "-P", "-i", interface, "-s", &snaplen, "-w"].map(Into::into).into(),
            // Silent, and the machine's interrupts and limits stay as they are.
            Self::NetsniffNg => ["-s", "-Q", "-A", "-T", "0xa1b2c3d4", "-i", interface, "-o"].map(Into::into).into(),
            Self::Xdpdump => {
                ["--load-xdp-program", "--use-pcap", "-i", interface, "-s", &snaplen, "-w"].map(Into::into).into()
            }
        };
        arguments.push(file.into());
        match (self, expression) {
            (Self::Dumpcap | Self::NetsniffNg, Some(expression)) => {
                arguments.extend(["-f", expression].map(Into::into));
            }
            (Self::Tcpdump | Self::Xdpdump, Some(expression)) => arguments.push(expression.into()),
            (_, None) => {}
        }
        arguments
    }
}

/// A running recorder.
pub(crate) struct Peer {
    program: Program,
    child: Child,
    messages: BufReader<PipeReader>,
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
        // netsniff-ng speaks on standard output, the others on standard error.
        let (messages, output) = pipe()?;
        let mut command = interface.namespace().command(name);
        command.args(program.arguments(interface.name(), &file, snaplen, expression));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().context(name)?;
        // It has the ends of the pipe that are written to, which ours would keep open.
        drop(command);
        let mut messages = BufReader::new(messages);
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
