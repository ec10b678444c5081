//! The body of a cube or a port, split by who defines each member: the host for all cubes, the service, the ports.

use polycube_plugin_api::ServiceKind;
use serde_json::{Map, Value, json};

use super::change::Draft;
use super::port::{PortConfig, create, describe};
use crate::problem::{ErrorTag, Problem, Problems};
use crate::registry::Service;
use crate::schema::{Node, Source, is_read_only, word};
use crate::topology::{Cube, PortName, Role};

/// A port of a cube that is described, and its peer; empty for none.
pub(super) type Peer = (String, String);

/// What a body says of its cube, which decides about members that cannot be set.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// All of it, and the cube is new. What was read from a cube can be written again.
    New,
    /// All of it, and the cube exists: what says which cube it is has to be true.
    Whole(&'a Cube),
    /// Some of it: what cannot be set is refused.
    Part,
}

/// A port as a body describes it.
pub(super) struct PortBody {
    pub name: String,
    pub config: PortConfig,
    pub uuid: Option<String>,
}

/// A cube's body, split.
pub(super) struct Split {
    pub source: Source,
    pub base: Value,
    pub config: Value,
    pub uuid: Option<String>,
    /// `None` where the body does not mention them.
    pub ports: Option<Vec<PortBody>>,
    /// Members that nobody defines, or that cannot be set.
    pub problems: Vec<Problem>,
}

impl Draft<'_> {
    pub(super) fn split(&self, service: &Service, name: &str, body: Value, form: Form<'_>) -> Result<Split, Problem> {
        let Value::Object(body) = body else { return Err(Problem::bad(name, "the body is not a JSON object")) };
        let source = if matches!(form, Form::Part) { Source::Written } else { source(&body) };
        let (base, config, problems) = (json!({}), json!({}), Vec::new());
        let mut split = Split { source, base, config, uuid: None, ports: None, problems };
        let has_ports = service.model.service.kind == ServiceKind::Standard;
        // A member of that name may be the service's own.
        let is_shown = source == Source::Shown && service.whole["properties"][CONFIG].is_null();
        let mut unseen = json!({});
        for (key, value) in body {
            match (key.as_str(), value) {
                ("name", Value::String(same)) if same == name => {}
                ("name", other) => {
                    let message = format!("the name is `{name}` in the path and {other} in the body");
                    split.problems.push(Problem::invalid(key, message));
                }
                ("ports", Value::Array(ports)) if has_ports => {
                    let mut found = Vec::new();
                    for (at, port) in ports.into_iter().enumerate() {
                        match self.split_port(service, at, port, form) {
                            Ok(port) => found.push(port),
                            Err(problems) => split.problems.extend(problems.0),
                        }
                    }
                    split.ports = Some(found);
                }
                ("ports", other) if has_ports => {
                    split.problems.push(Problem::bad(key, format!("`ports` is a list of ports, not {other}")));
                }
                (CONFIG, settings @ Value::Object(_)) if is_shown => unseen = settings,
                (_, value) => self.split_member(service, key, value, form, &mut split),
            }
        }
        if source == Source::Shown {
            split.config = service.model.settings(split.config, unseen);
        }
        Ok(split)
    }

    /// Puts a member that has one value where it belongs.
    fn split_member(&self, service: &Service, key: String, value: Value, form: Form<'_>, split: &mut Split) {
        let whole = &service.whole;
        if is_read_only(whole, std::slice::from_ref(&key)) {
            match said(service, &key, value, (form, split.source)) {
                Ok(Some(uuid)) => split.uuid = Some(uuid),
                Ok(None) => {}
                Err(problem) => split.problems.push(problem.at(key)),
            }
        } else if !self.model.registry.cube.tree["properties"][&key].is_null() {
            split.base[&key] = value;
        } else if !whole["properties"][&key].is_null() {
            split.config[&key] = value;
        } else if split.source == Source::Shown
            && (key == FAILURE || service.model.summary.iter().any(|leaf| leaf.name == key))
        {
            // Shown of a cube whose plugin failed, or in short: it describes a moment, as counters do.
        } else {
            let node = Node::of(whole);
            let known = node.children().filter(|name| !is_read_only(whole, &[(*name).to_owned()]));
            let problem = Problem::invalid(key.clone(), format!("unknown key `{key}`"));
            split.problems.push(problem.knowing(&key, known));
        }
    }

    /// A port's name, and what is to be set at it, checked.
    fn split_port(&self, service: &Service, at: usize, port: Value, form: Form<'_>) -> Result<PortBody, Problems> {
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
        let there = match form {
            Form::Whole(Cube { role: Role::Standard(ports), .. }) => ports.get(name.as_str()),
            _ => None,
        };
        let source = source(&port);
        let uuid = uuid(&mut port, there.map(|port| port.uuid.as_str()));
        let model = service.port()?;
        let given = port.get("peer").and_then(word).unwrap_or_default();
        let made = match there {
            Some(there) => describe(model, there, source, port.into()),
            None => create(model, source, port.into()),
        };
        let made = made.map_err(|problems| problems.under(&path));
        // A peer that the port already has may be gone for a while.
        let is_same = there.and_then(|port| port.peer.as_ref()).is_some_and(|peer| peer.to_string() == given);
        let peer = if is_same { Ok(None) } else { self.peer(&given) };
        let peer = peer.map_err(|problem| problem.at(format!("{path}/peer")));
        match (made, peer, uuid) {
            (Ok(config), Ok(_), Ok(uuid)) => Ok(PortBody { name, config, uuid }),
            (made, peer, uuid) => {
                let uuid = uuid.err().map(|problem| problem.at(format!("{path}/uuid")));
                let problems = made.err().into_iter().flat_map(|problems| problems.0).chain(peer.err()).chain(uuid);
                Err(Problems(problems.collect()))
            }
        }
    }
}

