//! Makes a request's values what the schema wants, as far as their text allows it.
//!
//! A client often cannot know a leaf's type. A command line sends `80` as a number and `007` as a string, whatever the
//! leaf is, and Polycube's clients sent everything as text. So a value is read as what the leaf wants whenever its text
//! has that meaning and no other, and left alone otherwise: then the schema refuses it, with a message about the value
//! that was sent and not about one that we made of it.
//!
//! Coercion walks value and schema together and decides on the way what the schema alone cannot say: a key that only
//! the state has is read-only rather than unknown, two entries of a list with one name are a mistake, and a value under
//! an alias belongs elsewhere. It reports all of these at once, beside the value. It never fails and never fills in:
//! defaults and the check against the schema come after it, in `model`.

use std::collections::HashSet;

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::node::{Node, word};
use super::scalar::scalar;
use crate::problem::Problem;

/// A value given under an alias: where it belongs (JSON pointer from the cube), and the value.
pub(super) struct Aliased {
    pub target: String,
    pub value: Value,
}

/// What coercion found besides the value.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub aliased: Vec<Aliased>,
}

/// Coerces `value`, which is at `path`, to `schema`. `is_state` says whether a path is one of the state's.
pub(super) fn coerce(
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
                    findings.problems.push(Problem::bad(place.as_str(), format!("`{name}` is in the list twice")));
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
    Problem::invalid(path, format!("unknown key `{name}`")).knowing(name, Node::of(schema).children())
}
