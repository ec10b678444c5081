//! What a scene contains before the test begins.

use anyhow::{Context as _, Result};

use super::Scene;
use crate::daemon::{Daemon, KEPT, plugin_dir};
use crate::lab::Lab;

/// The parts of a [`Scene`]: see [`Scene::set_up`].
#[derive(Debug, Default)]
#[must_use = "a scene exists only after `start`"]
pub struct Setup {
    peers: usize,
    fixtures: Vec<String>,
    arguments: Vec<String>,
    commands: Vec<String>,
}

impl Setup {
    /// Peers 1, 2, …, each wired to a netdev `veth1`, `veth2`, … of the daemon's; the default is none.
    pub fn peers(mut self, peers: usize) -> Self {
        self.peers = peers;
        self
    }

    /// Plugins of `tests/fixtures`, in addition to the real ones.
    pub fn fixtures(mut self, services: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.fixtures.extend(services.into_iter().map(|service| service.as_ref().to_owned()));
        self
    }

    /// More arguments for the daemon.
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// A daemon that keeps cubes and datapath for the next start, as a service does.
    pub fn kept(self) -> Self {
        self.arguments([KEPT])
    }

    /// Command lines for `polycubectl`, run in this order once the daemon answers.
    pub fn commands(mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.commands.extend(lines.into_iter().map(|line| line.as_ref().to_owned()));
        self
    }

    /// A bridge `br1` with a port `toveth1`, `toveth2`, … for each peer.
    pub fn bridge(self) -> Self {
        let ports = (1..=self.peers).map(|number| format!("br1 ports add toveth{number} peer=veth{number}"));
        self.commands(["simplebridge add br1"]).commands(ports)
    }

    /// A bridge `br1` with the port `toveth1`, and `sniffer` attached to it. The other peers'
    /// netdevs stay free.
    pub fn sniffed_port(self) -> Self {
        self.commands([
            "simplebridge add br1",
            "br1 ports add toveth1 peer=veth1",
            "packetcapture add sniffer",
            "attach sniffer br1:toveth1",
        ])
    }

    /// Starts the daemon and runs the commands.
    ///
    /// # Errors
    /// Fails without root, when a fixture is not built, or when the daemon does not start.
    ///
    /// # Panics
    /// Panics when a command is refused.
    #[track_caller]
    pub fn start(self) -> Result<Scene> {
        let lab = Lab::new()?;
        let wire = |number: usize| lab.veth(&format!("veth{number}"), &lab.peer(&format!("peer{number}"))?, "eth0");
        let wires = (1..=self.peers).map(wire).collect::<Result<_>>()?;
        let mut arguments = self.arguments.iter().map(String::as_str).collect::<Vec<_>>();
        let fixtures = self.fixtures.iter().map(String::as_str).collect::<Vec<_>>();
        let plugins = if fixtures.is_empty() { None } else { Some(plugin_dir(&fixtures)?) };
        if let Some(directory) = &plugins {
            arguments.extend(["--plugin-dir", directory.path().to_str().context("a directory of plugins in UTF-8")?]);
        }
        let daemon = Daemon::start_with(&lab, &arguments)?;
        for line in &self.commands {
            daemon.ctl(line).ok();
        }
        Ok(Scene { daemon, wires, lab, plugins })
    }
}
