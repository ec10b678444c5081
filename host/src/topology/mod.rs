//! What is wanted: cubes, their ports and peers, and the chains of transparent cubes. Pure.

mod chain;
mod names;
mod port;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use chain::{Attachment, Place, Point};
pub use names::{CubeName, LONGEST, PATTERN, PortName};
pub use port::Port;

use crate::problem::Problem;

/// How much a cube tells the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Err,
    Critical,
    Off,
}

/// What a cube is by the kind of its service.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Has ports.
    Standard(BTreeMap<PortName, Port>),
    /// Is attached to ports and netdevs.
    Transparent,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Cube {
    pub uuid: String,
    pub service: String,
    pub loglevel: LogLevel,
    /// The configuration of its service's schema, defaults filled in.
    pub config: Value,
    pub role: Role,
}

impl Cube {
    /// Its ports; a transparent cube has none.
    pub fn ports(&self) -> impl Iterator<Item = (&PortName, &Port)> {
        match &self.role {
            Role::Standard(ports) => Some(ports),
            Role::Transparent => None,
        }
        .into_iter()
        .flatten()
    }
}

/// All that the user asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    cubes: BTreeMap<CubeName, Arc<Cube>>,
    /// Transparent cubes at each point. At a port, the first is next to the cube; at a netdev, next to the wire.
    chains: BTreeMap<Point, Vec<Attachment>>,
}

impl Topology {
    pub fn cubes(&self) -> impl Iterator<Item = (&CubeName, &Arc<Cube>)> {
        self.cubes.iter()
    }

    pub fn chains(&self) -> impl Iterator<Item = (&Point, &[Attachment])> {
        self.chains.iter().map(|(point, chain)| (point, chain.as_slice()))
    }

    /// The cube called `name`.
    ///
    /// # Errors
    /// A problem that names it and those that exist.
    pub fn cube(&self, name: &str) -> Result<(&CubeName, &Arc<Cube>), Problem> {
        self.cubes.get_key_value(name).ok_or_else(|| {
            let known = crate::problem::suggestion(name, self.cubes.keys().map(CubeName::as_str));
            Problem::missing(name, format!("cube `{name}` does not exist{known}"))
        })
    }

    /// The cube called `name`, to be changed.
    ///
    /// # Errors
    /// As [`Topology::cube`].
    pub fn cube_mut(&mut self, name: &str) -> Result<&mut Cube, Problem> {
        self.cube(name)?;
        let cube = self.cubes.get_mut(name);
        Ok(Arc::make_mut(cube.expect("it was there a line above")))
    }

    pub fn add_cube(&mut self, name: CubeName, cube: Cube) -> Result<(), Problem> {
        if let Some(other) = self.cubes.get(&name) {
            return Err(Problem::exists(
                name.as_str(),
                format!(
                    "cube `{name}` exists already (service {}): choose another name or delete it first",
                    other.service
                ),
            ));
        }
        self.cubes.insert(name, Arc::new(cube));
        Ok(())
    }

    /// Takes a cube out, and whatever is attached to its ports off.
    pub fn remove_cube(&mut self, name: &str) -> Result<Arc<Cube>, Problem> {
        self.cube(name)?;
        self.chains.retain(|point, chain| {
            chain.retain(|attachment| attachment.cube.as_str() != name);
            !chain.is_empty() && !matches!(point, Point::Port(cube, _) if cube.as_str() == name)
        });
        Ok(self.cubes.remove(name).expect("it was there two lines above"))
    }
}

#[cfg(test)]
mod tests;
