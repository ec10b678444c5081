//! Does the REST API answer as Polycube's clients expect, and correctly where Polycube did not?

mod requests;
mod site;
mod tcp;

use anyhow::Result;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

use site::{Site, assert_errors};

#[test]
fn framework_resources() -> Result<()> {
    let site = Site::build(&[])?;
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
    };
    assert!(site.get("version/")["polycubed"]["version"].is_string());
    assert_eq!(
        names(&site.get("services/")),
        ["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]
    );
    let service = site.get("services/packetcapture/");
    assert_eq!((&service["kind"], &service["name"]), (&json!("transparent"), &json!("packetcapture")));
    assert!(service["servicecontroller"].as_str().is_some_and(|path| path.ends_with("libpcn_packetcapture.so")));
    let cubes = site.get("cubes/");
    assert_eq!(
        (names(&cubes["simplebridge"]), names(&cubes["packetcapture"])),
        (vec!["br1".into()], vec!["sniffer".into()])
    );
    assert_eq!(site.get("cubes/br1/")["service-name"], "simplebridge");
    assert_eq!(names(&site.get("topology/")), ["br1", "sniffer"]);
    assert_eq!(names(&site.get("netdevs/")), ["lo", "veth1", "veth2"]);
    assert_eq!(site.get("netdevs/veth1/")["name"], "veth1");

    for kind in ["service", "cube", "netdev"] {
        let path = format!("{kind}s/nothing");
        site.refuses("GET", &path, &Value::Null, 400, &[("data-missing", &path)]);
    }
    for path in ["services", "cubes", "cubes/br1", "netdevs", "topology", "version"] {
        site.refuses("DELETE", path, &Value::Null, 405, &[("operation-not-supported", path)]);
    }
    for path in ["connect", "disconnect", "attach", "detach"] {
        site.refuses("GET", path, &Value::Null, 405, &[("operation-not-supported", path)]);
        site.refuses("POST", path, &json!(5), 400, &[("bad-attribute", path)]);
    }
    for (method, path) in [("POST", "attach/x"), ("POST", "version/x"), ("DELETE", "cubes/br1/x"), ("GET", "attach/x")]
    {
        site.refuses(method, path, &Value::Null, 404, &[("unknown-element", path)]);
    }
    for path in ["topology/nope", "topology/nope:p", "topology/a:b:c"] {
        let tag = if path == "topology/a:b:c" { "bad-attribute" } else { "data-missing" };
        site.refuses("GET", path, &Value::Null, 400, &[(tag, path)]);
    }
    let cubes = json!([{ "name": "a/b", "service-name": "nope" }]);
    let places = [("bad-attribute", "cubes/0/name"), ("data-missing", "cubes/0/service-name")];
    site.refuses("POST", "cubes", &cubes, 400, &places);
    for path in ["metrics", "openapi.json"] {
        let response = site.scene.daemon.http("OPTIONS", &format!("/polycube/v1/{path}"), None)?.ok();
        assert!(response.headers.contains(&("allow".to_owned(), "GET".to_owned())), "{response:?}");
    }
    Ok(())
}

#[test]
fn links_of_the_root_can_be_followed() -> Result<()> {
    let site = Site::build(&[])?;
    site.check("POST", "simplebridge", &json!({ "name": "<é>" }), 201);
    let root = site.get("");
    let hrefs: Vec<&str> =
        root["_links"].as_array().into_iter().flatten().filter_map(|link| link["href"].as_str()).collect();
    assert!(hrefs.contains(&"/polycube/v1/%3C%C3%A9%3E"), "{hrefs:?}");
    assert!(hrefs.contains(&"/polycube/v1/openapi.json"), "{hrefs:?}");
    assert_eq!(site.get("%3C%C3%A9%3E")["name"], "<é>");
    Ok(())
}

#[test]
fn no_cubes_are_an_empty_object() -> Result<()> {
    let scene = Scene::set_up().start()?;
    assert_eq!(scene.daemon.http("GET", "/polycube/v1/cubes/", None)?.text(), "{}");
    Ok(())
}

