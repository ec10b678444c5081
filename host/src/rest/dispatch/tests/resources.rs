use axum::http::header;
use serde_json::{Value, json};

use super::{ask, refused, send};
use crate::rest::fixture;

/// Sends a change that is made, and looks at the configuration of the cube `a` after it.
async fn set(request: &str, body: Value, status: u16, pointer: &str, expected: Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let api = fixture::api();
    let answer = send(&api, method, &format!("/polycube/v1/{path}"), &body, &[]).await;
    assert_eq!((answer.status, &answer.body), (status, &Value::Null), "{request} {body}");
    let view = api.engine.view();
    let config = view.topology.get("a").map(|(_, cube)| cube.config.clone()).unwrap_or_default();
    assert_eq!(config.pointer(pointer).unwrap_or(&Value::Null), &expected, "{request} {body}");
}

#[tokio::test]
async fn a_cube_goes_with_a_stream_that_there_is() {
    let known = "`ephemeral` is one of packets, not `";
    refused("POST tap?ephemeral", &json!({}), 400, "tap", known).await;
    refused("POST tap?ephemeral=files", &json!({}), 400, "tap", known).await;
    refused("POST bridge?ephemeral=x", &json!({}), 400, "bridge", "service `bridge` has no streams").await;
    let unknown = "there is no parameter `fromat`; did you mean `format`?";
    refused("POST tap?ephemeral=packets&fromat=x", &json!({}), 400, "tap", unknown).await;
    let absent = json!({ "parents": ["veth9"] });
    refused("POST tap?ephemeral=packets", &absent, 400, "parents", "netdev `veth9` does not exist").await;
    let named = json!({ "name": "a" });
    refused("POST tap?ephemeral=packets", &named, 409, "a", "cube `a` already exists").await;
}

#[tokio::test]
async fn nodes_are_changed_as_the_method_says() {
    set("PATCH a", json!({ "size": 4 }), 200, "/size", json!(4)).await;
    set("PATCH tap/a", json!({ "size": 4 }), 200, "/host/0/age", json!(1)).await;
    set("PUT a", json!({ "size": 4 }), 201, "/host", json!([])).await;
    set("PUT a/size", json!(4), 200, "/size", json!(4)).await;
    set("PATCH a/size", json!("4"), 200, "/size", json!(4)).await;
    set("DELETE a/size", Value::Null, 204, "/size", json!(3)).await;
    set("PATCH a/filter", json!({ "source": "x" }), 201, "/filter/source", json!("x")).await;
    set("POST a/host", json!({ "address": "y" }), 201, "/host/1/address", json!("y")).await;
    set("POST a/host/y", json!({ "age": 2 }), 201, "/host/1/age", json!(2)).await;
    set("PUT a/host/x", json!({}), 201, "/host/0/age", Value::Null).await;
    set("DELETE a/host/x", Value::Null, 204, "/host", json!([])).await;
    set("DELETE a/host", Value::Null, 204, "/host", json!([])).await;
    set("DELETE a", Value::Null, 200, "/size", Value::Null).await;
}

#[tokio::test]
async fn a_change_that_cannot_be_made_is_refused_about_the_node() {
    let none = Value::Null;
    refused("PATCH a", &json!({ "size": 10 }), 400, "a/size", "10 is greater than the maximum of 9").await;
    refused("PATCH a", &json!({ "sise": 1 }), 400, "a/sise", "did you mean `size`?").await;
    refused("PATCH a/filter", &json!({ "sauce": "" }), 400, "a/filter/sauce", "unknown key `sauce`").await;
    refused("PUT a/hook", &json!("XDP"), 400, "a/hook", "fixed when the cube is created").await;
    refused("PUT a/seen", &json!(1), 400, "a/seen", "`seen` is read-only").await;
    refused("DELETE a/uuid", &none, 400, "a/uuid", "`uuid` is read-only").await;
    refused("DELETE a/host/y", &none, 409, "a/host/y", "there is no entry `y`").await;
    refused("POST a/host/x", &json!({}), 409, "a/host/x", "the entry `x` already exists").await;
    refused("POST a/host", &json!({ "age": 1 }), 400, "a/host/address", "`address` is missing").await;
    refused("POST a/host", &json!({ "age": 1 }), 400, "a/host/address", "use POST a/host/ADDRESS").await;
    refused("POST a/host", &json!([{}]), 400, "a/host", "POST creates one entry, not a list").await;
    refused("POST a/host", &json!({ "address": [] }), 400, "a/host/address", "must be a string, not []").await;
    refused("PATCH a/nothing", &none, 404, "a/nothing", "there is no `nothing`").await;
    refused("PATCH a/rum", &none, 404, "a/rum", "did you mean `run`?").await;
    refused("PATCH x/size", &json!(1), 404, "x", "there is no cube and no service `x`").await;
    refused("PATCH tap/x/size", &json!(1), 409, "x", "cube `x` does not exist").await;
    refused("PATCH bridge/a/size", &json!(1), 409, "bridge/a", "is of service tap, not of bridge").await;
}

