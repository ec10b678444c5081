//! tcpdump, whose harm and losses stand beside ours.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use polycube_tests::lab::Interface;
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// A tcpdump that records.
pub(crate) struct Tcpdump {
    child: Child,
    messages: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Tcpdump {
    /// Whether there is a tcpdump on the PATH.
    pub(crate) fn is_there() -> bool {
        let mut command = Command::new("tcpdump");
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Records what crosses `interface`, and fits the expression if there is one, into a file in `directory`.
    pub(crate) fn start(
        interface: &Interface,
        directory: &Path,
        snaplen: u32,
        expression: Option<&str>,
    ) -> Result<Self> {
        let file = directory.join("tcpdump.pcap");
        let mut command = interface.namespace().command("tcpdump");
        command.args(["-n", "-i", interface.name(), "-Z", "root", "-s", &snaplen.to_string(), "-w"]).arg(&file);
        command.args(expression);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("tcpdump")?;
        let mut messages = BufReader::new(child.stderr.take().context("tcpdump has no standard error")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if messages.read_line(&mut line)? == 0 {
                let _ = child.wait();
                bail!("tcpdump ended at once");
            }
        }
        Ok(Self { child, messages, file })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid())
    }

    /// Ends it and says where its file is.
    pub(crate) fn stop(mut self) -> Result<PathBuf> {
        // It has not been waited for, so its id is still its own.
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("tcpdump has no id")?;
        kill_process(pid, Signal::INT)?;
        let mut rest = String::new();
        self.messages.read_to_string(&mut rest)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "tcpdump: {status}: {rest}");
        Ok(std::mem::take(&mut self.file))
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
