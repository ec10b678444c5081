//! What a service says of its ports: the lists `ports` of its configuration and of its state.
//!
//! A service describes its ports as it describes any list, keyed by `name`. The host's own members of a port (its peer, its
//! status) stand beside the service's, and each port is one entry. The lists are taken out of the service's schemas, because a
//! port comes and goes by the host's rules: there is an entry for each port that exists, and for no other. A port thereby has
//! a data model of its own, with the port in the place of the cube.

use polycube_plugin_api::{ServiceKind, ServiceSchema, keyword};
use serde_json::{Map, Value, json};

use super::host::{PORT, parse};

/// The list of ports, of a cube and in a service's schemas.
pub const PORTS: &str = "ports";
/// The member that identifies a port.
pub(super) const NAME: &str = "name";

/// A port's schemas: what can be set, and what is shown besides.
pub(super) struct PortSchemas {
    pub config: Value,
    pub state: Value,
    /// Whether the service defines something that can be set.
    pub has_settings: bool,
}

/// Takes the lists of ports out of the schemas of a service. Answers with the schemas of a port; `None` if the service's
/// cubes have no ports.
pub(super) fn take(service: &mut ServiceSchema) -> Option<PortSchemas> {
    if service.kind != ServiceKind::Standard {
        return None;
    }
    let (config, state) = (take_entry(&mut service.config), take_entry(&mut service.state));
    let has_settings = config.is_some();
    let mut own = parse(PORT);
    let read_only = take_read_only(&mut own);
    Some(PortSchemas { config: joined(own, config), state: joined(read_only, state), has_settings })
}

/// Takes the list of ports out of a schema. Answers with the schema of an entry.
fn take_entry(schema: &mut Value) -> Option<Value> {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != PORTS);
    }
    let list = schema.get_mut("properties")?.as_object_mut()?.shift_remove(PORTS)?;
    Some(list["items"].clone())
}

/// The host's schema of a port with the members of the service's.
fn joined(mut own: Value, entry: Option<Value>) -> Value {
    let Some(mut entry) = entry else { return own };
    let members = entry.get_mut("properties").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    if let Some(properties) = own["properties"].as_object_mut() {
        properties.extend(members.into_iter().filter(|(name, _)| name != NAME));
    }
    let required = entry["required"].as_array().into_iter().flatten().filter(|name| *name != NAME);
    let required: Vec<Value> = required.cloned().collect();
    if !required.is_empty() {
        own["required"] = required.into();
    }
    own
}

/// Whether `list` is a list of ports: objects that a text called `name` identifies.
pub(super) fn is_by_name(list: &Value) -> bool {
    list[keyword::LIST_KEY] == NAME && list["items"]["properties"][NAME]["type"] == "string"
}

/// The first member of a port, as a service describes it, that is the host's own.
pub(super) fn taken(list: &Value) -> Option<&str> {
    let own = parse(PORT);
    let members = list["items"]["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    members.into_iter().find(|name| *name != NAME && !own["properties"][name].is_null())
}

/// Moves the members that cannot be set out of a schema, into another.
pub fn take_read_only(schema: &mut Value) -> Value {
    let mut state = Map::new();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let is_state = |member: &Value| member["readOnly"] == true;
        state = properties.iter().filter(|(_, m)| is_state(m)).map(|(name, m)| (name.clone(), m.clone())).collect();
        properties.retain(|_, member| !is_state(member));
    }
    json!({ "type": "object", "properties": state })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(schema: &Value) -> Vec<&str> {
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn service(kind: ServiceKind) -> ServiceSchema {
        let list = |members: Value| json!({ "type": "array", "x-list-key": "name", "items": members });
        let settings = list(json!({
            "properties": { "name": { "type": "string" }, "ip": { "type": "string" } },
            "required": ["name", "ip"],
        }));
        let seen = list(json!({ "properties": { "name": { "type": "string" }, "seen": { "type": "integer" } } }));
        let config = json!({ "properties": { "size": {}, "ports": settings }, "required": ["size", "ports"] });
        ServiceSchema::new("router", kind, config, json!({ "properties": { "ports": seen } }))
    }

    #[test]
    fn a_port_has_the_hosts_members_and_the_services() {
        let mut service = service(ServiceKind::Standard);
        let PortSchemas { config, state, has_settings } = take(&mut service).unwrap();
        assert!(has_settings);
        assert_eq!((keys(&config), &config["required"]), (vec!["peer", "ip"], &json!(["ip"])));
        assert!(keys(&state).contains(&"status") && keys(&state).ends_with(&["seen"]), "{state}");
        assert_eq!((keys(&service.config), &service.config["required"]), (vec!["size"], &json!(["size"])));
        assert!(keys(&service.state).is_empty());
    }

    #[test]
    fn a_service_that_says_nothing_of_its_ports_has_the_hosts() {
        let mut bare = service(ServiceKind::Standard);
        (bare.config, bare.state) = (json!({ "properties": {} }), json!({ "properties": {} }));
        let PortSchemas { config, has_settings, .. } = take(&mut bare).unwrap();
        assert_eq!((keys(&config), has_settings), (vec!["peer"], false));
        assert!(take(&mut service(ServiceKind::Transparent)).is_none());
    }

    #[test]
    fn what_cannot_be_set_is_state() {
        let mut config = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "uuid": { "type": "string", "readOnly": true },
                "mode": { "type": "string", "readOnly": false },
            },
        });
        let state = take_read_only(&mut config);
        assert_eq!((keys(&config), keys(&state)), (vec!["name", "mode"], vec!["uuid"]));
        assert_eq!(take_read_only(&mut json!(true)), json!({ "type": "object", "properties": {} }));
    }
}
