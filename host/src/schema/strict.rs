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
