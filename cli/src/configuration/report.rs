//! What applying a configuration changed, or would change, as text.

use std::fmt::Write;

use serde_json::Value;

use crate::grammar::{Applying, View};
use crate::show;
use crate::terminal::escape;

/// The results that are counted below the lines, and how each is said.
const SUMMARY: [(&str, &str); 5] = [
    ("created", "created"),
    ("changed", "changed"),
    ("removed", "removed"),
    ("left", "left as they were"),
    ("unlisted", "not mentioned"),
];

/// Renders the daemon's answer.
pub(super) fn render(applying: &Applying, changes: &Value, width: Option<usize>) -> String {
    if matches!(applying.view, View::Json | View::Yaml) {
        return show::render(&applying.view, changes, show::Schema::default(), width);
    }
    let lists = [("cube", &changes["cubes"]), ("chain", &changes["chains"])];
    let entries: Vec<(&str, &Value)> = lists
        .into_iter()
        .flat_map(|(kind, list)| list.as_array().into_iter().flatten().map(move |one| (kind, one)))
        .collect();
    let mut text = String::new();
    for (kind, entry) in &entries {
        let result = entry["result"].as_str().unwrap_or_default();
        let Some(done) = verb(result, applying.compare) else { continue };
        let _ =
            writeln!(text, "{done} {kind} {}{}", escape(word(&entry["name"])), escape(&details(kind, result, entry)));
    }
    let count = |result: &str| entries.iter().filter(|(_, entry)| entry["result"] == result).count();
    let counts = SUMMARY.iter().map(|(result, said)| (count(result), said)).filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, said)| format!("{count} {said}")).collect();
    let summary = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    let _ = writeln!(text, "{}{summary}", if applying.compare { "would be: " } else { "" });
    text
}

/// What is said of a result; `None` where nothing changes.
fn verb(result: &str, compare: bool) -> Option<&'static str> {
    Some(match (result, compare) {
        ("created", false) => "created",
        ("created", true) => "would create",
        ("changed", false) => "changed",
        ("changed", true) => "would change",
        ("removed", false) => "removed",
        ("removed", true) => "would remove",
        _ => return None,
    })
}

fn details(kind: &str, result: &str, entry: &Value) -> String {
    match (kind, result) {
        ("chain", "changed") => format!(": {} -> {}", list(&entry["from"]), list(&entry["cubes"])),
        ("chain", "removed") => format!(": {}", list(&entry["from"])),
        ("chain", _) => format!(": {}", list(&entry["cubes"])),
        (_, "changed") => {
            let changes = entry["changes"].as_array().into_iter().flatten();
            let said =
                changes.map(|one| format!("{} {} -> {}", word(&one["path"]), value(&one["from"]), value(&one["to"])));
            format!(": {}", said.collect::<Vec<_>>().join(", "))
        }
        _ => format!(" ({})", word(&entry["service-name"])),
    }
}

fn list(cubes: &Value) -> String {
    cubes.as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(", ")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A value in a line. A port that comes or goes has its peer as its value.
fn value(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Object(members) if members.keys().eq(["peer"]) => self::value(&members["peer"]),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grammar::Source;

    #[track_caller]
    fn check(changes: &Value, compare: bool, expected: &str) {
        let applying = Applying { from: Source::Input, prune: false, compare, view: View::plain() };
        assert_eq!(render(&applying, changes, None), expected);
    }

    #[test]
    fn what_changes_has_a_line_and_everything_is_counted() {
        let changes = json!({
            "cubes": [
                { "name": "a", "service-name": "tap", "result": "created" },
                { "name": "b", "service-name": "tap", "result": "changed", "changes": [
                    { "path": "size", "from": 3, "to": 4 },
                    { "path": "word", "from": "", "to": "x" },
                    { "path": "ports/p", "from": null, "to": { "peer": "veth1" } },
                ] },
                { "name": "c", "service-name": "tap", "result": "left" },
                { "name": "d", "service-name": "tap", "result": "removed" },
                { "name": "e", "service-name": "tap", "result": "unlisted" },
            ],
            "chains": [
                { "name": "veth1", "result": "changed", "from": ["a", "c"], "cubes": ["c", "a"] },
                { "name": "veth2", "result": "removed", "from": ["d"] },
                { "name": "veth3", "result": "created", "cubes": ["a"] },
            ],
        });
        check(
            &changes,
            false,
            "created cube a (tap)\nchanged cube b: size 3 -> 4, word \"\" -> x, ports/p none -> veth1\n\
             removed cube d (tap)\nchanged chain veth1: a, c -> c, a\nremoved chain veth2: d\ncreated chain veth3: a\n\
             2 created, 2 changed, 2 removed, 1 left as they were, 1 not mentioned\n",
        );
        check(
            &json!({ "cubes": [{ "name": "a\n", "service-name": "tap", "result": "created" }], "chains": [] }),
            true,
            "would create cube a\\n (tap)\nwould be: 1 created\n",
        );
        check(&json!({ "cubes": [], "chains": [] }), false, "nothing to do\n");
    }
}
