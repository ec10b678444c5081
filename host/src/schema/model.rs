//! A service's data model: its schema made strict, and changes of a configuration checked against it.

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use polycube_plugin_api::{ServiceSchema, keyword};
use serde_json::{Map, Value};

use super::coerce::{Aliased, Findings, coerce};
use super::node::{self, Node, is_word, locate};
use crate::problem::{ErrorTag, Problem, Problems, suggestion};

/// A schema that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the schema of service `{service}` cannot be used: {reason}")]
pub struct ModelError {
    service: String,
    reason: String,
}

/// What a request does to the node that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST: makes a list entry that is not there yet; sets in a container.
    Create,
    /// PUT: what is not named gets its default.
    Replace,
    /// PATCH: what is not named stays.
    Merge,
    /// DELETE: back to the default; an entry goes.
    Remove,
}

/// The data model of a service.
pub struct Model {
    pub service: ServiceSchema,
    /// Schema of what can be read: configuration and state together.
    pub tree: Value,
    config: Value,
    validator: Validator,
}

impl Model {
    /// # Errors
    /// The schema is none.
    pub fn new(mut service: ServiceSchema) -> Result<Self, ModelError> {
        let error = |reason: String| ModelError { service: service.name.clone(), reason };
        let mut config = service.config.clone();
        make_strict(&mut config);
        let mut enforced = config.clone();
        drop_aliases(&mut enforced);
        let validator = jsonschema::validator_for(&enforced).map_err(|failure| error(failure.to_string()))?;
        make_strict(&mut service.state);
        let mut tree = config.clone();
        mark_read_only(&mut service.state, &config);
        overlay(&mut tree, service.state.clone());
        Ok(Self { service, tree, config, validator })
    }

    /// The configuration of a new cube: defaults, and what `body` says.
    ///
    /// # Errors
    /// Everything that is wrong with `body`.
    pub fn create(&self, body: Value) -> Result<Value, Problems> {
        self.apply(&self.defaults(), &[], Operation::Merge, body, true)
    }

    /// `config` after `operation` on the node at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with the path or with `value`.
    pub fn change(
        &self,
        config: &Value,
        path: &[String],
        operation: Operation,
        value: Value,
    ) -> Result<Value, Problems> {
        self.apply(config, path, operation, value, false)
    }

    /// Configuration and state as one document: aliases filled in; settings that are unset are null, and what else has
    /// no value is left out.
    pub fn present(&self, config: &Value, state: Value) -> Value {
        let mut document = config.clone();
        fill_aliases(&self.config, &mut document, config);
        overlay(&mut document, state);
        drop_nulls(&mut document);
        show_unset(&self.config, &mut document);
        document
    }