#[tokio::test]
async fn cubes_are_created_below_their_service() {
    for (path, body) in [
        ("tap", json!({ "name": "c", "size": 5 })),
        ("tap/c", json!({ "size": 5 })),
        ("tap/c", json!({ "name": "c", "size": 5 })),
    ] {
        let api = fixture::api();
        let answer = send(&api, "POST", &format!("/polycube/v1/{path}"), &body, &[]).await;
        assert_eq!(answer.status, 201, "{path} {body}: {}", answer.body);
        assert_eq!(api.engine.view().topology.cube("c").unwrap().1.config["size"], 5, "{path} {body}");
    }
    refused("POST tap", &json!({}), 400, "tap/name", "`name` is missing").await;
    refused("POST tap", &Value::Null, 400, "tap/name", "`name` is missing; use POST tap/NAME").await;
    refused("POST tap", &json!([]), 400, "tap", "POST creates one cube, not a list: send one object").await;
    refused("POST tap", &json!({ "name": {} }), 400, "tap/name", "must be a string, not {}").await;
    refused("POST tap", &json!({ "name": "-c" }), 400, "tap/name", "begins with `-` or `.`").await;
    refused("POST tap/c", &json!({ "name": "d" }), 400, "c/name", "is `c` in the path and \"d\" in the body").await;
    refused("POST tap/a", &Value::Null, 409, "a", "cube `a` already exists").await;
    refused("POST tap/br1", &Value::Null, 409, "br1", "cube `br1` already exists (service bridge)").await;
    refused("POST a", &Value::Null, 409, "a", "use PATCH a or PUT a").await;
    refused("POST c", &Value::Null, 404, "c", "there is no cube and no service `c`").await;
}

/// Sends a change of a port of `br1` that is made, and looks at the cube after it.
async fn port(method: &str, path: &str, body: Value, status: u16, expected: &[(&str, &str)]) {
    let api = fixture::api();
    let answer = send(&api, method, &format!("/polycube/v1/br1/{path}"), &body, &[]).await;
    assert_eq!((answer.status, &answer.body), (status, &Value::Null), "{method} {path} {body}");
    let view = api.engine.view();
    let ports = view
        .topology
        .cube("br1")
        .unwrap()
        .1
        .ports()
        .map(|(name, port)| (name.to_string(), port.peer.as_ref().map(ToString::to_string).unwrap_or_default()));
    let expected: Vec<_> = expected.iter().map(|(name, peer)| ((*name).to_owned(), (*peer).to_owned())).collect();
    assert_eq!(ports.collect::<Vec<_>>(), expected, "{method} {path} {body}");
}

#[tokio::test]
async fn ports_come_change_and_go() {
    let both = [("p", "veth1"), ("q", "")];
    port("POST", "ports", json!({ "name": "r" }), 201, &[both[0], both[1], ("r", "")]).await;
    port("POST", "ports/r", json!({ "peer": "veth2" }), 201, &[both[0], both[1], ("r", "veth2")]).await;
    port("PATCH", "ports/q", json!({ "peer": "veth2" }), 201, &[both[0], ("q", "veth2")]).await;
    port("PATCH", "ports/p", json!({}), 201, &both).await;
    port("PUT", "ports/p", json!({}), 201, &[("p", ""), both[1]]).await;
    port("PUT", "ports/q/peer", json!("veth2"), 200, &[both[0], ("q", "veth2")]).await;
    port("DELETE", "ports/p/peer", Value::Null, 204, &[("p", ""), both[1]]).await;
    port("DELETE", "ports/p", Value::Null, 204, &[both[1]]).await;
    port("DELETE", "ports", Value::Null, 204, &[]).await;
}

