//! Changes: each makes a new model of the current one, or says everything that is wrong.

use std::sync::Arc;

use serde_json::Value;

use super::{Facts, Model};
use crate::problem::Problems;
use crate::registry::Service;
use crate::schema::Operation;
use crate::topology::{Place, Point};

/// What can be asked of the model.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateCube {
        service: String,
        name: String,
        body: Value,
    },
    /// Creates all of them, or none.
    CreateCubes {
        cubes: Vec<Value>,
    },
    DeleteCube {
        cube: String,
    },
    /// Changes the configuration at `path` below the cube.
    Configure {
        cube: String,
        path: Vec<String>,
        operation: Operation,
        value: Value,
    },
    CreatePort {
        cube: String,
        port: String,
        body: Value,
    },
    ConfigurePort {
        cube: String,
        port: String,
        operation: Operation,
        body: Value,
    },
    DeletePort {
        cube: String,
        port: String,
    },
    /// All of them.
    DeletePorts {
        cube: String,
    },
    Connect {
        one: String,
        other: String,
    },
    Disconnect {
        one: String,
        other: String,
    },
    Attach {
        cube: String,
        port: String,
        place: Place,
    },
    Detach {
        cube: String,
        port: String,
    },
    /// Adds a service, whose plugin is loaded, under the name that the user gave.
    AddService {
        name: String,
        service: Arc<Service>,
    },
    RemoveService {
        name: String,
    },
}

impl Change {
    /// The cube that it is about, if it is about one.
    fn cube(&self) -> Option<&str> {
        match self {
            Self::CreateCube { name: cube, .. }
            | Self::DeleteCube { cube }
            | Self::Configure { cube, .. }
            | Self::CreatePort { cube, .. }
            | Self::ConfigurePort { cube, .. }
            | Self::DeletePort { cube, .. }
            | Self::DeletePorts { cube }
            | Self::Attach { cube, .. }
            | Self::Detach { cube, .. } => Some(cube),
            Self::CreateCubes { .. }
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::AddService { .. }
            | Self::RemoveService { .. } => None,
        }
    }
}

/// The model after a change.
///
/// # Errors
/// Everything that is wrong with the request, as far as one look can find it.
pub(crate) fn change(model: &Model, change: Change, facts: &Facts) -> Result<Model, Problems> {
    let mut draft = Draft { model: model.clone(), facts, uuids: 0 };
    if let Change::DeleteCube { cube } = &change
        && draft.model.forget(cube)
    {
        return Ok(draft.model);
    }
    if let Some(problem) = change.cube().and_then(|cube| model.still_waits(cube)) {
        return Err(problem.into());
    }
    match change {
        Change::CreateCube { service, name, body } => {
            draft.create_one(&service, &name, body)?;
        }
        Change::CreateCubes { cubes } => draft.create_cubes(cubes)?,
        Change::DeleteCube { cube } => draft.model.topology.remove_cube(&cube)?,
        Change::Configure { cube, path, operation, value } => draft.configure(&cube, &path, operation, value)?,
        Change::CreatePort { cube, port, body } => draft.create_port(&cube, &port, body)?,
        Change::ConfigurePort { cube, port, operation, body } => draft.configure_port(&cube, &port, operation, body)?,
        Change::DeletePort { cube, port } => draft.model.topology.remove_port(&cube, &port)?,
        Change::DeletePorts { cube } => draft.model.topology.remove_ports(&cube)?,
        Change::Connect { one, other } => draft.connect(&one, &other)?,
        Change::Disconnect { one, other } => draft.disconnect(&one, &other)?,
        Change::Attach { cube, port, place } => {
            draft.attach(&cube, &port, &place).map_err(|problem| problem.unless_about(&cube, "attach/port"))?;
        }
        Change::Detach { cube, port } => {
            let point = Point::parse(&port).map_err(|problem| problem.at("detach/port"))?;
            let point = draft.primary(point);
            let detached = draft.model.topology.detach(&cube, &point);
            detached.map_err(|problem| problem.unless_about(&cube, "detach/port"))?;
        }
        Change::AddService { name, service } => draft.add_service(&name, service)?,
        Change::RemoveService { name } => draft.remove_service(&name)?,
    }
    Ok(draft.model)
}

/// A model in the making.
pub(super) struct Draft<'a> {
    pub(super) model: Model,
    pub(super) facts: &'a Facts,
    /// How many UUIDs were made.
    uuids: u32,
}

impl Draft<'_> {
    pub(super) fn uuid(&mut self) -> String {
        self.uuids += 1;
        self.facts.uuid(self.uuids)
    }
}
