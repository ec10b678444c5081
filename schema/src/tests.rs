mod lists;

use serde_json::{Value, json};

use super::{Model, Operation, Source};
use crate::problem::{ErrorTag, Problems};

/// A little of everything that a schema can have.
fn model() -> Model {
    let config = json!({
        "type": "object",
        "properties": {
            "mode": { "type": "string", "enum": ["off", "in", "out"], "default": "off" },
            "depth": { "type": "integer", "format": "uint16", "minimum": 1, "default": 10 },
            "count": { "type": "integer", "format": "uint64", "minimum": 0 },
            "network": { "type": ["string", "null"], "format": "ip-prefix" },
            "ratio": { "type": "number" },
            "loud": { "type": "boolean", "default": false },
            "label": { "type": ["string", "null"] },
            "hook": { "type": "string", "enum": ["TC", "XDP"], "default": "TC", "x-create-only": true },
            "filters": {
                "type": "object",
                "properties": {
                    "depth": { "type": "integer", "x-alias": "/depth" },
                    "source": { "type": ["string", "null"], "pattern": "^[0-9.]+$", "examples": ["10.0.0.1"] },
                },
            },
            "host": {
                "type": "array",
                "x-list-key": "address",
                "items": {
                    "type": "object",
                    "properties": {
                        "address": { "type": "string", "x-lower-case": true },
                        "port": { "type": "string" },
                        "weight": { "type": "integer", "default": 1 },
                    },
                    "required": ["address", "port"],
                },
            },
        },
    });
    let state = json!({
        "type": "object",
        "properties": {
            "seen": { "type": "integer" },
            "filters": { "type": "object", "properties": { "matched": { "type": "integer" } } },
        },
    });
    Model::of("some", config, state).unwrap()
}

fn fresh() -> Value {
    model().create(json!({})).unwrap()
}

fn words(path: &str) -> Vec<String> {
    path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Changes a cube that was made with `body`.
fn change(body: Value, path: &str, operation: Operation, value: Value) -> Result<Value, Problems> {
    let model = model();
    let config = model.create(body).unwrap();
    model.change(&config, &words(path), operation, value)
}

/// Asserts what becomes of the node at `path`.
#[track_caller]
fn check(body: Value, path: &str, operation: Operation, value: Value, at: &str, expected: &Value) {
    let changed = change(body, path, operation, value).unwrap();
    assert_eq!(changed.pointer(at).unwrap_or(&Value::Null), expected, "{changed}");
}

/// Asserts the tag, path and words of every problem.
#[track_caller]
fn refused(result: Result<Value, Problems>, expected: &[(ErrorTag, &str, &str)]) {
    let problems = result.unwrap_err().0;
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, (tag, path, message)) in problems.iter().zip(expected) {
        assert_eq!((problem.tag, problem.path.as_str()), (*tag, *path), "{problem:?}");
        assert!(problem.to_string().contains(message), "{message:?} is not in {problem:?}");
    }
}

#[test]
fn what_is_left_out_at_creation_has_its_default() {
    let defaults = json!({ "mode": "off", "depth": 10, "loud": false, "hook": "TC", "filters": {}, "host": [] });
    assert_eq!(fresh(), defaults);
    assert_eq!(model().create(json!({ "depth": 3 })).unwrap()["depth"], 3);
}

#[test]
fn a_merge_keeps_what_it_does_not_name_and_a_replacement_does_not() {
    let before = || json!({ "depth": 3, "label": "x", "filters": { "source": "1.2.3.4" } });
    check(before(), "", Operation::Merge, json!({ "loud": true }), "/depth", &json!(3));
    check(before(), "", Operation::Merge, json!({ "loud": true }), "/filters/source", &json!("1.2.3.4"));
    check(before(), "", Operation::Replace, json!({ "loud": true }), "/depth", &json!(10));
    check(before(), "", Operation::Replace, json!({ "loud": true }), "/label", &Value::Null);
    check(before(), "", Operation::Replace, json!({ "loud": true }), "/loud", &json!(true));
    check(before(), "filters", Operation::Replace, json!({}), "/filters", &json!({}));
    check(before(), "filters", Operation::Replace, json!({}), "/label", &json!("x"));
}

