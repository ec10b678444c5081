//! What belongs to no service: services, cubes, netdevs, topology, version, and links between cubes.

use axum::http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::dispatch::{Call, Done, nothing_here, wrong_method};
use super::error::Refused;
use super::etag;
use super::kind::Kind;
use super::present::placed;
use super::{Api, BASE, chains};
use crate::model::Change;
use crate::problem::{ErrorTag, Problem, Problems, suggestion};
use crate::topology::{Place, Point};

/// What a segment of a path may not have (RFC 3986 section 3.3): all but the unreserved characters, to be sure.
const HREF: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// First words of the framework's paths.
const WORDS: [&str; 11] = [
    "services",
    "cubes",
    "netdevs",
    "topology",
    "version",
    "metrics",
    "openapi.json",
    "connect",
    "disconnect",
    "attach",
    "detach",
];

pub async fn answer(api: Api, call: Call) -> Result<Done, Refused> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [word @ ("connect" | "disconnect" | "attach" | "detach")] if call.method == Method::POST => {
            etag::unconditional(&call)?;
            let change = link(word, call.body)?;
            api.engine.change(change).await.map_err(Refused::framework)?;
            Ok(Done::new(StatusCode::OK, None))
        }
        ["connect" | "disconnect" | "attach" | "detach"] => Err(wrong_method(&call, Kind::Run)),
        ["cubes"] if call.method == Method::POST => {
            etag::unconditional(&call)?;
            let Value::Array(cubes) = call.body else {
                let message = "the body is a list of cubes, each an object with name and service-name";
                return Err(Refused::framework(Problem::bad("cubes", message)));
            };
            api.engine.change(Change::CreateCubes { cubes }).await.map_err(Refused::framework)?;
            Ok(Done::new(StatusCode::CREATED, None))
        }
        ["services"] if call.method == Method::POST => {
            etag::unconditional(&call)?;
            let (name, uri) = load(call.body)?;
            api.engine.load_service(&name, &uri).await.map_err(Refused::framework)?;
            Ok(Done::new(StatusCode::OK, None))
        }
        ["services", name] if call.method == Method::DELETE => {
            etag::unconditional(&call)?;
            let change = Change::RemoveService { name: (*name).to_owned() };
            api.engine.change(change).await.map_err(Refused::framework)?;
            Ok(Done::new(StatusCode::NO_CONTENT, None))
        }
        ["cubes" | "services"] if call.method != Method::GET => Err(wrong_method(&call, Kind::Service)),
        ["services", _] if call.method != Method::GET => Err(wrong_method(&call, Kind::Loaded)),
        ["version" | "topology" | "netdevs"] | ["cubes" | "topology" | "netdevs", _] if call.method != Method::GET => {
            Err(wrong_method(&call, Kind::Read))
        }
        ["version"] => found(json!({ "polycubed": { "version": env!("CARGO_PKG_VERSION") } })),
        ["services"] => found(services(&api).into_iter().map(|(_, json)| json).collect()),
        ["services", name] => one("service", name, services(&api)),
        ["cubes"] => found(cubes(&api)),
        ["topology", name] => chain(&api, name).await,
        ["topology"] => found(all_cubes(&api).into_iter().map(|(_, json)| json).collect()),
        ["cubes", name] => one("cube", name, all_cubes(&api)),
        ["netdevs"] => found(netdevs(&api).await?.into_iter().map(|(_, json)| json).collect()),
        ["netdevs", name] => one("netdev", name, netdevs(&api).await?),
        _ => Err(nothing_here(&call.path.join("/"), &format!("there is nothing at `{}`", call.path.join(" ")))),
    }
}

