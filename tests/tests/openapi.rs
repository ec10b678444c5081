//! Does `/openapi.json` describe everything that is served, and nothing else?

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use polycube_tests::http;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The name for each parameter of a path, which also identifies the entries of a list: the first that fits.
const NAMES: [(&str, &str); 8] = [
    ("name", "nothing"),
    ("id", "7"),
    ("address", "02:00:00:00:00:07"),
    ("service", "simplebridge"),
    ("netdev", "veth1"),
    ("place", "veth1"),
    ("port", "p1"),
    ("cube", "br1"),
];

/// The cube of each service that has one besides the bridge.
const CUBES: [(&str, &str); 4] =
    [("packetcapture", "sniffer"), ("span", "mirror"), ("helloworld", "hw1"), ("transparenthelloworld", "t1")];

struct Site {
    scene: Scene,
    document: Value,
}

impl Site {
    /// A cube of each service, `br1` with a port and an entry, and `sniffer` and `mirror` with filters, so that every node is
    /// there.
    fn build() -> Result<Self> {
        let commands = [
            "simplebridge add br1",
            "br1 ports add p1 peer=veth1",
            "br1 fdb entry add 02:00:00:00:00:07 port=p1",
            "packetcapture add sniffer capture=ingress filters.dport=80",
            "attach sniffer br1:p1",
            "span add mirror target=veth9 filters.dport=80",
            "attach mirror br1:p1",
            "helloworld add hw1",
            "hw1 ports add p1",
            "transparenthelloworld add t1",
        ];
        let scene = Scene::set_up().peers(1).commands(commands).start()?;
        let document = scene.daemon.http("GET", "/polycube/v1/openapi.json", None)?.ok().json()?;
        Ok(Self { scene, document })
    }

    /// Paths as they are declared, paths as they can be requested, and the methods declared for them.
    fn paths(&self) -> impl Iterator<Item = (&str, String, Vec<String>)> {
        self.document["paths"].as_object().into_iter().flatten().map(|(declared, item)| {
            let of_service = |(service, _): &&(&str, &str)| declared.starts_with(&format!("/{service}/"));
            let cube = CUBES.iter().find(of_service).map(|(_, cube)| *cube);
            let mut path = declared.clone();
            for (parameter, name) in NAMES {
                let name = cube.filter(|_| parameter == "cube").unwrap_or(name);
                path = path.replace(&format!("{{{parameter}}}"), name);
            }
            assert!(!path.contains('{'), "the test has no name for a parameter of {declared}");
            let methods = item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase());
            (declared.as_str(), path, methods.filter(|method| METHODS.contains(&method.as_str())).collect())
        })
    }
}

#[test]
fn every_declared_path_answers_as_declared() -> Result<()> {
    let site = Site::build()?;
    let mut read = 0;
    for (declared, path, methods) in site.paths() {
        let target = format!("/polycube/v1{path}");
        if methods.iter().any(|method| method == "GET") {
            let responses = &site.document["paths"][declared]["get"]["responses"];
            // Streams may not end.
            let reply = http::open(&site.scene.daemon.socket(), "GET", &target, None)?;
            assert!(!responses[reply.status.to_string()].is_null(), "GET {path} answers {}", reply.status);
            let content = responses["200"]["content"].as_object().with_context(|| format!("{declared}: no content"))?;
            let media = reply.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
            let media = media.unwrap_or_default().split(';').next().unwrap_or_default();
            // Reports of a stream are a document for each line.
            let is_document = reply.status == 200 && media.ends_with("json") && !media.contains("ndjson");
            if let Some(content) = content.get(media).filter(|_| is_document) {
                let answer = site.scene.daemon.http("GET", &target, None)?.ok().json()?;
                let mut schema = content["schema"].clone();
                // References point into it.
                schema["components"] = site.document["components"].clone();
                let validator = jsonschema::validator_for(&schema).with_context(|| declared.to_owned())?;
                let errors: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "GET {path} answers {answer}: {errors:?}");
                read += 1;
            }
        }
        for method in METHODS.iter().filter(|method| !methods.iter().any(|declared| declared == *method)) {
            let response = site.scene.daemon.http(method, &target, None)?;
            let body = response.json()?;
            let error = &body["ietf-restconf:errors"]["error"][0];
            if response.status == 400 {
                assert_eq!(error["error-tag"], "invalid-value", "{method} {path}");
                assert!(error["error-message"].as_str().is_some_and(|text| text.contains("read-only")), "{error}");
                continue;
            }
            assert_eq!(response.status, 405, "{method} {path} is not declared: {body}");
            let allow = response.headers.iter().find(|(name, _)| name == "allow").map(|(_, value)| value.as_str());
            assert_eq!(allow, Some(methods.join(", ").as_str()), "{method} {path}");
        }
    }
    assert!(read > 40, "{read} paths were read");
    Ok(())
}

