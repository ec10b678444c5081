//! Cubes and their configuration.

use polycube_api::Method;
use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use super::body::{Form, Peer, Split, parents};
use super::change::Draft;
use crate::problem::{AFTER_PANIC, ErrorTag, Problem, Problems};
use crate::registry::Registry;
use crate::schema::Operation;
use crate::schema::action::Called;
use crate::topology::{Cube, CubeName, Ephemeral, LogLevel, Role, Selector, Topology};

impl Draft<'_> {
    /// Creates a cube with its ports and their peers, and attaches it to its parents.
    pub(super) fn create_one(&mut self, service: &str, name: &str, mut body: Value) -> Result<(), Problems> {
        let kind = self.model.registry.service(service)?.model.service.kind;
        let parents = match body.as_object_mut() {
            Some(members) if kind == ServiceKind::Transparent => parents(members, name)?,
            _ => Vec::new(),
        };
        let peers = self.create_cube(service, name, body)?;
        self.set_peers(name, peers)?;
        self.attach_all(name, &parents)
    }

    /// Creates a cube that goes with the stream that it is created for.
    pub(super) fn create_ephemeral(
        &mut self,
        service: &str,
        name: &str,
        body: Value,
        ephemeral: Ephemeral,
    ) -> Result<(), Problems> {
        self.create_one(service, name, body)?;
        self.model.topology.cube_mut(name)?.ephemeral = Some(ephemeral);
        Ok(())
    }

    /// Creates a cube with its ports. Answers with the ports' peers, which may be cubes that are created later.
    pub(super) fn create_cube(&mut self, service: &str, name: &str, body: Value) -> Result<Vec<Peer>, Problems> {
        // A registry is shared: this copies a pointer.
        let registry = self.model.registry.clone();
        let service = registry.service(service)?;
        let name = CubeName::parse(name).map_err(|problem| problem.at(name))?;
        if let Some(problem) = self.model.still_waits(name.as_str()) {
            return Err(problem.into());
        }
        // Before its UUID is looked at: that of a cube that was shown is its own.
        self.model.topology.require_free(&name)?;
        if Selector::is_word(name.as_str()) {
            let message = format!("`{name}` begins places such as `{name}:NAME`: choose another name");
            return Err(Problem::bad(name.as_str(), message).into());
        }
        if registry.service(name.as_str()).is_ok() {
            let message = format!("`{name}` is the name of a service: choose another");
            return Err(Problem::bad(name.as_str(), message).into());
        }
        let body = if body.is_null() { json!({}) } else { body };
        let Split { source, base, config, uuid, ports, problems } =
            self.split(service, name.as_str(), body, Form::New)?;
        let base = registry.cube.create(base);
        let config = service.model.create_from(source, config);
        let (base, config) = both(problems, base, config).map_err(|problems| problems.under(name.as_str()))?;
        let checked = self.check_places(service.model.config(), &Value::Null, &config);
        checked.map_err(|problems| problems.under(name.as_str()))?;
        let uuid = self.identify(uuid).map_err(|problem| problem.under(name.as_str()))?;
        let cube = Cube {
            uuid,
            service: service.model.service.name.clone(),
            loglevel: level(&base),
            config,
            role: match service.model.service.kind {
                ServiceKind::Standard => Role::Standard(imbl::OrdMap::new()),
                ServiceKind::Transparent => Role::Transparent,
            },
            ephemeral: None,
        };
        self.model.topology.add_cube(name.clone(), cube)?;
        let ports = ports.unwrap_or_default();
        let mut problems = Vec::new();
        let mut peers = Vec::new();
        for port in ports {
            problems.extend(self.add_described(name.as_str(), port, &mut peers).err());
        }
        if problems.is_empty() { Ok(peers) } else { Err(Problems(problems)) }
    }

    pub(super) fn configure(
        &mut self,
        name: &str,
        path: &[String],
        operation: Operation,
        value: Value,
    ) -> Result<(), Problems> {
        self.require_working(name)?;
        let registry = self.model.registry.clone();
        let (_, cube) = self.model.topology.cube(name)?;
        let service = registry.service(&cube.service)?;
        let is_base = path.first().is_some_and(|word| !registry.cube.tree["properties"][word].is_null());
        let mut problems = Vec::new();
        let (base, config) = if path.is_empty() {
            let split = self.split(service, name, value, Form::Part)?;
            problems = split.problems;
            if split.ports.is_some() {
                let problem = Problem::invalid("ports", "ports are changed one by one");
                problems.push(problem.instead(Method::Patch, "ports/NAME"));
            }
            (Some(split.base), Some(split.config))
        } else if is_base {
            (Some(value), None)
        } else {
            (None, Some(value))
        };
        let old_base = json!({ "type": "TC", "loglevel": cube.loglevel });
        let base_path = if is_base { path } else { &[] };
        let base =
            base.map_or(Ok(old_base.clone()), |base| registry.cube.change(&old_base, base_path, operation, base));
        let config_path = if is_base { &[] } else { path };
        let config = config
            .map_or(Ok(cube.config.clone()), |value| service.model.change(&cube.config, config_path, operation, value));
        let (base, config) = both(problems, base, config).map_err(|problems| problems.under(name))?;
        let checked = self.check_places(service.model.config(), &cube.config, &config);
        checked.map_err(|problems| problems.under(name))?;
        let cube = self.model.topology.cube_mut(name)?;
        cube.loglevel = level(&base);
        cube.config = config;
        Ok(())
    }

    /// Gives a cube the configuration that its plugin wants it to have.
    pub(super) fn become_as(&mut self, name: &str, config: Value) -> Result<(), Problems> {
        self.require_working(name)?;
        let registry = self.model.registry.clone();
        let (_, cube) = self.model.topology.cube(name)?;
        let model = &registry.service(&cube.service)?.model;
        let config = model.become_as(&cube.config, config).map_err(|problems| problems.under(name))?;
        if config != cube.config {
            let checked = self.check_places(model.config(), &cube.config, &config);
            checked.map_err(|problems| problems.under(name))?;
            self.model.topology.cube_mut(name)?.config = config;
        }
        Ok(())
    }

    /// Refuses what needs the plugin of a cube where it has failed. Removals do without it.
    pub(super) fn require_working(&self, cube: &str) -> Result<(), Problem> {
        self.model.topology.cube(cube)?;
        let Some(failure) = self.facts.failed.get(cube) else { return Ok(()) };
        let message = format!("the plugin of cube `{cube}` failed ({failure}): {AFTER_PANIC}");
        Err(Problem::failed(cube, message))
    }
}