    /// The value at `path` of a document that [`Model::present`] made.
    pub fn read<'a>(&self, document: &'a Value, path: &[String]) -> Option<&'a Value> {
        node::read(&self.tree, document, path)
    }

    fn defaults(&self) -> Value {
        defaults(&self.config)
    }

    fn apply(
        &self,
        config: &Value,
        path: &[String],
        operation: Operation,
        value: Value,
        creating: bool,
    ) -> Result<Value, Problems> {
        let node = locate(&self.config, path).map_err(|(node, word)| self.nowhere(path, node, word))?;
        let place = path.join("/");
        let mut findings = Findings::default();
        let value = coerce(node.schema(), value, &place, &|path| self.is_state(path), &mut findings);
        if path.is_empty() {
            let twice = findings
                .aliased
                .iter()
                .filter(|Aliased { target, value: alias }| value.pointer(target).is_some_and(|given| given != alias));
            findings.problems.extend(twice.map(|Aliased { target, .. }| {
                let target = target.trim_start_matches('/');
                Problem::bad(target, format!("`{target}` is given two values, one by another name: give one"))
            }));
        }
        let mut changed = config.clone();
        match node.schema().get(keyword::ALIAS).and_then(Value::as_str) {
            Some(target) => set(&self.config, &mut changed, &words(target), operation, value)?,
            None => set(&self.config, &mut changed, path, operation, value)?,
        }
        for Aliased { target, value } in findings.aliased {
            set(&self.config, &mut changed, &words(&target), Operation::Merge, value)?;
        }
        let mut problems = findings.problems;
        problems.extend(self.validator.iter_errors(&changed).filter_map(|error| problem(&self.config, &error)));
        if !creating {
            fixed(&self.config, config, &changed, "", &mut problems);
        }
        if problems.is_empty() { Ok(changed) } else { Err(Problems(problems)) }
    }

    fn is_state(&self, path: &str) -> bool {
        let words: Vec<String> = path.split('/').map(str::to_owned).collect();
        locate(&self.service.state, &words).is_ok()
    }

    fn nowhere(&self, path: &[String], node: Node<'_>, word: &str) -> Problem {
        let place = path.join("/");
        if locate(&self.service.state, path).is_ok() {
            return Problem::invalid(place, format!("`{}` is read-only", path.join(" ")));
        }
        let known = suggestion(word, node.children());
        Problem::new(ErrorTag::UnknownElement, place, format!("there is no `{word}`{known}"))
    }
}

/// The words of a JSON pointer.
fn words(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(str::to_owned).collect()
}

/// Every object takes the members that it names and no others; an enumeration whose members are described one by one
/// (`oneOf` of `const`) becomes a plain one.
fn make_strict(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("properties") {
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if let Some(options) = object.get("oneOf").and_then(Value::as_array)
        && let Some(constants) = options.iter().map(|option| option.get("const").cloned()).collect::<Option<Vec<_>>>()
    {
        object.remove("oneOf");
        object.insert("type".to_owned(), "string".into());
        object.insert("enum".to_owned(), constants.into());
    }
    let greatest = object.get("format").and_then(Value::as_str).and_then(greatest);
    if let (Some(greatest), None) = (greatest, object.get("maximum")) {
        object.insert("maximum".to_owned(), greatest.into());
    }
    object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten().for_each(|(_, s)| make_strict(s));
    object.get_mut("items").into_iter().for_each(make_strict);
}

/// The greatest integer of a format that schemars writes for Rust's types; it states their least only.
fn greatest(format: &str) -> Option<u64> {
    Some(match format {
        "uint8" => u8::MAX.into(),
        "uint16" => u16::MAX.into(),
        "uint32" => u32::MAX.into(),
        "int8" => i8::MAX.cast_unsigned().into(),
        "int16" => i16::MAX.cast_unsigned().into(),
        "int32" => i32::MAX.cast_unsigned().into(),
        _ => return None,
    })
}

/// A configuration holds a value once: under its own name.
fn drop_aliases(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|_, member| member.get(keyword::ALIAS).is_none());
        properties.iter_mut().for_each(|(_, member)| drop_aliases(member));
    }
    object.get_mut("items").into_iter().for_each(drop_aliases);
}

fn mark_read_only(state: &mut Value, config: &Value) {
    let Some(members) = state.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, member) in members {
        match config.get("properties").and_then(|properties| properties.get(name)) {
            Some(same) => mark_read_only(member, same),
            None => {
                if let Some(member) = member.as_object_mut() {
                    member.insert("readOnly".to_owned(), true.into());
                }
            }
        }
    }
}

fn defaults(schema: &Value) -> Value {
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
        Node::Entry(_) | Node::Leaf(_) => schema.get("default").cloned().unwrap_or(Value::Null),
    }
}

