//! The services that are loaded, and what the host adds to each one's data model.

use std::collections::BTreeMap;

use polycube_plugin_api::{ServiceKind, ServiceSchema};
use serde_json::Value;

use crate::plugins::Plugin;
use crate::problem::{Problem, suggestion};
use crate::schema::{Model, ModelError};

/// A service.
pub struct Service {
    pub plugin: Plugin,
    pub model: Model,
}

/// All services, and the models of what is not theirs. Does not change while the daemon runs.
pub struct Registry {
    services: BTreeMap<String, Service>,
    /// What every cube has.
    pub cube: Model,
    /// What every port has.
    pub port: Model,
}

impl Registry {
    /// # Errors
    /// A schema of the host's own that is none.
    pub fn new() -> Result<Self, ModelError> {
        let own = |name: &str, text: &str| {
            Model::new(ServiceSchema {
                name: name.to_owned(),
                description: String::new(),
                version: String::new(),
                kind: ServiceKind::Standard,
                config: serde_json::from_str(text).unwrap_or(Value::Null),
                state: Value::Object(serde_json::Map::new()),
                actions: Vec::new(),
                streams: Vec::new(),
            })
        };
        Ok(Self {
            services: BTreeMap::new(),
            cube: own("cube", include_str!("../../schemas/cube.json"))?,
            port: own("port", include_str!("../../schemas/port.json"))?,
        })
    }

    /// Adds a plugin's service.
    ///
    /// # Errors
    /// One line: the name is taken, or the schema is none.
    pub fn add(&mut self, plugin: Plugin) -> Result<(), String> {
        let name = plugin.service.name.clone();
        if let Some(other) = self.services.get(&name) {
            let (file, first) = (plugin.path.display(), other.plugin.path.display());
            return Err(format!("{file}: service `{name}` is loaded already, from {first}"));
        }
        let model = Model::new(plugin.service.clone()).map_err(|error| error.to_string())?;
        self.services.insert(name, Service { plugin, model });
        Ok(())
    }

    pub fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services.iter().map(|(name, service)| (name.as_str(), service))
    }

    /// The service called `name`.
    ///
    /// # Errors
    /// A problem that names it and those that are loaded.
    pub fn service(&self, name: &str) -> Result<&Service, Problem> {
        self.services.get(name).ok_or_else(|| {
            let known = suggestion(name, self.services.keys().map(String::as_str));
            Problem::missing(name, format!("service `{name}` does not exist{known}"))
        })
    }
}
