//! Changes: each makes a new model of the current one, or says everything that is wrong.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::{Absent, Apply, Mode};
use super::{Facts, Model};
use crate::problem::{Problem, Problems};
use crate::registry::Service;
use crate::schema::Operation;
use crate::topology::{Ephemeral, Place, Point, Topology};

/// What can be asked of the model.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateCube {
        service: String,
        name: String,
        body: Value,
    },
    /// Creates a cube that goes with the stream that it is created for.
    CreateEphemeral {
        service: String,
        name: String,
        body: Value,
        ephemeral: Ephemeral,
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
    /// Gives a cube the configuration that its plugin wants it to have, whole.
    Become {
        cube: String,
        config: Value,
    },
    CreatePort {
        cube: String,
        port: String,
        body: Value,
    },
    /// Changes what is set at `path` below a port.
    ConfigurePort {
        cube: String,
        port: String,
        path: Vec<String>,
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
    /// Puts other code in the place of a service that is loaded. Its cubes stay.
    ReloadService {
        name: String,
        service: Arc<Service>,
    },
    /// Says why a service that is stored still cannot be loaded.
    MissService {
        name: String,
        why: String,
    },
    /// Brings a whole configuration about.
    Apply(Apply),
}

impl Change {
    /// The cube that it is about, if it is about one.
    fn cube(&self) -> Option<&str> {
        match self {
            Self::CreateCube { name: cube, .. }
            | Self::CreateEphemeral { name: cube, .. }
            | Self::DeleteCube { cube }
            | Self::Configure { cube, .. }
            | Self::Become { cube, .. }
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
            | Self::RemoveService { .. }
            | Self::ReloadService { .. }
            | Self::MissService { .. }
            | Self::Apply(_) => None,
        }
    }
}

/// The model after a change.
///
/// # Errors
/// Everything that is wrong with the request, as far as one look can find it.
pub(crate) fn change(model: &Model, change: Change, facts: &Facts) -> Result<Model, Problems> {
    let mut draft = Draft::new(model, facts);
    if let Change::DeleteCube { cube } = &change
        && draft.model.forget(cube)
    {
        return Ok(draft.model);
    }
    if let Some(problem) = change.cube().and_then(|cube| model.still_waits(cube)) {
        return Err(problem.into());
    }
    match change {
        Change::CreateCube { service, name, body } => draft.create_one(&service, &name, body)?,
        Change::CreateEphemeral { service, name, body, ephemeral } => {
            draft.create_ephemeral(&service, &name, body, ephemeral)?;
        }
        Change::CreateCubes { cubes } => draft.create_cubes(cubes)?,
        Change::DeleteCube { cube } => {
            draft.model.topology.remove_cube(&cube)?;
            draft.model.forget_attachments(&cube);
        }
        Change::Configure { cube, path, operation, value } => draft.configure(&cube, &path, operation, value)?,
        Change::Become { cube, config } => draft.become_as(&cube, config)?,
        Change::CreatePort { cube, port, body } => draft.create_port(&cube, &port, body)?,
        Change::ConfigurePort { cube, port, path, operation, body } => {
            draft.configure_port((&cube, &port), &path, operation, body)?;
        }
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
        Change::ReloadService { name, service } => draft.reload_service(&name, service)?,
        Change::MissService { name, why } => draft.miss_service(&name, why),
        Change::Apply(apply) => draft.apply(apply)?,
    }
    draft.model.choose(facts);
    Ok(draft.model)
}

impl Change {
    /// Whether the change is only to be computed.
    pub(crate) fn is_comparison(&self) -> bool {
        matches!(self, Self::Apply(Apply { mode: Mode::Compare, .. }))
    }

    /// Whether it changes nothing that is stored.
    pub(crate) fn is_ephemeral(&self, topology: &Topology) -> bool {
        match self {
            Self::CreateEphemeral { .. } => true,
            Self::DeleteCube { cube } | Self::Configure { cube, .. } => topology.is_ephemeral(cube),
            change => change.is_comparison(),
        }
    }
}

/// A model in the making.
pub(super) struct Draft<'a> {
    pub(super) model: Model,
    pub(super) facts: &'a Facts,
    /// What becomes of netdevs that do not exist.
    pub(super) absent: Absent,
    /// How many UUIDs were made.
    uuids: u32,
    /// The UUIDs that cubes and ports have, once one is given.
    taken: Option<HashSet<String>>,
}

impl<'a> Draft<'a> {
    fn new(model: &Model, facts: &'a Facts) -> Self {
        Self { model: model.clone(), facts, absent: Absent::Refused, uuids: 0, taken: None }
    }

    /// The UUID of a new cube or port: the one that was given, or another.
    ///
    /// # Errors
    /// Something else has it.
    pub(super) fn identify(&mut self, given: Option<String>) -> Result<String, Problem> {
        let Some(given) = given else { return Ok(self.uuid()) };
        let of_cubes = || {
            let cubes = self.model.topology.cubes().map(|(_, cube)| cube);
            cubes.flat_map(|cube| cube.ports().map(|(_, port)| &port.uuid).chain([&cube.uuid])).cloned().collect()
        };
        let taken = self.taken.get_or_insert_with(of_cubes);
        if taken.insert(given.clone()) {
            return Ok(given);
        }
        let message = format!("`uuid` {given} is another cube's or port's: leave it out to get a new one");
        Err(Problem::invalid("uuid", message))
    }

    pub(super) fn uuid(&mut self) -> String {
        self.uuids += 1;
        self.facts.uuid(self.uuids)
    }
}
