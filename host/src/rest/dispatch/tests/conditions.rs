use serde_json::{Value, json};

use super::send;
use crate::engine::View;
use crate::rest::context::Api;
use crate::rest::fixture::{self, facts, model};
use crate::rest::resource::etag;

fn tag(view: &View, cube: &str, path: &str) -> Option<String> {
    let path: Vec<String> = path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    etag::of(view, cube, &path).map(|(_, tag)| tag)
}

/// Sends a change with a condition, and says the status.
async fn conditional(api: &Api, method: &str, path: &str, body: Value, condition: (&str, &str)) -> u16 {
    let answer = send(api, method, &format!("/polycube/v1/{path}"), &body, &[condition]).await;
    if answer.status == 412 {
        let error = &answer.body["ietf-restconf:errors"]["error"][0];
        assert_eq!(error["error-tag"], "operation-failed", "RESTCONF's tag for a condition");
        assert_eq!(error["error-path"], path.trim_start_matches("tap/"));
    }
    answer.status
}

#[tokio::test]
async fn a_change_is_made_only_while_its_condition_is_true() {
    let api = fixture::api();
    let old = tag(&api.engine.view(), "a", "size").unwrap();
    let listed = format!("\"other\", {old}");
    let weak = format!("W/{old}");
    for (condition, status) in [
        (("if-match", "\"other\""), 412),
        (("if-match", weak.as_str()), 412),
        (("if-match", ""), 412),
        (("if-none-match", "*"), 412),
        (("if-none-match", old.as_str()), 412),
        (("if-none-match", weak.as_str()), 412),
    ] {
        assert_eq!(conditional(&api, "PUT", "a/size", json!(4), condition).await, status, "{condition:?}");
        assert_eq!(tag(&api.engine.view(), "a", "size").as_ref(), Some(&old), "{condition:?}: nothing has changed");
    }
    for condition in [("if-match", "*"), ("if-match", &old), ("if-match", &listed), ("if-none-match", "\"other\"")] {
        let api = fixture::api();
        assert_eq!(conditional(&api, "PUT", "a/size", json!(4), condition).await, 200, "{condition:?}");
        assert_ne!(tag(&api.engine.view(), "a", "size").as_ref(), Some(&old), "{condition:?}: it has changed");
    }
}

#[tokio::test]
async fn of_two_clients_with_one_tag_the_second_is_refused() {
    let api = fixture::api();
    let known = tag(&api.engine.view(), "a", "").unwrap();
    let condition = ("if-match", known.as_str());
    assert_eq!(conditional(&api, "PATCH", "a", json!({ "size": 4 }), condition).await, 200);
    assert_eq!(conditional(&api, "PATCH", "a", json!({ "size": 5 }), condition).await, 412);
    assert_eq!(conditional(&api, "DELETE", "tap/a", Value::Null, condition).await, 412);
    assert_eq!(api.engine.view().topology.cube("a").unwrap().1.config["size"], 4);
}

#[tokio::test]
async fn a_condition_on_what_does_not_exist() {
    let api = fixture::api();
    assert_eq!(conditional(&api, "POST", "tap/c", json!({}), ("if-match", "*")).await, 412);
    assert_eq!(conditional(&api, "POST", "tap/c", json!({}), ("if-none-match", "*")).await, 201);
    assert_eq!(conditional(&api, "POST", "tap/c", json!({}), ("if-none-match", "*")).await, 412);
    assert_eq!(conditional(&api, "PUT", "a/host/y", json!({}), ("if-match", "*")).await, 412);
    assert_eq!(conditional(&api, "PUT", "a/host/y", json!({}), ("if-none-match", "*")).await, 201);
}

#[tokio::test]
async fn the_framework_has_no_tags_to_match() {
    let api = fixture::api();
    let body = json!({ "cube": "b", "port": "br1:p" });
    let answer = send(&api, "POST", "/polycube/v1/attach", &body, &[("if-match", "*")]).await;
    assert_eq!(
        (answer.status, answer.problems()[0]),
        (412, ("attach", "`attach` has no ETag, so no If-Match can match"))
    );
    assert!(api.engine.view().topology.points("b").is_empty());
    let answer = send(&api, "POST", "/polycube/v1/attach", &body, &[("if-none-match", "*")]).await;
    assert_eq!(answer.status, 200);
}

#[test]
fn a_tag_stands_for_what_can_be_set() {
    let before = View::of(model(), &facts());
    for (cube, path, is_tagged) in [
        ("a", "", true),
        ("a", "size", true),
        ("a", "filter", true),
        ("a", "filter/source", true),
        ("a", "host", true),
        ("a", "host/x", true),
        ("a", "host/x/age", true),
        ("br1", "ports", true),
        ("br1", "ports/p", true),
        ("br1", "ports/p/peer", true),
        ("a", "seen", false),
        ("a", "uuid", false),
        ("a", "host/y", false),
        ("a", "nothing", false),
        ("br1", "ports/p/status", false),
        ("br1", "ports/z", false),
        ("x", "", false),
    ] {
        let found = tag(&before, cube, path);
        assert_eq!(found.is_some(), is_tagged, "{cube}/{path}: {found:?}");
        if let Some(found) = found {
            assert!(found.starts_with('"') && found.ends_with('"') && found.len() == 26, "{cube}/{path}: {found}");
        }
    }
}

#[tokio::test]
async fn a_change_changes_the_tags_above_it_and_no_others() {
    let api = fixture::api();
    let before = api.engine.view();
    assert_eq!(conditional(&api, "PUT", "a/host/x/age", json!(2), ("if-match", "*")).await, 200);
    let after = api.engine.view();
    for (cube, path, changes) in [
        ("a", "", true),
        ("a", "host", true),
        ("a", "host/x", true),
        ("a", "host/x/age", true),
        ("a", "host/x/address", false),
        ("a", "size", false),
        ("b", "", false),
        ("br1", "", false),
    ] {
        assert_eq!(tag(&before, cube, path) != tag(&after, cube, path), changes, "{cube}/{path}");
    }
}
