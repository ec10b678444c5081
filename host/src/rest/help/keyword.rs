//! Keywords of a data model, from its schema.

use polycube_api::{Form, Keyword, KeywordKind};
use polycube_plugin_api::keyword;
use serde_json::Value;

use crate::schema::Node;

/// The member `name` of a schema.
pub(super) fn of(name: &str, schema: &Value) -> Keyword {
    let (kind, keys) = match Node::of(schema) {
        Node::Container(_) | Node::Entry(_) => (KeywordKind::Container, Vec::new()),
        Node::List { key, .. } => (KeywordKind::List, vec![key.to_owned()]),
        Node::Leaf(_) => (KeywordKind::Leaf, Vec::new()),
    };
    let is_leaf = kind == KeywordKind::Leaf;
    // What is said of its values: of a list of values and of a map, that is another schema.
    let (form, values) = if is_leaf { form(schema) } else { (Form::One, schema) };
    let of_leaf = |member: &str| if is_leaf { values[member].clone() } else { Value::Null };
    let example = [schema, values].into_iter().find_map(|schema| schema["examples"].get(0)).map(text);
    Keyword {
        form,
        simpletype: if is_leaf { simpletype(values) } else { String::new() },
        example: example.unwrap_or_default(),
        initial: if is_leaf { schema["default"].clone() } else { Value::Null },
        minimum: of_leaf("minimum"),
        maximum: of_leaf("maximum"),
        pattern: of_leaf("pattern"),
        values: values["enum"].as_array().into_iter().flatten().map(text).collect(),
        keys,
        unit: values[keyword::UNIT].as_str().unwrap_or_default().to_owned(),
        minor: schema[keyword::MINOR] == true,
        names: values[keyword::NAMES].as_str().unwrap_or_default().to_owned(),
        read_only: schema["readOnly"] == true,
        create_only: schema[keyword::CREATE_ONLY] == true,
        ..Keyword::new(name, kind, schema["description"].as_str().unwrap_or_default())
    }
}

/// The member `name` of a schema, with all that is below it; `whole` is the schema of the cube.
pub(super) fn deep(name: &str, schema: &Value, whole: &Value) -> Keyword {
    let (below, whole) = match Node::of(schema) {
        // What an alias in a port stands for is in the port.
        Node::List { schema, .. } => (&schema["items"], &schema["items"]),
        Node::Container(schema) | Node::Entry(schema) | Node::Leaf(schema) => (schema, whole),
    };
    let members = below["properties"].as_object().into_iter().flatten().map(|(name, member)| deep(name, member, whole));
    let keyword = Keyword { members: members.collect(), ..of(name, schema) };
    // An alias has the default of the leaf that it stands for.
    match schema[keyword::ALIAS].as_str() {
        Some(target) => {
            let target = whole.pointer(&target.replace('/', "/properties/"));
            Keyword { initial: target.map(|leaf| leaf["default"].clone()).unwrap_or_default(), ..keyword }
        }
        None => keyword,
    }
}

/// How many values a leaf has, and the schema of each.
fn form(schema: &Value) -> (Form, &Value) {
    let is = |kind: &str| match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        only => only == kind,
    };
    let is_value = |schema: &Value| schema.is_object() && schema["properties"].is_null() && schema["items"].is_null();
    match (&schema["items"], &schema["additionalProperties"]) {
        (items, _) if is("array") && is_value(items) => (Form::List, items),
        (_, members) if is("object") && is_value(members) => (Form::Map, members),
        _ => (Form::One, schema),
    }
}

