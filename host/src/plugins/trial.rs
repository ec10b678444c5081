//! What a plugin would have loaded, asked of a cube that exists nowhere else.

use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use super::Plugin;
use super::instance::{Connections, Failure, Instance};
use crate::topology::LogLevel;
use crate::wiring::CubeDatapath;

/// The datapath of a cube with this configuration: one with two ports, or attached to one netdev. It is checked as any
/// other, and nothing is loaded.
///
/// # Errors
/// The plugin refuses the cube, or describes what cannot be loaded.
pub(crate) fn trial(plugin: &Plugin, config: &Value) -> Result<CubeDatapath, Failure> {
    let connections = Connections::none("a trial has no maps");
    let info = json!({
        "name": "trial",
        "uuid": uuid::Uuid::nil().to_string(),
        "capture-dir": std::env::temp_dir(),
        "capture-roots": [],
    });
    let cube = Instance::create(plugin, "trial", &info, LogLevel::Info, connections)?;
    let place = |id: u32| json!({ "id": id, "name": format!("port{id}"), "netdev": format!("veth{id}") });
    let wanted = match plugin.service.kind {
        ServiceKind::Standard => json!({ "config": config, "ports": [place(0), place(1)] }),
        ServiceKind::Transparent => json!({ "config": config, "points": [place(0)] }),
    };
    cube.datapath(&wanted.to_string())
}
