//! A service's cubes: the schemas of what is shown, and of what can be set.

use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use crate::schema::Model;
use crate::topology::{LONGEST, pattern};

/// Name of the schema of what can be set.
pub(super) fn settings_of(service: &str) -> String {
    format!("{service}-settings")
}

/// What a cube is shown as; `whole` is the schema of all that it has.
pub(super) fn answers(model: &Model, whole: &Value) -> Value {
    let mut answers = whole.clone();
    answers["description"] = model.service.description.as_str().into();
    answers["required"] = json!(["name", "uuid", "service-name", "type", "loglevel"]);
    let description = "Why the cube's plugin does not work any more";
    answers["properties"]["failure"] = json!({ "type": "string", "readOnly": true, "description": description });
    let description = "Settings that cannot be seen, because state is shown in their place";
    if answers["properties"]["config"].is_null() {
        answers["properties"]["config"] = json!({ "type": "object", "readOnly": true, "description": description });
    }
    // Answers may get more members in later releases.
    without(&mut answers, "additionalProperties");
    answers
}

/// What can be set in a cube.
pub(super) fn settings(model: &Model, cube: &Model) -> Value {
    let mut properties = json!({ "name": name_schema() });
    for (name, member) in members(cube.config()).chain(members(model.config())) {
        properties[name] = member.clone();
    }
    if let Some(model) = &model.port {
        let mut port = json!({
            "type": "object",
            "required": ["name"],
            "properties": { "name": name_schema(), "peer": { "type": "string" } },
            "additionalProperties": false,
        });
        add_port_settings(&mut port, model);
        properties["ports"] = json!({ "type": "array", "items": port, "description": "Only when the cube is made" });
    }
    if model.service.kind == ServiceKind::Transparent {
        properties["parent"] = json!({
            "type": "string",
            "description": "What to attach it to, with commas between several; only when the cube is made",
        });
        properties["parents"] =
            json!({ "type": "array", "items": { "type": "string" }, "description": "The same as a list" });
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Adds what a service lets one set at a port to the schema of a port's body.
pub(super) fn add_port_settings(body: &mut Value, port: &Model) {
    for (name, member) in members(port.config()).filter(|(name, _)| *name != "peer") {
        body["properties"][name] = member.clone();
    }
    let required = port.config()["required"].as_array().into_iter().flatten().cloned();
    match body.get_mut("required").and_then(Value::as_array_mut) {
        Some(all) => all.extend(required),
        None => {
            let required: Vec<Value> = required.collect();
            if !required.is_empty() {
                body["required"] = required.into();
            }
        }
    }
}

/// Names of cubes and ports.
pub(super) fn name_schema() -> Value {
    json!({ "type": "string", "pattern": pattern(), "maxLength": LONGEST })
}

/// Members that a schema names.
pub(super) fn members(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn without(schema: &mut Value, word: &str) {
    match schema {
        Value::Object(members) => {
            members.shift_remove(word);
            members.iter_mut().for_each(|(_, member)| without(member, word));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| without(value, word)),
        _ => {}
    }
}