#[test]
fn links_and_attachments() -> Result<()> {
    let site = Site::build(&[])?;
    let post = |path: &str, body: Value, status: u16| site.check("POST", path, &body, status);
    post("simplebridge/br1/ports/p2/", Value::Null, 201);
    post("connect/", json!({ "peer1": "br1:p2", "peer2": "veth2" }), 200);
    assert_eq!(site.get("br1/ports/p2/peer/"), "veth2");
    assert_eq!(site.get("br1/ports/p2/status/"), "UP");
    post("disconnect/", json!({ "peer1": "veth2", "peer2": "br1:p2" }), 200);
    assert_eq!((site.get("br1/ports/p2/peer/"), site.get("br1/ports/p2/status/")), (json!(""), json!("DOWN")));
    post("attach/", json!({ "cube": "sniffer", "port": "br1:p1", "position": "last" }), 200);
    assert_eq!(site.get("sniffer/parent/"), "br1:p1");
    assert_eq!(site.get("sniffer/points/br1:p1/ingress-chain"), "sniffer ---> br1:p1");
    post("packetcapture/second/", json!({}), 201);
    post("attach/", json!({ "cube": "second", "port": "br1:p1", "before": "sniffer" }), 200);
    post("detach/", json!({ "cube": "sniffer", "port": "br1:p1" }), 200);
    assert_eq!(site.get("sniffer/parent/"), "");

    for (path, body, tag, place) in [
        ("connect", json!({ "peer1": "br1:p2" }), "missing-attribute", "connect/peer2"),
        ("connect", json!({ "peer1": "br1:p2", "peer2": 5 }), "bad-attribute", "connect/peer2"),
        ("connect", json!({ "peer1": "br1:p2", "peer2": "veth2", "peer3": "" }), "invalid-value", "connect/peer3"),
        ("attach", json!({ "cube": "sniffer" }), "missing-attribute", "attach/port"),
        ("attach", json!({ "cube": "sniffer", "port": "" }), "bad-attribute", "attach/port"),
        ("attach", json!({ "cube": "sniffer", "port": "a:b:c" }), "bad-attribute", "attach/port"),
        ("attach", json!({ "cube": "sniffer", "port": "nope" }), "bad-attribute", "attach/port"),
        ("attach", json!({ "cube": "sniffer", "port": "nope:p" }), "data-missing", "attach/port"),
        ("attach", json!({ "cube": "nope", "port": "veth2" }), "data-missing", "nope"),
        ("connect", json!({ "peer1": "br1:p2", "peer2": "a:b:c" }), "bad-attribute", "connect/peer2"),
        ("attach", json!({ "cube": "sniffer", "port": "veth2", "position": "7" }), "bad-attribute", "attach/position"),
        (
            "attach",
            json!({ "cube": "sniffer", "port": "veth2", "position": "first", "after": "second" }),
            "bad-attribute",
            "attach",
        ),
        ("attach", json!({ "cube": "second", "port": "br1:p1" }), "bad-attribute", "second"),
        ("detach", json!({ "cube": "sniffer", "port": "veth2" }), "bad-attribute", "sniffer"),
    ] {
        site.refuses("POST", path, &body, 400, &[(tag, place)]);
    }
    Ok(())
}

