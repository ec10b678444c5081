//! Whether what a schema says of a value can all be true. Pure.
//!
//! JSON Schema takes a default for a note and allows bounds that no value is between: users would meet either when they
//! create a cube, without having set anything.

use std::cmp::Ordering;

use serde_json::Value;

/// What cannot be true together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    #[error("its default, {default}, is not of its type, {kind}: change one of them")]
    Type { default: String, kind: String },
    #[error("its default, {default}, is not one of its values: choose one of {}", .values.join(", "))]
    Choice { default: String, values: Vec<String> },
    #[error("its default, {default}, is past its `{bound}`, {limit}: change one of them")]
    Bound { default: String, bound: &'static str, limit: String },
    #[error("its `{low}`, {least}, is past its `{high}`, {most}: change one of them")]
    Range { low: &'static str, least: String, high: &'static str, most: String },
    #[error("it has `{keyword}` and is of the type {kind}: make it `{wanted}`")]
    Shape { keyword: &'static str, kind: String, wanted: &'static str },
}

/// Bounds that belong together.
const RANGES: [(&str, &str); 3] = [("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")];

/// Checks a node of a schema by itself.
///
/// # Errors
/// The first contradiction.
pub(super) fn check(schema: &Value) -> Result<(), Contradiction> {
    for (keyword, wanted) in [("properties", "object"), ("items", "array")] {
        let kinds = kinds(schema);
        if schema.get(keyword).is_some() && !kinds.is_empty() && !kinds.contains(&wanted) {
            return Err(Contradiction::Shape { keyword, kind: in_words(&kinds), wanted });
        }
    }
    for (low, high) in RANGES {
        let (least, most) = (&schema[low], &schema[high]);
        if order(least, most) == Some(Ordering::Greater) {
            return Err(Contradiction::Range { low, least: least.to_string(), high, most: most.to_string() });
        }
    }
    match schema.get("default") {
        // Null is what is not set.
        None | Some(Value::Null) => Ok(()),
        Some(default) => check_default(schema, default),
    }
}

fn check_default(schema: &Value, default: &Value) -> Result<(), Contradiction> {
    let kinds = kinds(schema);
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, default)) {
        return Err(Contradiction::Type { default: default.to_string(), kind: in_words(&kinds) });
    }
    if let Some(values) = values(schema).filter(|values| !values.contains(default)) {
        return Err(Contradiction::Choice {
            default: default.to_string(),
            values: values.iter().map(Value::to_string).collect(),
        });
    }
    let length = |value: &Value| value.as_str().map(|text| Value::from(text.chars().count()));
    let count = |value: &Value| value.as_array().map(|items| Value::from(items.len()));
    let measures = [Some(default.clone()), length(default), count(default)];
    for ((low, high), measure) in RANGES.into_iter().zip(measures) {
        let Some(measure) = measure else { continue };
        for (bound, wrong) in [(low, Ordering::Less), (high, Ordering::Greater)] {
            if order(&measure, &schema[bound]) == Some(wrong) {
                return Err(Contradiction::Bound {
                    default: default.to_string(),
                    bound,
                    limit: schema[bound].to_string(),
                });
            }
        }
    }
    let items = schema.get("items").filter(|items| items.get("properties").is_none());
    items
        .into_iter()
        .flat_map(|items| default.as_array().into_iter().flatten().map(move |item| (items, item)))
        .try_for_each(|(items, item)| check_default(items, item))
}

/// The types that a schema names.
pub(super) fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Types, for messages; null is what is not set.
pub(super) fn in_words(kinds: &[&str]) -> String {
    let words: Vec<String> = kinds.iter().filter(|kind| **kind != "null").map(|kind| format!("`{kind}`")).collect();
    words.join(" or ")
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

/// The values that a schema lists, in either form.
fn values(schema: &Value) -> Option<Vec<Value>> {
    let listed = || schema["oneOf"].as_array()?.iter().map(|option| option.get("const").cloned()).collect();
    schema["enum"].as_array().cloned().or_else(listed)
}

/// How two numbers compare, exactly where both are integers.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn is(schema: &Value, expected: &str) {
        let found = check(schema).err().map(|wrong| wrong.to_string()).unwrap_or_default();
        assert_eq!(found, expected, "{schema}");
    }

    #[test]
    fn a_default_is_a_value() {
        is(&json!({ "type": "boolean", "default": false }), "");
        is(
            &json!({ "type": "boolean", "default": "yes" }),
            "its default, \"yes\", is not of its type, `boolean`: change one of them",
        );
        is(&json!({ "type": ["integer", "null"], "default": null }), "");
        is(
            &json!({ "type": ["integer", "string", "null"], "default": true }),
            "its default, true, is not of its type, `integer` or `string`: change one of them",
        );
        let small = json!({ "type": "integer", "minimum": 1, "maximum": 200 });
        let with = |schema: &Value, default: Value| {
            let mut schema = schema.clone();
            schema["default"] = default;
            schema
        };
        is(&with(&small, json!(200)), "");
        is(&with(&small, json!(255)), "its default, 255, is past its `maximum`, 200: change one of them");
        is(&with(&small, json!(0)), "its default, 0, is past its `minimum`, 1: change one of them");
        is(&with(&small, json!(1.5)), "its default, 1.5, is not of its type, `integer`: change one of them");
        is(&with(&json!({ "maximum": u64::MAX }), json!(u64::MAX)), "");
        for words in [json!({ "enum": ["a", "b"] }), json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] })] {
            is(&with(&words, json!("b")), "");
            is(&with(&words, json!("c")), "its default, \"c\", is not one of its values: choose one of \"a\", \"b\"");
        }
        is(
            &json!({ "type": "string", "maxLength": 2, "default": "abc" }),
            "its default, \"abc\", is past its `maxLength`, 2: change one of them",
        );
        let list = json!({ "type": "array", "items": { "type": "integer" } });
        is(&with(&list, json!([1, 2])), "");
        is(&with(&list, json!([1, "x"])), "its default, \"x\", is not of its type, `integer`: change one of them");
        is(&with(&list, json!(1)), "its default, 1, is not of its type, `array`: change one of them");
    }

    #[test]
    fn bounds_leave_room_and_members_are_of_objects() {
        is(&json!({ "minimum": 9, "maximum": 3 }), "its `minimum`, 9, is past its `maximum`, 3: change one of them");
        is(
            &json!({ "minLength": 2, "maxLength": 1 }),
            "its `minLength`, 2, is past its `maxLength`, 1: change one of them",
        );
        is(&json!({ "minimum": 3, "maximum": 3 }), "");
        let members = |kind: Value| json!({ "type": kind, "properties": {} });
        is(&members(json!(["object", "null"])), "");
        is(&members(json!("array")), "it has `properties` and is of the type `array`: make it `object`");
        is(&json!({ "type": "object", "items": {} }), "it has `items` and is of the type `object`: make it `array`");
    }
}
