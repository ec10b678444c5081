//! Values without members, read as what a leaf wants. Enumerations are compared without regard to case, as Polycube did.

use polycube_plugin_api::keyword;
use serde_json::{Number, Value};

/// Makes a value what `schema` wants, as far as its text allows it. Values with members are left as they are.
pub(super) fn scalar(schema: &Value, value: Value) -> Value {
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
        // An empty text unsets what can be unset.
        Value::String(text) if text.is_empty() && wants("null") => Value::Null,
        Value::Number(number) if wants("string") && !wants("number") && !wants("integer") => {
            Value::String(number.to_string())
        }
        Value::Bool(flag) if wants("string") && !wants("boolean") => Value::String(flag.to_string()),
        // To JSON Schema 5.0 is an integer, to serde it is not.
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
    // A number too large for any integer type is out of the schema's range, not of another type.
    exact.ok().or_else(|| text.parse().ok().filter(|_| has_digits_only()).and_then(Number::from_f64))
}
