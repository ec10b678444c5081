//! Values without members, read as what a leaf wants. Enumerations are compared without regard to case, as Polycube did.

use polycube_api::Unit;
use polycube_plugin_api::keyword;
use serde_json::{Number, Value};

/// Makes a value what `schema` wants, as far as its text allows it. Values with members are left as they are.
pub(super) fn scalar(schema: &Value, value: Value) -> Value {
    if let (Some(options), Value::String(text)) = (schema.get("enum").and_then(Value::as_array), &value)
        && let Some(option) = option(options, text)
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
        // A leaf that is a number or a word has a pattern for the word.
        Value::String(text) if !wants("string") || (wants("integer") && !schema["pattern"].is_null()) => {
            let in_unit = || unit_of(schema)?.read(&text, !wants("number")).ok().map(Value::Number);
            parse(&text, &wants).or_else(in_unit).unwrap_or(Value::String(text))
        }
        Value::String(text) if schema[keyword::LOWER_CASE] == true => text.to_lowercase().into(),
        other => other,
    }
}

/// What `text` is among `options`: a text if there is one, or a number or a truth value that is written like that.
fn option<'a>(options: &'a [Value], text: &str) -> Option<&'a Value> {
    let texts = options.iter().filter(|option| option.is_string());
    let others = options.iter().filter(|option| !option.is_string());
    texts.chain(others).find(|option| word(option).is_some_and(|word| word.eq_ignore_ascii_case(text)))
}

/// How a name is written in a path; `None` if the value cannot be a name.
pub fn word(name: &Value) -> Option<String> {
    match name {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(name.to_string()),
        _ => None,
    }
}

/// What a number of `schema` counts.
pub(super) fn unit_of(schema: &Value) -> Option<Unit> {
    Unit::parse(schema[keyword::UNIT].as_str()?)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, given: Value, expected: &Value) {
        let text = given.to_string();
        let found = scalar(schema, given);
        assert_eq!((found.is_f64(), &found), (expected.is_f64(), expected), "{text} for {schema}");
    }

    #[test]
    fn a_text_is_read_as_the_first_type_that_it_can_be() {
        let any = json!({ "type": ["integer", "number", "boolean"] });
        check(&any, json!("5"), &json!(5));
        check(&any, json!("5.5"), &json!(5.5));
        check(&any, json!("T"), &json!(true));
        check(&any, json!("neither"), &json!("neither"));
        let flag = json!({ "type": "boolean" });
        for text in ["1", "yes", "", " true"] {
            check(&flag, json!(text), &json!(text));
        }
        let number = json!({ "type": "number" });
        check(&number, json!("1e3"), &json!(1000.0));
        for text in ["NaN", "inf", "-infinity", "1,5", ""] {
            check(&number, json!(text), &json!(text));
        }
    }

    #[test]
    fn a_text_that_a_leaf_takes_as_it_is_stays_a_text() {
        let both = json!({ "type": ["string", "integer", "boolean"] });
        for value in [json!("5"), json!("true"), json!(5), json!(true), json!("")] {
            check(&both, value.clone(), &value);
        }
        check(&json!({ "type": "string" }), json!(1.5), &json!("1.5"));
        let number_or_word = json!({ "type": ["integer", "string"], "pattern": "^headers$" });
        for (given, value) in [(json!("96"), json!(96)), (json!("headers"), json!("headers")), (json!(96), json!(96))] {
            check(&number_or_word, given, &value);
        }
        check(&json!({ "type": "string" }), json!(""), &json!(""));
        check(&json!({ "type": ["string", "null"] }), json!(""), &Value::Null);
        check(&json!({ "type": ["integer", "null"] }), json!(""), &Value::Null);
    }

    #[test]
    fn integers_keep_every_digit() {
        let integer = json!({ "type": "integer" });
        for (text, exact) in [
            ("9223372036854775808", json!(9_223_372_036_854_775_808_u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("007", json!(7)),
            ("+7", json!(7)),
            ("-0", json!(0)),
        ] {
            check(&integer, json!(text), &exact);
        }
        check(&integer, json!(-3.0), &json!(-3));
        for text in ["0x10", "1_000", "5.0", "1e3", "-", "--5", " 5"] {
            check(&integer, json!(text), &json!(text));
        }
    }

    #[test]
    fn a_text_with_a_unit_is_a_number_of_the_leafs_unit() {
        let bytes = json!({ "type": ["integer", "null"], "x-unit": "bytes" });
        check(&bytes, json!("10 MiB"), &json!(10_485_760));
        check(&bytes, json!("1MB"), &json!(1_000_000));
        check(&bytes, json!("96"), &json!(96));
        for text in ["1.5B", "1h", "10 parsecs", "MB"] {
            check(&bytes, json!(text), &json!(text));
        }
        let mebibytes = json!({ "type": "number", "x-unit": "MiB" });
        check(&mebibytes, json!("1MB"), &json!(0.953_674_316_406_25));
        check(&mebibytes, json!("2GiB"), &json!(2048));
        check(&json!({ "type": "integer", "x-unit": "MiB" }), json!("1MB"), &json!("1MB"));
        check(&json!({ "type": "integer", "x-unit": "seconds" }), json!("1h"), &json!(3600));
        check(&json!({ "type": "integer" }), json!("1h"), &json!("1h"));
        check(&json!({ "type": "string", "x-unit": "bytes" }), json!("1MB"), &json!("1MB"));
    }

    #[test]
    fn an_enumeration_gives_its_own_spelling() {
        let schema = json!({ "type": "string", "enum": ["TC", "XDP", "straße"] });
        check(&schema, json!("xdp"), &json!("XDP"));
        check(&schema, json!("STRAßE"), &json!("straße"));
        check(&schema, json!("xd"), &json!("xd"));
        check(&json!({ "enum": [5, "5"] }), json!("5"), &json!("5"));
        let mixed = json!({ "type": ["boolean", "string"], "enum": [false, true, "auto"] });
        for (text, option) in [("TRUE", json!(true)), ("false", json!(false)), ("Auto", json!("auto"))] {
            check(&mixed, json!(text), &option);
        }
    }

    #[test]
    fn lower_case_is_for_texts_alone() {
        let schema = json!({ "type": "string", "x-lower-case": true });
        check(&schema, json!("Ab:CD"), &json!("ab:cd"));
        check(&schema, json!(["Ab"]), &json!(["Ab"]));
        check(&json!({ "type": "string", "x-lower-case": false }), json!("Ab"), &json!("Ab"));
    }

    #[test]
    fn what_has_members_is_left_alone() {
        for kind in ["string", "integer", "boolean"] {
            for value in [json!({ "a": "5" }), json!(["5"]), Value::Null] {
                check(&json!({ "type": kind }), value.clone(), &value);
            }
        }
        check(&json!({}), json!("5"), &json!("5"));
    }

    #[test]
    fn only_values_without_members_can_be_names() {
        for (value, expected) in [
            (json!("a"), Some("a")),
            (json!(""), Some("")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (Value::Null, None),
            (json!(["a"]), None),
            (json!({}), None),
        ] {
            assert_eq!(word(&value).as_deref(), expected, "{value}");
        }
    }
}