/// A call of an action, checked.
#[derive(Debug)]
pub(crate) struct ActionInput {
    /// What the SDK's `ActionCall` is read from.
    pub call: Value,
    /// Its path, from the cube.
    pub place: String,
    /// Its path as it is declared.
    pub action: String,
}

/// The call of the action at `path` of a cube, with the defaults of its input filled in.
///
/// # Errors
/// The cube has no such action, or the input does not fit its schema.
pub(crate) fn action_input(
    (topology, registry): (&Topology, &Registry),
    cube: &str,
    path: &[String],
    input: Value,
) -> Result<ActionInput, Problems> {
    let (_, found) = topology.cube(cube)?;
    let model = &registry.service(&found.service)?.model;
    let place = format!("{cube}/{}", path.join("/"));
    let Some(Called { action, keys, .. }) = model.called(path) else {
        let path = path.join("/");
        let message = format!("`{path}` is not an action of service `{}`", found.service);
        let problem = Problem::new(ErrorTag::OperationNotSupported, place, message);
        let actions = model.service.actions.iter().map(|action| action.path.as_str());
        return Err(problem.knowing(&path, actions).into());
    };
    let input = model.action_input(&action.path, input).map_err(|problems| problems.under(&place))?;
    let settings = found.ports().map(|(name, port)| (name.as_str(), &port.settings));
    let config = model.with_ports(&found.config, settings);
    let call = json!({ "action": action.path, "keys": keys, "input": input, "config": config });
    Ok(ActionInput { call, place, action: action.path.clone() })
}

/// Both values, or everything that is wrong.
pub(super) fn both(
    mut problems: Vec<Problem>,
    one: Result<Value, Problems>,
    other: Result<Value, Problems>,
) -> Result<(Value, Value), Problems> {
    match (one, other) {
        (Ok(one), Ok(other)) if problems.is_empty() => Ok((one, other)),
        (one, other) => {
            problems.extend([one, other].into_iter().filter_map(Result::err).flat_map(|more| more.0));
            Err(Problems(problems))
        }
    }
}

pub(super) fn level(base: &Value) -> LogLevel {
    serde_json::from_value(base["loglevel"].clone()).unwrap_or(LogLevel::Info)
}
