//! Settings as they are typed, read as the daemon's data model has them.
//!
//! A value by itself does not say whether `10.0.0.0/8` is a text or a list of one, so the daemon is asked before settings are
//! sent. A list of values and a map are written in one word, with commas, and set as a whole; what contains commas itself is
//! written in JSON. Without an answer, every value is sent as its text says.

use hyper::Method;
use polycube_api::{Form, Keyword};
use serde_json::{Map, Value};

use super::body::{object, scalar};
use super::error::UsageError;
use super::request::Request;
use super::words::Pair;

/// The settings of a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// The path that their names begin at.
    path: String,
    pairs: Vec<Pair>,
    kind: Kind,
}

/// What a request does with its settings.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// All of them are its body, and what it creates has nothing yet.
    #[default]
    New,
    /// All of them are its body, for something that exists.
    Change,
    /// Its path leads to the only one.
    Single,
}

impl Settings {
    pub(super) fn new(path: &str, pairs: &[Pair], kind: Kind) -> Self {
        Self { path: path.to_owned(), pairs: pairs.to_vec(), kind }
    }

    /// Asks the daemon for the data model; `None` where there is nothing to be read.
    pub(crate) fn question(&self) -> Option<Request> {
        let path = format!("{}?model", self.path);
        (!self.pairs.is_empty()).then_some(Request { method: Method::OPTIONS, path, body: None })
    }

    /// The request's body by the data model.
    ///
    /// # Errors
    /// A value that does not have the form of its setting.
    pub(crate) fn body(&self, model: &Keyword) -> Result<Value, UsageError> {
        let mut values = Vec::new();
        for pair in &self.pairs {
            values.push(self.value(model, pair)?);
        }
        match (self.kind, values.as_mut_slice()) {
            (Kind::Single, [value]) => Ok(value.take()),
            _ => object(self.pairs.iter().zip(values)),
        }
    }

    fn value(&self, model: &Keyword, Pair { name, key, value }: &Pair) -> Result<Value, UsageError> {
        let mut node = model;
        for (at, word) in key.iter().enumerate() {
            if node.form == Form::Map && self.kind != Kind::New {
                return Err(UsageError::MapMember { map: key[..at].join(".") });
            }
            let Some(member) = node.members.iter().find(|member| member.name == *word) else {
                return Ok(scalar(value));
            };
            node = member;
        }
        match node.form {
            Form::One => Ok(scalar(value)),
            Form::List => Ok(list(value)),
            Form::Map => map(name, value),
        }
    }
}

/// A list of values: JSON, or the values with commas between them.
fn list(text: &str) -> Value {
    if let Ok(json @ Value::Array(_)) = serde_json::from_str(text) {
        return json;
    }
    match text {
        "" => Value::Array(Vec::new()),
        _ => text.split(',').map(scalar).collect(),
    }
}

/// A map: JSON, or `key=value` with commas between them.
fn map(name: &str, text: &str) -> Result<Value, UsageError> {
    if let Ok(json @ Value::Object(_)) = serde_json::from_str(text) {
        return Ok(json);
    }
    let mut members = Map::new();
    for entry in text.split(',').filter(|_| !text.is_empty()) {
        let Some((key, value)) = entry.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(UsageError::MapEntry { map: name.to_owned(), entry: entry.to_owned() });
        };
        if members.insert(key.to_owned(), scalar(value)).is_some() {
            return Err(UsageError::DuplicateKey { key: format!("{name}.{key}") });
        }
    }
    Ok(members.into())
}

#[cfg(test)]
mod tests {
    use polycube_api::KeywordKind;
    use serde_json::json;

    use super::*;

    fn model() -> Keyword {
        let leaf = |name: &str, form| Keyword { form, ..Keyword::new(name, KeywordKind::Leaf, "") };
        let members = vec![leaf("allowed", Form::List), leaf("labels", Form::Map), leaf("size", Form::One)];
        let inner = Keyword { members: members.clone(), ..Keyword::new("box", KeywordKind::Container, "") };
        Keyword { members: [members, vec![inner]].concat(), ..Keyword::new("c1", KeywordKind::Container, "") }
    }

    fn pair((name, value): (&str, &str)) -> Pair {
        let key = name.split('.').map(str::to_owned).collect();
        Pair { name: name.to_owned(), key, value: value.to_owned() }
    }

    #[track_caller]
    fn check(kind: Kind, pairs: &[(&str, &str)], expected: Result<Value, &str>) {
        let pairs: Vec<Pair> = pairs.iter().map(|one| pair(*one)).collect();
        let found = Settings::new("c1/", &pairs, kind).body(&model()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{pairs:?}");
    }

    #[test]
    fn lists_and_maps_are_written_with_commas_or_in_json() {
        for (text, expected) in [
            ("10.0.0.0/8,10.1.0.0/16", json!(["10.0.0.0/8", "10.1.0.0/16"])),
            ("10.0.0.0/8", json!(["10.0.0.0/8"])),
            ("80,443,007", json!([80, 443, "007"])),
            ("", json!([])),
            ("[]", json!([])),
            ("[\"a,b\", 5]", json!(["a,b", 5])),
            ("[::1],a", json!(["[::1]", "a"])),
            ("a,", json!(["a", ""])),
        ] {
            check(Kind::Single, &[("allowed", text)], Ok(expected.clone()));
            check(Kind::New, &[("box.allowed", text)], Ok(json!({ "box": { "allowed": expected } })));
        }
        for (text, expected) in [
            ("a=b,c=d", json!({ "a": "b", "c": "d" })),
            ("a=", json!({ "a": "" })),
            ("a=b=c,n=5", json!({ "a": "b=c", "n": 5 })),
            ("", json!({})),
            ("{\"a\": \"b,c\"}", json!({ "a": "b,c" })),
        ] {
            check(Kind::Single, &[("labels", text)], Ok(expected.clone()));
            check(Kind::Change, &[("labels", text), ("size", "1")], Ok(json!({ "labels": expected, "size": 1 })));
        }
    }

    #[test]
    fn a_map_that_has_another_form_is_refused() {
        const FORM: &str = "'b' in labels= is not KEY=VALUE: write labels=a=b,c=d, or JSON";
        check(Kind::Single, &[("labels", "a=1,b")], Err(FORM));
        check(Kind::New, &[("labels", "b")], Err(FORM));
        check(Kind::New, &[("labels", "a=1,a=2")], Err("'labels.a' is given twice"));
        const WHOLE: &str = "'labels' is set as a whole: labels=KEY=VALUE,KEY=VALUE";
        check(Kind::Single, &[("labels.a", "1")], Err(WHOLE));
        check(Kind::Change, &[("labels.a", "1"), ("size", "1")], Err(WHOLE));
        check(Kind::New, &[("labels.a", "1"), ("labels.b", "x")], Ok(json!({ "labels": { "a": 1, "b": "x" } })));
    }

    #[test]
    fn what_the_model_does_not_have_is_sent_as_it_is() {
        check(Kind::New, &[("other", "a,b"), ("size", "1,2")], Ok(json!({ "other": "a,b", "size": "1,2" })));
        check(Kind::Single, &[("box.other", "a,b")], Ok(json!("a,b")));
    }
}
