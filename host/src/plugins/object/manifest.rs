//! What the manifest of an object says. Pure.

use std::collections::BTreeMap;

use polycube_document::{Document, ParseError};
use polycube_plugin_api::{Direction, ServiceKind};
use serde::Deserialize;
use serde_json::{Value, json};

/// A manifest, as `docs/object-services.md` describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Manifest {
    pub description: String,
    #[serde(default = "no_version")]
    pub version: String,
    pub kind: ServiceKind,
    pub hooks: Vec<Hook>,
    #[serde(default = "nothing")]
    pub config: Value,
    #[serde(default = "nothing")]
    pub state: Value,
    /// By map: the program in each slot.
    #[serde(default)]
    pub tail_calls: BTreeMap<String, Vec<Option<String>>>,
}

/// Which program goes where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    pub program: String,
    #[serde(default = "ingress")]
    pub direction: Direction,
    #[serde(default)]
    pub stage: u32,
}

fn no_version() -> String {
    "0".to_owned()
}

fn nothing() -> Value {
    json!({ "type": "object", "properties": {} })
}

fn ingress() -> Direction {
    Direction::Ingress
}

/// A text that is not a manifest: where, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub(crate) struct Malformed {
    line: usize,
    column: usize,
    reason: String,
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // The place stands at the end, too.
        let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        let reason = if error.is_data() { in_words_of_json(reason) } else { format!("it is not valid JSON: {reason}") };
        Self { line, column, reason }
    }
}

/// A reason of serde's, which speaks of Rust, in words of JSON.
fn in_words_of_json(reason: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("expected struct", "expected an object"),
        ("expected a sequence", "expected an array"),
        ("expected a map", "expected an object"),
        ("expected u32", "expected a number from 0"),
        ("invalid type: sequence", "it is an array"),
        ("invalid type: map", "it is an object"),
    ];
    let mut reason = reason.to_owned();
    for (rust, json) in WORDS {
        let Some((before, after)) = reason.split_once(rust) else { continue };
        // The type's name and the number of its members follow.
        let after = if rust.ends_with("struct") { "" } else { after };
        reason = format!("{before}{json}{after}");
    }
    reason
}

impl From<ParseError> for Malformed {
    fn from(ParseError { line, column, reason, .. }: ParseError) -> Self {
        Self { line, column, reason: reason.to_string() }
    }
}

impl Manifest {
    /// # Errors
    /// The first mistake.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let manifest = serde_json::from_str(text)?;
        // serde keeps the last of two members of a schema that have one name.
        Document::parse(text)?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Manifest::parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let text = r#"{ "description": "d", "kind": "standard", "hooks": [{ "program": "p" }] }"#;
        let manifest = Manifest::parse(text).unwrap();
        let hook = Hook { program: "p".to_owned(), direction: Direction::Ingress, stage: 0 };
        assert_eq!((manifest.version.as_str(), manifest.hooks), ("0", vec![hook]));
        assert_eq!((manifest.config, manifest.state), (nothing(), nothing()));
        assert!(manifest.tail_calls.is_empty());
    }

    #[test]
    fn a_mistake_has_its_line_and_column() {
        check("{\n  \"description\": x", "2:18: it is not valid JSON: expected value");
        check("", "1:0: it is not valid JSON: EOF while parsing a value");
        let known = "`description`, `version`, `kind`, `hooks`, `config`, `state`, `tail-calls`";
        check("{\n\"name\": \"x\" }", &format!("2:6: unknown field `name`, expected one of {known}"));
        check("{ \"description\": 7 }", "1:18: invalid type: integer `7`, expected a string");
        check("{ \"kind\": \"bridge\" }", "1:18: unknown variant `bridge`, expected `standard` or `transparent`");
        let hook = r#"{ "hooks": [{ "program": "p", "point": 1 }] }"#;
        check(hook, "1:37: unknown field `point`, expected one of `program`, `direction`, `stage`");
        check("[]", "1:2: invalid length 0, expected an object");
        check("{ \"hooks\": [\"p\"] }", "1:15: invalid type: string \"p\", expected an object");
        check("{ \"hooks\": 7 }", "1:12: invalid type: integer `7`, expected an array");
        check("{ \"description\": [] }", "1:17: it is an array, expected a string");
        let stage = r#"{ "hooks": [{ "program": "p", "stage": -1 }] }"#;
        check(stage, "1:41: invalid value: integer `-1`, expected a number from 0");
        check(r#"{ "kind": "standard", "hooks": [] }"#, "1:35: missing field `description`");
        check(r#"{ "kind": "standard", "kind": "standard" }"#, "1:28: duplicate field `kind`");
        let twice =
            "{ \"description\": \"d\", \"kind\": \"standard\", \"hooks\": [],\n\"state\": { \"a\": 1,\n\"a\": 2 } }";
        check(twice, "3:3: `a` is given twice");
    }
}