#[test]
fn what_is_removed_has_its_default_again() {
    let before = || json!({ "depth": 3, "label": "x", "filters": { "source": "1.2.3.4" } });
    check(before(), "depth", Operation::Remove, Value::Null, "/depth", &json!(10));
    check(before(), "label", Operation::Remove, Value::Null, "/label", &Value::Null);
    check(before(), "filters/source", Operation::Remove, Value::Null, "/filters", &json!({}));
    check(before(), "filters", Operation::Remove, Value::Null, "/filters", &json!({}));
}

#[test]
fn list_entries_come_change_and_go() {
    let one = || json!({ "host": [{ "address": "a", "port": "p" }] });
    let entry = json!({ "address": "b", "port": "q", "weight": 1 });
    check(one(), "host/b", Operation::Create, json!({ "port": "q" }), "/host/1", &entry);
    check(one(), "host/b", Operation::Replace, json!({ "port": "q" }), "/host/1", &entry);
    check(one(), "host/a", Operation::Merge, json!({ "weight": 7 }), "/host/0/port", &json!("p"));
    check(one(), "host/a", Operation::Replace, json!({ "port": "q" }), "/host/0/port", &json!("q"));
    check(one(), "host/a/weight", Operation::Merge, json!("7"), "/host/0/weight", &json!(7));
    check(one(), "host/a", Operation::Remove, Value::Null, "/host", &json!([]));
    check(one(), "host", Operation::Merge, json!([{ "address": "b", "port": "q" }]), "/host/0/address", &json!("a"));
    check(one(), "host", Operation::Remove, Value::Null, "/host", &json!([]));
    let missing = ErrorTag::DataMissing;
    refused(
        change(one(), "host/a", Operation::Create, json!({ "port": "q" })),
        &[(ErrorTag::DataExists, "host/a", "already exists")],
    );
    refused(change(one(), "host/b", Operation::Remove, Value::Null), &[(missing, "host/b", "no entry `b`")]);
    refused(change(one(), "host/b", Operation::Merge, json!({})), &[(missing, "host/b", "no entry `b`")]);
    refused(change(one(), "host/b/weight", Operation::Merge, json!(1)), &[(missing, "host/b", "no entry `b`")]);
    refused(
        change(one(), "host/b", Operation::Create, json!({})),
        &[(ErrorTag::MissingAttribute, "host/b/port", "`port` is missing")],
    );
}

#[test]
fn an_entry_is_reached_however_its_name_is_written() {
    let entry = json!({ "address": "0a", "port": "p", "weight": 1 });
    let made = change(json!({}), "host/0A", Operation::Create, json!({ "port": "p", "address": "0A" })).unwrap();
    assert_eq!(made["host"], json!([entry]));
    check(
        json!({}),
        "host",
        Operation::Replace,
        json!([{ "address": "0A", "port": "p" }]),
        "/host/0/address",
        &json!("0a"),
    );
    let one = || json!({ "host": [entry] });
    for word in ["0a", "0A"] {
        check(one(), &format!("host/{word}"), Operation::Remove, Value::Null, "/host", &json!([]));
        assert_eq!(super::read(&model().tree, &one(), &words(&format!("host/{word}/port"))), Some(&json!("p")));
    }
}

#[test]
fn an_entry_has_one_name_and_a_name_one_entry() {
    let one = || json!({ "host": [{ "address": "a", "port": "p" }] });
    let body = json!({ "address": "b", "port": "p" });
    for (path, operation) in
        [("host/c", Operation::Create), ("host/a", Operation::Replace), ("host/a", Operation::Merge)]
    {
        let place = format!("{path}/address");
        let conflict = (ErrorTag::InvalidValue, place.as_str(), "in the path and \"b\" in the body");
        refused(change(one(), path, operation, body.clone()), &[conflict]);
    }
    refused(
        change(one(), "host/a/address", Operation::Merge, json!("b")),
        &[(ErrorTag::InvalidValue, "host/a/address", "the address is \"a\" in the path")],
    );
    assert!(change(one(), "host/a/address", Operation::Merge, json!("A")).is_ok(), "the name that it has");
    for operation in [Operation::Replace, Operation::Merge] {
        let twice = json!([{ "address": "b", "port": "p" }, { "address": "B", "port": "q" }]);
        refused(change(one(), "host", operation, twice), &[(ErrorTag::BadAttribute, "host/b", "twice")]);
    }
}

