//! The daemon that the tests ask, and assertions about its answers.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

/// `br1` (port `p1`, peer `veth1`), `veth2`, and `sniffer` attached to nothing.
pub(crate) struct Site {
    pub(crate) scene: Scene,
}

impl Site {
    pub(crate) fn build(more: &[&str]) -> Result<Self> {
        let site = Self { scene: Scene::set_up().peers(2).arguments(more).start()? };
        site.check("POST", "simplebridge/br1/", &json!({ "ports": [{ "name": "p1", "peer": "veth1" }] }), 201);
        site.check("POST", "packetcapture/sniffer/", &json!({}), 201);
        Ok(site)
    }

    /// Asserts the status, and returns the body; null if there is none.
    #[track_caller]
    pub(crate) fn check(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let body = (!body.is_null()).then_some(body);
        let response = self.scene.daemon.http(method, &format!("/polycube/v1/{path}"), body).expect("an answer");
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
        if response.body.is_empty() { Value::Null } else { response.json().expect("JSON") }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.check("GET", path, &Value::Null, 200)
    }

    /// Asserts the status, and the tag and path of each error.
    #[track_caller]
    pub(crate) fn refuses(&self, method: &str, path: &str, body: &Value, status: u16, errors: &[(&str, &str)]) {
        assert_errors(&self.check(method, path, body, status), errors);
    }
}

#[track_caller]
pub(crate) fn assert_errors(body: &Value, expected: &[(&str, &str)]) {
    let errors = body["ietf-restconf:errors"]["error"].as_array().unwrap_or_else(|| panic!("no error body: {body}"));
    let found: Vec<_> = errors.iter().map(|e| (e["error-tag"].as_str(), e["error-path"].as_str())).collect();
    assert_eq!(found, expected.iter().map(|(tag, path)| (Some(*tag), Some(*path))).collect::<Vec<_>>(), "{body}");
    for error in errors {
        assert_eq!(error["error-type"], "application");
        let message = error["error-message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
    }
}

/// One raw exchange over the daemon's socket; returns status and body.
pub(crate) fn raw(daemon: &Daemon, method: &str, target: &str, body: &[u8]) -> Result<(u16, Value)> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    let length = body.len();
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")?;
    // The daemon answers and closes as soon as it has read enough.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // It closed without reading everything, after it had sent its answer.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read?),
    }
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, if body.is_empty() { Value::Null } else { serde_json::from_str(body)? }))
}
