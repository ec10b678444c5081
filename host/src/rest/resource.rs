//! Services' own trees: `SERVICE/`, `SERVICE/CUBE/…`, and `CUBE/…` for short.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use super::Api;
use super::dispatch::{Call, Done, nothing_here, wrong_method};
use super::error::Refused;
use super::etag;
use super::kind::Kind;
use super::present::{blocking, traffic, traffic_of, whole};
use crate::model::Change;
use crate::problem::{ErrorTag, Problem, suggestion};
use crate::registry::Service;
use crate::schema::{self, Model, Node, Operation, absent, is_read_only, locate, word};
use crate::topology::{CubeName, PortName};

pub async fn answer(api: Api, call: Call) -> Result<Done, Refused> {
    let view = &*api.view;
    let first = call.path[0].as_str();
    if api.view.registry.service(first).is_ok() {
        let (service, rest) = (first.to_owned(), call.path[1..].to_vec());
        return match rest.split_first() {
            None => of_service(api, &service, call).await,
            Some((cube, path)) => of_cube(api, Some(&service), cube, path, &call).await,
        };
    }
    if view.topology.cube(first).is_ok() {
        return of_cube(api, None, first, &call.path[1..], &call).await;
    }
    let cubes = view.topology.cubes().map(|(name, _)| name.as_str());
    let services = api.view.registry.services().map(|(name, _)| name);
    let known = suggestion(first, cubes.chain(services));
    Err(nothing_here(first, &format!("there is no cube and no service `{first}`{known}")))
}

async fn of_service(api: Api, service: &str, mut call: Call) -> Result<Done, Refused> {
    match call.method {
        Method::GET => {
            let service = service.to_owned();
            let traffic = match api.view.registry.service(&service)?.model.service.kind {
                ServiceKind::Standard => traffic(&api).await?,
                ServiceKind::Transparent => BTreeMap::new(),
            };
            let cubes = blocking(move || {
                let view = &*api.view;
                let cubes = view.topology.cubes().filter(|(_, cube)| cube.service == service);
                cubes
                    .map(|(name, cube)| whole(view, &api.view.registry, name, cube, &traffic))
                    .collect::<Result<Vec<_>, _>>()
            });
            Ok(Done::new(StatusCode::OK, Some(cubes.await?.into())))
        }
        Method::POST => {
            let name = take_name(&mut call.body, "name", service)?;
            CubeName::parse(&name).map_err(|problem| problem.at(format!("{service}/name")))?;
            let body = call.body.take();
            create(&api, service, &name, &call, body).await
        }
        _ => Err(wrong_method(&call, Kind::Service)),
    }
}