/// Where everything is, with paths for `href`: over a Unix socket there is no host to name.
pub fn root(api: &Api, call: &Call) -> Result<Done, Refused> {
    if call.method != Method::GET {
        return Err(wrong_method(call, Kind::Read));
    }
    let view = &*api.view;
    let services = api.view.registry.services().map(|(name, _)| name);
    let cubes = view.topology.cubes().map(|(name, _)| name.as_str());
    let words = WORDS.into_iter().chain(services).chain(cubes);
    let links: Value = words
        .map(|word| json!({ "rel": word, "href": format!("{BASE}/{}", utf8_percent_encode(word, HREF)) }))
        .collect();
    found(json!({ "_links": links }))
}

fn found(json: Value) -> Result<Done, Refused> {
    Ok(Done::new(StatusCode::OK, Some(json)))
}

fn one(kind: &str, name: &str, all: Vec<(String, Value)>) -> Result<Done, Refused> {
    found(find(kind, name, all).map_err(Refused::framework)?)
}

fn find(kind: &str, name: &str, all: Vec<(String, Value)>) -> Result<Value, Problem> {
    let known = suggestion(name, all.iter().map(|(name, _)| name.as_str()));
    let problem = Problem::missing(format!("{kind}s/{name}"), format!("{kind} `{name}` does not exist{known}"));
    all.into_iter().find(|(other, _)| other == name).map(|(_, json)| json).ok_or(problem)
}

/// The chains at a port or a netdev.
async fn chain(api: &Api, name: &str) -> Result<Done, Refused> {
    let refused = |problem: Problem| Refused::framework(problem.at(format!("topology/{name}")));
    let point = Point::parse(name).map_err(refused)?;
    let view = &*api.view;
    match &point {
        Point::Port(cube, port) => {
            view.topology.port(cube.as_str(), port.as_str()).map_err(refused)?;
        }
        // What is attached to a netdev that is gone is still to be seen.
        Point::Netdev(netdev) if view.topology.chain(&point).is_empty() => {
            find("netdev", netdev, netdevs(api).await?).map_err(refused)?;
        }
        Point::Netdev(_) => {}
    }
    found(chains::of_topology(view, &point))
}

fn services(api: &Api) -> Vec<(String, Value)> {
    let services = api.view.registry.services();
    services
        .map(|(name, service)| {
            let schema = &service.model.service;
            let json = json!({
                "name": name,
                "kind": schema.kind,
                "description": schema.description,
                "version": schema.version,
                "servicecontroller": service.plugin.path,
            });
            (name.to_owned(), json)
        })
        .collect()
}

fn all_cubes(api: &Api) -> Vec<(String, Value)> {
    let view = &*api.view;
    view.topology.cubes().map(|(name, cube)| (name.to_string(), placed(view, name, cube))).collect()
}

/// By service, as Polycube's own client wants it: `{}` when there are none.
fn cubes(api: &Api) -> Value {
    let mut by_service = Map::new();
    for (_, json) in all_cubes(api) {
        let service = json["service-name"].as_str().unwrap_or_default().to_owned();
        if let Value::Array(cubes) = by_service.entry(service).or_insert_with(|| json!([])) {
            cubes.push(json);
        }
    }
    by_service.into()
}

pub async fn netdevs(api: &Api) -> Result<Vec<(String, Value)>, Refused> {
    let unknown = |error| Problem::failed("netdevs", format!("cannot list the netdevs: {error}"));
    let links = api.netlink.links().await.map_err(unknown)?;
    let addresses = api.netlink.addresses().await.map_err(unknown)?;
    let view = &*api.view;
    Ok(links
        .into_iter()
        .map(|link| {
            let owner = view.topology.peer_owner(&link.name).or_else(|| view.netdevs.link_port(&link.name).cloned());
            let json = json!({
                "name": link.name,
                "index": link.ifindex,
                "mac": link.mac,
                "mtu": link.mtu,
                "addresses": addresses.get(&link.ifindex).map_or(&[][..], Vec::as_slice),
                "status": if link.up { "UP" } else { "DOWN" },
                "peer": owner.map(|(cube, port)| format!("{cube}:{port}")).unwrap_or_default(),
            });
            (link.name, json)
        })
        .collect())
}

