//! Requests on nodes below a cube, as changes.

use axum::http::Method;
use serde_json::Value;

use super::{take_key, take_name};
use crate::model::Change;
use crate::problem::Problem;
use crate::registry::Service;
use crate::rest::call::Call;
use crate::rest::resource_kind::ResourceKind;
use crate::schema::{Model, Node, Operation, is_read_only, locate, template};
use crate::topology::PortName;

/// A change of a cube's ports; `path` begins below them, and `model` is a port's.
pub(super) fn of_ports(
    model: &Model,
    cube: &str,
    path: &[String],
    call: &Call,
) -> Result<(Change, ResourceKind), Problem> {
    let (cube, mut body) = (cube.to_owned(), call.body.clone());
    let Some((port, below)) = path.split_first() else {
        return Ok(match call.method {
            Method::POST => {
                let list = format!("{cube}/ports");
                let port = take_name(&mut body, "port", &list)?;
                PortName::parse(&port).map_err(|problem| problem.at(format!("{list}/name")))?;
                (Change::CreatePort { cube, port, body }, ResourceKind::Ports)
            }
            Method::DELETE => (Change::DeletePorts { cube }, ResourceKind::Ports),
            _ => return Err(call.wrong_method(ResourceKind::Ports.methods())),
        });
    };
    let port = port.clone();
    if !below.is_empty() {
        let node = locate(&model.tree, below).map_err(|(node, word)| {
            let problem = call.nowhere(format!("a port has no `{word}`"));
            problem.knowing(word, node.children())
        })?;
        let place = format!("{cube}/ports/{port}");
        let sets = matches!(call.method, Method::PATCH | Method::PUT | Method::DELETE);
        if sets && is_read_only(&model.tree, below) {
            let message = format!("`{}` of port `{port}` is read-only", below.join(" "));
            return Err(Problem::invalid(format!("{place}/{}", below.join("/")), message));
        }
        let (change, kind) = of_settings((&model.tree, node), &place, below, call)?;
        let NodeChange { path, operation, value: body } = change;
        return Ok((Change::ConfigurePort { cube, port, path, operation, body }, kind));
    }
    let operation = if call.method == Method::PUT { Operation::Replace } else { Operation::Merge };
    let change = match call.method {
        Method::POST => Change::CreatePort { cube, port, body },
        Method::PATCH | Method::PUT => Change::ConfigurePort { cube, port, path: Vec::new(), operation, body },
        Method::DELETE => Change::DeletePort { cube, port },
        _ => return Err(call.wrong_method(ResourceKind::Whole.methods())),
    };
    Ok((change, ResourceKind::Whole))
}

/// A change of the node at `path` below a cube, by its service's data model.
pub(super) fn of_node(
    service: &Service,
    cube: &str,
    path: &[String],
    call: &Call,
) -> Result<(Change, ResourceKind), Problem> {
    let Service { whole, .. } = service;
    let node = locate(whole, path).map_err(|(node, word)| {
        let actions = actions_beside(service, path);
        call.nowhere(format!("there is no `{word}`")).knowing(word, node.children().chain(actions))
    })?;
    let (change, kind) = of_settings((whole, node), cube, path, call)?;
    let NodeChange { path, operation, value } = change;
    Ok((Change::Configure { cube: cube.to_owned(), path, operation, value }, kind))
}

/// What a request does to a node.
struct NodeChange {
    path: Vec<String>,
    operation: Operation,
    value: Value,
}

/// What `call` does to `node`, which is at `path` below `place` in the data model `whole`.
fn of_settings(
    (whole, node): (&Value, Node<'_>),
    place: &str,
    path: &[String],
    call: &Call,
) -> Result<(NodeChange, ResourceKind), Problem> {
    if let Node::Part { key, given, .. } = node {
        return Err(key.incomplete(given).at(format!("{place}/{}", path.join("/"))));
    }
    let kind = if is_read_only(whole, path) { ResourceKind::Read } else { ResourceKind::of(&node) };
    let place = format!("{place}/{}", path.join("/"));
    let operation = match (&call.method, kind) {
        (&Method::PUT | &Method::PATCH | &Method::DELETE, ResourceKind::Read) => {
            return Err(Problem::invalid(place, format!("`{}` is read-only", path.join(" "))));
        }
        (&Method::DELETE, _) => Operation::Remove,
        (&Method::PATCH, _) | (&Method::PUT, ResourceKind::Leaf) => Operation::Merge,
        (&Method::PUT, _) => Operation::Replace,
        (&Method::POST, ResourceKind::Whole | ResourceKind::List) => Operation::Create,
        _ => return Err(call.wrong_method(kind.methods())),
    };
    let (mut path, mut value) = (path.to_vec(), call.body.clone());
    if let (Node::List { key, .. }, Operation::Create) = (node, operation) {
        path.extend(take_key(&mut value, key, &place)?);
    }
    Ok((NodeChange { path, operation, value }, kind))
}

/// The words of actions that could follow where `path` leaves the data model.
fn actions_beside<'a>(service: &'a Service, path: &'a [String]) -> impl Iterator<Item = &'a str> {
    let Service { model, whole, .. } = service;
    let before = (0..path.len()).find(|depth| locate(whole, &path[..=*depth]).is_err()).unwrap_or_default();
    let next = move |declared: &'a str| template::after(declared, &path[..before])?.first().copied();
    model.service.actions.iter().filter_map(move |action| next(&action.path)).filter(|word| !template::is_any(word))
}
