//! Documents of a schema: filled with defaults, changed at a path, and prepared for reading.

use std::collections::HashMap;

use polycube_plugin_api::keyword;
use serde_json::{Map, Value};

use super::key::Key;
use super::node::Node;
use crate::problem::Problem;

/// What a request does to the node that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST: creates a list entry; sets in a container.
    Create,
    /// PUT: what is not named gets its default.
    Replace,
    /// PATCH: what is not named stays.
    Merge,
    /// DELETE: resets to the default; removes an entry.
    Remove,
}

pub(super) fn defaults(schema: &Value) -> Value {
    match Node::of(schema) {
        Node::Container(schema) => {
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let members = properties.filter(|(_, member)| member.get(keyword::ALIAS).is_none());
            Value::Object(
                members
                    .map(|(name, member)| (name.clone(), defaults(member)))
                    .filter(|(_, value)| !value.is_null())
                    .collect(),
            )
        }
        Node::List { .. } => schema.get("default").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        Node::Part { .. } | Node::Entry(_) | Node::Leaf(_) => schema.get("default").cloned().unwrap_or(Value::Null),
    }
}

/// What of `config` is not as it would be by default, in the schema's order; `None` if all of it is.
pub(super) fn sparse(schema: &Value, config: &Value) -> Option<Value> {
    let Node::Container(schema) = Node::of(schema) else {
        return (*config != defaults(schema)).then(|| ordered(schema, config));
    };
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let members = properties.filter(|(_, member)| member.get(keyword::ALIAS).is_none());
    let set: Map<String, Value> =
        members.filter_map(|(name, member)| Some((name.clone(), sparse(member, &config[name])?))).collect();
    (!set.is_empty()).then_some(Value::Object(set))
}

/// The part of `value`, which is of `schema`, that `state` has at the same paths: what is shown there is the state.
pub(super) fn shadowed(schema: &Value, state: &Value, value: &Value) -> Option<Value> {
    match (Node::of(schema), value) {
        _ if state.is_null() => None,
        (Node::Container(schema), Value::Object(members)) => {
            let of = |name: &String| (&schema["properties"][name], &state["properties"][name]);
            let found = members.iter().filter_map(|(name, value)| {
                let (schema, state) = of(name);
                Some((name.clone(), shadowed(schema, state, value)?))
            });
            let found: Map<String, Value> = found.collect();
            (!found.is_empty()).then_some(Value::Object(found))
        }
        _ => Some(value.clone()),
    }
}

/// Removes from `value` what [`shadowed`] finds in it.
pub(super) fn drop_shadowed(schema: &Value, state: &Value, value: &mut Value) {
    let (Node::Container(schema), Value::Object(members)) = (Node::of(schema), value) else { return };
    members.retain(|name, value| {
        let (schema, state) = (&schema["properties"][name], &state["properties"][name]);
        let is_container = matches!(Node::of(schema), Node::Container(_)) && value.is_object();
        if is_container {
            drop_shadowed(schema, state, value);
        }
        is_container || state.is_null() || schema.is_null()
    });
}

/// The same value, with the members of entries in the schema's order.
fn ordered(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Array(entries) => entries.iter().map(|entry| ordered(&schema["items"], entry)).collect(),
        Value::Object(members) => {
            let known = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let known: Map<String, Value> =
                known.filter_map(|(name, member)| Some((name.clone(), ordered(member, members.get(name)?)))).collect();
            let others = members
                .iter()
                .filter(|(name, _)| !known.contains_key(*name))
                .map(|(name, v)| (name.clone(), v.clone()));
            let others: Vec<_> = others.collect();
            Value::Object(known.into_iter().chain(others).collect())
        }
        other => other.clone(),
    }
}

/// Replaces members of `under` by those of `over`, objects member by member.
pub(super) fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// Lays a state over a configuration, each with its schema: objects member by member, and entries of a list that both have
/// by their key, in the order of the configuration. Entries that only the state has follow.
pub(super) fn lay_over((config, state): (&Value, &Value), under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                let schemas = (&config["properties"][&name], &state["properties"][&name]);
                lay_over(schemas, under.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) if let Some(key) = common_key(config, state) => {
            let schemas = (&config["items"], &state["items"]);
            let places: HashMap<Vec<String>, usize> =
                under.iter().enumerate().filter_map(|(at, entry)| Some((key.of_given(entry)?, at))).collect();
            for mut entry in over {
                let Some(&at) = key.of_given(&entry).and_then(|name| places.get(&name)) else {
                    under.push(entry);
                    continue;
                };
                if let Some(members) = entry.as_object_mut() {
                    // The name is the configuration's, which may be spelt in another way.
                    members.retain(|member, _| !key.has(member));
                }
                lay_over(schemas, &mut under[at], entry);
            }
        }
        (under, over) => *under = over,
    }
}

