//! Makes a request's values what the schema wants, as far as their text allows it.
//!
//! A command line sends `80` as a number and `007` as a string, whatever the leaf is; both can be meant as either.
//! Enumerations are compared without regard to case, as Polycube did.

use std::collections::HashSet;

use polycube_plugin_api::keyword;
use serde_json::{Number, Value};

use super::node::{Node, word};
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
        (Node::List { schema, key }, Value::Array(entries)) => {
            let items = &schema["items"];
            let mut names = HashSet::new();
            let mut to = Vec::new();
            for (at, entry) in entries.into_iter().enumerate() {
                let name = entry.get(key).and_then(|name| word(&scalar(&items["properties"][key], name.clone())));
                let place = format!("{path}/{}", name.as_ref().unwrap_or(&at.to_string()));
                if let Some(name) = name
                    && !names.insert(name.clone())
                {
                    findings.problems.push(Problem::bad(place.as_str(), format!("`{name}` stands in the list twice")));
                }
                to.push(coerce(items, entry, &place, is_state, findings));
            }
            Value::Array(to)
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

/// The same for what has no members.
pub fn scalar(schema: &Value, value: Value) -> Value {
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
        // To JSON Schema 5.0 is an integer, to serde it is none.
        Value::Number(number) if number.is_f64() && wants("integer") => {
            let whole = number.as_f64().and_then(|number| integer(&number.to_string()));
            whole.unwrap_or(number).into()
        }
        Value::String(text) if !wants("string") => parse(&text, &wants).unwrap_or(Value::String(text)),
        Value::String(text) if schema[keyword::LOWER_CASE] == true => text.to_lowercase().into(),
        other => other,
    }
}

fn parse(text: &str, wants: &dyn Fn(&str) -> bool) -> Option<Value> {
    if wants("integer")
        && let Some(number) = integer(text)
    {
        return Some(number.into());
    }
    if wants("number")
        && let Ok(number) = text.parse::<f64>()
    {
        return Number::from_f64(number).map(Value::Number);
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

fn integer(text: &str) -> Option<Number> {
    let exact = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    let has_digits_only = || text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    // One that no integer type holds is out of the schema's range, and not of another type.
    exact.ok().or_else(|| text.parse().ok().filter(|_| has_digits_only()).and_then(Number::from_f64))
}
