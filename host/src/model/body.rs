//! The body of a cube or a port, split by who defines each member: the host for all cubes, the service, the ports.

use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use super::change::Draft;
use crate::problem::{ErrorTag, Problem, Problems};
use crate::registry::Service;
use crate::schema::{Node, is_read_only, word};
use crate::topology::PortName;

/// A port of a cube that is being created, and its peer; empty for none.
pub(super) type Peer = (String, String);

/// A cube's body, split.
pub(super) struct Split {
    pub base: Value,
    pub config: Value,
    /// `None` where the body does not mention them.
    pub ports: Option<Vec<Peer>>,
    /// Members that nobody defines, or that cannot be set.
    pub problems: Vec<Problem>,
}

impl Draft<'_> {
    pub(super) fn split(&self, service: &Service, name: &str, body: Value) -> Result<Split, Problem> {
        let Value::Object(body) = body else { return Err(Problem::bad(name, "the body is not a JSON object")) };
        let whole = &service.whole;
        let has_ports = service.model.service.kind == ServiceKind::Standard;
        let mut split = Split { base: json!({}), config: json!({}), ports: None, problems: Vec::new() };
        for (key, value) in body {
            let place = key.clone();
            match (key.as_str(), value) {
                ("name", Value::String(same)) if same == name => {}
                ("name", other) => {
                    let message = format!("the name is `{name}` in the path and {other} in the body");
                    split.problems.push(Problem::invalid(place, message));
                }
                ("ports", Value::Array(ports)) if has_ports => {
                    let mut found = Vec::new();
                    for (at, port) in ports.into_iter().enumerate() {
                        match self.split_port(at, port) {
                            Ok(port) => found.push(port),
                            Err(problems) => split.problems.extend(problems.0),
                        }
                    }
                    split.ports = Some(found);
                }
                ("ports", other) if has_ports => {
                    split.problems.push(Problem::bad(place, format!("`ports` is a list of ports, not {other}")));
                }
                _ if is_read_only(whole, std::slice::from_ref(&key)) => {
                    split.problems.push(Problem::invalid(place, format!("`{key}` is read-only")));
                }
                (_, value) if !self.model.registry.cube.tree["properties"][&key].is_null() => split.base[&key] = value,
                (_, value) if !whole["properties"][&key].is_null() => split.config[&key] = value,
                _ => {
                    let node = Node::of(whole);
                    let known = node.children().filter(|name| !is_read_only(whole, &[(*name).to_owned()]));
                    let problem = Problem::invalid(place, format!("unknown key `{key}`"));
                    split.problems.push(problem.knowing(&key, known));
                }
            }
        }
        Ok(split)
    }

    /// A port's name and peer; its settings are checked.
    fn split_port(&self, at: usize, port: Value) -> Result<Peer, Problems> {
        let path = format!("ports/{at}");
        let Value::Object(mut port) = port else {
            return Err(Problem::bad(path, "a port is an object with a name").into());
        };
        let of_name = format!("{path}/name");
        let name = match port.shift_remove("name").map(|name| word(&name).ok_or(name)) {
            Some(Ok(name)) => name,
            Some(Err(other)) => return Err(Problem::bad(of_name, format!("`name` is a string, not {other}")).into()),
            None => {
                let message = "`name` is missing: each port has one";
                return Err(Problem::new(ErrorTag::MissingAttribute, of_name, message).into());
            }
        };
        PortName::parse(&name).map_err(|problem| problem.at(of_name))?;
        let path = format!("ports/{name}");
        let given = port.get("peer").and_then(word).unwrap_or_default();
        let created = self.model.registry.port.create(port.into()).map_err(|problems| problems.under(&path));
        let peer = self.peer(&given).map_err(|problem| problem.at(format!("{path}/peer")));
        match (created, peer) {
            (Ok(_), Ok(_)) => Ok((name, given)),
            (created, peer) => {
                let problems = created.err().into_iter().flat_map(|problems| problems.0).chain(peer.err());
                Err(Problems(problems.collect()))
            }
        }
    }
}

/// A port's body without its name, which the path already gives.
pub(super) fn named(port: &str, mut body: Value) -> Result<Value, Problems> {
    match body.as_object_mut().and_then(|body| body.shift_remove("name")) {
        Some(other) if other != port => {
            Err(Problem::invalid("name", format!("the name is `{port}` in the path and {other} in the body")).into())
        }
        _ => Ok(body),
    }
}
