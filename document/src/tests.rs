use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Document, Language, MergeError, Place, Reason, merge};

#[track_caller]
fn check(text: &str, expected: &Value) {
    let found = Document::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(found.value, *expected, "{text:?}");
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = Document::parse(text).map(|found| found.value).expect_err(text);
    assert!(error.to_string().contains(expected), "{text:?}: {error}");
}

#[test]
fn plain_words_are_not_truth_values_by_surprise() {
    for word in ["no", "No", "NO", "off", "on", "yes", "y", "n", "Off"] {
        check(&format!("capture: {word}"), &json!({ "capture": word }));
    }
    check("a: true\nb: False\nc: ~\nd:\ne: null", &json!({ "a": true, "b": false, "c": null, "d": null, "e": null }));
    check("a: 'true'\nb: \"5\"\nc: !!str 5", &json!({ "a": "true", "b": "5", "c": "5" }));
}

#[test]
fn numbers_are_those_of_json() {
    check("[0, -5, 1.5, 1e3, 18446744073709551615]", &json!([0, -5, 1.5, 1e3, u64::MAX]));
    for text in ["007", "0x1f", "0o17", "+1", ".5", "1_000", ".inf", "1e999", "52:54:00:12:34:56", "1.2.3.4"] {
        check(&format!("a: {text}"), &json!({ "a": text }));
    }
}

#[test]
fn json_is_read_as_json() {
    check("{\n\t\"a\": [1, \"\\ud83d\\ude00\\/\"]\n}", &json!({ "a": [1, "😀/"] }));
    check("{a: 1, b: [x]}", &json!({ "a": 1, "b": ["x"] }));
    check_refused("{\"a\": 1,,}", "key must be a string at line 1 column 9");
    check_refused("{\"a\": 1, \"a\": 2}", "`a` is given twice at line 1");
    check_refused("{\"a\": {\"b\": 1, \"b\": 1}}", "`b` is given twice");
    assert_eq!(Document::parse("{\"a\": 1,,}").unwrap_err().language, Language::Json);
}

#[test]
fn nothing_is_null() {
    for text in ["", " \n", "---\n", "# nothing\n", "~", "--- ~\n...\n"] {
        check(text, &Value::Null);
    }
}

#[test]
fn what_has_two_meanings_is_refused_with_its_place() {
    check_refused("a: 1\nb: 2\na: 3\n", "`a` is given twice, first in line 1 at line 3 column 1");
    check_refused("a:\n  b: 1\n  b: 1\n", "`b` is given twice, first in line 2 at line 3 column 3");
    check_refused("a: 1\n---\nb: 2\n", "a second document begins: give one at line 2 column 1");
    check_refused("a: &x {b: 1}\nc:\n  <<: *x\n", "`<<` merges nothing here: write the keys out at line 3 column 3");
    check_refused("a: !!binary aGk=\n", "the tag ");
    check_refused("a: !include x\n", "the tag !include is not supported");
    check_refused("? [1, 2]\n: 3\n", "a key is a list or a mapping");
    check_refused("a: b: c\n", "at line 1 column 5");
    check_refused("a:\n\t- b\n", "at line 2");
}

#[test]
fn aliases_are_copies_within_limits() {
    check("a: &x [1, {b: 2}]\nc: *x\n", &json!({ "a": [1, { "b": 2 }], "c": [1, { "b": 2 }] }));
    check_refused("a: &x [*x]\n", "alias");
    check_refused("a: *y\n", "at line 1 column 4");
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    check_refused(&bomb, "the aliases of the document stand for more than 16 MiB");
    let nested =
        format!("{}x", "&a".to_owned() + &(0..63).map(|level| format!(" [&b{level}")).collect::<String>() + " ");
    assert!(Document::parse(&nested).is_err());
}

#[test]
fn depth_is_limited_before_the_stack_is() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert!(Document::parse(&nested(60)).is_ok(), "{open}");
        let refused = Document::parse(&nested(100)).map(|found| found.value).unwrap_err();
        assert_eq!(refused.reason, Reason::Depth(64), "{open}");
        assert!(Document::parse(&nested(20_000)).is_err(), "{open}");
    }
}

const SITE: &str = "\
cubes:
- name: br1
  ports:
  - name: p1
    peer: veth1
  fdb:
    entry:
    - {address: '00:00:00:00:00:01', port: p1}
