//! Changes: each makes a new model out of the current one, and says what is wrong when it cannot.

use std::path::Path;
use std::sync::Arc;

use polycube_plugin_api::ServiceKind;
use rustix::net::netdevice;
use serde_json::{Map, Value, json};

use super::left::Wish;
use super::netdevs::lookup_socket;
use super::{Answer, Engine, View};
use crate::plugins::Instance;
use crate::problem::{ErrorTag, Problem, Problems, suggestion};
use crate::registry::Registry;
use crate::schema::{Model, Node, Operation};
use crate::topology::{Cube, CubeName, LogLevel, Place, Point, PortName, Role};

/// What a user can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
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
        body: Value,
    },
    DeletePort {
        cube: String,
        port: String,
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
    /// Loads the plugin in a file of the plugin directory.
    LoadService {
        name: String,
        uri: String,
    },
    UnloadService {
        name: String,
    },
    /// Runs an action of the plugin.
    Act {
        cube: String,
        path: String,
        input: Value,
    },
}

impl Engine {
    pub(super) fn change(&mut self, change: Change) -> Answer {
        tracing::debug!(?change, "change");
        match change {
            Change::Act { cube, path, input } => return self.act(&cube, &path, &input),
            Change::LoadService { name, uri } => return self.load_service(&name, &uri),
            Change::UnloadService { name } => return self.unload_service(&name),
            _ => {}
        }
        let mut wanted = self.current.clone();
        match change {
            Change::CreateCube { service, name, body } => self.create_cube(&mut wanted, &service, &name, body)?,
            Change::CreateCubes { cubes } => self.create_cubes(&mut wanted, cubes)?,
            Change::DeleteCube { cube } => {
                wanted.topology.remove_cube(&cube)?;
                wanted.instances.remove(cube.as_str());
            }
            Change::Configure { cube, path, operation, value } => {
                self.configure(&mut wanted, &cube, &path, operation, value)?;
            }
            Change::CreatePort { cube, port, body } => self.create_port(&mut wanted, &cube, &port, body)?,
            Change::ConfigurePort { cube, port, body } => self.configure_port(&mut wanted, &cube, &port, body)?,
            Change::DeletePort { cube, port } => wanted.topology.remove_port(&cube, &port)?,
            Change::Connect { one, other } => self.connect(&mut wanted, &one, &other)?,
            Change::Disconnect { one, other } => disconnect(&mut wanted, &one, &other)?,
            Change::Attach { cube, port, place } => self.attach(&mut wanted, &cube, &port, &place)?,
            Change::Detach { cube, port } => wanted.topology.detach(&cube, &Point::parse(&port)?)?,
            Change::Act { .. } | Change::LoadService { .. } | Change::UnloadService { .. } => {}
        }
        let mut sound = wanted.instances.clone();
        sound.retain(|_, instance| instance.failure().is_none());
        self.apply(wanted, Wish::Asked)?;
        let failed = sound.iter().filter_map(|(name, instance)| Some(in_force(name, instance.failure()?)));
        let failed: Vec<Problem> = failed.collect();
        // Undone it cannot be: packets pass it already.
        if failed.is_empty() { Ok(Value::Null) } else { Err(Problems(failed)) }
    }

    fn act(&self, cube: &str, path: &str, input: &Value) -> Answer {
        let (name, spec) = self.current.topology.cube(cube)?;
        let service = &self.registry.service(&spec.service)?.model.service;
        if service.actions.iter().all(|action| action.path != path) {
            let known = suggestion(path, service.actions.iter().map(|action| action.path.as_str()));
            let message = format!("`{path}` is no action of service `{}`{known}", service.name);
            return Err(Problem::new(ErrorTag::OperationNotSupported, format!("{cube}/{path}"), message).into());
        }
        let answer = self.current.instances[name].action(path, input);
        answer.map_err(|failure| Problem::from_plugin(cube, failure.into()).into())
    }

