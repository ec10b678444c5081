//! What requests may look like, and how wrong ones are refused.

use anyhow::Result;
use serde_json::{Value, json};

use crate::site::{Site, raw};

#[test]
fn all_errors_of_a_request_at_once() -> Result<()> {
    let site = Site::build(&[])?;
    let body = json!({ "loglevel": "loud", "fdb": { "aging": 1, "aging-time": "soon" }, "colour": "red" });
    site.refuses(
        "POST",
        "simplebridge/br2",
        &body,
        400,
        &[
            ("invalid-value", "br2/colour"),
            ("bad-attribute", "br2/loglevel"),
            ("invalid-value", "br2/fdb/aging"),
            ("bad-attribute", "br2/fdb/aging-time"),
        ],
    );
    let filters = json!({ "src": "1.0.0.0/33", "dst": "x", "l4proto": "q" });
    let errors = ["src", "dst", "l4proto"].map(|name| ("bad-attribute", format!("sniffer/filters/{name}")));
    let errors = errors.each_ref().map(|(tag, path)| (*tag, path.as_str()));
    site.refuses("PATCH", "sniffer/filters", &filters, 400, &errors);
    let errors = site.check("PATCH", "sniffer", &json!({ "snapln": 1 }), 400);
    let message = &errors["ietf-restconf:errors"]["error"][0]["error-message"];
    assert_eq!(message, "unknown key `snapln`; did you mean `snaplen`?");
    site.refuses("GET", "nothing/at/all", &Value::Null, 404, &[("unknown-element", "nothing")]);
    Ok(())
}

/// A program finds in fields what the message says to people, and the message is made of them.
#[test]
fn refusals_say_in_fields_what_their_messages_say() -> Result<()> {
    let site = Site::build(&[])?;
    for (method, path, body, fields) in [
        (
            "PATCH",
            "sniffer/snapln",
            json!(1),
            json!({
                "name": "snapln", "reason": "there is no `snapln`",
                "candidates": { "nearest": "snaplen" },
            }),
        ),
        (
            "GET",
            "cubes/nothing",
            Value::Null,
            json!({ "name": "nothing", "reason": "cube `nothing` does not exist", "candidates": { "more": 0 } }),
        ),
        ("PUT", "netdevs", Value::Null, json!({ "method": "PUT", "allow": ["GET"] })),
        ("POST", "br1/fdb/flush/now", Value::Null, json!({ "name": "now" })),
        ("DELETE", "br1/fdb/flush", Value::Null, json!({ "method": "DELETE", "allow": ["POST"] })),
        ("POST", "br1", json!({}), json!({ "name": "br1", "instead": [{ "method": "PATCH", "path": "br1" }] })),
        (
            "PATCH",
            "sniffer/snaplen",
            json!(0),
            json!({ "name": "snaplen", "limits": { "minimum": 1, "maximum": 262_144 } }),
        ),
        ("PATCH", "sniffer/capture", json!("x"), json!({ "limits": { "values": ["off", "ingress"] } })),
        (
            "POST",
            "attach",
            json!({ "cube": "sniffer", "port": "br1:p1", "position": "x" }),
            json!({ "limits": { "values": ["auto"] } }),
        ),
    ] {
        let body = (!body.is_null()).then_some(&body);
        let answer = site.scene.daemon.http(method, &format!("/polycube/v1/{path}"), body)?;
        let error = &answer.json()?["ietf-restconf:errors"]["error"][0];
        let info = &error["error-info"];
        assert_contains(info, &fields, &format!("{method} {path}: {error}"));
        let (message, reason) = (error["error-message"].as_str(), info["reason"].as_str());
        let starts = message.zip(reason).is_some_and(|(message, reason)| message.starts_with(reason));
        assert!(starts && reason.is_some_and(|reason| !reason.contains("did you mean")), "{method} {path}: {error}");
        let allow = answer.headers.iter().find(|(name, _)| name == "allow").map(|(_, value)| value.clone());
        let allowed =
            info["allow"].as_array().map(|methods| methods.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        assert_eq!(allow, allowed.map(|methods| methods.join(", ")), "{method} {path}");
    }
    Ok(())
}

/// Asserts that `found` has all members of `expected`, and the first entries of its lists.
#[track_caller]
fn assert_contains(found: &Value, expected: &Value, about: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().for_each(|(name, value)| assert_contains(&found[name], value, about));
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert!(found.len() >= expected.len(), "{about}");
            found.iter().zip(expected).for_each(|(found, expected)| assert_contains(found, expected, about));
        }
        _ => assert_eq!(found, expected, "{about}"),
    }
}

#[test]
fn paths_may_be_written_in_many_ways() -> Result<()> {
    let site = Site::build(&[])?;
    let port = site.get("simplebridge/br1/ports/p1");
    for path in
        ["br1/ports/p1", "br1/ports/p1/", "br1//ports/p1//", "br1/%70orts/p%31/", "simplebridge/br1/ports/p1/?x=y"]
    {
        assert_eq!(site.get(path), port, "{path}");
    }
    let (status, body) = raw(&site.scene.daemon, "GET", "/polycube/v1/br1/%ff/", b"")?;
    assert_eq!(status, 400, "{body}");
    for target in ["/", "/polycube", "/polycube/v2/cubes/", "/polycube/v1cubes"] {
        let (status, body) = raw(&site.scene.daemon, "GET", target, b"")?;
        assert_eq!(
            (status, &body["ietf-restconf:errors"]["error"][0]["error-tag"]),
            (404, &json!("unknown-element")),
            "{target}"
        );
    }
    Ok(())
}

#[test]
fn bodies_that_are_not_json_or_too_large() -> Result<()> {
    let site = Site::build(&[])?;
    let target = "/polycube/v1/simplebridge/br2/";
    for body in ["{", "{\"name\":\"br2\"", "snaplen=80", "\u{feff}{}", "[1]", "\"br2\""] {
        let (status, answer) = raw(&site.scene.daemon, "POST", target, body.as_bytes())?;
        assert_eq!(status, 400, "{body:?}: {answer}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    let (status, answer) = raw(&site.scene.daemon, "POST", target, large.as_bytes())?;
    assert_eq!(status, 413, "{answer}");
    let (status, answer) =
        raw(&site.scene.daemon, "POST", target, format!("{{}}{}", " ".repeat((1 << 20) - 2)).as_bytes())?;
    assert_eq!(status, 201, "a body of exactly 1 MiB is accepted: {answer}");
    Ok(())
}
