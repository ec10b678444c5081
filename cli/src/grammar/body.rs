//! Values: what a `key=value` pair becomes in JSON.

use serde_json::{Map, Number, Value};

use super::error::UsageError;
use super::words::Pair;

/// Types a value by its text.
///
/// A number only when JSON would print that number with the very same text: `007`, `1e5` and `1.50` are labels that
/// the user chose, and they stay strings.
pub(super) fn scalar(text: &str) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.');
    match serde_json::from_str::<Number>(text) {
        Ok(number) if is_decimal && number.to_string() == text => Value::Number(number),
        _ => Value::String(text.to_owned()),
    }
}

/// Makes one object of all pairs with their values; dotted keys nest.
///
/// # Errors
///
/// A key that would be a value and an object at once, as in `a=1 a.b=2`.
pub(super) fn object<'a>(pairs: impl IntoIterator<Item = (&'a Pair, Value)>) -> Result<Value, UsageError> {
    let mut object = Map::new();
    for (pair, value) in pairs {
        if !insert(&mut object, &pair.key, value) {
            return Err(UsageError::KeyConflict { key: pair.name.clone() });
        }
    }
    Ok(Value::Object(object))
}

fn insert(object: &mut Map<String, Value>, key: &[String], value: Value) -> bool {
    match key {
        [] => false,
        [leaf] => object.insert(leaf.clone(), value).is_none(),
        [head, rest @ ..] => match object.entry(head.as_str()).or_insert_with(|| Map::new().into()) {
            Value::Object(inner) => insert(inner, rest, value),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(&scalar(text), expected, "{text:?}");
    }

    #[test]
    fn canonical_numbers_are_numbers() {
        check("80", &json!(80));
        check("0", &json!(0));
        check("-5", &json!(-5));
        check("1.5", &json!(1.5));
        check("-0.25", &json!(-0.25));
        check("18446744073709551615", &json!(u64::MAX));
    }

    #[test]
    fn other_spellings_of_numbers_stay_strings() {
        for text in ["007", "1e5", "1E5", "1e300", "0x1", "+1", " 1", "1 ", "1.50", ".5", "5.", "-0", "-", "1,5", "NaN"]
        {
            check(text, &json!(text));
        }
        check("18446744073709551616", &json!("18446744073709551616"));
        check("10.10.10.10", &json!("10.10.10.10"));
    }

    #[test]
    fn only_true_and_false_are_booleans() {
        check("true", &json!(true));
        check("false", &json!(false));
        for text in ["True", "t", "FALSE", "yes", "null", "", "\"x\"", "{}", "[1]"] {
            check(text, &json!(text));
        }
    }
}
