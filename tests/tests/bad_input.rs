//! Is every setting that violates its schema, in every way it can, refused with its path and what is allowed?
//!
//! The cases are generated from the schemas that the daemon serves, so a plugin's new setting is tested as well.

use anyhow::{Context, Result};
use polycube_tests::scene::Scene;
use serde_json::{Map, Value, json};

struct Site {
    scene: Scene,
    document: Value,
}

/// An invalid value, and the words that its refusal must contain.
struct Wrong {
    value: Value,
    expected: String,
}

impl Site {
    /// `br1` with port `p1`, and `sniffer` at it.
    fn build() -> Result<Self> {
        let commands = [
            "simplebridge add br1",
            "br1 ports add p1 peer=veth1",
            "br1 fdb entry add 02:00:00:00:00:07 port=p1",
            "packetcapture add sniffer",
            "attach sniffer br1:p1",
        ];
        let scene = Scene::set_up().peers(1).commands(commands).start()?;
        let document = scene.daemon.http("GET", "/openapi.json", None)?.ok().json()?;
        Ok(Self { scene, document })
    }

    fn settings(&self, service: &str) -> &Value {
        &self.document["components"]["schemas"][format!("{service}-settings")]
    }

    /// Sends an invalid request, and returns the paths and messages of its errors.
    #[track_caller]
    fn refused(&self, method: &str, path: &str, body: &Value) -> Vec<(String, String)> {
        let response = self.scene.daemon.http(method, &format!("/polycube/v1/{path}"), Some(body)).expect("an answer");
        let text = response.text();
        assert!((400..500).contains(&response.status), "{method} {path} {body}: {} {text}", response.status);
        let body = response.json().expect("JSON");
        let errors = body["ietf-restconf:errors"]["error"].as_array().expect("errors");
        let text = |error: &Value, key: &str| error[key].as_str().expect("a text").to_owned();
        errors.iter().map(|error| (text(error, "error-path"), text(error, "error-message"))).collect()
    }

    /// Asserts that an error of the node at `place` contains `expected`, in one line.
    #[track_caller]
    fn check(&self, method: &str, path: &str, body: &Value, place: &str, expected: &str) {
        let errors = self.refused(method, path, body);
        let said = errors.iter().any(|(path, message)| path == place && message.contains(expected));
        assert!(said, "{method} {path} {body}: {expected:?} is not said of {place}: {errors:?}");
        for (_, message) in &errors {
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
    }
}

/// The name without its last letter: close enough for a suggestion, and never a real name.
fn misspelt(name: &str) -> String {
    name[..name.len() - 1].to_owned()
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    }
}

/// Every way in which a leaf can be invalid.
fn wrong(schema: &Value) -> Vec<Wrong> {
    let mut found = Vec::new();
    let mut add = |value: Value, expected: &dyn ToString| found.push(Wrong { value, expected: expected.to_string() });
    let kinds = kinds(schema);
    if let Some(options) = schema["enum"].as_array() {
        let last = options.last().map(|last| last.as_str().map_or(last.to_string(), str::to_owned)).unwrap_or_default();
        for value in [json!("no such thing"), json!(3), json!([]), json!({})] {
            add(value, &last);
        }
        return found;
    }
    let kind = kinds.iter().find(|kind| **kind != "null").copied().unwrap_or_default();
    for value in [json!([]), json!({}), json!([1]), json!({ "a": 1 })] {
        add(value, &kind);
    }
    if kind == "integer" {
        let of_text = match () {
            () if kinds.contains(&"string") => "right form",
            () if schema["x-unit"].is_string() => "is not a",
            () => kind,
        };
        add(json!(1.5), &kind);
        add(json!(true), if kinds.contains(&"string") { &of_text } else { &kind });
        for value in [json!("many"), json!("1.5"), json!("0x10"), json!(" 7")] {
            add(value, &of_text);
        }
        if !kinds.contains(&"null") {
            add(Value::Null, &kind);
            add(json!(""), &of_text);
        }
    }
    if kind == "number" {
        add(json!(true), &kind);
        for value in [json!("many"), json!("1 parsec"), json!("1h")] {
            add(value, &"is not a size");
        }
    }
    if let Some(least) = schema["minimum"].as_i64() {
        add(json!(least - 1), &least);
        add(json!((least - 1).to_string()), &least);
        add(json!(i64::MIN), &least);
    }
    if let Some(most) = schema["maximum"].as_i64() {
        add(json!(most + 1), &most);
        add(json!(u64::MAX), &most);
        add(json!(1e300), &"");
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        add(json!("x".repeat(most as usize + 1)), &"");
    }
    if schema["pattern"].is_string() {
        add(json!("\u{1}"), &"");
        if !kinds.contains(&"null") {
            add(json!(""), &"");
        }
    }
    if schema["format"] == "ip-prefix" {
        add(json!("10.0.0.0/33"), &"prefix");
        add(json!("here"), &"prefix");
    }
    found
}

