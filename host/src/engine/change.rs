//! Changes: each makes a new model out of the current one, and says what is wrong when it cannot.

use std::sync::Arc;

use polycube_plugin_api::ServiceKind;
use rustix::net::netdevice;
use serde_json::{Value, json};

use super::left::Wish;
use super::netdevs::{Use, lookup_socket, unfit};
use super::split::{Peer, Split, named};
use super::{Answer, Engine, View};
use crate::options::CaptureDirs;
use crate::plugins::Instance;
use crate::problem::{ErrorTag, Problem, Problems, suggestion};
use crate::schema::Operation;
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
            Change::Act { cube, path, input } => return self.act(&cube, &path, input),
            Change::LoadService { name, uri } => return self.load_service(&name, &uri),
            Change::UnloadService { name } => return self.unload_service(&name),
            _ => {}
        }
        let mut wanted = self.current.clone();
        match change {
            Change::CreateCube { service, name, body } => {
                let peers = self.create_cube(&mut wanted, &service, &name, body)?;
                self.set_peers(&mut wanted, &name, peers)?;
            }
            Change::CreateCubes { cubes } => self.create_cubes(&mut wanted, cubes)?,
            Change::DeleteCube { cube } => {
                wanted.topology.remove_cube(&cube)?;
                wanted.instances.remove(cube.as_str());
            }
            Change::Configure { cube, path, operation, value } => {
                self.configure(&mut wanted, &cube, &path, operation, value)?;
            }
            Change::CreatePort { cube, port, body } => self.create_port(&mut wanted, &cube, &port, body)?,
            Change::ConfigurePort { cube, port, operation, body } => {
                self.configure_port(&mut wanted, &cube, &port, operation, body)?;
            }
            Change::DeletePort { cube, port } => wanted.topology.remove_port(&cube, &port)?,
            Change::DeletePorts { cube } => wanted.topology.remove_ports(&cube)?,
            Change::Connect { one, other } => self.connect(&mut wanted, &one, &other)?,
            Change::Disconnect { one, other } => disconnect(&mut wanted, &one, &other)?,
            Change::Attach { cube, port, place } => {
                self.attach(&mut wanted, &cube, &port, &place)
                    .map_err(|problem| about(&cube, problem, "attach/port"))?;
            }
            Change::Detach { cube, port } => {
                let point = Point::parse(&port).map_err(|problem| problem.at("detach/port"))?;
                wanted.topology.detach(&cube, &point).map_err(|problem| about(&cube, problem, "detach/port"))?;
            }
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

    fn act(&self, cube: &str, path: &str, input: Value) -> Answer {
        let (name, spec) = self.current.topology.cube(cube)?;
        let service = self.registry.service(&spec.service)?;
        let actions = &service.model.service.actions;
        let place = format!("{cube}/{path}");
        if actions.iter().all(|action| action.path != path) {
            let known = suggestion(path, actions.iter().map(|action| action.path.as_str()));
            let message = format!("`{path}` is no action of service `{}`{known}", spec.service);
            return Err(Problem::new(ErrorTag::OperationNotSupported, place, message).into());
        }
        let input = match (service.model.inputs.get(path), input) {
            (Some(model), Value::Null) => model.create(json!({})),
            (Some(model), input) => model.create(input),
            (None, Value::Null) => Ok(Value::Null),
            (None, Value::Object(members)) if members.is_empty() => Ok(Value::Null),
            (None, Value::Object(members)) => {
                let unknown =
                    |key: &String| Problem::invalid(key, format!("unknown key `{key}`: the action takes none"));
                Err(Problems(members.keys().map(unknown).collect()))
            }
            (None, _) => Err(Problem::bad("", "the action takes no body").into()),
        };
        let input = input.map_err(|problems| problems.under(&place))?;
        let answer = self.current.instances[name].action(path, &input);
        answer.map_err(|failure| Problem::from_plugin(cube, failure.into()).into())
    }

    /// Creates a cube with its ports, and gives the ports' peers, which may be other cubes that are yet to come.
    pub(super) fn create_cube(
        &self,
        wanted: &mut View,
        service: &str,
        name: &str,
        body: Value,
    ) -> Result<Vec<Peer>, Problems> {
        let service = self.registry.service(service)?;
        let name = CubeName::parse(name).map_err(|problem| problem.at(name))?;
        if self.registry.service(name.as_str()).is_ok() {
            return Err(
                Problem::bad(name.as_str(), format!("`{name}` is the name of a service: choose another")).into()
            );
        }
        let body = if body.is_null() { json!({}) } else { body };
        let Split { base, config, ports, problems } = self.split(wanted, service, name.as_str(), body)?;
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
        let birth = birth(name.as_str(), &cube.uuid, &self.capture_dirs);
        let loglevel = cube.loglevel;
        wanted.topology.add_cube(name.clone(), cube)?;
        let instance = Instance::create(&service.plugin, name.as_str(), &birth, loglevel, self.requests(&name))
            .map_err(|failure| Problem::from_plugin(name.as_str(), failure.into()))?;
        wanted.instances.insert(name.clone(), Arc::new(instance));
        let ports = ports.unwrap_or_default();
        let made = ports.iter().map(|(port, _)| {
            let port = PortName::parse(port)?;
            wanted.topology.add_port(name.as_str(), port, uuid::Uuid::new_v4().to_string())
        });
        let problems: Vec<Problem> = made.filter_map(Result::err).collect();
        if problems.is_empty() { Ok(ports) } else { Err(Problems(problems)) }
    }

    pub(super) fn set_peers(&self, wanted: &mut View, cube: &str, peers: Vec<Peer>) -> Result<(), Problems> {
        let set = peers.into_iter().map(|(port, peer)| self.set_peer(wanted, cube, &port, &peer));
        let problems: Vec<Problem> = set.filter_map(Result::err).collect();
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
            let split = self.split(wanted, service, name, value)?;
            problems = split.problems;
            if split.ports.is_some() {
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
        let place = format!("{cube}/ports/{port}");
        let name = PortName::parse(port).map_err(|problem| problem.at(place.as_str()))?;
        wanted.topology.add_port(cube, name, uuid::Uuid::new_v4().to_string())?;
        let body = named(port, if body.is_null() { json!({}) } else { body });
        let body = body.and_then(|body| self.registry.port.create(body)).map_err(|problems| problems.under(&place))?;
        Ok(self.set_peer(wanted, cube, port, body["peer"].as_str().unwrap_or_default())?)
    }

    fn configure_port(
        &self,
        wanted: &mut View,
        cube: &str,
        port: &str,
        operation: Operation,
        body: Value,
    ) -> Result<(), Problems> {
        let found = wanted.topology.port(cube, port)?;
        let old = json!({ "peer": found.peer.as_ref().map(ToString::to_string).unwrap_or_default() });
        let new = named(port, body).and_then(|body| self.registry.port.change(&old, &[], operation, body));
        let new = new.map_err(|problems| problems.under(&format!("{cube}/ports/{port}")))?;
        // A peer that is named already may be gone for a while.
        if new == old {
            return Ok(());
        }
        Ok(self.set_peer(wanted, cube, port, new["peer"].as_str().unwrap_or_default())?)
    }

    /// Problems that are not about the cube are about `port`.
    pub(super) fn attach(&self, wanted: &mut View, cube: &str, port: &str, place: &Place) -> Result<(), Problem> {
        let point = Point::parse(port)?;
        if let Point::Netdev(netdev) = &point {
            self.check_netdev(wanted, netdev, Use::Place)?;
        }
        works(wanted, cube)?;
        wanted.topology.attach(cube, point, place)
    }

    fn set_peer(&self, wanted: &mut View, cube: &str, port: &str, peer: &str) -> Result<(), Problem> {
        let set = self.peer(wanted, peer).and_then(|peer| wanted.topology.set_peer(cube, port, peer));
        set.map_err(|problem| problem.at(format!("{cube}/ports/{port}/peer")))
    }

    /// What a port's `peer` says; `None` if it is empty.
    pub(super) fn peer(&self, wanted: &View, peer: &str) -> Result<Option<Point>, Problem> {
        if peer.is_empty() {
            return Ok(None);
        }
        let peer = Point::parse(peer)?;
        if let Point::Netdev(netdev) = &peer {
            self.check_netdev(wanted, netdev, Use::Peer)?;
        }
        Ok(Some(peer))
    }

    fn connect(&self, wanted: &mut View, one: &str, other: &str) -> Result<(), Problems> {
        let ends = ends("connect", one, other)?;
        let mut to_set = Vec::new();
        for (cube, port, peer) in ports(&ends) {
            let found = wanted.topology.port(cube.as_str(), port.as_str())?;
            match &found.peer {
                None => to_set.push((cube, port, peer)),
                // The other side has yet to say so, or its netdev returned a moment ago.
                Some(named) if named == peer && wanted.netdevs.of_port(cube, port, found).is_none() => {
                    if let Point::Netdev(netdev) = peer {
                        self.check_netdev(wanted, netdev, Use::Peer).map_err(|problem| problem.at("connect"))?;
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

    /// Refuses a netdev that does not exist or whose packets are not for cubes, and our own ends of links. Where it is
    /// named, the caller knows.
    fn check_netdev(&self, wanted: &View, netdev: &str, as_what: Use) -> Result<(), Problem> {
        if let Some((cube, port)) = self.current.netdevs.link_port(netdev) {
            let message = format!("netdev `{netdev}` is the daemon's own, the link at {cube}:{port}: name the port");
            return Err(Problem::bad("", message));
        }
        let unknown = |error| Problem::failed("", format!("cannot look netdev `{netdev}` up: {error}"));
        let found = match netdevice::name_to_index(lookup_socket()?, netdev) {
            Ok(ifindex) => self.runtime.block_on(self.netlink.link(ifindex)).map_err(unknown)?,
            Err(_) => None,
        };
        let why = match found {
            Some(link) => match unfit(&link, as_what) {
                None => return Ok(()),
                Some(why) => why,
            },
            None if wanted.topology.cube(netdev).is_ok() => {
                format!("`{netdev}` is a cube: name one of its ports, {netdev}:PORT")
            }
            None => {
                let links = self.runtime.block_on(self.netlink.links()).map_err(unknown)?;
                let theirs = links.iter().map(|link| link.name.as_str());
                let known = suggestion(netdev, theirs.filter(|name| self.current.netdevs.link_port(name).is_none()));
                format!("netdev `{netdev}` does not exist in the daemon's network namespace{known}")
            }
        };
        Err(Problem::bad("", why))
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
    let ends = ends("disconnect", one, other)?;
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

/// Both ends of a link, a port first. `call` is what is asked for.
fn ends(call: &str, one: &str, other: &str) -> Result<[Point; 2], Problem> {
    let parse = |text, key: &str| Point::parse(text).map_err(|problem| problem.at(format!("{call}/{key}")));
    match (parse(one, "peer1")?, parse(other, "peer2")?) {
        (Point::Netdev(_), Point::Netdev(_)) => {
            Err(Problem::bad(call, format!("neither {one} nor {other} is a port: one is written CUBE:PORT")))
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

/// Says where a problem is that is not about `cube`.
pub(super) fn about(cube: &str, problem: Problem, place: &str) -> Problem {
    if problem.path == cube { problem } else { problem.at(place) }
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

fn birth(name: &str, uuid: &str, captures: &CaptureDirs) -> Value {
    json!({ "name": name, "uuid": uuid, "capture-dir": captures.dir, "capture-roots": captures.roots })
}