#[test]
fn what_is_wrong_in_an_entry_is_reported_under_its_name() {
    let body = json!([{ "address": "a", "port": "p", "wait": 1 }, { "prt": "p" }]);
    refused(
        change(json!({}), "host", Operation::Replace, body),
        &[
            (ErrorTag::InvalidValue, "host/a/wait", "unknown key `wait`; known: address, port, weight"),
            (ErrorTag::InvalidValue, "host/1/prt", "unknown key `prt`; did you mean `port`?"),
            (ErrorTag::MissingAttribute, "host/1/address", "`address` is missing"),
            (ErrorTag::MissingAttribute, "host/1/port", "`port` is missing"),
        ],
    );
    for (operation, value) in
        [(Operation::Create, json!(5)), (Operation::Replace, Value::Null), (Operation::Replace, json!([]))]
    {
        let bad = (ErrorTag::BadAttribute, "host/a", "an entry is a JSON object");
        refused(change(json!({}), "host/a", operation, value), &[bad]);
    }
    refused(
        change(json!({}), "host/a", Operation::Create, Value::Null),
        &[(ErrorTag::MissingAttribute, "host/a/port", "`port` is missing")],
    );
    let one = json!({ "host": [{ "address": "b", "port": "p" }, { "address": "a", "port": "p" }] });
    refused(
        change(one.clone(), "host/a/port", Operation::Remove, Value::Null),
        &[(ErrorTag::MissingAttribute, "host/a/port", "`port` is missing")],
    );
    refused(
        change(one, "host/a/weight", Operation::Merge, json!("much")),
        &[(ErrorTag::BadAttribute, "host/a/weight", "weight: \"much\" is not of type")],
    );
}

#[test]
fn an_alias_is_the_leaf_that_it_names() {
    check(json!({}), "filters/depth", Operation::Merge, json!(20), "/depth", &json!(20));
    check(json!({}), "filters", Operation::Merge, json!({ "depth": "20" }), "/depth", &json!(20));
    check(json!({ "depth": 3 }), "filters/depth", Operation::Remove, Value::Null, "/depth", &json!(10));
    let config = change(json!({}), "", Operation::Merge, json!({ "filters": { "depth": 20 } })).unwrap();
    assert_eq!((&config["depth"], &config["filters"]), (&json!(20), &json!({})), "the value is kept once");
    refused(
        change(json!({}), "filters/depth", Operation::Merge, json!(0)),
        &[(ErrorTag::BadAttribute, "depth", "0 is less than the minimum of 1")],
    );
    assert_eq!(model().present(&config, json!({}))["filters"]["depth"], 20);
    check(json!({ "depth": 3 }), "filters", Operation::Remove, Value::Null, "/depth", &json!(10));
    check(json!({ "depth": 3 }), "filters", Operation::Replace, json!({}), "/depth", &json!(10));
    check(json!({ "depth": 3 }), "filters", Operation::Replace, json!({ "depth": 4 }), "/depth", &json!(4));
    check(json!({}), "", Operation::Replace, json!({ "depth": 4 }), "/depth", &json!(4));
}