/// The key of a list that both have.
fn common_key<'a>(config: &'a Value, state: &Value) -> Option<Key<'a>> {
    let key = Key::of(config)?;
    Key::of(state).is_some_and(|same| key.names().eq(same.names())).then_some(key)
}

pub(super) fn set(
    schema: &Value,
    config: &mut Value,
    path: &[String],
    operation: Operation,
    value: Value,
) -> Result<(), Problem> {
    let Some((word, rest)) = path.split_first() else {
        let fresh = defaults(schema);
        match operation {
            Operation::Merge | Operation::Create => merge(schema, config, value),
            Operation::Replace => {
                *config = fresh;
                merge(schema, config, value);
            }
            Operation::Remove => *config = fresh,
        }
        return Ok(());
    };
    if let Node::List { key, .. } = Node::of(schema) {
        let Some((words, rest)) = path.split_at_checked(key.words()) else {
            return Err(key.incomplete(path.len()).under(&path.join("/")));
        };
        let entry = Entry { key, words };
        return set_entry(&entry, config, rest, operation, value).map_err(|problem| problem.under(&words.join("/")));
    }
    if !config.is_object() {
        *config = Value::Object(Map::new());
    }
    let (Some(member), Some(members)) = (schema["properties"].get(word), config.as_object_mut()) else { return Ok(()) };
    if rest.is_empty() && operation == Operation::Remove && defaults(member).is_null() {
        members.remove(word);
        return Ok(());
    }
    let place = members.entry(word.clone()).or_insert(Value::Null);
    set(member, place, rest, operation, value).map_err(|problem| problem.under(word))
}

/// An entry of a list, by its name in a path.
struct Entry<'a> {
    key: Key<'a>,
    words: &'a [String],
}

fn set_entry(
    entry: &Entry<'_>,
    list: &mut Value,
    rest: &[String],
    operation: Operation,
    value: Value,
) -> Result<(), Problem> {
    let Entry { key, words } = *entry;
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(entries) = list.as_array_mut() else { return Ok(()) };
    let (schema, names) = (key.items(), key.read(words));
    let value = if value.is_null() && operation == Operation::Create { Value::Object(Map::new()) } else { value };
    if let Some(problem) = key.misfit(&names) {
        return Err(problem);
    }
    if rest.is_empty() && operation != Operation::Remove && !value.is_object() {
        return Err(Problem::bad("", format!("an entry is a JSON object, not {value}")));
    }
    for (member, name) in key.names().zip(&names) {
        let given = match rest {
            [] => value.get(member),
            [only] if only == member => Some(&value),
            _ => None,
        };
        if let Some(other) = given.filter(|other| *other != name && operation != Operation::Remove) {
            let message = format!("the {member} is {name} in the path and {other} in the body");
            return Err(Problem::invalid(member, message));
        }
    }
    let found = key.find(entries, &names);
    let missing = |entries: &[Value]| absent(entries, key, words);
    if !rest.is_empty() {
        let index = found.ok_or_else(|| missing(entries))?;
        return set(schema, &mut entries[index], rest, operation, value);
    }
    match (operation, found) {
        (Operation::Create, Some(_)) => {
            return Err(Problem::exists("", format!("the entry `{}` already exists", words.join(" "))));
        }
        (Operation::Remove, Some(index)) => drop(entries.remove(index)),
        (Operation::Merge, Some(index)) => merge(schema, &mut entries[index], value),
        (Operation::Remove | Operation::Merge, None) => return Err(missing(entries)),
        (Operation::Create | Operation::Replace, found) => {
            let mut entry = defaults(schema);
            merge(schema, &mut entry, value);
            if let Some(members) = entry.as_object_mut() {
                members.extend(key.names().map(str::to_owned).zip(names));
            }
            match found {
                Some(index) => entries[index] = entry,
                None => entries.push(entry),
            }
        }
    }
    Ok(())
}

/// The problem that there is no entry with these words as its key.
pub fn absent(entries: &[Value], key: Key<'_>, words: &[String]) -> Problem {
    let name = words.join(" ");
    let names: Vec<String> = entries.iter().filter_map(|entry| Some(key.of_entry(entry)?.join(" "))).collect();
    Problem::missing("", format!("there is no entry `{name}`")).knowing(&name, names.iter().map(String::as_str))
}

