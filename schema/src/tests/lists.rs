//! Lists of entries that configuration and state have in common, and lists of values.

use serde_json::{Value, json};

use super::words;
use crate::problem::Problems;
use crate::{Model, Source};

/// A service with rules that have counters, at two depths.
fn guard() -> Model {
    let list = |members: Value| json!({ "type": "array", "x-list-key": "id", "items": { "type": "object", "properties": members } });
    let id = json!({ "type": "string", "x-lower-case": true });
    let inner = |members: Value| json!({ "type": "object", "properties": { "rule": list(members) } });
    let set = json!({ "id": id, "action": { "type": "string" } });
    let seen = json!({ "id": id, "packets": { "type": "integer" } });
    let chain = |own: &Value| json!({ "id": id, "rule": list(own.clone()) });
    let config = json!({ "type": "object", "properties": { "chain": list(chain(&set)), "box": inner(set) } });
    let state = json!({ "type": "object", "properties": { "chain": list(chain(&seen)), "box": inner(seen) } });
    Model::of("guard", config, state).unwrap()
}

#[test]
fn entries_of_one_list_in_configuration_and_state_are_one_entry() {
    let model = guard();
    let rule = |id: &str, action: &str| json!({ "id": id, "action": action });
    let config = json!({
        "chain": [{ "id": "out", "rule": [rule("b", "drop"), rule("a", "pass")] }, { "id": "in", "rule": [] }],
        "box": { "rule": [rule("x", "drop")] },
    });
    let seen = |id: &str, packets: u64| json!({ "id": id, "packets": packets });
    let state = json!({
        "chain": [
            { "id": "learned", "rule": [seen("z", 9)] },
            { "id": "OUT", "rule": [seen("a", 1), seen("B", 2), seen("c", 3)] },
        ],
        "box": { "rule": [] },
    });
    let shown = model.present(&config, state);
    assert_eq!(
        shown,
        json!({
            "chain": [
                { "id": "out", "rule": [
                    { "id": "b", "action": "drop", "packets": 2 },
                    { "id": "a", "action": "pass", "packets": 1 },
                    { "id": "c", "packets": 3 },
                ] },
                { "id": "in", "rule": [] },
                { "id": "learned", "rule": [{ "id": "z", "packets": 9 }] },
            ],
            "box": { "rule": [{ "id": "x", "action": "drop" }] },
        }),
        "in the configuration's order, what only the state has last"
    );
    let at = |path: &str| crate::shown(&model.tree, &shown, &words(path));
    assert_eq!(at("chain/out/rule/B/packets"), Some(json!(2)));
    assert_eq!(at("chain/out/rule/c"), Some(json!({ "id": "c", "packets": 3 })));
    assert_eq!(at("chain/in/rule/a"), None);
    assert!(crate::is_read_only(&model.tree, &words("chain/out/rule/b/packets")));
    assert!(!crate::is_read_only(&model.tree, &words("chain/out/rule/b/action")));
}

#[test]
fn what_is_shown_with_its_state_can_be_written_again() {
    let model = guard();
    let config = json!({ "chain": [], "box": { "rule": [{ "id": "x", "action": "drop" }] } });
    let state = json!({ "box": { "rule": [{ "id": "x", "packets": 5 }, { "id": "y", "packets": 1 }] } });
    let (shown, unseen) = (model.present(&config, state), model.unseen(&config).unwrap());
    let settings = model.settings(shown, unseen);
    assert_eq!(model.create_from(Source::Shown, settings).unwrap(), config);
}

#[test]
fn elements_of_lists_of_values_and_maps_are_read_as_what_they_are() {
    let config = json!({ "type": "object", "properties": {
        "ports": { "type": "array", "items": { "type": "integer", "maximum": 65_535 } },
        "words": { "type": "array", "items": { "type": "string", "x-lower-case": true } },
        "weights": { "type": "object", "additionalProperties": { "type": "integer" } },
    } });
    let model = Model::of("lists", config, json!({ "type": "object" })).unwrap();
    let made = model.create(json!({ "ports": ["80", 443], "words": [80, "Ab"], "weights": { "a": "1" } })).unwrap();
    assert_eq!(made, json!({ "ports": [80, 443], "words": ["80", "ab"], "weights": { "a": 1 } }));
    for (body, path) in [
        (json!({ "ports": [80, "x"] }), "ports/1"),
        (json!({ "ports": "80" }), "ports"),
        (json!({ "weights": { "a": "x" } }), "weights/a"),
        (json!({ "weights": "a=1" }), "weights"),
    ] {
        let Problems(problems) = model.create(body).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
    }
}
