//! Our own capture: a packetcapture cube on a netdev.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use serde_json::json;

use crate::process;

/// A cube that is attached and captures nothing yet.
pub(crate) struct Sniffer<'a> {
    daemon: &'a Daemon,
    pid: u32,
}

impl<'a> Sniffer<'a> {
    pub(crate) fn new(daemon: &'a Daemon, point: &str) -> Result<Self> {
        let sniffer = Self { daemon, pid: daemon.pid().context("the daemon has ended")? };
        sniffer.ctl("packetcapture add sniffer capture=off")?;
        sniffer.attach(point)?;
        Ok(sniffer)
    }

    /// Attaches it to another netdev as well.
    pub(crate) fn attach(&self, point: &str) -> Result<()> {
        self.ctl(&format!("attach sniffer {point}"))
    }

    /// Starts a capture. `direction` and `snaplen` are as on the command line.
    pub(crate) fn start(&self, direction: &str, snaplen: u32) -> Result<()> {
        self.ctl(&format!("sniffer set snaplen={snaplen}"))?;
        self.ctl(&format!("sniffer set capture={direction}"))
    }

    /// Chooses whether the next capture writes past the page cache or through it: `true`, `false`, or `auto`.
    pub(crate) fn set_direct(&self, direct: &str) -> Result<()> {
        self.ctl(&format!("sniffer storage set direct={direct}"))
    }

    /// Ends it and returns the path of its file.
    pub(crate) fn stop(&self) -> Result<PathBuf> {
        self.ctl("sniffer set capture=off")?;
        self.file()
    }

    /// Ends it; returns the path of its file, and how long the daemon took for that alone.
    pub(crate) fn close(&self) -> Result<(PathBuf, Duration)> {
        let file = self.file()?;
        let began = Instant::now();
        let _ = self.daemon.http("PATCH", "/polycube/v1/sniffer/", Some(&json!({ "capture": "off" })))?.ok();
        Ok((file, began.elapsed()))
    }

    fn file(&self) -> Result<PathBuf> {
        let dump = self.daemon.ctl("sniffer show dump");
        let path = dump.stdout.trim().strip_prefix("capture dump in ").map(PathBuf::from);
        path.with_context(|| format!("nothing was captured: {dump}"))
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.pid)
    }

    fn ctl(&self, line: &str) -> Result<()> {
        let output = self.daemon.ctl(line);
        ensure!(output.code == Some(0), "{output}");
        Ok(())
    }
}

impl Drop for Sniffer<'_> {
    fn drop(&mut self) {
        // Deleting detaches. If it fails, the daemon ends soon anyway, and the cube with it.
        let _ = self.daemon.ctl("del sniffer");
    }
}
