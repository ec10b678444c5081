//! Configurations that do not fit a schema. Pure.

use serde_json::{Value, json};

/// Bodies each of which breaks one rule of a configuration's strict schema.
pub(super) fn of(schema: &Value) -> Vec<Value> {
    let mut found = vec![json!("garbage"), json!([]), json!({ "no-member-has-this-name": 1 })];
    for (name, member) in members(schema) {
        found.extend(of_node(member).into_iter().map(|value| json!({ name: value })));
    }
    found
}

fn members(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Values that a node cannot have.
fn of_node(schema: &Value) -> Vec<Value> {
    let is = |kind: &str| match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => kinds.iter().any(|other| other == kind),
        _ => false,
    };
    if schema["type"].is_null() {
        // It is of no single type, which takes more than one rule to break.
        return Vec::new();
    }
    if is("object") && !is("string") {
        let below = members(schema).flat_map(|(name, member)| of_node(member).into_iter().map(move |v| (name, v)));
        return below.map(|(name, value)| json!({ name: value })).chain([json!("garbage")]).collect();
    }
    let mut found = vec![json!({ "no": "leaf" })];
    let bound = |name: &str| schema[name].as_f64();
    if (is("integer") || is("number")) && !is("string") {
        found.push(json!("garbage"));
        found.extend(bound("minimum").map(|minimum| number(minimum - 1.0)));
        found.extend(bound("maximum").map(|maximum| number(maximum * 2.0 + 1.0)));
    }
    if is("boolean") && !is("string") {
        found.push(json!("garbage"));
    }
    if is("string") && schema["enum"].is_array() {
        found.push(json!("no-value-has-this-name"));
    }
    found
}

/// Whole numbers as such: a fraction would break another rule.
fn number(value: f64) -> Value {
    if value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_of_a_schema_is_broken() {
        let schema = json!({ "type": "object", "properties": {
            "size": { "type": "integer", "minimum": 1, "maximum": 9 },
            "mode": { "type": "string", "enum": ["a", "b"] },
            "deep": { "type": "object", "properties": { "on": { "type": "boolean" } } },
            "any": {},
        } });
        let found = of(&schema);
        for expected in [
            json!({ "size": 0 }),
            json!({ "size": 19 }),
            json!({ "size": "garbage" }),
            json!({ "mode": "no-value-has-this-name" }),
            json!({ "deep": { "on": "garbage" } }),
            json!({ "deep": "garbage" }),
        ] {
            assert!(found.contains(&expected), "{expected} is not in {found:?}");
        }
        assert!(found.iter().all(|body| body.get("any").is_none()), "{found:?}");
    }
}