/// The leaves below a schema: their paths and their schemas. Lists have a test of their own.
fn leaves(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        match (&member["properties"], &member["items"], path.as_str()) {
            // They are given when a cube is created.
            (_, _, "name" | "parent") => {}
            (Value::Null, Value::Null, _) => found.push((path, member.clone())),
            (Value::Null, ..) => {}
            _ => leaves(member, &path, found),
        }
    }
}

/// `value` at a path, as the body for the node above.
fn nested(path: &str, value: &Value) -> Value {
    path.rsplit('/').fold(value.clone(), |value, name| json!({ name: value }))
}

const CUBES: [(&str, &str); 2] = [("simplebridge", "br1"), ("packetcapture", "sniffer")];

#[test]
fn every_setting_is_checked_wherever_it_is_given() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let mut cases = 0;
    for (service, cube) in CUBES {
        let mut found = Vec::new();
        leaves(site.settings(service), "", &mut found);
        for (path, schema) in found {
            // An alias's errors are about the leaf that it names.
            let meant = schema["x-alias"].as_str().map_or(path.as_str(), |target| target.trim_start_matches('/'));
            for Wrong { value, expected } in wrong(&schema) {
                let place = format!("{cube}/{meant}");
                site.check("PATCH", &format!("{cube}/{path}"), &value, &place, &expected);
                site.check("PUT", &format!("{cube}/{path}"), &value, &place, &expected);
                site.check("PATCH", cube, &nested(&path, &value), &place, &expected);
                site.check("PUT", cube, &nested(&path, &value), &place, &expected);
                let new = format!("new/{meant}");
                site.check("POST", &format!("{service}/new"), &nested(&path, &value), &new, &expected);
                cases += 5;
            }
            assert_eq!(site.scene.daemon.snapshot()?, before, "{cube}/{path}");
        }
    }
    assert!(cases > 500, "{cases} cases");
    Ok(())
}

#[test]
fn misspelt_names() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    for (service, cube) in CUBES {
        let mut found = Vec::new();
        leaves(site.settings(service), "", &mut found);
        for (path, _) in found {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let wrong = misspelt(name);
            let place = [cube, above, wrong.as_str()].into_iter().filter(|word| !word.is_empty());
            let place = place.collect::<Vec<_>>().join("/");
            let body = nested(&path.replace(name, &wrong), &json!(1));
            site.check("PATCH", cube, &body, &place, &format!("unknown key `{wrong}`"));
            site.check("PATCH", cube, &body, &place, &format!("did you mean `{name}`?"));
            let errors = site.refused("PATCH", &place, &json!(1));
            assert!(errors[0].1.contains(&format!("did you mean `{name}`?")), "{place}: {errors:?}");
        }
        for word in [cube, service] {
            let errors = site.refused("GET", &format!("{}/", misspelt(word)), &Value::Null);
            assert!(errors[0].1.contains(&format!("did you mean `{word}`?")), "{errors:?}");
        }
    }
    assert_eq!(site.scene.daemon.snapshot()?, before);
    Ok(())
}

