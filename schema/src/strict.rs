//! Schemas as the host takes them: stricter than plugins write them.

use polycube_plugin_api::keyword;
use serde_json::Value;

/// Makes every object refuse members that it does not name. An enumeration whose values are described one by one
/// (`oneOf` of `const`) becomes a plain one.
pub(super) fn make_strict(schema: &mut Value) {
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

/// The greatest integer of a format that schemars writes for Rust's types: it states their minimum only.
fn greatest(format: &str) -> Option<u64> {
    Some(match format {
        "uint8" => u8::MAX.into(),
        "uint16" => u16::MAX.into(),
        "uint32" => u32::MAX.into(),
        "uint64" | "uint" => u64::MAX,
        "int8" => i8::MAX.cast_unsigned().into(),
        "int16" => i16::MAX.cast_unsigned().into(),
        "int32" => i32::MAX.cast_unsigned().into(),
        "int64" => i64::MAX.cast_unsigned(),
        _ => return None,
    })
}

/// Removes aliases: a configuration holds a value once, under its own name.
pub(super) fn drop_aliases(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|_, member| member.get(keyword::ALIAS).is_none());
        properties.iter_mut().for_each(|(_, member)| drop_aliases(member));
    }
    object.get_mut("items").into_iter().for_each(drop_aliases);
}

/// Makes every member optional.
pub(super) fn drop_required(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.shift_remove("required");
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, member)| drop_required(member));
    object.get_mut("items").into_iter().for_each(drop_required);
}

/// Marks what only the state has, down to its leaves.
pub(super) fn mark_read_only(state: &mut Value, config: &Value) {
    if let (Some(entry), Some(same)) = (state.get_mut("items"), config.get("items")) {
        mark_read_only(entry, same);
    }
    let Some(members) = state.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, member) in members {
        match config.get("properties").and_then(|properties| properties.get(name)) {
            Some(same) => mark_read_only(member, same),
            None => forbid(member),
        }
    }
}

fn forbid(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.insert("readOnly".to_owned(), true.into());
    object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten().for_each(|(_, s)| forbid(s));
    object.get_mut("items").into_iter().for_each(forbid);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), before: Value, after: &Value) {
        let mut schema = before;
        change(&mut schema);
        assert_eq!(schema, *after);
    }

    #[test]
    fn objects_refuse_what_they_do_not_name_at_every_depth() {
        check(
            make_strict,
            json!({ "properties": { "a": { "properties": {} }, "l": { "items": { "properties": { "k": {} } } } } }),
            &json!({
                "properties": {
                    "a": { "properties": {}, "additionalProperties": false },
                    "l": { "items": { "properties": { "k": {} }, "additionalProperties": false } },
                },
                "additionalProperties": false,
            }),
        );
        let open = json!({ "properties": {}, "additionalProperties": true });
        check(make_strict, open.clone(), &open);
        let any = json!({ "type": "object" });
        check(make_strict, any.clone(), &any);
    }

    #[test]
    fn constants_that_are_described_one_by_one_become_an_enumeration() {
        check(
            make_strict,
            json!({ "oneOf": [{ "const": "in", "description": "In" }, { "const": "out" }], "description": "Way" }),
            &json!({ "description": "Way", "type": "string", "enum": ["in", "out"] }),
        );
        let mixed = json!({ "oneOf": [{ "const": "in" }, { "type": "integer" }] });
        check(make_strict, mixed.clone(), &mixed);
    }

    #[test]
    fn an_integers_format_says_its_maximum_unless_the_schema_does() {
        for (format, maximum) in [
            ("uint8", json!(255)),
            ("int8", json!(127)),
            ("uint16", json!(65_535)),
            ("int16", json!(32_767)),
            ("uint32", json!(4_294_967_295_u32)),
            ("int32", json!(2_147_483_647)),
            ("uint", json!(u64::MAX)),
            ("int64", json!(i64::MAX)),
            ("double", Value::Null),
        ] {
            let mut schema = json!({ "type": "integer", "format": format });
            make_strict(&mut schema);
            assert_eq!(schema["maximum"], maximum, "{format}");
        }
        let own = json!({ "format": "uint8", "maximum": 9 });
        check(make_strict, own.clone(), &own);
    }

    #[test]
    fn aliases_are_dropped_wherever_they_are() {
        let alias = json!({ "type": "integer", "x-alias": "/depth" });
        check(
            drop_aliases,
            json!({ "properties": {
                "depth": {},
                "other": alias,
                "box": { "properties": { "depth": alias, "kept": {} } },
                "list": { "items": { "properties": { "alias": alias, "key": {} } } },
            } }),
            &json!({ "properties": {
                "depth": {},
                "box": { "properties": { "kept": {} } },
                "list": { "items": { "properties": { "key": {} } } },
            } }),
        );
    }

    #[test]
    fn nothing_has_to_be_given_once_required_is_dropped() {
        check(
            drop_required,
            json!({ "required": ["l"], "properties": { "l": { "items": { "required": ["k"], "properties": { "k": { "required": [] } } } } } }),
            &json!({ "properties": { "l": { "items": { "properties": { "k": {} } } } } }),
        );
    }

    #[test]
    fn only_what_the_configuration_does_not_have_is_read_only() {
        let config = json!({ "properties": {
            "both": {},
            "box": { "properties": { "set": {} } },
            "list": { "items": { "properties": { "key": {} } } },
        } });
        check(
            |state| mark_read_only(state, &config),
            json!({ "properties": {
                "both": {},
                "box": { "properties": { "set": {}, "seen": {} } },
                "list": { "items": { "properties": { "key": {}, "age": { "items": { "properties": { "s": {} } } } } } },
            } }),
            &json!({ "properties": {
                "both": {},
                "box": { "properties": { "set": {}, "seen": { "readOnly": true } } },
                "list": { "items": { "properties": {
                    "key": {},
                    "age": {
                        "items": { "properties": { "s": { "readOnly": true } }, "readOnly": true },
                        "readOnly": true,
                    },
                } } },
            } }),
        );
    }

    #[test]
    fn what_is_not_an_object_is_left_alone() {
        for schema in [Value::Null, json!(true), json!([])] {
            check(make_strict, schema.clone(), &schema);
            check(drop_aliases, schema.clone(), &schema);
            check(drop_required, schema.clone(), &schema);
        }
    }
}