#[test]
fn text_becomes_what_the_leaf_wants_and_back() {
    for (path, given, taken) in [
        ("mode", json!("IN"), json!("in")),
        ("depth", json!("42"), json!(42)),
        ("depth", json!(5.0), json!(5)),
        ("depth", json!(5e1), json!(50)),
        ("count", json!(1e18), json!(1_000_000_000_000_000_000_u64)),
        ("count", json!("18446744073709551615"), json!(u64::MAX)),
        ("ratio", json!("0.5"), json!(0.5)),
        ("network", json!("10.0.0.0/8"), json!("10.0.0.0/8")),
        ("network", json!("2001:DB8::/128"), json!("2001:DB8::/128")),
        ("network", json!("::1"), json!("::1")),
        ("network", json!(""), Value::Null),
        ("loud", json!("True"), json!(true)),
        ("loud", json!("f"), json!(false)),
        ("label", json!(7), json!("7")),
        ("label", json!(true), json!("true")),
        ("label", json!("007"), json!("007")),
        ("label", Value::Null, Value::Null),
    ] {
        check(json!({}), path, Operation::Merge, given, &format!("/{path}"), &taken);
    }
    let bad = ErrorTag::BadAttribute;
    for (path, given, message) in [
        ("depth", json!("many"), "depth: \"many\" is not of type \"integer\""),
        ("depth", json!(1.5), "depth: 1.5 is not of type \"integer\""),
        ("depth", json!(65_536), "depth: 65536 is greater than the maximum of 65535"),
        ("depth", json!(1e300), "is greater than the maximum of 65535"),
        ("count", json!(18_446_744_073_709_551_616.0), "is greater than the maximum of 18446744073709551615"),
        ("count", json!("18446744073709551616"), "is greater than the maximum of 18446744073709551615"),
        ("count", json!("-99999999999999999999"), "is less than the minimum of 0"),
        ("network", json!("10.0.0.0/33"), "`10.0.0.0/33` is not a prefix: give an address and its length, such as"),
        ("network", json!("::/129"), "is not a prefix"),
        ("network", json!("10.0.0.0/+8"), "is not a prefix"),
        ("network", json!("10.0.0/8"), "is not a prefix"),
        ("depth", Value::Null, "depth: null is not of type \"integer\""),
        ("loud", json!("perhaps"), "loud: \"perhaps\" is not of type \"boolean\""),
        ("mode", json!("both"), "mode: \"both\" is not one of off, in, out"),
        ("mode", Value::Null, "mode: null is not one of off, in, out"),
        ("filters/source", json!("here"), "source: \"here\" does not have the right form: write it like 10.0.0.1"),
    ] {
        refused(change(json!({}), path, Operation::Merge, given), &[(bad, path, message)]);
    }
}

