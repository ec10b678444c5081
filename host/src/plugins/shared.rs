//! A service as a whole, which answers requests that need no cube. It is made for one request, and keeps nothing.

use serde_json::json;

use super::instance::{Connections, Failure, Instance};
use super::{CaptureDirs, Plugin};
use crate::topology::LogLevel;

/// The action by which the SDK deletes a shared stream.
const DELETE: &str = "delete";

/// What opens the shared streams of `plugin`.
///
/// # Errors
/// The plugin cannot be called.
pub(crate) fn shared(plugin: &Plugin, dirs: &CaptureDirs) -> Result<Instance, Failure> {
    let connections = Connections::none("the service as a whole has no maps");
    let name = plugin.service.name.as_str();
    let mut info = dirs.members();
    info["name"] = name.into();
    info["uuid"] = uuid::Uuid::nil().to_string().into();
    info["is-shared"] = true.into();
    Instance::create(plugin, name, &info, LogLevel::Info, connections)
}

/// Deletes the shared stream at `path`.
///
/// # Errors
/// The plugin's reason.
pub(crate) fn delete_shared(plugin: &Plugin, dirs: &CaptureDirs, path: &str) -> Result<(), Failure> {
    shared(plugin, dirs)?.act(&json!({ "action": DELETE, "input": path })).map(|_| ())
}
