use serde_json::{Value, json};

use super::{ask, refused, send};
use crate::rest::fixture;

/// Asserts the words that complete a path.
async fn completes(path: &str, verb: &str, expected: &[&str]) {
    let answer = ask("OPTIONS", &format!("{path}?help={verb}&completion"), &Value::Null).await;
    assert_eq!((answer.status, &answer.body), (200, &json!(expected)), "{path} {verb}");
}

#[tokio::test]
async fn a_service_is_followed_by_its_own_cubes() {
    completes("tap", "NONE", &["add", "show", "a", "b"]).await;
    completes("tap", "SHOW", &["a", "b"]).await;
    completes("bridge", "DEL", &["br1"]).await;
    completes("tap", "ADD", &["<name>", "type=", "loglevel=", "size=", "word=", "hook=", "filter.source=", "parent="])
        .await;
    completes("tap/c", "ADD", &["type=", "loglevel=", "size=", "word=", "hook=", "filter.source=", "parent="]).await;
}

#[tokio::test]
async fn a_cube_is_followed_by_its_nodes_actions_and_streams() {
    for path in ["a", "tap/a"] {
        let answer = ask("OPTIONS", path, &Value::Null).await;
        let params = &answer.body["params"];
        for (word, kind) in
            [("size", "leaf"), ("filter", "container"), ("host", "list"), ("run", "action"), ("packets", "stream")]
        {
            assert_eq!(params[word]["type"], kind, "{path} {word}");
        }
        assert_eq!(params["files"]["type"], "container", "{path}: it begins the path of a stream");
        assert_eq!(
            (&params["seen"]["read-only"], &params["hook"]["create-only"]),
            (&json!(true), &json!(true)),
            "{path}"
        );
    }
    completes("a", "SET", &["loglevel=", "size=", "word=", "filter", "host"]).await;
    completes("a/files", "NONE", &["<name>"]).await;
    completes("a/run", "NONE", &["times="]).await;
    completes("a/run", "SHOW", &[]).await;
    assert_eq!(ask("OPTIONS", "a/packets", &Value::Null).await.body["description"], "Packets");
    assert_eq!(ask("OPTIONS", "a/files/x.pcap", &Value::Null).await.body["description"], "A file");
}

#[tokio::test]
async fn what_help_cannot_be_given_on() {
    let none = Value::Null;
    refused("OPTIONS x", &none, 404, "x", "there is no cube and no service `x`").await;
    refused("OPTIONS tap/x", &none, 404, "x", "cube `x` does not exist; known: a, b").await;
    refused("OPTIONS tap/br1", &none, 404, "br1", "cube `br1` is not of service tap").await;
    refused("OPTIONS a/sice", &none, 404, "a/sice", "there is no `sice`; did you mean `size`?").await;
    refused("OPTIONS a/size/x", &none, 404, "a/size/x", "there is no `x`").await;
    refused("OPTIONS cubes/x", &none, 400, "cubes/x", "cube `x` does not exist").await;
    refused("OPTIONS version/x", &none, 404, "version/x", "there is nothing at `version x`").await;
    refused("OPTIONS a?help=RUN", &none, 400, "a", "help=RUN is not one of NONE, ADD, SET, SHOW, DEL").await;
    refused("OPTIONS a/size?halp", &none, 400, "a/size", "did you mean `help`?").await;
}

#[tokio::test]
async fn a_commands_operands_follow_one_after_the_other() {
    completes("connect", "NONE", &["br1:p", "br1:q"]).await;
    completes("attach", "NONE", &["a", "b"]).await;
    completes("detach", "NONE", &["a"]).await;
    completes("detach/a", "NONE", &["br1:p"]).await;
    completes("detach/a/br1:p", "NONE", &[]).await;
    completes("attach/b/br1:p", "NONE", &["position=", "before=", "after="]).await;
    completes("attach/b/br1:p/more", "NONE", &[]).await;
    let options = ask("OPTIONS", "attach/b/br1:p", &Value::Null).await.body["optional-params"].clone();
    assert_eq!(options["position"]["values"], json!(["auto", "first", "last"]));
    assert_eq!(options["before"]["values"], json!(["a"]), "the cubes that are attached there");
    let points = ask("OPTIONS", "connect/br1:q?completion", &Value::Null).await.body;
    let points = points.as_array().unwrap();
    assert!(points.contains(&json!("br1:p")) && points.contains(&json!("lo")), "{points:?}");
    assert!(!points.contains(&json!("br1:q")), "a port is not connected with itself: {points:?}");
}