/// Members of `over` replace those of `under`, objects member by member.
fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn set(schema: &Value, config: &mut Value, path: &[String], operation: Operation, value: Value) -> Result<(), Problem> {
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
    if let Node::List { key, schema } = Node::of(schema) {
        return set_entry(&schema["items"], key, config, word, rest, operation, value)
            .map_err(|problem| problem.under(word));
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

fn set_entry(
    schema: &Value,
    key: &str,
    list: &mut Value,
    word: &str,
    rest: &[String],
    operation: Operation,
    value: Value,
) -> Result<(), Problem> {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(entries) = list.as_array_mut() else { return Ok(()) };
    let found = entries.iter().position(|entry| entry.get(key).is_some_and(|name| is_word(name, word)));
    let missing = || Problem::missing("", format!("there is no entry `{word}`"));
    if !rest.is_empty() {
        return set(schema, &mut entries[found.ok_or_else(missing)?], rest, operation, value);
    }
    match (operation, found) {
        (Operation::Create, Some(_)) => return Err(Problem::exists("", format!("the entry `{word}` exists already"))),
        (Operation::Remove, Some(index)) => drop(entries.remove(index)),
        (Operation::Merge, Some(index)) => merge(schema, &mut entries[index], value),
        (Operation::Remove | Operation::Merge, None) => return Err(missing()),
        (Operation::Create | Operation::Replace, found) => {
            let mut entry = defaults(schema);
            merge(schema, &mut entry, value);
            if let Some(members) = entry.as_object_mut() {
                members.insert(key.to_owned(), word.into());
            }
            match found {
                Some(index) => entries[index] = entry,
                None => entries.push(entry),
            }
        }
    }
    Ok(())
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
                let same = |one: &&mut Value| entry.get(key).is_some() && one.get(key) == entry.get(key);
                let Some(list) = into.as_array_mut() else { return };
                match list.iter_mut().find(same) {
                    Some(one) => merge(&schema["items"], one, entry),
                    None => list.push(entry),
                }
            }
        }
        (_, value) => *into = value,
    }
}

fn fill_aliases(schema: &Value, document: &mut Value, config: &Value) {
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

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.iter_mut().for_each(|(_, member)| drop_nulls(member));
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Brings the settings into the schema's order, with null for those that have no value; what else there is follows.
fn show_unset(schema: &Value, document: &mut Value) {
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

/// Finds leaves that are settled at creation and would change.
fn fixed(schema: &Value, old: &Value, new: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, member) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let (old, new) = (&old[name], &new[name]);
        if member.get(keyword::CREATE_ONLY).and_then(Value::as_bool) == Some(true) && old != new {
            // A value that could not be given at creation either is not to be told to be given then.
            if problems.iter().any(|problem| problem.path == path) {
                continue;
            }
            let message = format!(
                "`{name}` is settled when the cube is created: delete the cube and create it with the new value"
            );
            problems.push(Problem::invalid(path, message));
        } else {
            fixed(member, old, new, &path, problems);
        }
    }
}

/// What to tell of a violation; `None` where another says the same, and better.
fn problem(schema: &Value, error: &ValidationError<'_>) -> Option<Problem> {
    let path = error.instance_path().to_string();
    let path = path.trim_start_matches('/');
    let leaf = path.rsplit('/').next().unwrap_or_default();
    let schema = path.split('/').fold(schema, |schema, word| match &schema["items"] {
        Value::Null => &schema["properties"][word],
        items => items,
    });
    let (value, text) = (error.instance(), |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned));
    let list = |values: &Value| values.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let message = format!("`{property}` is missing");
            return Some(Problem::new(ErrorTag::MissingAttribute, property, message).under(path));
        }
        ValidationErrorKind::Type { .. } if !schema["enum"].is_null() => return None,
        ValidationErrorKind::Enum { options } => format!("{value} is not one of {}", list(options)),
        ValidationErrorKind::Pattern { .. } if !schema["examples"].is_null() => {
            format!("{value} is not of the right form: write it like {}", list(&schema["examples"]))
        }
        _ => error.to_string(),
    };
    Some(if leaf.is_empty() { Problem::bad(path, message) } else { Problem::bad(path, format!("{leaf}: {message}")) })
}
