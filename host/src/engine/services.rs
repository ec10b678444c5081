//! Services that come and go while the daemon runs.

use std::sync::{Arc, PoisonError};

use super::{Answer, Engine};
use crate::plugins::{find, load};
use crate::problem::Problem;
use crate::registry::Registry;
use crate::topology::CubeName;
use serde_json::Value;

impl Engine {
    /// Loads the plugin in the file `uri`, which has to be service `name`.
    pub(super) fn load_service(&mut self, name: &str, uri: &str) -> Answer {
        let refused = |place: &str, why: String| Problem::bad(format!("services/{place}"), why);
        if self.registry.service(name).is_ok() {
            return Err(Problem::exists("services/name", format!("service `{name}` is loaded already")).into());
        }
        if self.current.topology.cube(name).is_ok() {
            return Err(refused("name", format!("`{name}` is the name of a cube")).into());
        }
        CubeName::parse(name).map_err(|problem| problem.under("services/name"))?;
        let file = find(&self.plugin_dirs, uri).map_err(|why| refused("uri", why))?;
        let plugin = load(&file).map_err(|error| refused("uri", error.to_string()))?;
        if plugin.service.name != name {
            let found = &plugin.service.name;
            return Err(refused("name", format!("{} is service `{found}`, not `{name}`", file.display())).into());
        }
        let mut registry = Registry::clone(&self.registry);
        registry.add(plugin).map_err(|why| refused("uri", why))?;
        self.use_registry(registry);
        tracing::info!(service = name, "loaded");
        Ok(Value::Null)
    }

    /// Forgets service `name`. Its code stays in memory, because Rust libraries are not made to be unloaded.
    pub(super) fn unload_service(&mut self, name: &str) -> Answer {
        self.registry.service(name)?;
        let cubes = self.current.topology.cubes().filter(|(_, cube)| cube.service == name);
        let cubes: Vec<&str> = cubes.map(|(cube, _)| cube.as_str()).collect();
        if !cubes.is_empty() {
            let message = format!("service `{name}` has cubes: delete {} first", cubes.join(", "));
            return Err(Problem::invalid(format!("services/{name}"), message).into());
        }
        let mut registry = Registry::clone(&self.registry);
        registry.remove(name);
        self.use_registry(registry);
        tracing::info!(service = name, "unloaded");
        Ok(Value::Null)
    }

    fn use_registry(&mut self, registry: Registry) {
        self.registry = Arc::new(registry);
        *self.services.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.registry);
    }
}
