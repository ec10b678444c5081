//! Does one of two clients that change the same thing learn that the other was first?

use std::thread;

use anyhow::{Context, Result};
use polycube_tests::http::Response;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

struct Site {
    scene: Scene,
}

impl Site {
    /// `br1` with port `p1`, and `sniffer`.
    fn build() -> Result<Self> {
        let commands = ["simplebridge add br1", "br1 ports add p1", "packetcapture add sniffer"];
        Ok(Self { scene: Scene::set_up().commands(commands).start()? })
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        let path = format!("/polycube/v1/{path}");
        self.scene.daemon.http_with(headers, method, &path, body).expect("an answer")
    }

    #[track_caller]
    fn tag(&self, path: &str) -> Option<String> {
        let response = self.ask("GET", path, &[], None).ok();
        response.headers.into_iter().find(|(name, _)| name == "etag").map(|(_, value)| value)
    }
}

#[test]
fn a_tag_identifies_the_settings() -> Result<()> {
    let site = Site::build()?;
    let (cube, leaf) = (site.tag("sniffer").context("a cube")?, site.tag("sniffer/snaplen").context("a leaf")?);
    assert!(cube.starts_with('"') && cube.ends_with('"') && cube.len() > 10, "{cube}");
    assert_eq!(site.tag("packetcapture/sniffer/"), Some(cube.clone()), "its longer path has the same tag");
    site.scene.daemon.ctl("sniffer set capture=ingress").ok();
    assert_ne!(site.tag("sniffer"), Some(cube.clone()));
    assert_eq!(site.tag("sniffer/snaplen"), Some(leaf), "another leaf was changed");
    site.scene.daemon.ctl("sniffer set capture=off").ok();
    assert_eq!(site.tag("sniffer"), Some(cube.clone()), "it is as before");
    site.scene.daemon.ctl("del sniffer").ok();
    site.scene.daemon.ctl("packetcapture add sniffer").ok();
    assert_ne!(site.tag("sniffer"), Some(cube), "it is another cube");
    for node in ["br1", "br1/ports", "br1/ports/p1", "br1/ports/p1/peer", "br1/fdb", "br1/fdb/entry", "br1/loglevel"] {
        assert!(site.tag(node).is_some(), "{node}");
    }
    for state in ["br1/counters", "br1/port-counters", "sniffer/counters/seen", "sniffer/status"] {
        assert_eq!(site.tag(state), None, "{state}");
    }
    Ok(())
}

#[test]
fn a_change_with_another_tag_changes_nothing() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let port = json!({ "peer": "" });
    for (method, path, body) in [
        ("PATCH", "sniffer", Some(json!({ "snaplen": 80 }))),
        ("PUT", "sniffer", Some(json!({ "snaplen": 80 }))),
        ("DELETE", "sniffer", None),
        ("PATCH", "sniffer/snaplen", Some(json!(80))),
        ("PUT", "sniffer/snaplen", Some(json!(80))),
        ("DELETE", "sniffer/snaplen", None),
        ("PATCH", "br1/fdb", Some(json!({ "aging-time": 5 }))),
        ("POST", "br1/fdb/entry/02:00:00:00:00:07", Some(json!({ "port": "p1" }))),
        ("POST", "br1/fdb/flush", None),
        ("PATCH", "br1/ports/p1", Some(port.clone())),
        ("DELETE", "br1/ports/p1", None),
        ("POST", "br1/ports/p2", Some(port)),
        ("POST", "simplebridge/br2", None),
        ("POST", "cubes", Some(json!([{ "name": "b2", "service-name": "simplebridge" }]))),
        ("POST", "services", Some(json!({ "type": "lib", "uri": "x.so", "name": "x" }))),
        ("DELETE", "services/packetcapture", None),
        ("POST", "attach", Some(json!({ "cube": "sniffer", "port": "br1:p1" }))),
    ] {
        for wrong in ["\"0123456789ab\"", "*, \"x\"", "W/\"0123456789ab\"", "", "\u{fc}"] {
            let exists = site.ask("GET", path, &[], None).status == 200 || path == "br1/fdb/flush";
            if wrong.starts_with('*') && exists && path.split('/').next() != Some("services") && path != "cubes" {
                continue;
            }
            let response = site.ask(method, path, &[("if-match", wrong)], body.as_ref());
            assert_eq!(response.status, 412, "{method} {path}, If-Match: {wrong}: {}", response.text());
            let error = &response.json()?["ietf-restconf:errors"]["error"][0];
            assert_eq!(error["error-tag"], "operation-failed", "{error}");
            assert_eq!(site.scene.daemon.snapshot()?, before, "{method} {path}, If-Match: {wrong}");
        }
    }
    Ok(())
}