#[test]
fn unknown_read_only_and_fixed_keys_are_distinguished() {
    let invalid = ErrorTag::InvalidValue;
    let merge = |value| change(json!({}), "", Operation::Merge, value);
    refused(merge(json!({ "dept": 1 })), &[(invalid, "dept", "unknown key `dept`; did you mean `depth`?")]);
    refused(
        merge(json!({ "filters": { "x": 1 } })),
        &[(invalid, "filters/x", "unknown key `x`; known: depth, source")],
    );
    refused(merge(json!({ "seen": 1 })), &[(invalid, "seen", "`seen` is read-only")]);
    refused(merge(json!({ "filters": { "matched": 1 } })), &[(invalid, "filters/matched", "read-only")]);
    refused(merge(json!({ "hook": "XDP" })), &[(invalid, "hook", "fixed when the cube is created")]);
    refused(merge(json!({ "hook": "DPDK" })), &[(ErrorTag::BadAttribute, "hook", "not one of TC, XDP")]);
    assert!(merge(json!({ "hook": "tc" })).is_ok(), "the value that it has");
    assert_eq!(model().create(json!({ "hook": "XDP" })).unwrap()["hook"], "XDP");
    let at = |path| change(json!({}), path, Operation::Merge, json!(1));
    refused(at("dept"), &[(ErrorTag::UnknownElement, "dept", "did you mean `depth`?")]);
    refused(at("filters/matched"), &[(invalid, "filters/matched", "read-only")]);
    refused(at("depth/below"), &[(ErrorTag::UnknownElement, "depth/below", "no `below`")]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let body = json!({ "colour": 1, "mode": "both", "depth": 0, "host": [{ "address": "a" }], "filters": { "x": 1 } });
    let mut found: Vec<_> = model().create(body).unwrap_err().0.into_iter().map(|problem| problem.path).collect();
    found.sort();
    assert_eq!(found, ["colour", "depth", "filters/x", "host/a/port", "mode"]);
}

#[test]
fn what_is_shown_has_unset_settings_as_null_and_no_other_nulls() {
    let model = model();
    let state = json!({ "seen": null, "filters": { "matched": 5 } });
    let shown = model.present(&fresh(), state);
    assert_eq!(
        shown,
        json!({
            "mode": "off",
            "depth": 10,
            "loud": false,
            "hook": "TC",
            "filters": { "depth": 10, "matched": 5, "source": null },
            "host": [],
            "count": null,
            "network": null,
            "ratio": null,
            "label": null,
        })
    );
    assert_eq!(super::read(&model.tree, &shown, &words("filters/matched")), Some(&json!(5)));
    assert_eq!(super::read(&model.tree, &shown, &words("nothing")), None);
}

#[test]
fn what_must_be_given_is_distinguished_from_what_is_always_shown() {
    let mut schema = model().service;
    schema.state["properties"]["host"] = json!({
        "type": "array",
        "x-list-key": "address",
        "items": {
            "properties": { "address": {}, "age": { "properties": { "seconds": {} } } },
            "required": ["address", "age"],
        },
    });
    schema.state["required"] = json!(["seen"]);
    let asked = Model::new(schema).unwrap().asked();
    let entry = &asked["properties"]["host"]["items"];
    assert_eq!(entry["required"], json!(["address", "port"]));
    assert_eq!(asked["required"], Value::Null);
    assert_eq!(entry["properties"]["address"]["readOnly"], Value::Null);
    assert_eq!(entry["properties"]["age"]["readOnly"], true);
    assert_eq!(entry["properties"]["age"]["properties"]["seconds"]["readOnly"], true);
    assert_eq!(asked["properties"]["filters"]["properties"]["matched"]["readOnly"], true);
}

#[test]
fn a_schema_that_cannot_be_used_is_refused() {
    let mut schema = model().service;
    schema.config["properties"]["depth"]["type"] = json!("figure");
    let message = Model::new(schema).err().map(|error| error.to_string()).unwrap_or_default();
    let expected =
        "service `some` cannot be used: the JSON Schema of its configuration is not valid, at `depth/type`: ";
    assert!(message.starts_with(expected), "{message}");
}

/// A model whose state is shown in the place of some settings.
fn shadowing() -> Model {
    let entry = |more: Value| {
        let mut properties = json!({ "address": { "type": "string" } });
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "type": "array", "x-list-key": "address", "items": { "type": "object", "properties": properties } })
    };
    let config = json!({ "type": "object", "properties": {
        "file": { "type": ["string", "null"] },
        "size": { "type": "integer", "default": 3 },
        "table": { "type": "object", "properties": { "age": { "type": "integer", "default": 5 }, "entry": entry(json!({})) } },
    } });
    let state = json!({ "type": "object", "properties": {
        "file": { "type": "string" },
        "seen": { "type": "integer" },
        "table": { "type": "object", "properties": { "entry": entry(json!({ "origin": { "type": "string" } })) } },
    } });
    Model::of("some", config, state).unwrap()
}

#[test]
fn settings_that_the_state_hides_are_read_back_from_beside_it() {
    let model = shadowing();
    let body = json!({ "file": "mine", "size": 4, "table": { "age": 6, "entry": [{ "address": "a" }] } });
    let config = model.create(body).unwrap();
    let learned = json!([{ "address": "a", "origin": "set" }, { "address": "b", "origin": "learned" }]);
    let state = json!({ "file": "is being written", "seen": 7, "table": { "entry": learned } });
    let mut shown = model.present(&config, state);
    let unseen = model.unseen(&config).unwrap();
    assert_eq!(unseen, json!({ "file": "mine", "table": { "entry": [{ "address": "a" }] } }));
    let again = model.settings(shown.clone(), unseen);
    assert_eq!(model.create_from(Source::Shown, again.clone()).unwrap(), config);
    assert_eq!(model.describe(&model.create(json!({})).unwrap(), Source::Shown, again.clone()).unwrap(), config);
    let Problems(problems) = model.create(again).unwrap_err();
    assert_eq!(problems[0].to_string(), "`seen` is read-only", "nobody writes that");
    shown["size"] = 5.into();
    let changed = model.create_from(Source::Shown, model.settings(shown, json!({}))).unwrap();
    assert_eq!(changed, json!({ "size": 5, "table": { "age": 6, "entry": [] } }), "what can be seen can be changed");
    assert_eq!(model.unseen(&model.create(json!({ "size": 4 })).unwrap()), None);
}