#[test]
fn cubes_come_change_and_go() -> Result<()> {
    let site = Site::build(&[])?;
    site.check("POST", "packetcapture/", &json!({ "name": "a", "snaplen": 80, "loglevel": "debug" }), 201);
    let cube = site.get("packetcapture/a/");
    assert_eq!((&cube["snaplen"], &cube["loglevel"], &cube["capture"]), (&json!(80), &json!("DEBUG"), &json!("off")));
    assert_eq!(
        (&cube["name"], &cube["service-name"], &cube["type"], &cube["parent"]),
        (&json!("a"), &json!("packetcapture"), &json!("TC"), &json!(""))
    );
    site.refuses("POST", "packetcapture/a", &json!({}), 409, &[("data-exists", "a")]);
    site.refuses("POST", "simplebridge/a", &json!({}), 409, &[("data-exists", "a")]);
    site.refuses("POST", "packetcapture", &json!({}), 400, &[("missing-attribute", "packetcapture/name")]);
    for name in [json!([7]), Value::Null, json!(""), json!("a/b")] {
        site.refuses(
            "POST",
            "packetcapture",
            &json!({ "name": name }),
            400,
            &[("bad-attribute", "packetcapture/name")],
        );
    }
    site.scene.daemon.ctl("packetcapture add name=7").ok();
    site.check("DELETE", "7", &Value::Null, 200);
    let port = json!({ "ports": [{ "name": "p/p" }] });
    site.refuses("POST", "simplebridge/b", &port, 400, &[("bad-attribute", "b/ports/0/name")]);
    site.refuses("POST", "packetcapture/b", &json!({ "name": "c" }), 400, &[("invalid-value", "b/name")]);
    site.refuses("POST", "simplebridge/b", &json!({ "ports": 5 }), 400, &[("bad-attribute", "b/ports")]);
    site.refuses("PATCH", "packetcapture", &json!({}), 405, &[("operation-not-supported", "packetcapture")]);

    site.check("PATCH", "a/", &json!({ "capture": "Ingress" }), 200);
    assert_eq!((site.get("a/capture/"), site.get("a/snaplen/")), (json!("ingress"), json!(80)), "PATCH keeps the rest");
    site.check("PUT", "a/", &json!({ "capture": "egress" }), 201);
    assert_eq!((site.get("a/capture/"), site.get("a/snaplen/")), (json!("egress"), json!(262_144)), "PUT does not");
    assert_eq!(site.get("a/loglevel/"), "INFO");
    for method in ["PUT", "PATCH"] {
        for body in [Value::Null, json!([])] {
            site.refuses(method, "a", &body, 400, &[("bad-attribute", "a")]);
        }
    }
    assert_eq!(site.get("a/capture/"), "egress", "a missing body resets nothing");
    site.refuses("PUT", "br1", &json!({ "ports": [] }), 400, &[("invalid-value", "br1/ports")]);
    site.refuses("PATCH", "a", &json!({ "points": [] }), 400, &[("invalid-value", "a/points")]);

    site.check("DELETE", "packetcapture/a/", &Value::Null, 200);
    site.refuses("DELETE", "packetcapture/a", &Value::Null, 409, &[("data-missing", "a")]);
    site.refuses("DELETE", "a", &Value::Null, 404, &[("unknown-element", "a")]);
    site.refuses("GET", "packetcapture/br1", &Value::Null, 409, &[("data-missing", "packetcapture/br1")]);
    assert_eq!(site.get("packetcapture/").as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn ports_come_change_and_go() -> Result<()> {
    let site = Site::build(&[])?;
    site.check("POST", "simplebridge/br1/ports/p2/", &json!({ "peer": "veth2" }), 201);
    site.refuses("POST", "br1/ports/p2", &json!({}), 409, &[("data-exists", "br1/ports/p2")]);
    let port = site.get("br1/ports/p2/");
    assert_eq!((&port["name"], &port["peer"], &port["status"]), (&json!("p2"), &json!("veth2"), &json!("UP")));
    site.check("DELETE", "br1/ports/p2/peer/", &Value::Null, 204);
    site.check("PATCH", "br1/ports/p2/", &json!({ "peer": "veth2" }), 201);
    site.check("PATCH", "br1/ports/p2/peer/", &json!(""), 200);
    assert_eq!(site.get("br1/ports/p2/status/"), "DOWN");
    site.refuses("PATCH", "br1/ports/p2/uuid", &json!("x"), 400, &[("invalid-value", "br1/ports/p2/uuid")]);
    site.refuses("PATCH", "br1/ports/p2/mac", &json!("x"), 404, &[("unknown-element", "br1/ports/p2/mac")]);
    site.refuses("PUT", "br1/ports", &json!([]), 405, &[("operation-not-supported", "br1/ports")]);
    for (peer, tag) in [("nope:p", "data-missing"), ("a:b:c", "bad-attribute"), ("nope", "bad-attribute")] {
        let status = if tag == "data-missing" { 409 } else { 400 };
        site.refuses("PATCH", "br1/ports/p2/peer", &json!(peer), status, &[(tag, "br1/ports/p2/peer")]);
    }
    site.check("PATCH", "br1/ports/p2", &json!({ "peer": "veth2" }), 201);
    site.check("PATCH", "br1/ports/p2", &json!({ "name": "p2" }), 201);
    assert_eq!(site.get("br1/ports/p2/peer"), "veth2", "PATCH keeps what it does not name");
    site.check("PUT", "br1/ports/p2", &json!({}), 201);
    assert_eq!(site.get("br1/ports/p2/peer"), "", "PUT does not");
    site.refuses("PUT", "br1/ports/p2", &Value::Null, 400, &[("bad-attribute", "br1/ports/p2")]);
    site.refuses("PUT", "br1/ports/p2", &json!({ "name": "p3" }), 400, &[("invalid-value", "br1/ports/p2/name")]);
    site.check("DELETE", "br1/ports/p2/", &Value::Null, 204);
    site.refuses("DELETE", "br1/ports/p2", &Value::Null, 409, &[("data-missing", "br1/ports/p2")]);
    site.refuses("GET", "br1/ports/p2", &Value::Null, 409, &[("data-missing", "br1/ports/p2")]);
    site.check("POST", "br1/ports", &json!({ "name": "p9", "peer": "veth2" }), 201);
    assert_eq!(site.get("br1/ports/p9/peer"), "veth2");
    site.refuses("POST", "br1/ports", &json!({ "name": "p9" }), 409, &[("data-exists", "br1/ports/p9")]);
    site.refuses("POST", "br1/ports", &json!({}), 400, &[("missing-attribute", "br1/ports/name")]);
    site.refuses("POST", "br1/ports", &json!({ "name": "a/b" }), 400, &[("bad-attribute", "br1/ports/name")]);
    site.scene.daemon.ctl("br1 ports add name=p8").ok();
    assert_eq!(site.get("br1/ports/p8/name"), "p8");
    site.check("DELETE", "br1/ports", &Value::Null, 204);
    assert_eq!(site.get("br1/ports"), json!([]));
    site.refuses("DELETE", "sniffer/ports", &Value::Null, 400, &[("bad-attribute", "sniffer")]);
    for ports in [json!([]), json!([{ "name": "p1" }]), json!(5)] {
        site.refuses("PATCH", "sniffer", &json!({ "ports": ports }), 400, &[("invalid-value", "sniffer/ports")]);
    }
    Ok(())
}

#[test]
fn leaves_containers_and_entries() -> Result<()> {
    let site = Site::build(&[])?;
    for (path, value, read) in [
        ("sniffer/snaplen", json!(96), json!(96)),
        ("sniffer/snaplen", json!("128"), json!(128)),
        ("sniffer/capture", json!("BiDirectional"), json!("bidirectional")),
        ("sniffer/loglevel", json!("warn"), json!("WARN")),
        ("br1/fdb/aging-time", json!(10), json!(10)),
    ] {
        site.check("PATCH", path, &value, 200);
        assert_eq!(site.get(path), read, "{path}");
    }
    for (path, default) in
        [("sniffer/snaplen", json!(262_144)), ("sniffer/loglevel", json!("INFO")), ("br1/fdb/aging-time", json!(300))]
    {
        site.check("DELETE", path, &Value::Null, 204);
        assert_eq!(site.get(path), default, "{path}");
    }
    site.check("PATCH", "br1/fdb/", &json!({ "aging-time": 20 }), 201);
    assert_eq!(site.get("br1/fdb/")["aging-time"], 20);

    let entry = "br1/fdb/entry/02:00:00:00:00:07";
    site.check("POST", entry, &json!({ "port": "p1" }), 201);
    site.refuses("POST", entry, &json!({ "port": "p1" }), 409, &[("data-exists", entry)]);
    assert_eq!(site.get(entry)["type"], "static");
    site.check("DELETE", entry, &Value::Null, 204);
    site.refuses("DELETE", entry, &Value::Null, 409, &[("data-missing", entry)]);

    for path in [entry.to_owned(), format!("{entry}/port")] {
        site.refuses("GET", &path, &Value::Null, 409, &[("data-missing", entry)]);
    }
    site.refuses("GET", &format!("{entry}/x"), &Value::Null, 404, &[("unknown-element", &format!("{entry}/x"))]);

    let body = |address: &str| json!({ "address": address, "port": "p1" });
    site.check("POST", "br1/fdb/entry", &body("02:00:00:00:00:0A"), 201);
    for spelling in ["02:00:00:00:00:0a", "02:00:00:00:00:0A"] {
        let path = format!("br1/fdb/entry/{spelling}");
        assert_eq!(site.get(&path)["address"], "02:00:00:00:00:0a");
        site.check("PATCH", &path, &body(spelling), 201);
        site.refuses("POST", "br1/fdb/entry", &body(spelling), 409, &[("data-exists", &path)]);
    }
    site.check("DELETE", "br1/fdb/entry/02:00:00:00:00:0a", &Value::Null, 204);
    site.scene.daemon.ctl("br1 fdb entry add address=02:00:00:00:00:0B port=p1").ok();
    site.scene.daemon.ctl("br1 fdb entry del 02:00:00:00:00:0b").ok();
    let missing = json!({ "port": "p1" });
    site.refuses("POST", "br1/fdb/entry", &missing, 400, &[("missing-attribute", "br1/fdb/entry/address")]);
    let conflict = [("invalid-value", "br1/fdb/entry/02:00:00:00:00:07/address")];
    site.refuses("PUT", entry, &body("02:00:00:00:00:99"), 400, &conflict);
    let unknown = json!([{ "address": "02:00:00:00:00:07", "prt": "p1" }]);
    let errors = site.check("PUT", "br1/fdb/entry", &unknown, 400);
    let place = |last: &str| format!("{entry}/{last}");
    assert_errors(&errors, &[("invalid-value", &place("prt")), ("missing-attribute", &place("port"))]);
    let message = &errors["ietf-restconf:errors"]["error"][0]["error-message"];
    assert_eq!(message, "unknown key `prt`; did you mean `port`?");

    site.check("POST", "br1/fdb/flush/", &Value::Null, 200);
    site.check("POST", "br1/fdb/flush/", &json!({}), 200);
    let unknown = json!({ "x": 1, "y": 2 });
    let errors = [("invalid-value", "br1/fdb/flush/x"), ("invalid-value", "br1/fdb/flush/y")];
    site.refuses("POST", "br1/fdb/flush", &unknown, 400, &errors);
    site.refuses("POST", "br1/fdb/flush", &json!([1]), 400, &[("bad-attribute", "br1/fdb/flush")]);
    site.refuses("POST", "br1/fdb/flush/x", &Value::Null, 404, &[("unknown-element", "br1/fdb/flush/x")]);
    site.refuses("GET", "br1/fdb/flush", &Value::Null, 405, &[("operation-not-supported", "br1/fdb/flush")]);
    site.refuses("DELETE", "br1/fdb/flush", &Value::Null, 405, &[("operation-not-supported", "br1/fdb/flush")]);
    site.refuses("POST", "sniffer/snaplen", &json!(1), 405, &[("operation-not-supported", "sniffer/snaplen")]);
    site.refuses("PATCH", "sniffer/status", &json!("x"), 400, &[("invalid-value", "sniffer/status")]);
    site.refuses("DELETE", "sniffer/counters", &Value::Null, 400, &[("invalid-value", "sniffer/counters")]);
    site.refuses("PATCH", "sniffer/type", &json!("XDP_SKB"), 400, &[("bad-attribute", "sniffer/type")]);
    site.refuses("PATCH", "sniffer/uuid", &json!("x"), 400, &[("invalid-value", "sniffer/uuid")]);
    site.refuses("GET", "sniffer/snapln", &Value::Null, 404, &[("unknown-element", "sniffer/snapln")]);
    Ok(())
}

#[test]
fn an_alias_is_the_leaf_it_names() -> Result<()> {
    let site = Site::build(&[])?;
    site.check("PATCH", "sniffer/filters/snaplen/", &json!(65_535), 200);
    assert_eq!(
        (site.get("sniffer/snaplen/"), site.get("sniffer/filters/")["snaplen"].clone()),
        (json!(65_535), json!(65_535))
    );
    site.check("PATCH", "sniffer/", &json!({ "filters": { "snaplen": "80" } }), 200);
    assert_eq!(site.get("sniffer/")["snaplen"], 80);
    site.check("DELETE", "sniffer/filters/snaplen/", &Value::Null, 204);
    assert_eq!(site.get("sniffer/snaplen/"), 262_144);
    for method in ["PUT", "DELETE"] {
        site.check("PATCH", "sniffer/snaplen/", &json!(99), 200);
        let body = if method == "PUT" { json!({}) } else { Value::Null };
        site.check(method, "sniffer/filters/", &body, if method == "PUT" { 201 } else { 204 });
        assert_eq!(site.get("sniffer/filters/")["snaplen"], 262_144, "{method}");
    }
    let both = json!({ "snaplen": 5, "filters": { "snaplen": 6 } });
    site.refuses("PATCH", "sniffer/", &both, 400, &[("bad-attribute", "sniffer/snaplen")]);
    Ok(())
}
