//! What a cube under test is created with besides its configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use polycube_plugin_api::{Point, Port, ServiceKind};
use serde_json::{Value, json};

use crate::{Failure, Place};

/// A cube's name, and its ports or points.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) name: String,
    ports: Vec<Port>,
    points: Vec<Point>,
    /// What is set at ports, by their names.
    pub(crate) port_settings: BTreeMap<String, Value>,
}

impl Default for Setup {
    /// A cube called `cube1`. If it is a standard one, it has the ports `port1` and `port2` with the ids 1 and 2; if it is a
    /// transparent one, it is attached to `veth1`, as its point 1.
    fn default() -> Self {
        let bare =
            Self { name: "cube1".to_owned(), ports: Vec::new(), points: Vec::new(), port_settings: BTreeMap::new() };
        bare.ports(2).points(&["veth1"])
    }
}

impl Setup {
    /// The same with another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same with this many ports, if the cube is a standard one. Their ids count from 1.
    #[must_use]
    pub fn ports(mut self, count: u32) -> Self {
        let port = |id| Port { id, name: format!("port{id}"), netdev: Some(format!("veth{id}")) };
        self.ports = (1..=count).map(port).collect();
        self
    }

    /// The same with what is set at one of the ports, as in `cube1 ports add port1 …`.
    #[must_use]
    pub fn port(mut self, name: &str, settings: Value) -> Self {
        self.port_settings.insert(name.to_owned(), settings);
        self
    }

    /// The same attached to these netdevs, if the cube is a transparent one. The points' ids count from 1. `lo` is the
    /// loopback, and where a name begins with `tun`, packets begin with the IP header.
    #[must_use]
    pub fn points(mut self, netdevs: &[&str]) -> Self {
        let point = |(id, name): (u32, &&str)| Point {
            id,
            name: (*name).to_owned(),
            netdev: Some((*name).to_owned()),
            is_loopback: *name == "lo",
            is_raw_ip: name.starts_with("tun"),
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        self.points = (1..).zip(netdevs).map(point).collect();
        self
    }

    pub(crate) fn ports_of(&self, kind: ServiceKind) -> Vec<Port> {
        if kind == ServiceKind::Standard { self.ports.clone() } else { Vec::new() }
    }

    /// Where packets can enter.
    pub(crate) fn places(&self, kind: ServiceKind) -> Vec<Place> {
        match kind {
            ServiceKind::Standard => {
                self.ports.iter().flat_map(|port| [Place::Port(port.id), Place::Leaving(port.id)]).collect()
            }
            ServiceKind::Transparent => {
                self.points.iter().flat_map(|point| [Place::Ingress(point.id), Place::Egress(point.id)]).collect()
            }
        }
    }

    /// What the plugin is asked to describe a datapath for.
    pub(crate) fn wanted(&self, kind: ServiceKind, config: &Value) -> Value {
        let points = if kind == ServiceKind::Transparent { &self.points[..] } else { &[] };
        json!({ "config": config, "ports": self.ports_of(kind), "points": points })
    }

    /// What the SDK's `Cube` is made from.
    pub(crate) fn info(&self, directory: &Path) -> Value {
        json!({ "name": self.name, "uuid": "00000000-0000-4000-8000-000000000001", "capture-dir": directory })
    }
}

/// An empty directory for what a cube writes, removed with the cube.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Result<Self, Failure> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("polycube-plugin-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|source| Failure::Kernel { what: "make a directory for the cube's files", source })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // It is in a directory for such leftovers.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
