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

/// What becomes of members that only the state has; the function says whether a path is one of the state's.
pub(super) enum StateMembers<'a> {
    Refused(&'a dyn Fn(&str) -> bool),
    /// They say what was so at one moment, which no later one contradicts.
    Dropped(&'a dyn Fn(&str) -> bool),
}

/// Coerces `value`, which is at `path`, to `schema`.
pub(super) fn coerce(
    schema: &Value,
    value: Value,
    path: &str,
    state: &StateMembers<'_>,
    findings: &mut Findings,
) -> Value {
    match (Node::of(schema), value) {
        (Node::Container(_), Value::Object(members)) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let mut to = serde_json::Map::new();
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let Some(member) = properties.and_then(|properties| properties.get(&name)) else {
                    findings.problems.extend(unknown(schema, &name, &path, state));
                    continue;
                };
                let value = coerce(member, value, &path, state, findings);
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
                to.push(coerce(items, entry, &place, state, findings));
            }
            Value::Array(to)
        }
        // A list of values, and a map.
        (Node::Leaf(schema), Value::Array(values)) if schema["items"].is_object() => {
            values.into_iter().map(|value| coerce(&schema["items"], value, path, state, findings)).collect()
        }
        (Node::Leaf(schema), Value::Object(members)) if schema["additionalProperties"].is_object() => {
            let of_members = &schema["additionalProperties"];
            let members = members.into_iter();
            Value::Object(
                members.map(|(name, value)| (name, coerce(of_members, value, path, state, findings))).collect(),
            )
        }
        (_, value) => scalar(schema, value),
    }
}

/// The problem with a member that the configuration does not have, if it is one.
fn unknown(schema: &Value, name: &str, path: &str, state: &StateMembers<'_>) -> Option<Problem> {
    match state {
        StateMembers::Refused(is_state) if is_state(path) => {
            Some(Problem::invalid(path, format!("`{name}` is read-only")))
        }
        StateMembers::Dropped(is_state) if is_state(path) => None,
        _ => Some(Problem::invalid(path, format!("unknown key `{name}`")).knowing(name, Node::of(schema).children())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({ "properties": {
            "size": { "type": "integer" },
            "deep": { "type": "integer", "x-alias": "/box/depth" },
            "box": { "properties": { "depth": { "type": "integer" }, "loud": { "type": "boolean" } } },
            "host": {
                "type": "array",
                "x-list-key": "id",
                "items": { "properties": { "id": { "type": "integer" }, "flag": { "type": "boolean" } } },
            },
        } })
    }

    /// Asserts the value, the problems with their paths, and the values under aliases.
    #[track_caller]
    fn check(given: Value, expected: &Value, problems: &[(&str, &str)], aliased: &[(&str, Value)]) {
        let mut findings = Findings::default();
        let is_state = |path: &str| path == "seen" || path == "host/1/age";
        let state = StateMembers::Refused(&is_state);
        assert_eq!(coerce(&schema(), given, "", &state, &mut findings), *expected);
        let found: Vec<_> = findings.problems.iter().map(|one| (one.path.clone(), one.to_string())).collect();
        let wanted: Vec<_> = problems.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        assert_eq!(found, wanted);
        let found: Vec<_> = findings.aliased.iter().map(|one| (one.target.as_str(), one.value.clone())).collect();
        assert_eq!(found, aliased);
    }

    #[test]
    fn values_are_read_at_every_depth() {
        let given = json!({ "size": "1", "box": { "loud": "t" }, "host": [{ "id": "2", "flag": "F" }] });
        check(given, &json!({ "size": 1, "box": { "loud": true }, "host": [{ "id": 2, "flag": false }] }), &[], &[]);
    }

    #[test]
    fn what_has_another_form_is_left_for_the_schema_to_refuse() {
        for value in [json!(5), json!([]), Value::Null, json!("x")] {
            check(value.clone(), &value, &[], &[]);
            let inner = json!({ "box": value, "host": { "id": "1" } });
            check(inner.clone(), &inner, &[], &[]);
        }
        let entries = json!({ "host": [5, null, { "flag": true }] });
        check(entries.clone(), &entries, &[], &[]);
    }

    #[test]
    fn keys_that_cannot_be_set_are_left_out_and_reported() {
        check(
            json!({ "seen": 1, "sise": 2, "host": [{ "id": 1, "age": 3, "flog": true }], "size": 4 }),
            &json!({ "host": [{ "id": 1 }], "size": 4 }),
            &[
                ("seen", "`seen` is read-only"),
                ("sise", "unknown key `sise`; did you mean `size`?"),
                ("host/1/age", "`age` is read-only"),
                ("host/1/flog", "unknown key `flog`; did you mean `flag`?"),
            ],
            &[],
        );
    }

    #[test]
    fn two_spellings_of_a_key_are_one_entry() {
        check(
            json!({ "host": [{ "id": 1 }, { "id": "01" }, { "id": 2 }] }),
            &json!({ "host": [{ "id": 1 }, { "id": 1 }, { "id": 2 }] }),
            &[("host/1", "`1` is in the list twice")],
            &[],
        );
    }

    #[test]
    fn a_value_under_an_alias_is_read_and_handed_over() {
        check(json!({ "deep": "7", "size": 1 }), &json!({ "size": 1 }), &[], &[("/box/depth", json!(7))]);
    }
}
