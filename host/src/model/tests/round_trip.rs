//! Any configuration is saved, and applied to an empty daemon it is the same again.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::model::{Absent, Apply, Mode, Others, answer, export};

const BRIDGES: [&str; 2] = ["br1", "br2"];
const TAPS: [&str; 3] = ["a", "b", "c"];
const PEERS: [&str; 6] = ["", "veth1", "veth2", "br1:p", "br2:p", "br2:q"];
const POINTS: [&str; 5] = ["br1:p", "br2:p", "br2:q", "veth1", "veth2"];

/// Steps to any configuration; those that are refused are left out.
fn steps() -> impl Strategy<Value = Vec<Change>> {
    let bridge = prop::sample::select(&BRIDGES[..]);
    let tap = prop::sample::select(&TAPS[..]);
    let port = prop::sample::select(&["p", "q"][..]);
    let cube = prop_oneof![bridge.clone(), tap.clone()];
    let level = prop::sample::select(&["INFO", "DEBUG", "OFF"][..]);
    let body = (0..9_u8, "[ -~é]{0,6}", level)
        .prop_map(|(size, word, level)| json!({ "size": size, "word": word, "loglevel": level }));
    let step = prop_oneof![
        bridge.clone().prop_map(|name| create("bridge", name, Value::Null)),
        tap.clone().prop_map(|name| create("tap", name, Value::Null)),
        (cube, body).prop_map(|(cube, body)| configure(cube, &[], Operation::Merge, body)),
        (bridge, port, prop::sample::select(&PEERS[..])).prop_map(|(cube, port, peer)| {
            Change::CreatePort { cube: cube.to_owned(), port: port.to_owned(), body: json!({ "peer": peer }) }
        }),
        (tap.clone(), prop::sample::select(&POINTS[..]), prop::bool::ANY).prop_map(|(cube, port, first)| {
            let place = if first { Place::First } else { Place::Last };
            Change::Attach { cube: cube.to_owned(), port: port.to_owned(), place }
        }),
    ];
    prop::collection::vec(step, 0..40)
}

/// No cubes. Its services are made once, because their schemas take longer than everything else here.
static EMPTY: LazyLock<Model> = LazyLock::new(|| Model::new(lab().registry));

fn made(steps: Vec<Change>) -> Model {
    steps.into_iter().fold(EMPTY.clone(), |model, step| change(&model, step, &facts()).unwrap_or(model))
}

fn apply(document: &Value, others: Others) -> Change {
    Change::Apply(Apply { document: document.clone(), others, absent: Absent::Refused, mode: Mode::CarryOut })
}

fn results(report: &Value) -> Vec<&str> {
    let lists = ["cubes", "chains"].into_iter().flat_map(|kind| report[kind].as_array().unwrap());
    lists.map(|entry| entry["result"].as_str().unwrap()).collect()
}

proptest! {
    #[test]
    fn what_is_saved_is_made_again(steps in steps()) {
        let model = made(steps);
        let document = export(&model);
        let again = change(&EMPTY, apply(&document, Others::Stay), &facts()).unwrap();
        prop_assert_eq!(export(&again), document.clone());
        prop_assert_eq!(export(&again).to_string(), document.to_string());
        for model in [&model, &again] {
            let same = apply(&document, Others::Go);
            let after = change(model, same.clone(), &facts()).unwrap();
            prop_assert!(after.topology == model.topology);
            let report = answer(model, &after, &same, &facts());
            prop_assert!(results(&report).iter().all(|result| *result == "left"), "{}", report);
        }
    }

    #[test]
    fn from_any_configuration_a_document_leads_to_its_own(from in steps(), to in steps()) {
        let (from, to) = (made(from), made(to));
        let document = export(&to);
        let after = change(&from, apply(&document, Others::Go), &facts()).unwrap();
        prop_assert_eq!(export(&after), document.clone());
        // What stays does not keep the document from being true of what it mentions.
        if let Ok(after) = change(&from, apply(&document, Others::Stay), &facts()) {
            let again = change(&after, apply(&document, Others::Stay), &facts()).unwrap();
            prop_assert!(again.topology == after.topology);
        }
    }
}
