//! Makes a request's values what the schema wants, as far as their text allows it.
//!
//! A command line sends `80` as a number and `007` as a string, whatever the leaf is; both can be meant as either.
//! Enumerations are compared without regard to case, as Polycube did.

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::node::Node;
use crate::problem::{Problem, suggestion};

/// A value given under another name: where it belongs (JSON pointer from the cube), and the value.
pub struct Aliased {
    pub target: String,
    pub value: Value,
}

/// What coercion found besides the value.
#[derive(Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub aliased: Vec<Aliased>,
}

/// Coerces `value`, which stands at `path`, to `schema`. `is_state` tells whether a path is one of the state's.
pub fn coerce(
    schema: &Value,
    value: Value,
    path: &str,
    is_state: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) -> Value {
    match (Node::of(schema), value) {
        (Node::Container(_), Value::Object(members)) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let mut to = serde_json::Map::new();
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let Some(member) = properties.and_then(|properties| properties.get(&name)) else {
                    findings.problems.push(unknown(schema, &name, &path, is_state(&path)));
                    continue;
                };
                let value = coerce(member, value, &path, is_state, findings);
                match member.get(keyword::ALIAS).and_then(Value::as_str) {
                    Some(target) => findings.aliased.push(Aliased { target: target.to_owned(), value }),
                    None => {
                        to.insert(name, value);
                    }
                }
            }
            Value::Object(to)
        }
        (Node::List { schema, .. }, Value::Array(entries)) => {
            let items = &schema["items"];
            Value::Array(entries.into_iter().map(|entry| coerce(items, entry, path, is_state, findings)).collect())
        }
        (_, value) => scalar(schema, value),
    }
}

fn unknown(schema: &Value, name: &str, path: &str, is_state: bool) -> Problem {
    if is_state {
        return Problem::invalid(path, format!("`{name}` is read-only"));
    }
    let known = suggestion(name, Node::of(schema).children());
    Problem::invalid(path, format!("unknown key `{name}`{known}"))
}

fn scalar(schema: &Value, value: Value) -> Value {
    if let (Some(options), Value::String(text)) = (schema.get("enum").and_then(Value::as_array), &value)
        && let Some(option) =
            options.iter().find(|option| option.as_str().is_some_and(|option| option.eq_ignore_ascii_case(text)))
    {
        return option.clone();
    }
    let wants = |kind: &str| match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        _ => false,
    };
    match value {
        // An empty text takes back what can be unset.
        Value::String(text) if text.is_empty() && wants("null") => Value::Null,
        Value::Number(number) if wants("string") && !wants("number") && !wants("integer") => {
            Value::String(number.to_string())
        }
        Value::Bool(flag) if wants("string") && !wants("boolean") => Value::String(flag.to_string()),
        Value::String(text) if !wants("string") => parse(&text, &wants).unwrap_or(Value::String(text)),
        other => other,
    }
}

fn parse(text: &str, wants: &dyn Fn(&str) -> bool) -> Option<Value> {
    if wants("integer")
        && let Ok(number) = text.parse::<i64>()
    {
        return Some(number.into());
    }
    if wants("number")
        && let Ok(number) = text.parse::<f64>()
    {
        return serde_json::Number::from_f64(number).map(Value::Number);
    }
    if wants("boolean") {
        return match text.to_ascii_lowercase().as_str() {
            "true" | "t" => Some(true.into()),
            "false" | "f" => Some(false.into()),
            _ => None,
        };
    }
    None
}
