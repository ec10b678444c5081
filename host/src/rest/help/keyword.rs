//! Keywords of a data model, from its schema.

use polycube_api::{Keyword, KeywordKind};
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
    let of_leaf = |member: &str| if is_leaf { schema[member].clone() } else { Value::Null };
    Keyword {
        simpletype: if is_leaf { simpletype(schema) } else { String::new() },
        example: schema["examples"].get(0).map(text).unwrap_or_default(),
        initial: of_leaf("default"),
        minimum: of_leaf("minimum"),
        maximum: of_leaf("maximum"),
        pattern: of_leaf("pattern"),
        values: schema["enum"].as_array().into_iter().flatten().map(text).collect(),
        keys,
        names: schema[keyword::NAMES].as_str().unwrap_or_default().to_owned(),
        read_only: schema["readOnly"] == true,
        create_only: schema[keyword::CREATE_ONLY] == true,
        ..Keyword::new(name, kind, schema["description"].as_str().unwrap_or_default())
    }
}

/// As it is typed.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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