#[tokio::test]
async fn the_frameworks_words_are_followed_by_names() {
    completes("cubes", "SHOW", &["a", "b", "br1"]).await;
    completes("cubes", "NONE", &["add", "show", "a", "b", "br1"]).await;
    completes("cubes", "DEL", &[]).await;
    completes("services", "DEL", &["bridge", "tap"]).await;
    completes("services", "ADD", &["type=", "uri=", "name="]).await;
    completes("services/tap", "NONE", &["show", "del", "reload"]).await;
    completes("version", "NONE", &["show"]).await;
    let kinds = ask("OPTIONS", "topology?help=SHOW", &Value::Null).await.body["params"].clone();
    assert_eq!((&kinds["br1:p"]["type"], &kinds["lo"]["type"]), (&json!("port"), &json!("netdev")));
}

#[tokio::test]
async fn each_verb_can_be_followed_by_other_words_at_the_root() {
    let words = async |verb: &str| {
        let answer = ask("OPTIONS", &format!("?help={verb}&completion"), &Value::Null).await;
        let words: Vec<String> = serde_json::from_value(answer.body).unwrap();
        words
    };
    let add = words("ADD").await;
    assert_eq!(add, ["services", "cubes", "bridge", "tap", "a", "b", "br1"]);
    assert_eq!(words("DEL").await, ["services", "a", "b", "br1"]);
    assert_eq!(words("SET").await, ["a", "b", "br1"]);
    let none = words("NONE").await;
    for word in ["add", "attach", "topology", "tap", "br1"] {
        assert!(none.contains(&word.to_owned()), "{word} is not in {none:?}");
    }
    for word in ["metrics", "openapi.json"] {
        assert!(!none.contains(&word.to_owned()), "{word} is for programs");
    }
}

/// What is offered after `del`, and after each word of it, can be deleted, or something below can.
#[tokio::test]
async fn nothing_is_offered_that_cannot_be_deleted() {
    let mut paths = vec![String::new()];
    let mut deleted = 0;
    while let Some(path) = paths.pop() {
        let below = ask("OPTIONS", &format!("{path}?help=DEL"), &Value::Null).await.body["params"].clone();
        let below: Vec<String> = below.as_object().unwrap().keys().cloned().collect();
        let commands = ask("OPTIONS", &path, &Value::Null).await.body["commands"].clone();
        let is_offered = commands.as_array().unwrap().contains(&json!("del")) && !path.is_empty() && path != "services";
        assert!(is_offered || !below.is_empty(), "{path}: offered after `del`, and neither it nor anything below goes");
        // Their cubes keep them.
        if is_offered && !path.starts_with("services/") {
            let answer = ask("DELETE", &path, &Value::Null).await;
            assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
            deleted += 1;
        }
        paths.extend(below.into_iter().map(|word| if path.is_empty() { word } else { format!("{path}/{word}") }));
    }
    assert!(deleted > 10, "{deleted} places were found");
}

#[tokio::test]
async fn a_port_of_another_cube_can_be_a_peer() {
    let api = fixture::api();
    let made = send(&api, "POST", "/polycube/v1/bridge/br2", &json!({ "ports": [{ "name": "r" }] }), &[]).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let help = send(&api, "OPTIONS", "/polycube/v1/cubes?help=SHOW&completion", &Value::Null, &[]).await;
    assert_eq!(help.body, json!(["a", "b", "br1", "br2"]), "help knows what was created a moment ago");
    let operands = send(&api, "OPTIONS", "/polycube/v1/connect?completion", &Value::Null, &[]).await;
    assert_eq!(operands.body, json!(["br1:p", "br1:q", "br2:r"]));
}

#[tokio::test]
async fn the_data_model_of_a_path_is_answered_whether_the_path_exists_or_not() {
    for (path, member) in [
        ("tap", "size"),
        ("tap/new", "size"),
        ("a", "size"),
        ("a/host/new", "age"),
        ("a/run", "times"),
        ("bridge/new/ports/p", "peer"),
    ] {
        let answer = ask("OPTIONS", &format!("{path}?model"), &Value::Null).await;
        let members = answer.body["node"]["members"].as_array().cloned().unwrap_or_default();
        assert_eq!(answer.status, 200, "{path}");
        assert!(members.iter().any(|one| one["name"] == member), "{path}: {}", answer.body);
        assert_eq!(answer.body["params"], json!({}), "{path}: nothing that exists is looked for");
    }
    for path in ["cubes", "services", "nothing/x"] {
        assert_eq!(ask("OPTIONS", &format!("{path}?model"), &Value::Null).await.body["node"], Value::Null, "{path}");
    }
}
