use axum::http::header;
use serde_json::{Value, json};

use super::{ask, refused, send};
use crate::rest::fixture;
use crate::rest::route::Segment;
use crate::rest::routes::ROUTES;

/// Sends a request that is carried out, and looks at a part of what a second one reads after it.
async fn done(request: &str, body: Value, status: u16, then: (&str, &str), expected: Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let api = fixture::api();
    let answer = send(&api, method, &format!("/polycube/v1/{path}"), &body, &[]).await;
    assert_eq!((answer.status, &answer.body), (status, &Value::Null), "{request} {body}");
    let (read, pointer) = then;
    let found = send(&api, "GET", &format!("/polycube/v1/{read}"), &Value::Null, &[]).await;
    assert_eq!(found.body.pointer(pointer).unwrap_or(&Value::Null), &expected, "{request} {body}");
}

#[tokio::test]
async fn changes_of_the_framework_are_made() {
    done(
        "POST connect",
        json!({ "peer1": "br1:q", "peer2": "veth2" }),
        200,
        ("cubes/br1", "/ports/1/peer"),
        "veth2".into(),
    )
    .await;
    done(
        "POST disconnect",
        json!({ "peer1": "br1:p", "peer2": "veth1" }),
        200,
        ("cubes/br1", "/ports/0/peer"),
        "".into(),
    )
    .await;
    done("POST attach", json!({ "cube": "b", "port": "veth2" }), 200, ("cubes/b", "/parents"), json!(["veth2"])).await;
    done("POST detach", json!({ "cube": "a", "port": "br1:p" }), 200, ("cubes/a", "/parent"), "".into()).await;
    done(
        "POST cubes",
        json!([{ "name": "c", "service-name": "tap" }]),
        201,
        ("cubes/c", "/service-name"),
        "tap".into(),
    )
    .await;
}

