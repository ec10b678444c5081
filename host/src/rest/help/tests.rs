use polycube_api::{Help, KeywordKind, Verb};
use serde_json::json;

use super::{Query, node};
use crate::schema::{Node, locate};

/// A little of everything that a schema can have.
fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {
            "uuid": { "type": "string", "readOnly": true },
            "hook": { "type": "string", "enum": ["TC", "XDP"], "default": "TC", "x-create-only": true },
            "depth": {
                "type": ["integer", "null"], "minimum": 1, "maximum": 9, "default": 3,
                "description": "How deep", "examples": [4, 5],
            },
            "filters": {
                "description": "What to take",
                "properties": { "source": { "type": "string", "pattern": "^[0-9.]+$" } },
            },
            "counters": { "readOnly": true, "properties": { "seen": { "type": "integer", "readOnly": true } } },
            "host": {
                "type": "array",
                "x-list-key": "address",
                "items": {
                    "description": "A host",
                    "properties": {
                        "address": { "type": "string", "description": "Where it is", "examples": ["10.0.0.1"] },
                        "port": { "type": "string" },
                        "weight": { "type": "integer" },
                        "age": { "type": "integer", "readOnly": true },
                    },
                    "required": ["address", "port"],
                },
            },
        },
        "required": ["depth"],
    })
}

fn on(path: &[&str], verb: impl Into<Option<Verb>>) -> Help {
    let path: Vec<String> = path.iter().map(|&word| word.to_owned()).collect();
    let schema = schema();
    let name = path.last().map_or("", String::as_str);
    node::on(locate(&schema, &path).unwrap(), name, verb.into(), &["a".to_owned(), "b".to_owned()])
}

/// Asserts the words that complete a path.
#[track_caller]
fn check(path: &[&str], verb: impl Into<Option<Verb>>, expected: &[&str]) {
    let verb = verb.into();
    assert_eq!(on(path, verb).words(), expected, "{path:?} {verb:?}");
}

#[test]
fn each_command_is_followed_by_what_it_can_do() {
    check(&[], None, &["add", "set", "show", "del", "uuid", "hook", "depth", "filters", "counters", "host"]);
    check(&[], Verb::Show, &["uuid", "hook", "depth", "filters", "counters", "host"]);
    check(&[], Verb::Set, &["depth=", "filters", "host"]);
    check(&[], Verb::Del, &["depth", "filters", "host"]);
    check(&[], Verb::Add, &["host"]);
    check(&["filters"], None, &["set", "show", "del", "source"]);
    check(&["counters"], None, &["show", "seen"]);
    check(&["counters"], Verb::Set, &[]);
    check(&["depth"], None, &["show", "del"]);
    check(&["hook"], None, &["show"]);
}

#[test]
fn a_list_is_followed_by_its_entries_or_by_a_new_one() {
    check(&["host"], None, &["add", "show", "del", "a", "b"]);
    check(&["host"], Verb::Del, &["a", "b"]);
    check(&["host"], Verb::Add, &["<address>", "port=", "weight="]);
    check(&["host", "a"], Verb::Set, &["address=", "port=", "weight="]);
    check(&["host", "a"], Verb::Show, &["address", "port", "weight", "age"]);
    let help = on(&["host"], Verb::Add);
    let key = &help.params[0];
    assert_eq!(
        (key.kind, key.description.as_str(), key.example.as_str()),
        (KeywordKind::Key, "Where it is", "10.0.0.1")
    );
    assert_eq!(help.params[1].name, "port", "what has to be given is not among what may be");
    assert_eq!(help.optional.iter().map(|keyword| keyword.name.as_str()).collect::<Vec<_>>(), ["weight"]);
}

#[test]
fn what_can_be_given_at_creation_has_dotted_names() {
    let found = node::creation(&schema(), "");
    let names: Vec<_> = found.iter().map(|keyword| (keyword.name.as_str(), keyword.mandatory)).collect();
    assert_eq!(names, [("hook", false), ("depth", true), ("filters.source", false)]);
}

#[test]
fn a_keyword_has_all_that_the_schema_says() {
    let schema = schema();
    let Node::Container(cube) = Node::of(&schema) else { panic!("a cube is a container") };
    let help = json!(node::on(Node::Container(cube), "", None, &[]));
    let depth = &help["params"]["depth"];
    assert_eq!(depth["type"], "leaf");
    assert_eq!(depth["simpletype"], "integer");
    assert_eq!((&depth["minimum"], &depth["maximum"], &depth["default"]), (&json!(1), &json!(9), &json!(3)));
    assert_eq!((&depth["example"], &depth["description"]), (&json!("4"), &json!("How deep")));
    assert_eq!(help["params"]["hook"]["values"], json!(["TC", "XDP"]));
    assert_eq!(help["params"]["hook"]["create-only"], true);
    assert_eq!(help["params"]["uuid"]["read-only"], true);
    assert_eq!(help["params"]["host"]["keys"], json!(["address"]));
    assert_eq!(help["params"]["filters"]["type"], "container");
    assert_eq!(on(&["depth"], None).leaf.map(|leaf| leaf.simpletype), Some("integer".to_owned()));
}

#[test]
fn queries_are_understood_or_refused() {
    let query = |verb: Option<Verb>, completion| Ok(Query { verb, completion, deep: false, model: false });
    assert_eq!(Query::parse(""), query(None, false));
    assert_eq!(Query::parse("help=NONE"), query(None, false));
    assert_eq!(Query::parse("help=add&completion"), query(Some(Verb::Add), true));
    assert_eq!(Query::parse("completion&help=DEL"), query(Some(Verb::Del), true));
    assert!(Query::parse("help=SHOW&deep").unwrap().deep);
    assert!(Query::parse("model").unwrap().model);
    for (text, reason) in [
        ("help=YES", "help=YES is not one of NONE, ADD, SET, SHOW, DEL"),
        ("help", "help= is not one of"),
        ("halp=ADD", "did you mean `help`?"),
    ] {
        let message = Query::parse(text).unwrap_err().to_string();
        assert!(message.contains(reason), "{text}: {message}");
    }
}
