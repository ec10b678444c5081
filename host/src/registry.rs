//! The services that are loaded, and what the host adds to each one's data model.

use std::collections::BTreeMap;
use std::sync::Arc;

use polycube_plugin_api::ServiceKind;
use serde_json::{Map, Value, json};

use crate::plugins::Plugin;
use crate::problem::{Problem, suggestion};
use crate::schema::{Model, ModelError};

const CUBE: &str = include_str!("../../schemas/cube.json");
const PORT: &str = include_str!("../../schemas/port.json");
const STANDARD: &str = include_str!("../../schemas/standard.json");
const TRANSPARENT: &str = include_str!("../../schemas/transparent.json");

/// A service.
pub struct Service {
    pub plugin: Plugin,
    pub model: Model,
    /// Schema of all that its cubes have: the host's members, then the service's own.
    pub whole: Value,
}

/// All services, and the models of what is not theirs. A change makes another registry: whoever works with this one
/// finds in it what he found before.
#[derive(Clone)]
pub struct Registry {
    services: BTreeMap<String, Arc<Service>>,
    /// What every cube has.
    pub cube: Arc<Model>,
    /// What every port has.
    pub port: Arc<Model>,
}

impl Registry {
    /// # Errors
    /// A schema of the host's own that is none.
    pub fn new() -> Result<Self, ModelError> {
        let own = |name: &str, text: &str| {
            let mut config = parse(text);
            let state = take_read_only(&mut config);
            Model::of(name, config, state)
        };
        Ok(Self { services: BTreeMap::new(), cube: own("cube", CUBE)?.into(), port: own("port", PORT)?.into() })
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
        let whole = whole(&model);
        self.services.insert(name, Arc::new(Service { plugin, model, whole }));
        Ok(())
    }

    /// Takes the service called `name` out, if there is one.
    pub fn remove(&mut self, name: &str) {
        self.services.remove(name);
    }

    pub fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services.iter().map(|(name, service)| (name.as_str(), &**service))
    }

    /// The service called `name`.
    ///
    /// # Errors
    /// A problem that names it and those that are loaded.
    pub fn service(&self, name: &str) -> Result<&Service, Problem> {
        self.services.get(name).map(|service| &**service).ok_or_else(|| {
            let known = suggestion(name, self.services.keys().map(String::as_str));
            Problem::missing(name, format!("service `{name}` does not exist{known}"))
        })
    }
}

/// Takes out of a schema what nobody sets, as a schema of its own.
fn take_read_only(schema: &mut Value) -> Value {
    let mut state = Map::new();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let is_state = |member: &Value| member["readOnly"] == true;
        state = properties.iter().filter(|(_, m)| is_state(m)).map(|(name, m)| (name.clone(), m.clone())).collect();
        properties.retain(|_, member| !is_state(member));
    }
    json!({ "type": "object", "properties": state })
}

/// The host's own schemas are part of the program: one that is no JSON is no schema either, which [`Model::new`] says.
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// What cubes of a service have: see [`Service::whole`].
pub fn whole(model: &Model) -> Value {
    let mut role = parse(match model.service.kind {
        ServiceKind::Standard => STANDARD,
        ServiceKind::Transparent => TRANSPARENT,
    });
    if let Some(ports) = role.pointer_mut("/properties/ports/items") {
        *ports = parse(PORT);
    }
    let members = |schema: &Value| schema["properties"].as_object().cloned().unwrap_or_default();
    let mut properties = members(&parse(CUBE));
    properties.extend(members(&role));
    let tree = model.asked();
    properties.extend(members(&tree));
    let required = tree.get("required").cloned().unwrap_or_else(|| json!([]));
    let description = &model.service.description;
    json!({ "type": "object", "description": description, "properties": properties, "required": required })
}