/// The paths of everything that an answer shows; entries of lists have the names in [`NAMES`].
fn shown(path: &str, value: &Value, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => {
            // A document of its own, to be given back as a whole.
            for (name, member) in members.iter().filter(|(name, _)| *name != "config") {
                shown(&format!("{path}/{name}"), member, found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                let by_name = NAMES.iter().find(|(_, name)| entry["name"] == *name);
                let name = by_name.or_else(|| NAMES.iter().find(|(key, name)| entry[key] == *name));
                if let Some((_, name)) = name {
                    shown(&format!("{path}/{name}"), entry, found);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn everything_that_is_shown_is_declared() -> Result<()> {
    let site = Site::build()?;
    let declared: BTreeMap<String, Vec<String>> = site.paths().map(|(_, path, methods)| (path, methods)).collect();
    for cube in ["simplebridge/br1", "packetcapture/sniffer"] {
        let path = format!("/{cube}");
        let whole = site.scene.daemon.http("GET", &format!("/polycube/v1{path}"), None)?.ok().json()?;
        let mut found = Vec::new();
        shown(&path, &whole, &mut found);
        assert!(found.len() > 15, "{found:?}");
        for path in found {
            assert!(declared.contains_key(&path), "{path} is not declared");
        }
    }
    Ok(())
}

#[test]
fn everything_that_the_root_links_to_is_declared() -> Result<()> {
    let site = Site::build()?;
    let root = site.scene.daemon.http("GET", "/polycube/v1/", None)?.ok().json()?;
    let declared: BTreeMap<String, Vec<String>> = site.paths().map(|(_, path, methods)| (path, methods)).collect();
    let links = root["_links"].as_array().context("links")?;
    for link in links {
        let href = link["href"].as_str().context("an address")?;
        let path = href.strip_prefix("/polycube/v1").context("a path below the base")?;
        let is_cube = ["/br1", "/hw1", "/mirror", "/sniffer", "/t1"].contains(&path);
        assert!(is_cube || declared.contains_key(path), "{path} is not declared");
        let methods = declared.get(path).cloned().unwrap_or_default();
        if is_cube || methods.iter().any(|method| method == "GET") {
            assert_eq!(site.scene.daemon.http("GET", href, None)?.status, 200, "{href}");
        }
    }
    let linked = |path: &String| links.iter().any(|link| link["href"] == format!("/polycube/v1{path}"));
    for path in declared.keys().filter(|path| path.len() > 1 && path.matches('/').count() == 1) {
        assert!(linked(path), "{path} is not linked");
    }
    Ok(())
}

#[test]
fn the_document_is_where_generators_look() -> Result<()> {
    let site = Site::build()?;
    assert_eq!(site.scene.daemon.http("GET", "/openapi.json", None)?.ok().json()?, site.document);
    assert_eq!(site.document["openapi"], "3.1.0");
    let golden: Value = serde_json::from_str(include_str!("../../schemas/openapi.json"))?;
    let mut found = site.document;
    found["info"]["version"] = json!("");
    assert!(found == golden, "the plugins' document is not schemas/openapi.json");
    Ok(())
}
