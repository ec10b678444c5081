//! Which role may do what.

use serde_json::{Value, json};

use super::send_as;
use crate::rest::client::Role;
use crate::rest::fixture;

/// Asserts which role a request needs: those below it are refused with its name, and it and those above are not.
async fn needs(method: &str, path: &str, body: Value, needed: Role) {
    for role in Role::ALL {
        // Each asks an API of its own, because the request may change something.
        let request = format!("{method} /polycube/v1/{path}");
        let answer = send_as(&fixture::api(), role, &request, &body, &[]).await;
        let is_refused = answer.status == 403;
        assert_eq!(is_refused, role < needed, "{request} as {role}: {} {}", answer.status, answer.body);
        if is_refused {
            let (_, message) = answer.problems()[0];
            assert_eq!(message, format!("this needs the role `{needed}`, and token lab has `{role}`"));
        }
    }
}

#[tokio::test]
async fn every_role_reads_settings_and_state() {
    for path in ["", "cubes", "cubes/br1", "topology", "services", "metrics", "openapi.json", "healthz", "br1", "a"] {
        needs("GET", path, Value::Null, Role::Read).await;
    }
    needs("OPTIONS", "br1?help=show", Value::Null, Role::Read).await;
    for method in ["PATCH", "PUT"] {
        needs(method, "config/diff", json!({}), Role::Read).await;
        needs(method, "config", json!({}), Role::Admin).await;
    }
}

#[tokio::test]
async fn captures_are_for_those_who_may_capture() {
    needs("POST", "attach", json!({ "cube": "b", "port": "br1:q" }), Role::Capture).await;
    needs("POST", "detach", json!({ "cube": "a", "port": "br1:p" }), Role::Capture).await;
    needs("PATCH", "a", json!({ "filter": { "source": "x" } }), Role::Capture).await;
    needs("PATCH", "tap/a/filter", json!({ "source": "x" }), Role::Capture).await;
    needs("DELETE", "a/host/x", Value::Null, Role::Capture).await;
    needs("POST", "tap?ephemeral=packets", json!({ "parents": ["veth2"] }), Role::Capture).await;
}

#[tokio::test]
async fn everything_else_is_the_administrators() {
    needs("POST", "tap/c", Value::Null, Role::Admin).await;
    needs("POST", "tap", json!({ "name": "c" }), Role::Admin).await;
    needs("DELETE", "a", Value::Null, Role::Admin).await;
    needs("DELETE", "tap/a", Value::Null, Role::Admin).await;
    needs("POST", "cubes", json!([]), Role::Admin).await;
    needs("POST", "connect", json!({ "peer1": "br1:q", "peer2": "veth2" }), Role::Admin).await;
    needs("POST", "disconnect", json!({ "peer1": "br1:p", "peer2": "veth1" }), Role::Admin).await;
    needs("PATCH", "br1", json!({ "loglevel": "DEBUG" }), Role::Admin).await;
    needs("DELETE", "br1/ports/q", Value::Null, Role::Admin).await;
    needs("POST", "attach", json!({ "cube": "br1", "port": "veth2" }), Role::Admin).await;
    needs("POST", "attach", json!({ "port": "veth2" }), Role::Admin).await;
    needs("DELETE", "services/tap", Value::Null, Role::Admin).await;
}

#[tokio::test]
async fn a_refused_change_changes_nothing() {
    let api = fixture::api();
    let answer = send_as(&api, Role::Read, "DELETE /polycube/v1/b", &Value::Null, &[]).await;
    assert_eq!(answer.status, 403);
    let answer = send_as(&api, Role::Read, "GET /polycube/v1/cubes/b", &Value::Null, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