/// The member of a shown cube that says why its plugin is not called, or what waits.
const FAILURE: &str = "failure";

/// The member of a shown cube that has the settings that cannot be seen otherwise.
pub(crate) const CONFIG: &str = "config";

/// Where a body comes from: what says which cube or port it was, nobody writes. Then what was measured is accepted, and
/// what is shown in the place of a setting is not taken for one.
pub(super) fn source(body: &Map<String, Value>) -> Source {
    if body.contains_key("uuid") || body.contains_key("service-name") { Source::Shown } else { Source::Written }
}

/// What a member that cannot be set says: a UUID, or nothing that matters.
///
/// # Errors
/// It may not be there, or it contradicts what is.
fn said(
    service: &Service,
    key: &str,
    value: Value,
    (form, source): (Form<'_>, Source),
) -> Result<Option<String>, Problem> {
    let mut member = Map::from_iter([(key.to_owned(), value)]);
    match (form, key) {
        _ if source == Source::Written => Err(Problem::invalid(key, format!("`{key}` is read-only"))),
        (Form::New, "uuid") => uuid(&mut member, None),
        (Form::Whole(cube), "uuid") => uuid(&mut member, Some(&cube.uuid)),
        (_, "service-name") if member[key] != *service.model.service.name => {
            let message = format!("the service is `{}`, and the body says {}", service.model.service.name, member[key]);
            Err(Problem::invalid("", message))
        }
        // What was measured says how it was at one moment, which no later one contradicts.
        _ => Ok(None),
    }
}

/// Removes the UUID from a body. What exists has `is`, and cannot get another.
fn uuid(body: &mut Map<String, Value>, is: Option<&str>) -> Result<Option<String>, Problem> {
    match (body.shift_remove("uuid"), is) {
        (None | Some(Value::Null), _) => Ok(None),
        (Some(Value::String(given)), Some(is)) if given == is => Ok(None),
        (Some(other), Some(is)) => {
            Err(Problem::invalid("uuid", format!("`uuid` is \"{is}\" and cannot become {other}: leave it out")))
        }
        (Some(Value::String(given)), None) if is_uuid(&given) => Ok(Some(given)),
        (Some(other), None) => Err(Problem::bad("uuid", format!("`uuid` is a UUID, not {other}"))),
    }
}

fn is_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|uuid| uuid.to_string() == text)
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

/// Removes the UUID from the body of a new port. Answers with it and with where the body comes from.
pub(super) fn uuid_of_new(body: &mut Value) -> Result<(Option<String>, Source), Problem> {
    let Some(members) = body.as_object_mut() else { return Ok((None, Source::Written)) };
    let source = source(members);
    Ok((uuid(members, None).map_err(|problem| problem.at("uuid"))?, source))
}

/// Removes from a cube what it is to be attached to: `parents`, or `parent` with commas, which no name contains, or both
/// where they say the same.
pub(super) fn parents(cube: &mut Map<String, Value>, name: &str) -> Result<Vec<(String, String)>, Problem> {
    let path = |key: &str| format!("{name}/{key}");
    let wrong =
        |key: &str, form: &str| Problem::bad(path(key), format!("`{key}` is {form}: ports, as CUBE:PORT, and netdevs"));
    let parent = match cube.shift_remove("parent") {
        None => None,
        Some(Value::String(text)) => {
            Some(text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect::<Vec<_>>())
        }
        Some(_) => return Err(wrong("parent", "a string")),
    };
    let parents = match cube.shift_remove("parents") {
        None => None,
        Some(Value::Array(listed)) => {
            let listed: Option<Vec<_>> = listed.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            Some(listed.ok_or_else(|| wrong("parents", "a list of strings"))?)
        }
        Some(_) => return Err(wrong("parents", "a list of strings")),
    };
    let (key, listed) = match (parent, parents) {
        (Some(one), Some(other)) if one != other => {
            return Err(Problem::bad(path("parents"), "`parent` and `parents` say different things: give one of them"));
        }
        (_, Some(listed)) => ("parents", listed),
        (Some(listed), None) => ("parent", listed),
        (None, None) => return Ok(Vec::new()),
    };
    Ok(listed.into_iter().map(|parent| (path(key), parent)).collect())
}

/// Removes a string from the object at `path`.
pub(super) fn take(object: &mut Map<String, Value>, key: &str, path: &str) -> Result<String, Problem> {
    match object.shift_remove(key).map(|name| word(&name).ok_or(name)) {
        Some(Ok(text)) => Ok(text),
        Some(Err(other)) => Err(Problem::bad(format!("{path}/{key}"), format!("`{key}` is a string, not {other}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, format!("{path}/{key}"), format!("`{key}` is missing"))),
    }
}
