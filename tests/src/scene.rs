//! A daemon, its peers, and the cubes between them: where most tests begin.

mod setup;
mod watched;

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::lab::{Interface, Lab, Namespace, Wire};
use crate::pcap::{self, CaptureFile};
use crate::traffic::Flow;

pub use crate::patience::{PATIENCE, eventually};
pub use setup::Setup;
pub use watched::Watched;

/// Peers 1, 2, …, each with an `eth0` that is wired to `veth1`, `veth2`, … beside the daemon.
#[derive(Debug)]
pub struct Scene {
    /// Ends before the interfaces that it works on.
    pub daemon: Daemon,
    wires: Vec<Wire>,
    /// For namespaces and wires that a test needs besides.
    pub lab: Lab,
    /// The daemon's plugin directory, if the scene has fixtures; kept while the daemon runs.
    plugins: Option<TempDir>,
}

impl Scene {
    /// Describes a scene, as in `Scene::set_up().peers(2).bridge().start()`.
    pub fn set_up() -> Setup {
        Setup::default()
    }

    /// A bridge `br1` with that many ports, `toveth1` to peer 1 and so on.
    ///
    /// # Errors
    /// As [`Setup::start`].
    ///
    /// # Panics
    /// As [`Setup::start`].
    #[track_caller]
    pub fn bridge(ports: usize) -> Result<Self> {
        Self::set_up().peers(ports).bridge().start()
    }

    /// The `eth0` of a peer, counted from 1.
    #[must_use]
    pub fn peer(&self, number: usize) -> &Interface {
        &self.wires[number - 1].peer
    }

    /// The namespace of a peer.
    #[must_use]
    pub fn namespace(&self, number: usize) -> &Namespace {
        self.peer(number).namespace()
    }

    /// The daemon's end of the wire to a peer, `veth1` for the first.
    #[must_use]
    pub fn host(&self, number: usize) -> &Interface {
        &self.wires[number - 1].host
    }

    /// The plugin of a service, in a directory of the scene's own.
    ///
    /// # Errors
    /// Fails when the scene has no fixtures.
    pub fn plugin(&self, service: &str) -> Result<PathBuf> {
        let directory = self.plugins.as_ref().context("a scene with fixtures")?;
        Ok(directory.path().join(format!("libpcn_{service}.so")))
    }

    /// Frames from one peer to another.
    #[must_use]
    pub fn flow(&self, from: usize, to: usize) -> Flow {
        Flow::between(self.peer(from), self.peer(to))
    }

    /// Sets the MTU of every wire, at both ends.
    ///
    /// # Errors
    /// Fails when an interface is gone.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.wires.iter().flat_map(|wire| [&wire.host, &wire.peer]).try_for_each(|end| end.set_mtu(mtu))
    }

    /// Creates the packet capture `sniffer` with settings such as `capture=ingress`, and attaches it to `br1:toveth1`.
    ///
    /// # Panics
    /// Panics when the daemon refuses.
    #[track_caller]
    pub fn sniff(&self, settings: &str) {
        self.daemon.ctl(&format!("packetcapture add sniffer {settings}")).ok();
        self.daemon.ctl("attach sniffer br1:toveth1").ok();
    }

    /// A whole cube, or a part of one such as `br1/fdb`.
    ///
    /// # Errors
    /// Fails when the daemon does not answer with JSON.
    ///
    /// # Panics
    /// Panics when it does not exist.
    #[track_caller]
    pub fn get(&self, path: &str) -> Result<Value> {
        self.daemon.http("GET", &format!("/polycube/v1/{path}/"), None)?.ok().json()
    }

    /// A counter of the sniffer, such as `captured`.
    ///
    /// # Errors
    /// As [`Scene::get`]; and when there is no such counter.
    #[track_caller]
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.get("sniffer/counters")?;
        counters[name].as_u64().with_context(|| format!("no counter {name} in {counters}"))
    }

    /// The sniffer's file, if it has one.
    ///
    /// # Errors
    /// As [`Scene::get`]; and when the daemon's answer has another form.
    #[track_caller]
    pub fn dump(&self) -> Result<Option<PathBuf>> {
        let dump = self.get("sniffer")?["dump"].clone();
        let sentence = dump.as_str().with_context(|| format!("the dump is not a sentence: {dump}"))?;
        if sentence == "no packets captured" {
            return Ok(None);
        }
        let path =
            sentence.strip_prefix("capture dump in ").with_context(|| format!("unknown sentence: {sentence}"))?;
        Ok(Some(PathBuf::from(path)))
    }

    /// Waits for the sniffer's file.
    ///
    /// # Errors
    /// As [`Scene::dump`]; and when there is none within [`PATIENCE`].
    #[track_caller]
    pub fn wait_for_dump(&self) -> Result<PathBuf> {
        let mut dump = None;
        eventually("a capture file", || {
            dump = self.dump()?;
            Ok(dump.is_some())
        })?;
        dump.context("no capture file")
    }

    /// The sniffer's file, once it has everything that has been captured by now. For captures that were started once:
    /// the counter continues across files.
    ///
    /// # Errors
    /// Fails when packets do not arrive, or the file is invalid.
    #[track_caller]
    pub fn captured(&self) -> Result<CaptureFile> {
        let captured = self.counter("captured")?;
        pcap::wait_for(&self.wait_for_dump()?, captured as usize, PATIENCE)
    }
}