    pub(super) fn create_cube(
        &self,
        wanted: &mut View,
        service: &str,
        name: &str,
        body: Value,
    ) -> Result<(), Problems> {
        let service = self.registry.service(service)?;
        let name = CubeName::parse(name)?;
        if self.registry.service(name.as_str()).is_ok() {
            return Err(
                Problem::bad(name.as_str(), format!("`{name}` is the name of a service: choose another")).into()
            );
        }
        let Split { base, config, ports, problems } = split(&self.registry, &service.model, name.as_str(), body)?;
        let kind = service.model.service.kind;
        let base = self.registry.cube.create(base);
        let config = service.model.create(config);
        let (base, config) = both(problems, base, config).map_err(|problems| problems.under(name.as_str()))?;
        let cube = Cube {
            uuid: uuid::Uuid::new_v4().to_string(),
            service: service.model.service.name.clone(),
            loglevel: level(&base),
            config,
            role: match kind {
                ServiceKind::Standard => Role::Standard(std::collections::BTreeMap::new()),
                ServiceKind::Transparent => Role::Transparent,
            },
        };
        let birth = birth(name.as_str(), &cube.uuid, &self.capture_dir);
        let loglevel = cube.loglevel;
        wanted.topology.add_cube(name.clone(), cube)?;
        let instance = Instance::create(&service.plugin, name.as_str(), &birth, loglevel, self.requests(&name))
            .map_err(|failure| Problem::from_plugin(name.as_str(), failure.into()))?;
        wanted.instances.insert(name.clone(), Arc::new(instance));
        let made = ports.into_iter().map(|(port, body)| self.create_port(wanted, name.as_str(), &port, body));
        let problems: Vec<Problem> = made.filter_map(Result::err).flat_map(|problems| problems.0).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    fn configure(
        &self,
        wanted: &mut View,
        name: &str,
        path: &[String],
        operation: Operation,
        value: Value,
    ) -> Result<(), Problems> {
        works(wanted, name)?;
        let (_, cube) = wanted.topology.cube(name)?;
        let service = self.registry.service(&cube.service)?;
        let under = |problems: Problems| problems.under(name);
        let is_base = path.first().is_some_and(|word| !self.registry.cube.tree["properties"][word].is_null());
        let mut problems = Vec::new();
        let (base, config) = if path.is_empty() {
            let split = split(&self.registry, &service.model, name, value)?;
            problems = split.problems;
            if !split.ports.is_empty() {
                problems.push(Problem::invalid("ports", "ports are changed one by one: PATCH ports/NAME"));
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
            base.map_or(Ok(old_base.clone()), |base| self.registry.cube.change(&old_base, base_path, operation, base));
        let config_path = if is_base { &[] } else { path };
        let config = config
            .map_or(Ok(cube.config.clone()), |value| service.model.change(&cube.config, config_path, operation, value));
        let (base, config) = both(problems, base, config).map_err(under)?;
        let cube = wanted.topology.cube_mut(name)?;
        cube.loglevel = level(&base);
        cube.config = config;
        Ok(())
    }

    fn create_port(&self, wanted: &mut View, cube: &str, port: &str, body: Value) -> Result<(), Problems> {
        works(wanted, cube)?;
        let name = PortName::parse(port).map_err(|problem| problem.under(cube))?;
        wanted.topology.add_port(cube, name, uuid::Uuid::new_v4().to_string())?;
        let body = self.registry.port.create(if body.is_null() { json!({}) } else { body });
        let body = body.map_err(|problems| problems.under(&format!("{cube}/ports/{port}")))?;
        self.set_peer(wanted, cube, port, body["peer"].as_str().unwrap_or_default())
    }

    pub(super) fn configure_port(
        &self,
        wanted: &mut View,
        cube: &str,
        port: &str,
        body: Value,
    ) -> Result<(), Problems> {
        wanted.topology.port(cube, port)?;
        let body = self.registry.port.change(&json!({}), &[], Operation::Merge, body);
        let body = body.map_err(|problems| problems.under(&format!("{cube}/ports/{port}")))?;
        match body["peer"].as_str() {
            Some(peer) => self.set_peer(wanted, cube, port, peer),
            None => Ok(()),
        }
    }

    pub(super) fn attach(&self, wanted: &mut View, cube: &str, port: &str, place: &Place) -> Result<(), Problems> {
        let point = Point::parse(port)?;
        if let Point::Netdev(netdev) = &point {
            if wanted.topology.cube(netdev).is_ok() {
                let message = format!("`{netdev}` is a cube: name one of its ports, {netdev}:PORT");
                return Err(Problem::bad("attach", message).into());
            }
            self.check_netdev("attach", netdev)?;
        }
        works(wanted, cube)?;
        Ok(wanted.topology.attach(cube, point, place)?)
    }

    fn set_peer(&self, wanted: &mut View, cube: &str, port: &str, peer: &str) -> Result<(), Problems> {
        let peer = if peer.is_empty() { None } else { Some(Point::parse(peer)?) };
        if let Some(Point::Netdev(netdev)) = &peer {
            self.check_netdev(&format!("{cube}/ports/{port}/peer"), netdev)?;
        }
        Ok(wanted.topology.set_peer(cube, port, peer)?)
    }

    fn connect(&self, wanted: &mut View, one: &str, other: &str) -> Result<(), Problems> {
        let ends = ends(one, other)?;
        let mut to_set = Vec::new();
        for (cube, port, peer) in ports(&ends) {
            let found = wanted.topology.port(cube.as_str(), port.as_str())?;
            match &found.peer {
                None => to_set.push((cube, port, peer)),
                // The other side has yet to say so, or its netdev returned a moment ago.
                Some(named) if named == peer && wanted.netdevs.of_port(cube, port, found).is_none() => {
                    if let Point::Netdev(netdev) = peer {
                        self.check_netdev("connect", netdev)?;
                    }
                }
                Some(named) => {
                    let message = format!("{cube}:{port} already has a peer, {named}: disconnect it first");
                    return Err(Problem::bad("connect", message).into());
                }
            }
        }
        for (cube, port, peer) in to_set {
            self.set_peer(wanted, cube.as_str(), port.as_str(), &peer.to_string())?;
        }
        Ok(())
    }

    /// Refuses a netdev that does not exist, and our own ends of links.
    fn check_netdev(&self, path: &str, netdev: &str) -> Result<(), Problem> {
        if let Some((cube, port)) = self.current.netdevs.link_port(netdev) {
            let message = format!("netdev `{netdev}` is the daemon's own, the link at {cube}:{port}: name the port");
            return Err(Problem::bad(path, message));
        }
        if netdevice::name_to_index(lookup_socket()?, netdev).is_ok() {
            return Ok(());
        }
        let links = self.runtime.block_on(self.netlink.links());
        let links = links.map_err(|error| Problem::failed(path, format!("cannot list the netdevs: {error}")))?;
        let known = suggestion(netdev, links.iter().map(|link| link.name.as_str()));
        Err(Problem::bad(path, format!("netdev `{netdev}` does not exist in the daemon's network namespace{known}")))
    }
}

/// What to tell of a plugin that failed after its programs were in the path.
fn in_force(cube: &CubeName, failure: &str) -> Problem {
    let message = format!(
        "the change is in force, and the plugin of cube `{cube}` failed on being told so ({failure}): delete the cube and create it again"
    );
    Problem::failed(cube.as_str(), message)
}

/// Refuses what a plugin would have to know of, where it failed. Whatever takes something away does without it.
fn works(wanted: &View, cube: &str) -> Result<(), Problem> {
    let (name, _) = wanted.topology.cube(cube)?;
    let Some(failure) = wanted.instances[name].failure() else { return Ok(()) };
    let message = format!("the plugin of cube `{cube}` failed ({failure}): delete the cube and create it again");
    Err(Problem::failed(cube, message))
}

fn disconnect(wanted: &mut View, one: &str, other: &str) -> Result<(), Problems> {
    let ends = ends(one, other)?;
    let mut to_clear = Vec::new();
    for (cube, port, peer) in ports(&ends) {
        if wanted.topology.port(cube.as_str(), port.as_str())?.peer.as_ref() == Some(peer) {
            to_clear.push((cube, port));
        }
    }
    if to_clear.is_empty() {
        let [one, other] = &ends;
        return Err(Problem::bad("disconnect", format!("{one} is not connected to {other}")).into());
    }
    for (cube, port) in to_clear {
        wanted.topology.set_peer(cube.as_str(), port.as_str(), None)?;
    }
    Ok(())
}

/// Both ends of a link, a port first.
fn ends(one: &str, other: &str) -> Result<[Point; 2], Problem> {
    match (Point::parse(one)?, Point::parse(other)?) {
        (Point::Netdev(_), Point::Netdev(_)) => {
            Err(Problem::bad("connect", format!("neither {one} nor {other} is a port: one is written CUBE:PORT")))
        }
        (netdev @ Point::Netdev(_), port) => Ok([port, netdev]),
        (port, other) => Ok([port, other]),
    }
}

/// The ports of a link, each with what it is linked to.
fn ports([one, other]: &[Point; 2]) -> impl Iterator<Item = (&CubeName, &PortName, &Point)> {
    [(one, other), (other, one)].into_iter().filter_map(|(end, peer)| match end {
        Point::Port(cube, port) => Some((cube, port, peer)),
        Point::Netdev(_) => None,
    })
}

/// A cube's body by whose it is.
struct Split {
    base: Value,
    config: Value,
    /// Their names, and what else is said of them.
    ports: Vec<(String, Value)>,
    /// What belongs to none, or cannot be set.
    problems: Vec<Problem>,
}

fn split(registry: &Registry, model: &Model, name: &str, body: Value) -> Result<Split, Problem> {
    let body = match body {
        Value::Object(body) => body,
        Value::Null => Map::new(),
        _ => return Err(Problem::bad(name, "the body is no JSON object")),
    };
    let mut split = Split { base: json!({}), config: json!({}), ports: Vec::new(), problems: Vec::new() };
    for (key, value) in body {
        let place = key.clone();
        match (key.as_str(), value) {
            ("name", Value::String(same)) if same == name => {}
            ("name", other) => {
                let message = format!("the name is `{name}` in the path and {other} in the body");
                split.problems.push(Problem::invalid(place, message));
            }
            ("ports", Value::Array(ports)) => {
                for (at, port) in ports.into_iter().enumerate() {
                    match split_port(registry, at, port) {
                        Ok(port) => split.ports.push(port),
                        Err(problems) => split.problems.extend(problems.0),
                    }
                }
            }
            ("ports", other) => {
                split.problems.push(Problem::bad(place, format!("`ports` is a list of ports, not {other}")));
            }
            ("uuid" | "service-name" | "parent" | "parents", _) => {
                split.problems.push(Problem::invalid(place, format!("`{key}` is read-only")));
            }
            (_, value) if !registry.cube.tree["properties"][&key].is_null() => split.base[&key] = value,
            (_, value) if !model.tree["properties"][&key].is_null() => split.config[&key] = value,
            _ => {
                let (base, own) = (Node::of(registry.cube.config()), Node::of(model.config()));
                let known = suggestion(&key, base.children().chain(own.children()));
                split.problems.push(Problem::invalid(place, format!("unknown key `{key}`{known}")));
            }
        }
    }
    Ok(split)
}

/// The name of a cube's port, and its settings, which have been looked at.
fn split_port(registry: &Registry, at: usize, port: Value) -> Result<(String, Value), Problems> {
    let place = format!("ports/{at}");
    let Value::Object(mut port) = port else {
        return Err(Problem::bad(place, "a port is an object with a name").into());
    };
    let name = match port.shift_remove("name") {
        Some(Value::String(name)) => name,
        Some(other) => {
            return Err(Problem::bad(format!("{place}/name"), format!("`name` is no string: {other}")).into());
        }
        None => {
            let message = "`name` is missing: each port has one";
            return Err(Problem::new(ErrorTag::MissingAttribute, format!("{place}/name"), message).into());
        }
    };
    PortName::parse(&name)?;
    registry.port.create(Value::Object(port.clone())).map_err(|problems| problems.under(&format!("ports/{name}")))?;
    Ok((name, port.into()))
}

/// Both values, or everything that is wrong.
fn both(
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

fn level(base: &Value) -> LogLevel {
    serde_json::from_value(base["loglevel"].clone()).unwrap_or(LogLevel::Info)
}

fn birth(name: &str, uuid: &str, capture_dir: &Path) -> Value {
    json!({ "name": name, "uuid": uuid, "capture-dir": capture_dir })
}
