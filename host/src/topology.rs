//! What is wanted: cubes, their ports and peers, and the chains of transparent cubes. Pure.
//!
//! A topology is a value: a change makes another one, which shares with the first whatever it does not touch. Copying
//! one costs nothing, and [`Topology::difference`] looks only at what two of them do not share.

mod chain;
mod difference;
mod ephemeral;
mod names;
mod port;
mod selector;

use std::sync::Arc;

use imbl::OrdMap;
use polycube_api::{Method, Word};
use serde_json::Value;

pub(crate) use chain::{Attachment, Place, Point};
pub(crate) use difference::keys;
pub(crate) use ephemeral::Ephemeral;
pub(crate) use names::{CubeName, LONGEST, PortName, pattern};
pub(crate) use port::Port;
pub(crate) use selector::{Choice, Chosen, Namespace, Selector};

use crate::problem::Problem;

/// How much of what a cube logs reaches the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Err,
    Critical,
    Off,
}

impl LogLevel {
    /// The highest level of lines that are written, by its number in the plugin ABI; 0 for none.
    pub(crate) fn highest(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Critical | Self::Err => 1,
            Self::Warn => 2,
            Self::Info => 3,
            Self::Debug => 4,
            Self::Trace => 5,
        }
    }
}

/// What a cube is by the kind of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Has ports.
    Standard(OrdMap<PortName, Port>),
    /// Is attached to ports and netdevs.
    Transparent,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cube {
    pub uuid: String,
    pub service: String,
    pub loglevel: LogLevel,
    /// The configuration of its service's schema, defaults filled in.
    pub config: Value,
    pub role: Role,
    /// Set if it goes with the stream that it was created for.
    pub ephemeral: Option<Ephemeral>,
}

impl Cube {
    /// Its ports; a transparent cube has none.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&PortName, &Port)> {
        match &self.role {
            Role::Standard(ports) => Some(ports),
            Role::Transparent => None,
        }
        .into_iter()
        .flatten()
    }
}

/// Everything the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    cubes: OrdMap<CubeName, Arc<Cube>>,
    /// Transparent cubes at each point. At a port, the first is next to the cube; at a netdev, next to the wire.
    chains: OrdMap<Point, Arc<Vec<Attachment>>>,
    /// The port whose peer a netdev is: read off `cubes`.
    owners: OrdMap<String, (CubeName, PortName)>,
    /// Where each transparent cube is attached, by the ids of its attachments: read off `chains`.
    attached: OrdMap<CubeName, OrdMap<u32, Point>>,
}

impl Topology {
    pub(crate) fn cubes(&self) -> impl Iterator<Item = (&CubeName, &Arc<Cube>)> {
        self.cubes.iter()
    }

    /// The points that have chains.
    pub(crate) fn chains(&self) -> impl Iterator<Item = (&Point, &[Attachment])> {
        self.chains.iter().map(|(point, chain)| (point, chain.as_slice()))
    }

    /// The cube called `name`, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<(&CubeName, &Arc<Cube>)> {
        self.cubes.get_key_value(name)
    }

    /// The cube called `name`.
    ///
    /// # Errors
    /// A problem that names it and those that exist.
    pub(crate) fn cube(&self, name: &str) -> Result<(&CubeName, &Arc<Cube>), Problem> {
        self.get(name).ok_or_else(|| no_cube(name, self.cubes.keys().map(CubeName::as_str)))
    }

    /// The cube called `name`, to be changed. A port's peer is changed by [`Topology::set_peer`].
    ///
    /// # Errors
    /// As [`Topology::cube`].
    pub(crate) fn cube_mut(&mut self, name: &str) -> Result<&mut Cube, Problem> {
        self.cube(name)?;
        let cube = self.cubes.get_mut(name);
        Ok(Arc::make_mut(cube.expect("it was there a line above")))
    }

    /// # Errors
    /// A cube has this name already.
    pub(crate) fn add_cube(&mut self, name: CubeName, cube: Cube) -> Result<(), Problem> {
        self.require_free(&name)?;
        self.cubes.insert(name, Arc::new(cube));
        Ok(())
    }

    /// # Errors
    /// A cube has this name already: how else it can be changed.
    pub(crate) fn require_free(&self, name: &CubeName) -> Result<(), Problem> {
        let Some(Cube { service, .. }) = self.cubes.get(name).map(|cube| &**cube) else { return Ok(()) };
        let message = format!(
            "cube `{name}` already exists (service {service}): choose another name or delete it first, or change it"
        );
        let problem = Problem::exists(name.as_str(), message);
        Err(problem.instead(Method::Patch, name.as_str()).instead(Method::Patch, Word::Config.as_str()))
    }

    /// Removes a cube, and detaches whatever is attached to its ports.
    ///
    /// # Errors
    /// As [`Topology::cube`].
    pub(crate) fn remove_cube(&mut self, name: &str) -> Result<(), Problem> {
        let (name, cube) = self.cube(name)?;
        let (name, cube) = (name.clone(), Arc::clone(cube));
        for (port, _) in cube.ports() {
            self.remove_port(name.as_str(), port.as_str())?;
        }
        for (_, point) in self.attached.get(&name).cloned().unwrap_or_default() {
            self.remove_at(&name, &point);
        }
        self.cubes.remove(&name);
        Ok(())
    }
}

/// The problem that there is no cube `name`, where there are others.
fn no_cube<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Problem {
    Problem::missing(name, format!("cube `{name}` does not exist")).knowing(name, others)
}

#[cfg(test)]
mod tests;
