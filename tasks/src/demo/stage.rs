//! Where the demo runs: two hosts, and between them a daemon in its own namespace.

use std::env;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::{Lab, Namespace};
use tempfile::TempDir;

/// Fields are dropped in this order: the daemon goes first.
pub(super) struct Stage {
    pub(super) daemon: Daemon,
    pub(super) hosts: [Host; 2],
    pub(super) lab: Lab,
    captures: TempDir,
}

/// A namespace with an interface `eth0`, whose other end is in the daemon's namespace.
pub(super) struct Host {
    pub(super) namespace: Namespace,
    pub(super) ipv4: IpAddr,
    /// `None` if the kernel was started without IPv6.
    pub(super) ipv6: Option<IpAddr>,
}

impl Stage {
    pub(super) fn set(binaries: &Path) -> Result<Self> {
        let captures = tempfile::Builder::new().prefix("polycube-demo-").tempdir();
        let captures = captures.context("cannot create a directory for the captures")?;
        let lab = Lab::named()?;
        let hosts = [Host::join(&lab, 1)?, Host::join(&lab, 2)?];
        let path = captures.path().to_str().context("the temporary directory's name is not UTF-8")?;
        let daemon = Daemon::start_from(binaries, &lab, &["--capture-dir", path])?;
        Ok(Self { daemon, hosts, lab, captures })
    }

    /// Where the captures stay when the demo is over.
    pub(super) fn captures(&self) -> &Path {
        self.captures.path()
    }

    /// Ends the daemon, then removes the lab.
    pub(super) fn strike(self) -> Result<Remains> {
        let Self { mut daemon, hosts, lab, captures } = self;
        daemon.terminate().context("the daemon does not stop")?;
        // Dropping the daemon removes its directory, so the pins are counted first.
        let pins = daemon.pins()?.len();
        drop((daemon, hosts, lab));
        Ok(Remains { captures, pins })
    }
}

/// What is left after the daemon and the lab are gone.
pub(super) struct Remains {
    captures: TempDir,
    /// Pins that the daemon did not remove.
    pub(super) pins: usize,
}

impl Remains {
    /// Keeps the captures, owned by the user who called sudo rather than by root.
    pub(super) fn keep_captures(self) -> Result<PathBuf> {
        let directory = self.captures.keep();
        let id = |name| env::var(name).ok().and_then(|id| id.parse().ok());
        if let (Some(user), group) = (id("SUDO_UID"), id("SUDO_GID")) {
            for entry in fs::read_dir(&directory)? {
                chown(entry?.path(), Some(user), group)?;
            }
            chown(&directory, Some(user), group)?;
        }
        Ok(directory)
    }
}

impl Host {
    fn join(lab: &Lab, number: u8) -> Result<Self> {
        let namespace = lab.peer(&format!("host{number}"))?;
        let wire = lab.veth(&format!("veth{number}"), &namespace, "eth0")?;
        let ipv4 = wire.peer.add_address(&format!("10.10.10.{number}/24"))?;
        let has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        let ipv6 = has_ipv6.then(|| wire.peer.add_address(&format!("fd00::{number}/64"))).transpose()?;
        Ok(Self { namespace, ipv4, ipv6 })
    }
}
