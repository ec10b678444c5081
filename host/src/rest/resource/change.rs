//! Requests on nodes below a cube, as changes.

use axum::http::Method;
use serde_json::{Value, json};

use super::{take_key, take_name};
use crate::model::Change;
use crate::problem::Problem;
use crate::registry::Service;
use crate::rest::call::Call;
use crate::rest::resource_kind::ResourceKind;
use crate::schema::{Model, Node, Operation, is_read_only, locate, template};
use crate::topology::PortName;

/// A change of a cube's ports; `path` begins below them.
pub(super) fn of_ports(
    model: &Model,
    cube: &str,
    path: &[String],
    call: &Call,
) -> Result<(Change, ResourceKind), Problem> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let (cube, mut body) = (cube.to_owned(), call.body.clone());
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
            (Change::CreatePort { cube, port, body }, ResourceKind::Ports)
        }
        ([], &Method::DELETE) => (Change::DeletePorts { cube }, ResourceKind::Ports),
        ([port], &Method::POST) => (Change::CreatePort { cube, port: (*port).to_owned(), body }, ResourceKind::Whole),
        ([port], &Method::PATCH | &Method::PUT) => (configure(cube, port, body), ResourceKind::Whole),
        ([port], &Method::DELETE) => (Change::DeletePort { cube, port: (*port).to_owned() }, ResourceKind::Whole),
        ([port, "peer"], &Method::PATCH | &Method::PUT) => (peer(cube, port, body), ResourceKind::Leaf),
        ([port, "peer"], &Method::DELETE) => (peer(cube, port, Value::from("")), ResourceKind::Leaf),
        ([], _) => return Err(call.wrong_method(ResourceKind::Ports.methods())),
        ([_], _) => return Err(call.wrong_method(ResourceKind::Whole.methods())),
        ([_, "peer"], _) => return Err(call.wrong_method(ResourceKind::Leaf.methods())),
        ([port, state @ ..], method) if locate(&model.tree, &path[1..]).is_ok() => {
            if !matches!(*method, Method::PATCH | Method::PUT | Method::DELETE) {
                return Err(call.wrong_method(ResourceKind::Read.methods()));
            }
            let message = format!("`{}` of port `{port}` is read-only", state.join(" "));
            return Err(Problem::invalid(format!("{cube}/ports/{}", words.join("/")), message));
        }
        ([.., last], _) => {
            let problem = call.nowhere(format!("a port has no `{last}`"));
            return Err(problem.knowing(last, Node::of(&model.tree).children()));
        }
    })
}

/// A change of the node at `path` below a cube, by its service's data model.
pub(super) fn of_node(
    service: &Service,
    cube: &str,
    path: &[String],
    call: &Call,
) -> Result<(Change, ResourceKind), Problem> {
    let Service { whole, .. } = service;
    let name = path.join("/");
    let node = locate(whole, path).map_err(|(node, word)| {
        let actions = actions_beside(service, path);
        call.nowhere(format!("there is no `{word}`")).knowing(word, node.children().chain(actions))
    })?;
    if let Node::Part { key, given, .. } = node {
        return Err(key.incomplete(given).at(format!("{cube}/{name}")));
    }
    let kind = if is_read_only(whole, path) { ResourceKind::Read } else { ResourceKind::of(&node) };
    let operation = match (&call.method, kind) {
        (&Method::PUT | &Method::PATCH | &Method::DELETE, ResourceKind::Read) => {
            let message = format!("`{}` is read-only", path.join(" "));
            return Err(Problem::invalid(format!("{cube}/{name}"), message));
        }
        (&Method::DELETE, _) => Operation::Remove,
        (&Method::PATCH, _) | (&Method::PUT, ResourceKind::Leaf) => Operation::Merge,
        (&Method::PUT, _) => Operation::Replace,
        (&Method::POST, ResourceKind::Whole | ResourceKind::List) => Operation::Create,
        _ => return Err(call.wrong_method(kind.methods())),
    };
    let (mut path, mut value) = (path.to_vec(), call.body.clone());
    if let (Node::List { key, .. }, Operation::Create) = (node, operation) {
        path.extend(take_key(&mut value, key, &format!("{cube}/{name}"))?);
    }
    Ok((Change::Configure { cube: cube.to_owned(), path, operation, value }, kind))
}

/// The words of actions that could follow where `path` leaves the data model.
fn actions_beside<'a>(service: &'a Service, path: &'a [String]) -> impl Iterator<Item = &'a str> {
    let Service { model, whole, .. } = service;
    let before = (0..path.len()).find(|depth| locate(whole, &path[..=*depth]).is_err()).unwrap_or_default();
    let next = move |declared: &'a str| template::after(declared, &path[..before])?.first().copied();
    model.service.actions.iter().filter_map(move |action| next(&action.path)).filter(|word| !template::is_any(word))
}
