use serde_json::{Value, json};

use super::{ask, refused, send};
use crate::rest::fixture;

const CONFIG: &str = "/polycube/v1/config";

/// The configuration of the fixture.
fn site() -> Value {
    json!({
        "cubes": [
            { "name": "a", "service-name": "tap", "host": [{ "address": "x", "age": 1 }] },
            { "name": "b", "service-name": "tap" },
            { "name": "br1", "service-name": "bridge", "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q" }] },
        ],
        "chains": { "br1:p": ["a"] },
    })
}

#[tokio::test]
async fn what_is_read_can_be_written() {
    let api = fixture::api();
    let saved = send(&api, "GET", CONFIG, &Value::Null, &[]).await;
    assert_eq!((saved.status, &saved.body), (200, &site()));
    for method in ["PUT", "PATCH"] {
        let answer = send(&api, method, CONFIG, &saved.body, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let cubes = answer.body["cubes"].as_array().unwrap();
        assert!(cubes.iter().all(|cube| cube["result"] == "left"), "{}", answer.body);
        assert_eq!(answer.body["chains"], json!([{ "name": "br1:p", "result": "left", "cubes": ["a"] }]));
    }
}

#[tokio::test]
async fn a_comparison_answers_what_the_change_would_and_changes_nothing() {
    let api = fixture::api();
    let wanted = json!({ "cubes": [{ "name": "b", "service-name": "tap", "size": 4 }] });
    for (method, results) in
        [("PUT", ["removed", "changed", "removed"]), ("PATCH", ["unlisted", "changed", "unlisted"])]
    {
        let compared = send(&api, method, &format!("{CONFIG}/diff"), &wanted, &[]).await;
        assert_eq!(compared.status, 200, "{}", compared.body);
        let found: Vec<&str> =
            compared.body["cubes"].as_array().unwrap().iter().map(|cube| cube["result"].as_str().unwrap()).collect();
        assert_eq!(found, results, "{method}");
        assert_eq!(compared.body["cubes"][1]["changes"], json!([{ "path": "size", "from": 3, "to": 4 }]));
        assert_eq!(send(&api, "GET", CONFIG, &Value::Null, &[]).await.body, site(), "{method}");
    }
    let compared = send(&api, "PUT", &format!("{CONFIG}/diff"), &wanted, &[]).await;
    let made = send(&api, "PUT", CONFIG, &wanted, &[]).await;
    assert_eq!((made.status, &made.body), (200, &compared.body));
    let mut expected = wanted;
    expected["chains"] = json!({});
    assert_eq!(send(&api, "GET", CONFIG, &Value::Null, &[]).await.body, expected);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_as_a_whole() {
    for path in ["config", "config/diff"] {
        refused(&format!("PUT {path}"), &Value::Null, 400, "config", "the body is a configuration").await;
        refused(&format!("PATCH {path}"), &json!([]), 400, "config", "a configuration is an object").await;
        let unknown = json!({ "services": [] });
        refused(&format!("PUT {path}"), &unknown, 400, "config/services", "unknown key `services`").await;
    }
    refused("GET config/diff", &Value::Null, 405, "config/diff", "it takes PUT, PATCH").await;
    let api = fixture::api();
    let mut wanted = site();
    wanted["cubes"][1]["size"] = 4.into();
    wanted["cubes"][2]["ports"][1]["peer"] = "veth9".into();
    let answer = send(&api, "PATCH", CONFIG, &wanted, &[]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problems()[0].0, "config/cubes/br1/ports/q/peer");
    assert_eq!(send(&api, "GET", CONFIG, &Value::Null, &[]).await.body, site(), "nothing of it is made");
}

#[tokio::test]
async fn a_configuration_may_be_larger_than_other_bodies() {
    let cubes = |name: &str| json!({ "cubes": [{ "name": name, "service-name": "tap", "word": "x".repeat(2 << 20) }] });
    assert_eq!(ask("PATCH", "config", &cubes("c")).await.status, 200);
    assert_eq!(ask("POST", "cubes", &cubes("c")["cubes"]).await.status, 413);
    let huge = json!({ "cubes": "x".repeat(17 << 20) });
    refused("PATCH config", &huge, 413, "config", "larger than 16777216 bytes").await;
}