#[test]
fn a_change_with_the_right_tag_is_made() -> Result<()> {
    let site = Site::build()?;
    let tag = site.tag("sniffer").context("a tag")?;
    let list = format!("\"other\", {tag}");
    assert_eq!(site.ask("PATCH", "sniffer/snaplen", &[("if-match", "*")], Some(&json!(90))).status, 200);
    let response = site.ask("PATCH", "sniffer", &[("if-match", &list)], Some(&json!({ "snaplen": 80 })));
    assert_eq!(response.status, 412, "the leaf has changed since: {}", response.text());
    let list = format!("\"other\", {}", site.tag("sniffer").context("a tag")?);
    assert_eq!(site.ask("PATCH", "sniffer", &[("if-match", &list)], Some(&json!({ "snaplen": 80 }))).status, 200);
    let once = [("if-none-match", "*")];
    assert_eq!(site.ask("POST", "simplebridge/br2", &once, None).status, 201);
    assert_eq!(site.ask("POST", "simplebridge/br2", &once, None).status, 412);
    assert_eq!(site.ask("PATCH", "br2", &once, Some(&json!({ "loglevel": "DEBUG" }))).status, 412);
    Ok(())
}

#[test]
fn of_two_changes_at_once_one_is_made() -> Result<()> {
    let site = Site::build()?;
    for round in 0..20 {
        let tag = site.tag("br1").context("a tag")?;
        let bodies = [1, 2, 3, 4].map(|client| json!({ "fdb": { "aging-time": 10 * round + client } }));
        let answers = thread::scope(|scope| {
            let ask = |body| site.ask("PATCH", "br1", &[("if-match", tag.as_str())], Some(body)).status;
            let clients = bodies.each_ref().map(|body| scope.spawn(move || ask(body)));
            clients.map(|client| client.join().expect("a client"))
        });
        let mut sorted = answers;
        sorted.sort_unstable();
        assert_eq!(sorted, [200, 412, 412, 412], "round {round}");
        let winner = answers.iter().position(|status| *status == 200).context("a winner")?;
        let set = site.ask("GET", "br1/fdb/aging-time", &[], None).json()?;
        assert_eq!(set, bodies[winner]["fdb"]["aging-time"], "round {round}");
    }
    Ok(())
}

#[test]
fn a_client_that_has_the_current_version_gets_304() -> Result<()> {
    let site = Site::build()?;
    for path in ["sniffer/snaplen", "sniffer/filters", "br1/ports/p1/peer"] {
        let tag = site.tag(path).context("a tag")?;
        for known in [tag.as_str(), "*", &format!("W/{tag}"), &format!("\"x\",{tag}")] {
            let response = site.ask("GET", path, &[("if-none-match", known)], None);
            assert_eq!((response.status, response.body.len()), (304, 0), "{path}: {known}");
            assert!(response.headers.contains(&("etag".to_owned(), tag.clone())), "{:?}", response.headers);
        }
        assert_eq!(site.ask("GET", path, &[("if-none-match", "\"x\"")], None).status, 200);
    }
    // The answer also has state, which the tag does not cover.
    for path in ["sniffer", "br1/fdb"] {
        let tag = site.tag(path).context("a tag")?;
        let status = site.ask("GET", path, &[("if-none-match", &tag)], None).status;
        assert_eq!(
            status,
            if path == "sniffer" { 200 } else { 304 },
            "{path}: an empty forwarding database has no state"
        );
    }
    Ok(())
}
