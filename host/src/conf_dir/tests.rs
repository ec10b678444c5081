use std::collections::BTreeMap;
use std::sync::Arc;

use polycube_plugin_api::ServiceKind;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::engine::double;
use crate::model::{Facts, Model, export};
use crate::netdev::{Table, ethernet};
use crate::plugins::double::plugin;
use crate::registry::{Registry, Service};
use crate::wiring::Netdevs;

/// An engine without cubes, with the services `bridge` and `tap` and the netdev `veth1`.
fn engine() -> Handle {
    let mut registry = Registry::new().unwrap();
    for (name, kind) in [("bridge", ServiceKind::Standard), ("tap", ServiceKind::Transparent)] {
        registry.add(Arc::new(Service::new(plugin(name, kind)).unwrap())).unwrap();
    }
    let mut present = Table::default();
    present.set(ethernet(1, "veth1"));
    let facts =
        Facts { present, wired: Netdevs::default(), looks: BTreeMap::new(), failed: BTreeMap::new(), seed: [1; 16] };
    double::start(Model::new(registry), facts)
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

const BRIDGE: &str =
    "cubes:\n- name: br1\n  service-name: bridge\n  ports: [{name: p, peer: veth1}, {name: q, peer: late}]\n";
const TAP: &str = "cubes:\n- name: a\n  service-name: tap\n  size: 4\nchains:\n  br1:p: [a]\n";

#[tokio::test]
async fn the_files_are_one_document_in_the_order_of_their_names() {
    let files = [
        ("20-tap.yaml", TAP),
        ("10-bridge.yml", BRIDGE),
        ("30-more.json", "{\"chains\": {\"veth1\": [\"a\"]}}"),
        (".hidden.yaml", "{"),
        ("10-bridge.yml~", "{"),
        ("README", "{"),
    ];
    let directory = directory(&files);
    let engine = engine();
    for result in ["created", "left"] {
        let report = try_apply(directory.path(), &engine).await.unwrap().unwrap();
        let cubes: Vec<_> = report["cubes"].as_array().unwrap().iter().map(|cube| cube["result"].clone()).collect();
        assert_eq!(cubes, [result, result]);
    }
    let expected = json!({
        "cubes": [
            { "name": "a", "service-name": "tap", "size": 4 },
            { "name": "br1", "service-name": "bridge",
              "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q", "peer": "late" }] },
        ],
        "chains": { "br1:p": ["a"], "veth1": ["a"] },
    });
    assert_eq!(export(&engine.view().model()), expected, "a netdev may come later");
    fs::remove_file(directory.path().join("20-tap.yaml")).unwrap();
    fs::remove_file(directory.path().join("30-more.json")).unwrap();
    try_apply(directory.path(), &engine).await.unwrap();
    assert_eq!(export(&engine.view().model()), expected, "what is not mentioned any more stays");
}

/// Asserts what is said of a directory, where `DIR` stands for it, and that nothing of it was applied.
#[track_caller]
fn check_refused(files: &[(&str, &str)], expected: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (directory, engine) = (directory(files), engine());
        let error = try_apply(directory.path(), &engine).await.unwrap_err().to_string();
        let said = error.replace(&directory.path().display().to_string(), "DIR");
        assert_eq!(said, expected);
        assert_eq!(engine.view().topology.cubes().count(), 0);
    });
}

#[test]
fn a_mistake_in_one_file_keeps_all_from_being_applied() {
    for (text, expected) in [
        ("cubes:\n- name: a\n   service-name: tap\n", "DIR/2.yaml:3:16: not valid YAML: "),
        ("cubes: []\ncubes: []\n", "DIR/2.yaml:2:1: not valid YAML: `cubes` is given twice, first in line 1"),
    ] {
        let directory = directory(&[("1.yaml", BRIDGE), ("2.yaml", text), ("3.yaml", TAP)]);
        let read = read(directory.path()).map(|read| read.files).unwrap_err();
        let said = read.to_string().replace(&directory.path().display().to_string(), "DIR");
        assert!(said.starts_with(expected), "{said}");
    }
    check_refused(
        &[("1.yaml", BRIDGE), ("2.yaml", "cubes:\n- name: b\n  service-name: tap\n  sise: 4\n"), ("3.yaml", TAP)],
        "DIR/2.yaml:4:3: unknown key `sise`; did you mean `size`?",
    );
    check_refused(
        &[("1.yaml", BRIDGE), ("2.yaml", "- a\n"), ("3.yaml", TAP)],
        "DIR/2.yaml:1:1: the document is not a mapping: give keys and values",
    );
    check_refused(
        &[("1.yaml", TAP), ("2.yaml", BRIDGE), ("3.yaml", "cube: []\n")],
        "DIR/3.yaml:1:1: unknown key `cube`; did you mean `cubes`?",
    );
}

#[test]
fn files_that_contradict_each_other_are_refused_with_both_places() {
    check_refused(
        &[("1.yaml", BRIDGE), ("2.yaml", TAP), ("3.yaml", "chains:\n  br1:p: []\n")],
        "DIR/3.yaml:2:3: `br1:p` is given in another file too, DIR/2.yaml:6:3",
    );
    check_refused(
        &[("1.yaml", BRIDGE), ("2.yaml", BRIDGE), ("3.yaml", TAP)],
        "DIR/2.yaml:2:3: cube `br1` is in the document twice",
    );
    check_refused(
        &[
            ("1.yaml", BRIDGE),
            ("2.yaml", "cubes:\n- name: br2\n  service-name: bridge\n  ports:\n  - {name: p, peer: veth1}\n"),
        ],
        "DIR/2.yaml:5:15: netdev `veth1` is given to br1:p too: it can be the peer of one port",
    );
}

#[tokio::test]
async fn an_empty_directory_changes_nothing_and_a_missing_one_is_an_error() {
    let (empty, engine) = (directory(&[("1.yaml", "# nothing yet\n")]), engine());
    assert!(try_apply(empty.path(), &engine).await.unwrap().is_none());
    let missing = empty.path().join("none");
    let error = try_apply(&missing, &engine).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot list {}: ", missing.display())), "{error}");
    fs::write(empty.path().join("2.yaml"), b"\xff").unwrap();
    let error = try_apply(empty.path(), &engine).await.unwrap_err();
    assert!(error.to_string().contains("2.yaml: stream did not contain valid UTF-8"), "{error}");
}
