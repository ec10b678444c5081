//! Cubes as JSON.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::View;
use crate::problem::Problem;
use crate::registry::Registry;
use crate::topology::{Cube, CubeName, Port, PortName, Role};

/// What every cube has.
pub fn base(view: &View, name: &CubeName, cube: &Cube) -> Value {
    let mut json = json!({
        "name": name.as_str(),
        "uuid": cube.uuid,
        "service-name": cube.service,
        "type": "TC",
        "loglevel": cube.loglevel,
    });
    match &cube.role {
        Role::Standard(_) => json["ports"] = cube.ports().map(|(each, found)| port(view, name, each, found)).collect(),
        Role::Transparent => {
            let points = view.topology.points(name.as_str());
            let points: Vec<String> = points.iter().map(|(_, point)| point.to_string()).collect();
            json["parent"] = points.join(",").into();
            json["parents"] = points.into();
        }
    }
    json
}

/// A port.
pub fn port(view: &View, cube: &CubeName, name: &PortName, port: &Port) -> Value {
    let netdev = view.netdevs.of_port(cube, name, port);
    json!({
        "name": name.as_str(),
        "uuid": port.uuid,
        "status": if netdev.is_some() { "UP" } else { "DOWN" },
        "peer": port.peer.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
}

/// Runs what calls a plugin off the threads that serve connections.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(Problem::failed("", format!("the request was not finished: {error}"))))
}

/// A cube with its configuration and its plugin's state. Calls the plugin, so it may take its time.
pub fn whole(view: &View, registry: &Registry, name: &CubeName, cube: &Arc<Cube>) -> Result<Value, Problem> {
    let mut json = base(view, name, cube);
    let service = registry.service(&cube.service)?;
    let state = view.instances[name].state();
    let (state, failure) = match state {
        Ok(state) => (state, None),
        Err(failure) => (json!({}), Some(failure.to_string())),
    };
    let Value::Object(members) = service.model.present(&cube.config, state) else { return Ok(json) };
    for (key, value) in members {
        json[&key] = value;
    }
    if let Some(failure) = failure {
        json["failure"] = failure.into();
    }
    Ok(json)
}