fn link(word: &str, body: Value) -> Result<Change, Refused> {
    let (needed, more): ([&str; 2], &[&str]) = match word {
        "connect" | "disconnect" => (["peer1", "peer2"], &[]),
        "detach" => (["cube", "port"], &[]),
        _ => (["cube", "port"], &["position", "before", "after"]),
    };
    let (given, mut problems) = texts(word, body, &needed, more)?;
    let mut given = given.into_iter();
    let (one, other) = (given.next().flatten(), given.next().flatten());
    let place = (given.next().flatten(), given.next().flatten(), given.next().flatten());
    let place = match self::place(place) {
        Ok(place) => place,
        Err(problem) => {
            problems.push(problem);
            Place::Auto
        }
    };
    match (one, other) {
        (Some(one), Some(other)) if problems.is_empty() => Ok(match word {
            "connect" => Change::Connect { one, other },
            "disconnect" => Change::Disconnect { one, other },
            "detach" => Change::Detach { cube: one, port: other },
            _ => Change::Attach { cube: one, port: other, place },
        }),
        _ => Err(Refused::framework(Problems(problems))),
    }
}

/// A request to load a service.
fn load(body: Value) -> Result<(String, String), Refused> {
    let (given, mut problems) = texts("services", body, &["type", "uri", "name"], &[])?;
    let mut given = given.into_iter();
    let (kind, uri, name) = (given.next().flatten(), given.next().flatten(), given.next().flatten());
    if let Some(kind) = kind.filter(|kind| kind != "lib") {
        problems.push(Problem::bad("services/type", format!("`type` is lib, not `{kind}`")));
    }
    match (uri, name) {
        (Some(uri), Some(name)) if problems.is_empty() => Ok((name, uri)),
        _ => Err(Refused::framework(Problems(problems))),
    }
}

/// The texts at `needed` and `more` in a body for `word`, and all that is wrong with it.
fn texts(
    word: &str,
    body: Value,
    needed: &[&str],
    more: &[&str],
) -> Result<(Vec<Option<String>>, Vec<Problem>), Refused> {
    let Value::Object(mut body) = body else {
        return Err(Refused::framework(Problem::bad(word, "the body is no JSON object")));
    };
    let mut problems = Vec::new();
    let given = needed.iter().chain(more).map(|key| match body.shift_remove(*key) {
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            problems.push(Problem::bad(format!("{word}/{key}"), format!("`{key}` is no string: {other}")));
            None
        }
        None => {
            if needed.contains(key) {
                let message = format!("`{key}` is missing");
                problems.push(Problem::new(ErrorTag::MissingAttribute, format!("{word}/{key}"), message));
            }
            None
        }
    });
    let given = given.collect();
    problems.extend(body.keys().map(|key| {
        let known = suggestion(key, needed.iter().chain(more).copied());
        Problem::invalid(format!("{word}/{key}"), format!("unknown key `{key}`{known}"))
    }));
    Ok((given, problems))
}

/// From `position`, `before` and `after`, as they were given.
fn place(given: (Option<String>, Option<String>, Option<String>)) -> Result<Place, Problem> {
    let (position, before, after) = given;
    match (position.as_deref(), before, after) {
        (None | Some("auto"), None, None) => Ok(Place::Auto),
        (Some("first"), None, None) => Ok(Place::First),
        (Some("last"), None, None) => Ok(Place::Last),
        (None, Some(cube), None) => Ok(Place::Before(cube)),
        (None, None, Some(cube)) => Ok(Place::After(cube)),
        (Some(other), None, None) => {
            let message = format!("`{other}` is no position: give auto, first or last, or before=CUBE or after=CUBE");
            Err(Problem::bad("attach/position", message))
        }
        _ => Err(Problem::bad("attach", "only one of position, before and after can be given")),
    }
}