#[test]
fn entries_of_lists() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let entry = &site.settings("simplebridge")["properties"]["fdb"]["properties"]["entry"];
    let pattern = &entry["items"]["properties"]["address"]["pattern"];
    assert!(pattern.is_string(), "{entry}");
    for (method, path, body, expected) in [
        ("POST", "br1/fdb/entry/02:00:00:00:00:08", json!({}), "`port` is missing"),
        ("POST", "br1/fdb/entry/02:00:00:00:00:08", json!({ "prt": "p1" }), "did you mean `port`?"),
        ("POST", "br1/fdb/entry/zz", json!({ "port": "p1" }), "like 02:00"),
        ("PUT", "br1/fdb/entry", json!([{ "address": "zz", "port": "p1" }]), "like 02:00"),
        ("PUT", "br1/fdb/entry", json!([{ "port": "p1" }]), "`address` is missing"),
        ("PUT", "br1/fdb/entry", json!({}), "array"),
        ("PUT", "br1/fdb/entry", json!([5]), "object"),
        ("PATCH", "br1/fdb/entry/02:00:00:00:00:09", json!({ "port": "p1" }), "no entry"),
        ("PATCH", "br1/fdb/entry/02:00:00:00:00:07/port", json!("p9"), "`p9`"),
    ] {
        let errors = site.refused(method, path, &body);
        let said =
            errors.iter().any(|(place, message)| place.starts_with("br1/fdb/entry") && message.contains(expected));
        assert!(said, "{method} {path} {body}: {errors:?}");
    }
    assert_eq!(site.scene.daemon.snapshot()?, before);
    Ok(())
}

/// All errors are reported at once.
#[test]
fn a_body_in_which_everything_is_wrong() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    for (service, _) in CUBES {
        let mut found = Vec::new();
        leaves(site.settings(service), "", &mut found);
        let mut body = Map::new();
        let mut places = Vec::new();
        for (path, schema) in found.iter().filter(|(_, schema)| schema["x-alias"].is_null()) {
            let (Some(first), Some(wrong)) = (path.split('/').next(), wrong(schema).into_iter().next()) else {
                continue;
            };
            let value = nested(path, &wrong.value)[first].take();
            match (body.get_mut(first).and_then(Value::as_object_mut), value) {
                (Some(members), Value::Object(value)) => members.extend(value),
                (_, value) => drop(body.insert(first.to_owned(), value)),
            }
            places.push(format!("new/{path}"));
        }
        body.insert("colour".to_owned(), json!("red"));
        body.insert("name".to_owned(), json!("other"));
        places.extend(["colour", "name"].map(|name| format!("new/{name}")));
        let errors = site.refused("POST", &format!("{service}/new"), &body.into());
        for place in &places {
            let said = errors.iter().filter(|(path, _)| path == place).count();
            assert_eq!(said, 1, "{place} is reported {said} times: {errors:?}");
        }
        // With it, the body is what was shown, where state stands in the place of some settings.
        let errors = site.refused("POST", &format!("{service}/new"), &json!({ "uuid": "mine" }));
        assert!(errors.len() == 1 && errors[0].0 == "new/uuid", "{errors:?}");
    }
    let body = json!({ "peer1": 5, "per2": "x", "colour": [] });
    let errors = site.refused("POST", "connect", &body);
    let places: Vec<&str> = errors.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(places, ["connect/peer1", "connect/peer2", "connect/per2", "connect/colour"]);
    assert!(errors[2].1.contains("did you mean `peer2`?"), "{errors:?}");
    let ports = json!({ "ports": [{ "name": "a/b" }, { "name": "p1", "per": "" }, 5, { "peer": "" }, { "name": "p2", "peer": 7 }] });
    let errors = site.refused("POST", "simplebridge/new", &ports);
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert_eq!(site.scene.daemon.snapshot()?, before);
    Ok(())
}

#[test]
fn words_of_the_framework() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let paths = site.document["paths"].as_object().context("paths")?;
    let mut cases = 0;
    for (path, item) in paths.iter().filter(|(path, _)| path.matches('/').count() == 1) {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        let (Some(members), Some(required)) = (schema["properties"].as_object(), schema["required"].as_array()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        let whole: Map<String, Value> =
            required.iter().filter_map(Value::as_str).map(|name| (name.to_owned(), json!("br1:p1"))).collect();
        for body in [json!(5), json!([]), json!("x"), json!(true)] {
            site.check("POST", path, &body, path, "object");
        }
        for name in members.keys() {
            let place = format!("{path}/{name}");
            for value in [json!(5), json!(null), json!(["x"]), json!({})] {
                let mut body = whole.clone();
                body.insert(name.clone(), value);
                site.check("POST", path, &body.into(), &place, name);
                cases += 1;
            }
            let mut body = whole.clone();
            if body.remove(name).is_some() {
                site.check("POST", path, &body.into(), &place, "is missing");
            }
        }
    }
    assert!(cases > 30, "{cases}");
    assert_eq!(site.scene.daemon.snapshot()?, before);
    Ok(())
}