#[tokio::test]
async fn a_port_that_cannot_be_is_refused_about_what_is_wrong() {
    let none = Value::Null;
    refused("POST br1/ports", &json!({}), 400, "br1/ports/name", "`name` is missing").await;
    refused("POST br1/ports", &json!([{ "name": "r" }]), 400, "br1/ports", "POST creates one port, not a list").await;
    refused("POST br1/ports", &json!({ "name": "a b" }), 400, "br1/ports/name", "contains ' '").await;
    refused("POST br1/ports", &json!({ "name": "p" }), 409, "br1/ports/p", "already exists").await;
    refused("PATCH br1/ports/z", &json!({}), 409, "br1/ports/z", "port `z` of cube `br1` does not exist").await;
    refused("PATCH br1/ports/p/status", &json!("UP"), 400, "br1/ports/p/status", "`status` of port `p` is read-only")
        .await;
    refused("PATCH br1/ports/p/pier", &none, 404, "br1/ports/p/pier", "a port has no `pier`; did you mean `peer`?")
        .await;
    refused("PATCH br1/ports/p", &json!({ "peer": "br1:q" }), 400, "br1/ports/p/peer", "").await;
}

#[tokio::test]
async fn a_node_that_does_not_take_a_method_says_which_it_takes() {
    for (method, path, allow) in [
        ("PUT", "tap", "GET, POST"),
        ("DELETE", "tap", "GET, POST"),
        ("TRACE", "a", "GET, POST, PUT, PATCH, DELETE"),
        ("POST", "a/size", "GET, PUT, PATCH, DELETE"),
        ("POST", "a/seen", "GET"),
        ("GET", "a/run", "POST"),
        ("DELETE", "a/run", "POST"),
        ("PUT", "br1/ports", "GET, POST, DELETE"),
        ("PATCH", "br1/ports", "GET, POST, DELETE"),
        ("POST", "br1/ports/p/peer", "GET, PUT, PATCH, DELETE"),
        ("POST", "br1/ports/p/status", "GET"),
        ("TRACE", "br1/ports/p", "GET, POST, PUT, PATCH, DELETE"),
        ("POST", "a/packets", "GET"),
        ("DELETE", "tap/a/files/x.pcap", "GET"),
    ] {
        let answer = ask(method, path, &Value::Null).await;
        let problem = answer.problems();
        assert_eq!((answer.status, answer.header(header::ALLOW)), (405, Some(allow)), "{method} {path}: {problem:?}");
        assert_eq!(problem[0].0, path, "{method} {path}");
        let fields = &answer.body["ietf-restconf:errors"]["error"][0]["error-info"]["allow"];
        let list: Vec<&str> = fields.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(list.join(", "), allow, "the fields say the same");
    }
}

#[tokio::test]
async fn an_action_is_checked_before_it_is_run() {
    refused("POST a/run", &json!({ "times": 0 }), 400, "a/run/times", "0 is less than the minimum of 1").await;
    refused("POST a/run", &json!({ "time": 1 }), 400, "a/run/time", "did you mean `times`?").await;
    refused("POST a/run/fast", &Value::Null, 404, "a/run/fast", "`run` is an action: nothing follows it").await;
    refused("GET a/run/fast", &Value::Null, 404, "a/run/fast", "nothing follows it").await;
}

#[tokio::test]
async fn a_streams_parameters_are_checked_before_it_is_opened() {
    refused("GET a/packets?format=erf", &Value::Null, 400, "a/packets", "`format` is one of pcap, pcapng").await;
    refused("GET tap/a/packets?from=1", &Value::Null, 400, "a/packets", "no parameter `from`").await;
    refused("GET a/files/x?format=pcap", &Value::Null, 400, "a/files/x", "no parameter `format`").await;
    refused("GET bridge/a/packets", &Value::Null, 409, "bridge/a", "is of service tap").await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_before_anything_else() {
    let api = fixture::api();
    let path = "/polycube/v1/a/size";
    for (headers, status, reason) in [
        (("content-type", "text/plain"), 415, "the body must be JSON, not text/plain"),
        (("content-encoding", "gzip"), 415, "must not be compressed or otherwise encoded (gzip)"),
        (("content-length", "1048577"), 413, "larger than 1048576 bytes"),
    ] {
        let answer = send(&api, "PUT", path, &json!(1), &[headers]).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.problems()[0].1.contains(reason), "{headers:?}: {:?}", answer.problems());
        let coding = (status == 415).then_some("identity");
        assert_eq!(answer.header(header::ACCEPT_ENCODING), coding, "{headers:?}");
    }
    for media in ["application/json", "application/yang-data+json", "application/yang.data+json; charset=utf-8"] {
        assert_eq!(send(&api, "PUT", path, &json!(1), &[("content-type", media)]).await.status, 200, "{media}");
    }
    // A media type says nothing about a body that is not there.
    let empty = send(&api, "DELETE", path, &Value::Null, &[("content-type", "text/plain")]).await;
    assert_eq!(empty.status, 204);
}
