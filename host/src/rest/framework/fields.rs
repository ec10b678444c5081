//! Bodies of fields, checked against their declaration.

use std::collections::BTreeMap;

use polycube_api::Limits;
use serde_json::Value;

use crate::problem::{ErrorTag, Problem, Problems};
use crate::rest::route::Field;

/// The texts of a body for the path `word`.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(
    word: &str,
    body: Value,
    fields: &'static [Field],
) -> Result<BTreeMap<&'static str, String>, Problems> {
    let is_nothing = body.is_null() && fields.iter().all(|field| !field.is_required);
    let body = if is_nothing { Value::Object(serde_json::Map::new()) } else { body };
    let Value::Object(mut body) = body else {
        return Err(Problem::bad(word, "the body must be a JSON object").into());
    };
    let mut problems = Vec::new();
    let mut given = BTreeMap::new();
    for field in fields {
        let value = body.shift_remove(field.name);
        if value.is_none() && !field.is_required {
            continue;
        }
        match check(field, value) {
            Ok(text) => drop(given.insert(field.name, text)),
            Err(problem) => problems.push(problem.under(word)),
        }
    }
    problems.extend(body.keys().map(|key| {
        let problem = Problem::invalid(format!("{word}/{key}"), format!("unknown key `{key}`"));
        problem.knowing(key, fields.iter().map(|field| field.name))
    }));
    if problems.is_empty() { Ok(given) } else { Err(Problems(problems)) }
}

fn check(field: &Field, value: Option<Value>) -> Result<String, Problem> {
    let Field { name, values, .. } = field;
    match value {
        Some(Value::String(text)) if values.is_empty() || values.contains(&text.as_str()) => Ok(text),
        Some(Value::String(text)) => {
            let limits = Limits { values: values.iter().map(|&value| value.to_owned()).collect(), ..Limits::default() };
            let choice = if values.len() == 1 { "" } else { "one of " };
            let message = format!("`{name}` is {choice}{}, not `{text}`", values.join(", "));
            Err(Problem::bad(*name, message).within(limits))
        }
        Some(other) => Err(Problem::bad(*name, format!("`{name}` must be a string, not {other}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, *name, format!("`{name}` is missing"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rest::route::Names;

    const TEXT: Field =
        Field { name: "name", about: "", example: "", is_required: true, values: &[], names: Names::Nothing };
    static FIELDS: [Field; 2] = [TEXT, Field { name: "mode", is_required: false, values: &["in", "out"], ..TEXT }];

    #[track_caller]
    fn check(body: Value, expected: &[(&str, &str)]) {
        let problems = read("word", body, &FIELDS).unwrap_err().0;
        let found: Vec<_> = problems.iter().map(|one| (one.path.as_str(), one.to_string())).collect();
        let expected: Vec<_> = expected.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_declared_is_read_and_all_else_refused() {
        let given = read("word", json!({ "name": "x", "mode": "in" }), &FIELDS).unwrap();
        assert_eq!(given, BTreeMap::from([("name", "x".to_owned()), ("mode", "in".to_owned())]));
        assert_eq!(read("word", json!({ "name": "x" }), &FIELDS).unwrap().len(), 1);
        check(json!(5), &[("word", "the body must be a JSON object")]);
        check(
            json!({ "mode": "both", "nam": 1 }),
            &[
                ("word/name", "`name` is missing"),
                ("word/mode", "`mode` is one of in, out, not `both`"),
                ("word/nam", "unknown key `nam`; did you mean `name`?"),
            ],
        );
        check(json!({ "name": null }), &[("word/name", "`name` must be a string, not null")]);
    }

    #[test]
    fn a_field_that_may_be_left_out_may_not_be_wrong() {
        check(json!({ "name": "x", "mode": null }), &[("word/mode", "`mode` must be a string, not null")]);
        check(json!({ "name": "x", "mode": "" }), &[("word/mode", "`mode` is one of in, out, not ``")]);
        check(json!({ "name": "x", "mode": "IN" }), &[("word/mode", "`mode` is one of in, out, not `IN`")]);
        check(json!([]), &[("word", "the body must be a JSON object")]);
        check(
            json!({ "name": "x", "Name": "x", "more": 1 }),
            &[
                ("word/Name", "unknown key `Name`; did you mean `name`?"),
                ("word/more", "unknown key `more`; did you mean `mode`?"),
            ],
        );
        assert_eq!(read("word", json!({ "name": "" }), &FIELDS).unwrap()["name"], "", "an empty text is a text");
    }

    #[test]
    fn a_refused_value_comes_with_those_that_are_taken() {
        let problem = read("word", json!({ "name": "x", "mode": "up" }), &FIELDS).unwrap_err().0.remove(0);
        let limits = polycube_api::Error::from(problem).error_info.limits.unwrap();
        assert_eq!(limits.values, ["in", "out"]);
    }
}
