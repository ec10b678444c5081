//! What the daemon's data model says of the values in an answer: units, defaults, and what few people want to see.

use polycube_api::{Keyword, KeywordKind, Unit};
use serde_json::Value;

/// The data model of an answer; without one, values are shown as they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Schema<'a>(Option<&'a Keyword>);

impl<'a> Schema<'a> {
    pub(crate) fn of(node: Option<&'a Keyword>) -> Self {
        Self(node)
    }

    /// What it says of the value at a dotted path; entries of a list have no names of their own in it.
    fn at(self, path: &str) -> Option<&'a Keyword> {
        let words = path.split('.').filter(|word| !word.is_empty());
        words.into_iter().try_fold(self.0?, |node, word| node.members.iter().find(|member| member.name == word))
    }

    /// A number with its unit.
    pub(super) fn with_unit(self, path: &str, value: &Value) -> Option<String> {
        let Value::Number(number) = value else { return None };
        Some(Unit::parse(&self.at(path)?.unit)?.write(number))
    }

    /// Whether people do not want to see what is at a path unless they ask for everything. What they have set themselves, they
    /// do.
    pub(super) fn is_minor(self, path: &str, value: &Value) -> bool {
        self.at(path).is_some_and(|node| {
            let is_setting = node.kind == KeywordKind::Leaf && !node.read_only;
            node.minor && (!is_setting || *value == node.initial)
        })
    }

    /// Whether the value at a path is a group of settings that are all as they are by default.
    pub(super) fn is_default(self, path: &str, value: &Value) -> bool {
        value.is_object() && self.at(path).is_some_and(|node| has_settings(node) && has_defaults(node, value))
    }
}

fn has_settings(node: &Keyword) -> bool {
    match node.kind {
        KeywordKind::Container => node.members.iter().any(has_settings),
        _ => !node.read_only,
    }
}

/// Whether nothing in a value is worth to be shown: settings as they are by default, and state that is nothing.
fn has_defaults(node: &Keyword, value: &Value) -> bool {
    match node.kind {
        KeywordKind::Container => node.members.iter().all(|member| has_defaults(member, &value[&member.name])),
        KeywordKind::List => value.as_array().is_none_or(Vec::is_empty),
        _ if node.read_only => value.is_null() || *value == 0,
        _ => *value == node.initial,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_minor_setting_is_shown_once_it_is_set() {
        let leaf = |name: &str, initial: Value| {
            let initial = Keyword { initial, ..Keyword::new(name, KeywordKind::Leaf, "") };
            Keyword { minor: true, ..initial }
        };
        let path = Keyword { read_only: true, ..leaf("path", Value::Null) };
        let group = Keyword { minor: true, ..Keyword::new("disk", KeywordKind::Container, "") };
        let members = vec![leaf("priority", json!("normal")), leaf("mask", Value::Null), path, group];
        let cube = Keyword { members, ..Keyword::new("", KeywordKind::Container, "") };
        let check = |path: &str, value: Value, expected: bool| {
            assert_eq!(Schema::of(Some(&cube)).is_minor(path, &value), expected, "{path} {value}");
        };
        check("priority", json!("normal"), true);
        check("priority", json!("high"), false);
        check("mask", Value::Null, true);
        check("mask", json!("24"), false);
        check("path", json!("/a"), true);
        check("disk", json!({ "rate": 5 }), true);
    }

    #[test]
    fn a_group_is_default_if_everything_in_it_is() {
        let leaf = |name: &str, initial: Value| Keyword { initial, ..Keyword::new(name, KeywordKind::Leaf, "") };
        let seen = Keyword { read_only: true, ..leaf("seen", Value::Null) };
        let group = |name: &str, members| Keyword { members, ..Keyword::new(name, KeywordKind::Container, "") };
        let list = Keyword::new("hosts", KeywordKind::List, "");
        let inner = group("inner", vec![leaf("depth", json!(3))]);
        let cube = group(
            "",
            vec![
                group("box", vec![leaf("size", json!(1)), leaf("word", Value::Null), inner, list]),
                group("counters", vec![seen.clone()]),
                group("queue", vec![leaf("size", json!(64)), seen]),
                group("empty", Vec::new()),
            ],
        );
        let check = |path: &str, value: Value, expected: bool| {
            assert_eq!(Schema::of(Some(&cube)).is_default(path, &value), expected, "{path} {value}");
        };
        check("box", json!({ "size": 1, "word": null, "inner": { "depth": 3 }, "hosts": [] }), true);
        check("box", json!({ "size": 1, "inner": { "depth": 3 } }), true);
        check("box", json!({ "size": 1, "word": null, "inner": { "depth": 4 } }), false);
        check("box", json!({ "size": 2, "inner": { "depth": 3 } }), false);
        check("box", json!({ "size": 1, "inner": { "depth": 3 }, "hosts": [{}] }), false);
        check("counters", json!({ "seen": 0 }), false);
        check("queue", json!({ "size": 64, "seen": 0 }), true);
        check("queue", json!({ "size": 64, "seen": 1 }), false);
        check("queue", json!({ "size": 65, "seen": 0 }), false);
        check("empty", json!({}), false);
        check("unknown", json!({}), false);
    }
}