fn merge(schema: &Value, into: &mut Value, value: Value) {
    match (Node::of(schema), value) {
        (Node::Container(schema) | Node::Entry(schema), Value::Object(members)) => {
            if !into.is_object() {
                *into = Value::Object(Map::new());
            }
            for (name, value) in members {
                let member = &schema["properties"][&name];
                if let Some(into) = into.as_object_mut() {
                    merge(member, into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (Node::List { key, schema }, Value::Array(entries)) if into.is_array() => {
            for entry in entries {
                let Some(list) = into.as_array_mut() else { return };
                match key.find_like(list, &entry) {
                    Some(one) => merge(&schema["items"], &mut list[one], entry),
                    None => list.push(entry),
                }
            }
        }
        (_, value) => *into = value,
    }
}

pub(super) fn fill_aliases(schema: &Value, document: &mut Value, config: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, member) in properties {
        let Some(members) = document.as_object_mut() else { return };
        match member.get(keyword::ALIAS).and_then(Value::as_str) {
            Some(target) => {
                if let Some(value) = config.pointer(target) {
                    members.insert(name.clone(), value.clone());
                }
            }
            None => {
                if let Some(place) = members.get_mut(name) {
                    fill_aliases(member, place, config);
                }
            }
        }
    }
}

pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.iter_mut().for_each(|(_, member)| drop_nulls(member));
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Brings the settings into the schema's order, with null for those that have no value; other members follow.
pub(super) fn show_unset(schema: &Value, document: &mut Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let Some(members) = document.as_object_mut() else { return };
    let mut rest = std::mem::take(members);
    for (name, member) in properties {
        let mut value = rest.shift_remove(name).unwrap_or(Value::Null);
        show_unset(member, &mut value);
        members.insert(name.clone(), value);
    }
    members.extend(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_from_the_defaults_is_in_the_schemas_order() {
        let schema = json!({ "properties": {
            "size": { "type": "integer", "default": 3 },
            "word": { "type": ["string", "null"] },
            "alias": { "x-alias": "/size" },
            "box": { "properties": { "depth": { "default": 1 }, "name": { "default": "x" } } },
            "host": { "type": "array", "x-list-key": "id", "items": { "properties": { "id": {}, "flag": {} } } },
        } });
        for (config, expected) in [
            (defaults(&schema), None),
            (json!({ "size": 3, "box": { "name": "x", "depth": 1 }, "word": null, "host": [] }), None),
            (
                json!({ "size": 3, "box": { "depth": 2, "name": "x" }, "host": [] }),
                Some(json!({ "box": { "depth": 2 } })),
            ),
            (
                json!({ "host": [{ "flag": true, "id": 1 }], "word": "a", "size": 3, "box": { "depth": 1, "name": "x" } }),
                Some(json!({ "word": "a", "host": [{ "id": 1, "flag": true }] })),
            ),
        ] {
            let found = sparse(&schema, &config);
            assert_eq!(found.map(|one| one.to_string()), expected.map(|one| one.to_string()), "{config}");
        }
    }

    fn schema() -> Value {
        json!({ "properties": {
            "size": { "type": "integer", "default": 3 },
            "label": { "type": ["string", "null"] },
            "alias": { "type": "integer", "default": 9, "x-alias": "/box/depth" },
            "box": { "properties": {
                "depth": { "type": "integer", "default": 1 },
                "name": { "type": "string" },
                "shown": { "x-alias": "/size" },
            } },
            "host": {
                "type": "array",
                "x-list-key": "id",
                "items": { "properties": {
                    "id": { "type": "integer" },
                    "weight": { "type": "integer", "default": 1 },
                    "tags": { "type": "array", "default": ["x"] },
                } },
            },
            "preset": { "type": "array", "x-list-key": "id", "items": {}, "default": [{ "id": 1 }] },
        } })
    }

    #[track_caller]
    fn check(before: Value, path: &str, operation: Operation, value: Value, after: &Value) {
        let path: Vec<String> = path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut config = before;
        set(&schema(), &mut config, &path, operation, value).unwrap();
        assert_eq!(config, *after, "{path:?} {operation:?}");
    }

    #[test]
    fn defaults_have_neither_aliases_nor_nulls() {
        let expected = json!({ "size": 3, "box": { "depth": 1 }, "host": [], "preset": [{ "id": 1 }] });
        assert_eq!(defaults(&schema()), expected);
    }

    #[test]
    fn what_is_above_a_node_is_made_where_it_is_missing() {
        check(json!({}), "box/name", Operation::Merge, json!("x"), &json!({ "box": { "name": "x" } }));
        check(json!({ "box": null }), "box/name", Operation::Replace, json!("x"), &json!({ "box": { "name": "x" } }));
        check(
            json!({}),
            "host/1",
            Operation::Create,
            json!({}),
            &json!({ "host": [{ "weight": 1, "tags": ["x"], "id": 1 }] }),
        );
    }

    #[test]
    fn the_root_is_merged_replaced_and_reset() {
        let before = || json!({ "size": 7, "label": "x" });
        let fresh = defaults(&schema());
        check(before(), "", Operation::Merge, json!({ "size": 8 }), &json!({ "size": 8, "label": "x" }));
        check(before(), "", Operation::Create, json!({ "size": 8 }), &json!({ "size": 8, "label": "x" }));
        check(before(), "", Operation::Remove, Value::Null, &fresh);
        let mut replaced = fresh;
        replaced["label"] = json!("y");
        check(before(), "", Operation::Replace, json!({ "label": "y" }), &replaced);
    }

    #[test]
    fn an_entry_that_is_replaced_keeps_its_place_and_its_name() {
        let before = || json!({ "host": [{ "id": 1, "weight": 5 }, { "id": 2, "weight": 6 }] });
        let entry = json!({ "weight": 9, "tags": ["x"], "id": 1 });
        let after = json!({ "host": [entry, { "id": 2, "weight": 6 }] });
        check(before(), "host/1", Operation::Replace, json!({ "weight": 9 }), &after);
        check(before(), "host/1", Operation::Replace, json!({ "weight": 9, "id": 1 }), &after);
        let after = json!({ "host": [{ "id": 1, "weight": 5 }, { "id": 2, "weight": 9 }] });
        check(before(), "host/2", Operation::Merge, json!({ "weight": 9 }), &after);
        check(
            before(),
            "host/2/weight",
            Operation::Remove,
            Value::Null,
            &json!({ "host": [{ "id": 1, "weight": 5 }, { "id": 2, "weight": 1 }] }),
        );
        check(before(), "host/1", Operation::Remove, json!("whatever"), &json!({ "host": [{ "id": 2, "weight": 6 }] }));
    }

    #[test]
    fn lists_are_merged_entry_by_entry_and_other_arrays_are_replaced() {
        let before = json!({ "host": [{ "id": 1, "weight": 5, "tags": ["a", "b"] }] });
        check(
            before,
            "",
            Operation::Merge,
            json!({ "host": [{ "id": 2 }, { "id": 1, "tags": ["c"] }] }),
            &json!({ "host": [{ "id": 1, "weight": 5, "tags": ["c"] }, { "id": 2 }] }),
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_reported_with_those_that_are() {
        let schema = schema();
        let key = Key::of(&schema["properties"]["host"]).unwrap();
        let entries = [json!({ "id": 10 }), json!({ "id": 20 }), json!({ "weight": 1 })];
        let said = |entries: &[Value], word: &str| absent(entries, key, &[word.to_owned()]).to_string();
        assert_eq!(said(&entries, "15"), "there is no entry `15`; did you mean `10`?");
        assert_eq!(said(&entries, "abc"), "there is no entry `abc`; known: 10, 20");
        assert_eq!(said(&[], "abc"), "there is no entry `abc`");
    }

    #[test]
    fn an_overlay_wins_member_by_member() {
        let mut under = json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2], "e": 5 });
        overlay(&mut under, json!({ "a": { "c": 3, "f": null }, "d": [3], "e": { "g": 1 } }));
        assert_eq!(under, json!({ "a": { "b": 1, "c": 3, "f": null }, "d": [3], "e": { "g": 1 } }));
    }

    #[test]
    fn aliases_show_what_they_name_at_every_depth() {
        let config = json!({ "size": 4, "box": { "depth": 2 } });
        let mut document = config.clone();
        fill_aliases(&schema(), &mut document, &config);
        assert_eq!(document, json!({ "size": 4, "box": { "depth": 2, "shown": 4 }, "alias": 2 }));
        let mut without = json!({});
        fill_aliases(&schema(), &mut without, &json!({}));
        assert_eq!(without, json!({}), "what is unset has no alias");
    }

    #[test]
    fn nulls_are_dropped_from_members_and_kept_in_lists() {
        let mut value = json!({ "a": null, "b": { "c": null, "d": 0 }, "e": [null, { "f": null }] });
        drop_nulls(&mut value);
        assert_eq!(value, json!({ "b": { "d": 0 }, "e": [null, {}] }));
    }

    #[test]
    fn settings_are_shown_in_the_schemas_order_and_the_rest_after_them() {
        let mut document = json!({ "more": 1, "box": { "name": "x", "seen": 2 }, "size": 4 });
        show_unset(&schema(), &mut document);
        let text = document.to_string();
        let expected = r#"{"size":4,"label":null,"alias":null,"box":{"depth":null,"name":"x","shown":null,"seen":2},"host":null,"preset":null,"more":1}"#;
        assert_eq!(text, expected);
    }
}