/// As it is typed.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.iter().all(|value| !value.is_array() && !value.is_object()) => {
            values.iter().map(text).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn simpletype(schema: &Value) -> String {
    if !schema["enum"].is_null() {
        return "enum".to_owned();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    kinds.join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, kind: KeywordKind, simpletype: &str) {
        let keyword = of("name", schema);
        assert_eq!((keyword.kind, keyword.simpletype.as_str()), (kind, simpletype), "{schema}");
    }

    #[test]
    fn a_type_is_what_a_person_types() {
        check(&json!({ "type": "string" }), KeywordKind::Leaf, "string");
        check(&json!({ "type": ["string", "null"] }), KeywordKind::Leaf, "string");
        check(&json!({ "type": ["integer", "string", "null"] }), KeywordKind::Leaf, "integer or string");
        check(&json!({ "type": "string", "enum": ["a"] }), KeywordKind::Leaf, "enum");
        check(&json!({}), KeywordKind::Leaf, "");
        check(&json!({ "type": "object", "properties": {} }), KeywordKind::Container, "");
        check(&json!({ "type": "array", "x-list-key": "id", "items": {} }), KeywordKind::List, "");
        check(&json!({ "type": "array", "items": { "items": {} } }), KeywordKind::Leaf, "array");
    }

    #[test]
    fn a_list_of_values_and_a_map_say_what_each_value_is() {
        let number = json!({ "type": "integer", "maximum": 9, "x-unit": "bytes" });
        let word = json!({ "type": "string", "enum": ["in", "out"], "examples": ["in"], "x-names": "ports" });
        let list = of("l", &json!({ "type": ["array", "null"], "items": number, "default": [1] }));
        assert_eq!((list.form, list.simpletype.as_str(), list.unit.as_str()), (Form::List, "integer", "bytes"));
        assert_eq!((&list.maximum, &list.initial), (&json!(9), &json!([1])));
        let map = of("m", &json!({ "type": "object", "additionalProperties": word }));
        assert_eq!((map.form, map.simpletype.as_str(), map.example.as_str()), (Form::Map, "enum", "in"));
        assert_eq!((map.values, map.names.as_str()), (vec!["in".to_owned(), "out".to_owned()], "ports"));
        let strict = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        for other in [json!({ "type": "object" }), json!({ "type": "array" }), strict, json!({ "type": "string" })] {
            assert_eq!(of("o", &other).form, Form::One, "{other}");
        }
        let example = json!({ "type": "array", "items": {}, "examples": [["a", "b"]] });
        assert_eq!(of("e", &example).example, "a,b", "as it is typed");
    }

    #[test]
    fn a_deep_keyword_has_its_members_and_those_of_a_lists_entries() {
        let leaf = json!({ "type": "integer", "x-unit": "bytes", "x-minor": true });
        let list =
            json!({ "type": "array", "x-list-key": "id", "items": { "properties": { "id": {}, "size": leaf } } });
        let same = json!({ "type": "integer", "x-alias": "/box/depth" });
        let inner = json!({ "properties": { "depth": { "type": "integer", "default": 3 } } });
        let schema = json!({ "properties": { "files": list, "box": inner, "depth": same } });
        let whole = deep("cube", &schema, &schema);
        let size = &whole.members[0].members[1];
        assert_eq!(whole.members[2].initial, 3, "the default of what it stands for");
        assert_eq!((size.name.as_str(), size.unit.as_str(), size.minor), ("size", "bytes", true));
        assert!(of("cube", &json!({ "properties": { "files": list } })).members.is_empty());
    }

    #[test]
    fn values_and_examples_are_written_as_they_are_typed() {
        let keyword = of("n", &json!({ "enum": ["a", 5, true], "examples": [1.5, 2], "x-names": "netdevs" }));
        assert_eq!(keyword.values, ["a", "5", "true"]);
        assert_eq!((keyword.example.as_str(), keyword.names.as_str()), ("1.5", "netdevs"));
    }

    #[test]
    fn only_leaves_have_limits_and_a_default() {
        let schema = json!({ "properties": {}, "default": {}, "minimum": 1, "maximum": 2, "pattern": "x" });
        let keyword = of("box", &schema);
        for value in [&keyword.initial, &keyword.minimum, &keyword.maximum, &keyword.pattern] {
            assert!(value.is_null(), "{value}");
        }
        let leaf = of("n", &json!({ "type": "integer", "default": 0, "minimum": 1 }));
        assert_eq!((&leaf.initial, &leaf.minimum, &leaf.maximum), (&json!(0), &json!(1), &Value::Null));
    }
}