#[tokio::test]
async fn a_cube_is_attached_where_the_request_says() {
    for (place, expected) in [
        (json!({}), "b ---> a ---> br1:p"),
        (json!({ "position": "auto" }), "b ---> a ---> br1:p"),
        (json!({ "position": "first" }), "a ---> b ---> br1:p"),
        (json!({ "position": "last" }), "b ---> a ---> br1:p"),
        (json!({ "before": "a" }), "a ---> b ---> br1:p"),
        (json!({ "after": "a" }), "b ---> a ---> br1:p"),
    ] {
        let mut body = json!({ "cube": "b", "port": "br1:p" });
        body.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        done("POST attach", body, 200, ("cubes/br1", "/ports/0/ingress-chain"), expected.into()).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_the_framework_is_said_where_it_is() {
    let none = Value::Null;
    refused("POST connect", &none, 400, "connect", "must be a JSON object").await;
    refused("POST connect", &json!({ "peer1": "br1:q" }), 400, "connect/peer2", "`peer2` is missing").await;
    refused("POST attach", &json!({ "cube": "x", "port": "veth2" }), 400, "x", "cube `x` does not exist").await;
    let both = json!({ "cube": "b", "port": "br1:p", "before": "a", "after": "a" });
    refused("POST attach", &both, 400, "attach", "only one of position, before and after").await;
    let where_ever = json!({ "cube": "b", "port": "br1:p", "position": "middle" });
    refused("POST attach", &where_ever, 400, "attach/position", "one of auto, first, last, not `middle`").await;
    for wrong in
        [json!({ "name": "c" }), json!({ "tap": [5] }), json!({ "tap": [{ "name": "c", "service-name": "bridge" }] })]
    {
        refused("POST cubes", &wrong, 400, "cubes", "a list of cubes").await;
    }
    refused("GET cubes/br", &none, 400, "cubes/br", "did you mean `br1`?").await;
    refused("GET services/tip", &none, 400, "services/tip", "did you mean `tap`?").await;
    refused("DELETE services/tap", &none, 400, "services/tap", "a").await;
    refused("GET cubes/br1/ports", &none, 404, "cubes/br1/ports", "there is nothing at `cubes br1 ports`").await;
    refused("GET topology/br1:z", &none, 400, "topology/br1:z", "z").await;
    refused("GET version/1", &none, 404, "version/1", "there is nothing at").await;
}

#[tokio::test]
async fn a_method_that_is_not_declared_is_refused_with_those_that_are() {
    for (method, path, allow) in [
        ("POST", "version", "GET"),
        ("DELETE", "services", "GET, POST"),
        ("PUT", "services/tap", "GET, DELETE"),
        ("PATCH", "cubes", "GET, POST"),
        ("GET", "attach", "POST"),
        ("TRACE", "netdevs", "GET"),
        ("POST", "", "GET"),
        ("PUT", "metrics", "GET"),
    ] {
        let answer = ask(method, path, &Value::Null).await;
        assert_eq!((answer.status, answer.header(header::ALLOW)), (405, Some(allow)), "{method} {path}");
        assert_eq!(answer.problems()[0].0, path);
    }
}

#[tokio::test]
async fn options_answers_allow_where_there_is_no_help() {
    for path in ["metrics", "openapi.json"] {
        let answer = ask("OPTIONS", path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.header(header::ALLOW), &answer.body),
            (200, Some("GET"), &Value::Null),
            "{path}"
        );
    }
    for path in ["", "cubes", "attach", "br1"] {
        let answer = ask("OPTIONS", path, &Value::Null).await;
        assert_eq!((answer.status, answer.header(header::ALLOW)), (200, None), "{path}");
        assert!(answer.body["description"].is_string(), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn paths_are_found_however_they_are_written() {
    let api = fixture::api();
    for (path, status) in [
        ("/polycube/v1", 200),
        ("/polycube/v1/", 200),
        ("/polycube/v1/cubes/", 200),
        ("/polycube/v1//cubes//br1", 200),
        ("/polycube/v1/cubes/%62r1", 200),
        ("/polycube/v1/%63ubes", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
        ("/cubes", 404),
        ("/", 404),
        ("/polycube/v10/cubes", 404),
        ("/polycube/v1/cubes/%ff", 400),
        ("/polycube/v1/Cubes", 404),
    ] {
        let answer = send(&api, "GET", path, &Value::Null, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    let elsewhere = send(&api, "GET", "/cubes", &Value::Null, &[]).await;
    assert!(elsewhere.problems()[0].1.contains("every path begins with /polycube/v1/"), "{}", elsewhere.body);
}

#[tokio::test]
async fn the_root_links_to_every_word_and_everything_that_exists_once() {
    let answer = ask("GET", "", &Value::Null).await;
    let links = answer.body["_links"].as_array().unwrap();
    let names: Vec<&str> = links.iter().map(|link| link["rel"].as_str().unwrap()).collect();
    for route in ROUTES.iter().filter(|route| route.path.len() == 1) {
        let Segment::Word(word) = route.path[0] else { panic!("a first word is never a name") };
        assert_eq!(names.iter().filter(|name| **name == word.as_str()).count(), 1, "{word}");
    }
    assert_eq!(names[names.len() - 5..], ["bridge", "tap", "a", "b", "br1"]);
    assert_eq!(links.last().unwrap()["href"], "/polycube/v1/br1");
}

#[tokio::test]
async fn a_link_is_escaped_and_can_be_followed() {
    let api = fixture::api();
    let made = send(&api, "POST", "/polycube/v1/cubes", &json!([{ "name": "é@x", "service-name": "tap" }]), &[]).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let root = send(&api, "GET", "/polycube/v1/", &Value::Null, &[]).await;
    let links = root.body["_links"].as_array().unwrap();
    let href = links.iter().find(|link| link["rel"] == "é@x").unwrap()["href"].as_str().unwrap().to_owned();
    assert_eq!(href, "/polycube/v1/%C3%A9%40x");
    let last = href.rsplit('/').next().unwrap();
    assert_eq!(send(&api, "GET", &format!("/polycube/v1/cubes/{last}"), &Value::Null, &[]).await.body["name"], "é@x");
}

#[tokio::test]
async fn cubes_are_read_alone_and_by_service() {
    let answer = ask("GET", "cubes", &Value::Null).await;
    let names = |service: &str| -> Vec<Value> {
        answer.body[service].as_array().unwrap().iter().map(|cube| cube["name"].clone()).collect()
    };
    assert_eq!((names("bridge"), names("tap")), (vec![json!("br1")], vec![json!("a"), json!("b")]));
    let bridge = ask("GET", "cubes/br1", &Value::Null).await.body;
    let ports = &bridge["ports"];
    assert_eq!(
        (&ports[0]["status"], &ports[0]["peer"], &ports[0]["netdev"]),
        (&json!("UP"), &json!("veth1"), &json!("veth1"))
    );
    assert_eq!((&ports[1]["status"], &ports[1]["peer"], &ports[1]["netdev"]), (&json!("DOWN"), &json!(""), &json!("")));
    assert_eq!(ports[0]["ingress-chain"], "a ---> br1:p");
    let tap = ask("GET", "cubes/a", &Value::Null).await.body;
    assert_eq!((&tap["parent"], &tap["parents"], &tap["ports"]), (&json!("br1:p"), &json!(["br1:p"]), &Value::Null));
    assert_eq!(
        (&tap["points"][0]["status"], &tap["points"][0]["egress-chain"]),
        (&json!("UP"), &json!("br1:p ---> a"))
    );
}

#[tokio::test]
async fn services_are_read_with_the_file_that_they_come_from() {
    let answer = ask("GET", "services", &Value::Null).await;
    let names: Vec<_> = answer.body.as_array().unwrap().iter().map(|service| service["name"].clone()).collect();
    assert_eq!(names, ["bridge", "tap"]);
    let tap = ask("GET", "services/tap", &Value::Null).await.body;
    assert_eq!(
        tap,
        json!({
            "name": "tap",
            "type": "lib",
            "kind": "transparent",
            "description": "A double",
            "version": "0",
            "sdk-version": "0.1.0",
            "abi": "1.1",
            "servicecontroller": "libpcn_tap.so",
            "since": "2026-01-31T12:00:00Z",
        })
    );
}

#[tokio::test]
async fn a_service_is_unloaded_once_it_has_no_cubes() {
    let api = fixture::api();
    for cube in ["a", "b"] {
        assert_eq!(send(&api, "DELETE", "/polycube/v1/services/tap", &Value::Null, &[]).await.status, 400);
        assert_eq!(send(&api, "DELETE", &format!("/polycube/v1/{cube}"), &Value::Null, &[]).await.status, 200);
    }
    assert_eq!(send(&api, "DELETE", "/polycube/v1/services/tap", &Value::Null, &[]).await.status, 204);
    let gone = send(&api, "GET", "/polycube/v1/tap", &Value::Null, &[]).await;
    assert_eq!((gone.status, gone.problems()[0].0), (404, "tap"));
}

#[tokio::test]
async fn the_chains_at_a_point_are_shown_whether_or_not_its_netdev_exists() {
    let chains = json!({
        "name": "br1:p",
        "ingress service chain": "a ---> br1:p",
        "egress service chain": "br1:p ---> a",
    });
    assert_eq!(ask("GET", "topology/br1:p", &Value::Null).await.body, chains);
    let api = fixture::api();
    let attached = json!({ "cube": "b", "port": "veth2" });
    assert_eq!(send(&api, "POST", "/polycube/v1/attach", &attached, &[]).await.status, 200);
    let found = send(&api, "GET", "/polycube/v1/topology/veth2", &Value::Null, &[]).await;
    assert_eq!(found.body["ingress service chain"], "b ---> stack");
    let unused = ask("GET", "topology/lo", &Value::Null).await;
    assert_eq!(unused.body, json!({ "name": "lo" }), "nothing of ours is there");
}
