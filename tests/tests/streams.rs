//! Does the host copy what a plugin opens to each client, as requested?

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::http::{Response, exchange};
use polycube_tests::scene::Scene;

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon with a cube `p1` of the fixture.
fn site() -> Result<Scene> {
    Scene::set_up().fixtures(["panicky"]).commands(["panicky add p1"]).start()
}

fn get(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let stream = UnixStream::connect(daemon.socket())?;
    let mut reply = exchange(stream, headers, "GET", path, None)?;
    let mut body = Vec::new();
    reply.body.read_to_end(&mut body)?;
    Ok(Response { status: reply.status, headers: reply.headers, body })
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_pipe_is_copied_to_its_end() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for path in ["/polycube/v1/panicky/p1/pipe?text=hello%20you", "/polycube/v1/p1/pipe/?text=hello+you&case=lower"] {
        let response = get(daemon, path, &[])?;
        assert_eq!((response.status, response.text()), (200, String::from("hello you")), "{path}");
        assert_eq!(header(&response, "content-type"), Some("text/plain"));
        assert_eq!(header(&response, "content-disposition"), Some("attachment; filename=\"a _text_\""));
        assert_eq!(header(&response, "polycube-stream"), Some("3"));
        assert_eq!(header(&response, "content-length"), None, "its length is unknown");
    }
    Ok(())
}

#[test]
fn a_file_is_served_in_ranges() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (range, status, text, content_range) in [
        (None, 200, "0123456789", None),
        (Some("bytes=2-4"), 206, "234", Some("bytes 2-4/10")),
        (Some("bytes=-3"), 206, "789", Some("bytes 7-9/10")),
        (Some("bytes=8-99"), 206, "89", Some("bytes 8-9/10")),
        (Some("bytes=10-"), 416, "", Some("bytes */10")),
        (Some("pages=1-2"), 200, "0123456789", None),
    ] {
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        let response = get(daemon, "/polycube/v1/p1/file/0123456789", &headers)?;
        assert_eq!((response.status, response.text().as_str()), (status, text), "{range:?}");
        assert_eq!(header(&response, "content-range"), content_range, "{range:?}");
        assert_eq!(header(&response, "accept-ranges"), Some("bytes"));
        assert_eq!(header(&response, "content-length"), Some(text.len().to_string().as_str()));
    }
    Ok(())
}

#[test]
fn a_wrong_request_opens_nothing() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (path, status, expected) in [
        ("p1/pipe?txet=a", 400, "there is no parameter `txet`; did you mean `text`?"),
        ("p1/pipe?case=middle", 400, "`case` is one of lower, upper, not `middle`"),
        ("p1/pipe?case=", 400, "`case` is one of lower, upper, not ``"),
        ("p1/pipes", 404, "cube `p1` has no `pipes`"),
        ("p1/file", 404, "cube `p1` has no `file`"),
        ("panicky/p2/pipe", 409, "cube `p2` does not exist"),
    ] {
        let response = get(daemon, &format!("/polycube/v1/{path}"), &[])?;
        ensure!(response.status == status, "{path}: {} {}", response.status, response.text());
        let message = &response.json()?["ietf-restconf:errors"]["error"][0]["error-message"];
        let message = message.as_str().unwrap_or_default();
        ensure!(message.starts_with(expected), "{path}: {message}");
    }
    Ok(())
}

#[test]
fn a_panic_while_opening_costs_the_cube_and_not_the_daemon() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let _ = daemon.http("PATCH", "/polycube/v1/p1/refuse/", Some(&"open".into()))?.ok();
    let refused = get(daemon, "/polycube/v1/p1/pipe", &[])?;
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("told to refuse in Open"), "{}", refused.text());
    let _ = daemon.http("PATCH", "/polycube/v1/p1/panic/", Some(&"open".into()))?.ok();
    let failed = get(daemon, "/polycube/v1/p1/pipe", &[])?;
    assert_eq!(failed.status, 500);
    assert!(failed.text().contains("delete the cube and create it again"), "{}", failed.text());
    assert_eq!(daemon.http("GET", "/polycube/v1/cubes/", None)?.status, 200);
    Ok(())
}

#[test]
fn a_plugin_changes_its_own_configuration_as_a_user_would() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let size = || daemon.http("GET", "/polycube/v1/p1/size/", None)?.ok().json();
    assert_eq!(size()?, 0);
    let _ = daemon.http("POST", "/polycube/v1/p1/grow/", None)?.ok();
    let deadline = Instant::now() + PATIENCE;
    while size()? != 7 {
        ensure!(Instant::now() < deadline, "`size` is still {}", size()?);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
