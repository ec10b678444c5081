use serde_json::json;

use super::*;
use crate::grammar::{self, Order};

fn question(line: &str) -> Question {
    match grammar::parse(line.split(' ').map(Into::into)).unwrap().order {
        Order::Help(question) => question,
        other => panic!("{line}: {other:?}"),
    }
}

fn help(answer: &Value) -> Help {
    serde_json::from_value(answer.clone()).unwrap()
}

/// Asserts the text of a question about what `answer` describes.
#[track_caller]
fn check(line: &str, answer: &Value, expected: &str) {
    let answer = help(answer);
    assert_eq!(text(&answer, &question(line), Some(72)), expected, "{line}");
}

fn leaf(name: &str, more: &Value) -> Value {
    let mut leaf = json!({"name": name, "type": "leaf", "simpletype": "string", "description": "About it"});
    leaf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    leaf
}

#[test]
fn what_has_to_follow_comes_before_what_may() {
    let key =
        json!({"name": "<name>", "type": "key", "simpletype": "string", "description": "Its name", "example": "p1"});
    let depth = json!({"pair": true, "simpletype": "integer", "minimum": 1, "maximum": 9, "default": 3});
    let mode =
        json!({"pair": true, "simpletype": "enum", "values": ["in", "out"], "create-only": true, "default": "in"});
    check(
        "svc add ?",
        &json!({
            "description": "A service",
            "params": {"<name>": key},
            "optional-params": {
                "depth": leaf("depth", &depth),
                "mode": leaf("mode", &mode),
                "src": leaf("src", &json!({"pair": true, "example": "a b"})),
            },
        }),
        "A service

Keyword  Type    Description  Example
<name>   string  Its name     p1

Other parameters:
Keyword  Type          Description                              Example
depth    integer 1..9  About it (default 3)
mode     in|out        About it (default in; at creation only)
src      string        About it                                 a b

Example:
 polycubectl svc add p1 src='a b'
",
    );
}

#[test]
fn examples_leave_descriptions_their_room() {
    let about = "Prefix that packets come from, IPv4 or IPv6; its host bits do not matter";
    check(
        "svc set ?",
        &json!({"params": {"src": leaf("src", &json!({"description": about, "pair": true, "example": "10.0.0.0/24"}))}}),
        "Keyword  Type    Description
src      string  Prefix that packets come from, IPv4 or IPv6; its host
                 bits do not matter; for example 10.0.0.0/24

Example:
 polycubectl svc set src=10.0.0.0/24
",
    );
}

#[test]
fn commands_come_before_what_is_there() {
    check(
        "c ?",
        &json!({
            "description": "A cube",
            "commands": ["set", "show"],
            "params": {
                "uuid": leaf("uuid", &json!({"read-only": true, "example": "0-1"})),
                "filters": {"name": "filters", "type": "container", "description": "What to take"},
            },
        }),
        "A cube

Keyword  Type       Description
set      command    change settings
show     command    show what is here
uuid     string     About it (read-only)
filters  container  What to take
",
    );
}

#[test]
fn a_leaf_is_described_and_an_end_is_an_end() {
    check(
        "c depth ?",
        &json!({"description": "About it", "leaf": leaf("depth", &json!({"minimum": 1, "default": ""})), "commands": ["show"]}),
        "Keyword  Type        Description\ndepth    string 1..  About it\nshow     command     show what is here\n",
    );
    check("c flush ?", &json!({"description": "Forget all"}), "Forget all\n\nNothing follows.\n");
}

#[test]
fn names_are_listed_up_to_a_number() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let key = json!({"name": "<port>", "type": "key", "description": "A port", "values": names});
    check(
        "c ?",
        &json!({"params": {"<port>": key}}),
        "Keyword  Type  Description
<port>   key   A port (now: n0, n1, n2, n3, n4, n5, n6, n7, …)
",
    );
}

#[test]
fn what_the_daemon_says_does_not_reach_the_terminal_raw() {
    check(
        "c del ?",
        &json!({"description": "\u{1b}[2J", "params": {"x": {"name": "\u{9b}", "type": "entry"}}}),
        "\\u{1b}[2J\n\nKeyword  Type   Description\n\\u{9b}   entry\n\nExample:\n polycubectl c del \\u{9b}\n",
    );
}

#[test]
fn an_example_deletes_a_thing_by_its_name_and_not_by_a_value_of_it() {
    let source = leaf("src", &json!({"example": "10.10.10.0/24", "values": ["a"]}));
    let port = json!({"name": "<port>", "type": "key", "description": "A port", "values": ["p1", "p2"]});
    for (line, keyword, expected) in [("c del ?", source, "c del src"), ("c ports del ?", port, "c ports del p2")] {
        let answer = help(&json!({"params": {"x": keyword}}));
        assert_eq!(example(&answer, &question(line)).as_deref(), Some(expected));
    }
}

#[test]
fn an_example_is_a_valid_line_when_nothing_says_how() {
    let depth = leaf("depth", &json!({"pair": true, "minimum": 1, "maximum": 9}));
    let answer = help(&json!({"params": {"depth": depth}}));
    assert_eq!(example(&answer, &question("c set ?")).as_deref(), Some("c set depth=9"));
    assert_eq!(example(&answer, &question("c show ?")), None);
    assert_eq!(example(&answer, &question("c ?")), None);
}