- name: '0'
chains:
  br1:p1: [a, b]
  10.0.0.0/8: [c]
";

#[test]
fn a_value_is_found_by_names_and_numbers() {
    let document = Document::parse(SITE).unwrap();
    for (path, line, column) in [
        ("cubes", 1, 1),
        ("cubes/br1", 2, 3),
        ("cubes/1", 9, 3),
        ("cubes/0", 9, 3),
        ("cubes/br1/name", 2, 3),
        ("cubes/br1/ports/p1", 4, 5),
        ("cubes/br1/ports/p1/peer", 5, 5),
        ("cubes/br1/ports/0/peer", 5, 5),
        ("cubes/br1/ports/p9/peer", 3, 3),
        ("cubes/br1/fdb/entry/00:00:00:00:00:01/port", 8, 38),
        ("cubes/br1/fdb/nothing", 6, 3),
        ("cubes/br2/ports", 1, 1),
        ("chains/br1:p1", 11, 3),
        ("chains/br1:p1/b", 11, 15),
        ("chains/10.0.0.0/8/c", 12, 16),
    ] {
        let found = document.place(path).map(|place| (place.line, place.column));
        assert_eq!(found, Some((line, column)), "{path}");
    }
    let json = Document::parse("{\n  \"cubes\": [\n    {\"name\": \"a\", \"x\": 1}\n  ]\n}").unwrap();
    assert_eq!(json.place("cubes/a/x").map(|place| (place.line, place.column)), Some((3, 19)));
}

#[test]
fn an_entry_is_found_by_several_of_its_members_in_any_order() {
    let services = "service:\n- {vip: a, vport: 80, proto: TCP}\n- {proto: UDP, vip: a, vport: 80, weight: 5}\n\
                    - {vip: a, vport: 81, proto: proto}\n";
    let document = Document::parse(services).unwrap();
    for (path, line, column) in [
        ("service/a/80/TCP", 2, 3),
        ("service/a/80/UDP", 3, 3),
        ("service/a/80/UDP/weight", 3, 35),
        ("service/a/81/proto", 4, 23),
        ("service/a/81/TCP/x", 4, 3),
        ("service/a", 2, 3),
    ] {
        let found = document.place(path).map(|place| (place.line, place.column));
        assert_eq!(found, Some((line, column)), "{path}");
    }
}

#[test]
fn documents_become_one_that_remembers_where_each_value_is_from() {
    let parse = |text| Document::parse(text).unwrap();
    let merged = merge(vec![
        parse("cubes:\n- name: a\nchains:\n  p: [a]\n"),
        parse("# empty\n"),
        parse("\n\ncubes: [{name: b, x: 1}]\nchains: {q: [b]}\n"),
    ])
    .unwrap();
    assert_eq!(
        merged.value,
        json!({ "cubes": [{ "name": "a" }, { "name": "b", "x": 1 }], "chains": { "p": ["a"], "q": ["b"] } })
    );
    for (path, document, line) in [("cubes/a", 0, 2), ("cubes/b/x", 2, 3), ("cubes/1", 2, 3), ("chains/q", 2, 4)] {
        let place = merged.place(path).unwrap();
        assert_eq!((place.document, place.line), (document, line), "{path}");
    }
    let refused = merge(vec![parse("chains: {p: [a]}"), parse("\nchains:\n  p: [b]\n")]).map(|merged| merged.value);
    let (first, place) = (Place { document: 0, line: 1, column: 10 }, Place { document: 1, line: 3, column: 3 });
    assert_eq!(refused, Err(MergeError::Twice { key: "p".to_owned(), place: Some(place), first: Some(first) }));
    assert!(merge(vec![parse("cubes: [1]"), parse("cubes: 5")]).is_err());
    let refused = merge(vec![parse("- a")]).map(|merged| merged.value);
    assert_eq!(refused, Err(MergeError::NotMapping { place: Some(Place { document: 0, line: 1, column: 1 }) }));
    assert_eq!(merge(Vec::new()).unwrap().value, json!({}));
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_read_or_refused(text in "[-a-c:{}\\[\\],&*!|>'\"#%@?~ \t\n0-9<]{0,60}") {
        if let Ok(document) = Document::parse(&text) {
            let _ = document.place("a/b/0/c");
            let _ = merge(vec![document.clone(), document]);
        }
    }
}
