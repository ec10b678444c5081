//! Which role a request needs: for the framework's paths, what `routes` declares; below services, what follows from the
//! method and the service.

use axum::http::{Method, StatusCode};
use polycube_plugin_api::ServiceKind;
use serde_json::Value;

use super::call::Call;
use super::client::{Client, Role};
use super::context::Context;
use super::error::Refusal;
use super::route::{Needs, Route};
use crate::engine::View;
use crate::problem::Problem;
use crate::registry::Service;

/// What a stream needs: it may carry packets.
pub(super) const STREAM: Role = Role::Capture;

/// What a request to a path of the framework needs. A method that is not declared needs nothing more than the refusal.
pub(super) fn of_route(context: &Context, route: &Route, call: &Call) -> Role {
    let method = polycube_api::Method::parse(call.method.as_str());
    match method.and_then(|method| route.endpoint(method)).map(|endpoint| endpoint.needs) {
        None | Some(Needs::Nothing) => Role::Read,
        Some(Needs::Role(role)) => role,
        Some(Needs::RoleForCube(field)) => {
            let cube = call.body.get(field).and_then(Value::as_str).unwrap_or_default();
            if is_capture(&context.view, cube) { Role::Capture } else { Role::Admin }
        }
    }
}

/// What a request to a service or a cube needs.
pub(super) fn of_resource(context: &Context, call: &Call) -> Role {
    if call.method == Method::GET {
        return Role::Read;
    }
    let below = usize::from(call.path.first().is_some_and(|word| context.view.registry.service(word).is_ok()));
    let Some((cube, node)) = call.path.get(below..).and_then(<[String]>::split_first) else { return Role::Admin };
    let is_ephemeral = node.is_empty() && call.method == Method::DELETE && context.view.topology.is_ephemeral(cube);
    // To create and to delete other cubes is the administrator's.
    let is_setting = !node.is_empty() || matches!(call.method, Method::PUT | Method::PATCH);
    if (is_setting || is_ephemeral) && is_capture(&context.view, cube) { Role::Capture } else { Role::Admin }
}

/// What it takes to create a cube of a service that goes with its stream.
pub(super) fn of_ephemeral(service: &Service) -> Role {
    if records_packets(service) { Role::Capture } else { Role::Admin }
}

/// Whether `cube` exists and records packets: a transparent cube whose service hands out streams.
fn is_capture(view: &View, cube: &str) -> bool {
    let service = view.topology.get(cube).and_then(|(_, cube)| view.registry.service(&cube.service).ok());
    service.is_some_and(records_packets)
}

fn records_packets(service: &Service) -> bool {
    service.model.service.kind == ServiceKind::Transparent && !service.model.service.streams.is_empty()
}

/// Refuses a client whose role does not include `needed`.
///
/// # Errors
/// Which role is needed.
pub(super) fn require(client: &Client, needed: Role, call: &Call) -> Result<(), Refusal> {
    let Client { who, role, .. } = client;
    if *role >= needed {
        return Ok(());
    }
    let message = format!("this needs the role `{needed}`, and {who} has `{role}`");
    Err(Refusal::new(StatusCode::FORBIDDEN, Problem::invalid(call.place(), message)))
}