/// Takes the name of what is to be made out of its body, where the path ends at the list.
fn take_name(body: &mut Value, key: &str, list: &str) -> Result<String, Problem> {
    let place = format!("{list}/{key}");
    match body.as_object_mut().and_then(|body| body.shift_remove(key)) {
        Some(name) => word(&name).ok_or_else(|| Problem::bad(place, format!("`{key}` is a string, not {name}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, place, format!("`{key}` is missing"))),
    }
}

async fn create(api: &Api, service: &str, name: &str, call: &Call, body: Value) -> Result<Done, Refused> {
    let guard = etag::guard(call, name, &[]);
    let change = Change::CreateCube { service: service.to_owned(), name: name.to_owned(), body };
    api.engine.change_if(guard, change).await?;
    Ok(Done::new(Kind::Cube.done(&Method::POST), None))
}

async fn of_cube(api: Api, service: Option<&str>, cube: &str, path: &[String], call: &Call) -> Result<Done, Refused> {
    if let (Some(service), [], &Method::POST) = (service, path, &call.method) {
        return create(&api, service, cube, call, call.body.clone()).await;
    }
    let view = &*api.view;
    let (name, found) = view.topology.cube(cube)?;
    if let Some(service) = service
        && found.service != service
    {
        let message = format!("cube `{cube}` is of service {}, not of {service}", found.service);
        return Err(Problem::missing(format!("{service}/{cube}"), message).into());
    }
    let actions = &api.view.registry.service(&found.service)?.model.service.actions;
    let is_action = actions.iter().any(|action| action.path == path.join("/"));
    if is_action && call.method != Method::POST {
        return Err(wrong_method(call, Kind::Run));
    }
    if let Some(action) = actions.iter().find(|action| path.join("/").starts_with(&format!("{}/", action.path))) {
        let message = format!("`{}` is an action: nothing follows it", action.path.replace('/', " "));
        return Err(nothing_here(&call.path.join("/"), &message));
    }
    if call.method == Method::GET {
        return Ok(read(api, cube.to_owned(), path.to_vec()).await?.answer(call));
    }
    let (cube, body) = (cube.to_owned(), call.body.clone());
    if is_action {
        // An action is one of the whole cube.
        if let Some(guard) = etag::guard(call, name.as_str(), &[]) {
            guard(view)?;
        }
        let answer = api.engine.act(&cube, &path.join("/"), body).await?;
        return Ok(Done::new(Kind::Run.done(&call.method), (!answer.is_null()).then_some(answer)));
    }
    let (change, kind) = match (path, &call.method) {
        ([], &Method::PATCH) => {
            (Change::Configure { cube, path: Vec::new(), operation: Operation::Merge, value: body }, Kind::Cube)
        }
        ([], &Method::PUT) => {
            (Change::Configure { cube, path: Vec::new(), operation: Operation::Replace, value: body }, Kind::Cube)
        }
        ([], &Method::DELETE) => (Change::DeleteCube { cube }, Kind::Cube),
        ([], &Method::POST) => {
            let message = format!("cube `{cube}` exists already: PATCH changes it, PUT replaces its configuration");
            return Err(Problem::exists(cube, message).into());
        }
        ([], _) => return Err(wrong_method(call, Kind::Cube)),
        ([ports, rest @ ..], _) if ports == "ports" => port_change(&api.view.registry.port, cube, rest, call)?,
        _ => node_change(&api, &found.service, cube, path, call)?,
    };
    let guard = etag::guard(call, name.as_str(), path);
    let answer = api.engine.change_if(guard, change).await?;
    Ok(Done::new(kind.done(&call.method), (!answer.is_null()).then_some(answer)))
}

/// What a model's objects have.
fn members(model: &Model) -> impl Iterator<Item = &str> {
    model.tree["properties"].as_object().into_iter().flat_map(|members| members.keys().map(String::as_str))
}

fn port_change(model: &Model, cube: String, path: &[String], call: &Call) -> Result<(Change, Kind), Refused> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut body = call.body.clone();
    let configure = |cube, port: &str, body| {
        let operation = if call.method == Method::PUT { Operation::Replace } else { Operation::Merge };
        Change::ConfigurePort { cube, port: port.to_owned(), operation, body }
    };
    let peer = |cube, port: &str, peer| configure(cube, port, json!({ "peer": peer }));
    Ok(match (words.as_slice(), &call.method) {
        ([], &Method::POST) => {
            let list = format!("{cube}/ports");
            let port = take_name(&mut body, "name", &list)?;
            PortName::parse(&port).map_err(|problem| problem.at(format!("{list}/name")))?;
            (Change::CreatePort { cube, port, body }, Kind::Ports)
        }
        ([], &Method::DELETE) => (Change::DeletePorts { cube }, Kind::Ports),
        ([port], &Method::POST) => (Change::CreatePort { cube, port: (*port).to_owned(), body }, Kind::Whole),
        ([port], &Method::PATCH | &Method::PUT) => (configure(cube, port, body), Kind::Whole),
        ([port], &Method::DELETE) => (Change::DeletePort { cube, port: (*port).to_owned() }, Kind::Whole),
        ([port, "peer"], &Method::PATCH | &Method::PUT) => (peer(cube, port, body), Kind::Leaf),
        ([port, "peer"], &Method::DELETE) => (peer(cube, port, Value::from("")), Kind::Leaf),
        ([], _) => return Err(wrong_method(call, Kind::Ports)),
        ([_], _) => return Err(wrong_method(call, Kind::Whole)),
        ([_, "peer"], _) => return Err(wrong_method(call, Kind::Leaf)),
        ([port, state @ ..], method) if locate(&model.tree, &path[1..]).is_ok() => {
            if !matches!(*method, Method::PATCH | Method::PUT | Method::DELETE) {
                return Err(wrong_method(call, Kind::Read));
            }
            let message = format!("`{}` of port `{port}` is read-only", state.join(" "));
            return Err(Problem::invalid(format!("{cube}/ports/{}", words.join("/")), message).into());
        }
        _ => {
            let known = members(model).collect::<Vec<_>>().join(", ");
            return Err(nothing_here(&call.path.join("/"), &format!("a port has {known}")));
        }
    })
}

fn node_change(
    api: &Api,
    service: &str,
    cube: String,
    path: &[String],
    call: &Call,
) -> Result<(Change, Kind), Refused> {
    let registry = &api.view.registry;
    let Service { model, whole, .. } = registry.service(service)?;
    let name = path.join("/");
    let node = locate(whole, path).map_err(|(node, word)| {
        let before = (0..path.len()).find(|depth| locate(whole, &path[..=*depth]).is_err()).unwrap_or_default();
        let actions = model.service.actions.iter().filter_map(|action| {
            let words: Vec<&str> = action.path.split('/').collect();
            let (begin, next) = words.split_at_checked(before)?;
            (path[..before] == *begin).then_some(*next.first()?)
        });
        let known = suggestion(word, node.children().chain(actions));
        nothing_here(&call.path.join("/"), &format!("there is no `{word}`{known}"))
    })?;
    let kind = if is_read_only(whole, path) { Kind::Read } else { Kind::of(&node) };
    let operation = match (&call.method, kind) {
        (&Method::PUT | &Method::PATCH | &Method::DELETE, Kind::Read) => {
            let message = format!("`{}` is read-only", path.join(" "));
            return Err(Problem::invalid(format!("{cube}/{name}"), message).into());
        }
        (&Method::DELETE, _) => Operation::Remove,
        (&Method::PATCH, _) | (&Method::PUT, Kind::Leaf) => Operation::Merge,
        (&Method::PUT, _) => Operation::Replace,
        (&Method::POST, Kind::Whole | Kind::List) => Operation::Create,
        _ => return Err(wrong_method(call, kind)),
    };
    let (mut path, mut value) = (path.to_vec(), call.body.clone());
    if let (Node::List { key, .. }, Operation::Create) = (node, operation) {
        path.push(take_name(&mut value, key, &format!("{cube}/{name}"))?);
    }
    Ok((Change::Configure { cube, path, operation, value }, kind))
}

/// What a node is, and what of it is set.
pub struct Read {
    pub value: Value,
    /// With the tag that stands for it.
    set: Option<(Value, String)>,
}

impl Read {
    fn answer(self, call: &Call) -> Done {
        let Some((set, tag)) = self.set else { return Done::new(StatusCode::OK, Some(self.value)) };
        // Of state, which may have changed meanwhile, the tag says nothing.
        if self.value == set && etag::is_known(&call.headers, &tag) {
            return Done::new(StatusCode::NOT_MODIFIED, None).tagged(tag);
        }
        Done::new(StatusCode::OK, Some(self.value)).tagged(tag)
    }
}

/// What stands at `path` below a cube. Calls the plugin.
pub async fn read(api: Api, cube: String, path: Vec<String>) -> Result<Read, Problem> {
    let traffic = traffic_of(&api, &cube).await?;
    let read = blocking(move || {
        let view = &*api.view;
        let registry = &api.view.registry;
        let (name, found) = view.topology.cube(&cube)?;
        let json = whole(view, registry, name, found, &traffic)?;
        let all = &registry.service(&found.service)?.whole;
        if let [ports, port, ..] = path.as_slice()
            && ports == "ports"
        {
            view.topology.port(&cube, port)?;
        }
        let value = at(all, &json, &path);
        let set = etag::of(view, &cube, &path);
        let value = value.ok_or_else(|| {
            if let Some(problem) = missing_entry(all, &json, &path) {
                return problem.under(&cube);
            }
            let place = format!("{cube}/{}", path.join("/"));
            let last = path.last().map_or("", String::as_str);
            let known = if path[0] == "ports" {
                suggestion(last, members(&registry.port))
            } else {
                let node = locate(all, &path).map_err(|(node, _)| node).unwrap_or_else(|node| node);
                suggestion(last, node.children())
            };
            Problem::new(ErrorTag::UnknownElement, place, format!("cube `{cube}` has no `{}`{known}", path.join(" ")))
        });
        Ok(Read { value: value?, set })
    });
    read.await
}

/// What to tell of a path that the schema has, and that names an entry of a list which is not there.
fn missing_entry(all: &Value, json: &Value, path: &[String]) -> Option<Problem> {
    locate(all, path).ok()?;
    (1..=path.len()).find_map(|depth| {
        let (place, list) = (&path[..depth], &path[..depth - 1]);
        let Ok(Node::List { key, .. }) = locate(all, list) else { return None };
        let entries = schema::read(all, json, list)?.as_array()?;
        let is_missing = schema::read(all, json, place).is_none();
        is_missing.then(|| absent(entries, key, &path[depth - 1]).at(place.join("/")))
    })
}

/// What stands at a path of a cube's JSON; `all` is the schema of all that the cube has.
pub fn at(all: &Value, json: &Value, path: &[String]) -> Option<Value> {
    match path {
        [] => return Some(json.clone()),
        [word] if all["properties"][word].is_null() => return json.get(word).cloned(),
        _ => {}
    }
    let is_missing = |depth: &usize| {
        let above = &path[..*depth];
        matches!(locate(all, above), Ok(Node::Entry(_))) && schema::read(all, json, above).is_none()
    };
    // What the schema has and the cube has not is unset, and that can be read.
    let is_unset = || {
        matches!(locate(all, path), Ok(Node::Leaf(_) | Node::Container(_))) && !(1..path.len()).any(|d| is_missing(&d))
    };
    schema::read(all, json, path).cloned().or_else(|| is_unset().then_some(Value::Null))
}
