//! Does a client that is slow, greedy or sloppy harm only itself?

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

/// The daemon's time limit for a client, and a margin for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10 + 10);

/// Most admitted connections of a listener.
const CONNECTIONS: usize = 256;

fn site() -> Result<Scene> {
    Scene::set_up().commands(["packetcapture add sniffer"]).start()
}

/// Sends bytes and reads until the daemon closes; returns its answer, and how long it took.
fn send(daemon: &Daemon, bytes: &[u8]) -> Result<(String, Duration)> {
    let begin = Instant::now();
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        read => drop(read.context("the daemon does not close the connection")?),
    }
    Ok((String::from_utf8(answer)?, begin.elapsed()))
}

fn post(length: usize, more: &str, body: &str) -> Vec<u8> {
    let head = format!("POST /polycube/v1/packetcapture/s2/ HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{more}");
    format!("{head}connection: close\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_head_that_does_not_arrive() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let begins = ["", "GET /polycube/v1/cubes/ HTTP/1.1\r\nhost: x\r\nx-more: "];
    let closed = thread::scope(|scope| {
        let clients = begins.map(|begin| scope.spawn(|| send(daemon, begin.as_bytes())));
        clients.map(|client| client.join().expect("a client"))
    });
    for closed in closed {
        let (_, elapsed) = closed?;
        ensure!(elapsed >= Duration::from_secs(5), "closed after {elapsed:?}");
    }
    Ok(())
}

#[test]
fn a_body_that_does_not_arrive() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let before = daemon.snapshot()?;
    let (answer, _) = send(daemon, &post(20, "", "{}"))?;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body did not arrive within 10 s"), "{answer}");
    assert_eq!(daemon.snapshot()?, before);
    Ok(())
}

#[test]
fn a_body_announced_as_too_large_is_not_waited_for() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for more in ["", "expect: 100-continue\r\n"] {
        let (answer, elapsed) = send(daemon, &post((1 << 20) + 1, more, ""))?;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }
    Ok(())
}

#[test]
fn a_body_of_too_many_pieces() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let head = "POST /polycube/v1/packetcapture/s2/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    let piece = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
    // The daemon answers and closes as soon as it has read enough.
    while stream.write_all(piece.as_bytes()).is_ok() {}
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 413");
    Ok(())
}

/// Opens as many connections as are admitted. They are busy for the 10 s that a body may take to arrive.
fn fill(daemon: &Daemon) -> Result<Vec<UnixStream>> {
    let begin = || {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.write_all(&post(20, "expect: 100-continue\r\n", ""))?;
        // The daemon sends 100 when it reads the body: the request is admitted then.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut [0; 12])?;
        Ok(stream)
    };
    (0..CONNECTIONS).map(|_| begin()).collect()
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let mut busy = fill(daemon)?;
    let mut late = UnixStream::connect(daemon.socket())?;
    late.write_all(b"GET /polycube/v1/version/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    late.set_read_timeout(Some(Duration::from_millis(300)))?;
    let waits = late.read_exact(&mut [0; 12]).expect_err("it is one connection too many");
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
    busy.pop();
    late.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = [0; 12];
    late.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 200");
    Ok(())
}

/// Some clients keep connections that they do not use, before or after their first request.
#[test]
fn idle_connections_do_not_delay_others() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let connect = || -> Result<UnixStream> { Ok(UnixStream::connect(daemon.socket())?) };
    let silent: Vec<_> = (0..CONNECTIONS * 2).map(|_| connect()).collect::<Result<_>>()?;
    let begin = Instant::now();
    daemon.ctl("version").ok();
    ensure!(begin.elapsed() < Duration::from_secs(3), "after silent ones: {:?}", begin.elapsed());
    drop(silent);

    let mut answered = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /polycube/v1/version/ HTTP/1.1\r\nhost: x\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])?;
        answered.push(stream);
    }
    let begin = Instant::now();
    daemon.ctl("version").ok();
    ensure!(begin.elapsed() < Duration::from_secs(3), "after answered ones: {:?}", begin.elapsed());
    Ok(())
}

#[test]
fn unread_answers_do_not_keep_others_out() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let mut greedy = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.write_all(requests.as_bytes())?;
        greedy.push(stream);
    }
    let begin = Instant::now();
    daemon.ctl("version").ok();
    // The daemon also writes the document for each of them meanwhile.
    ensure!(begin.elapsed() < PATIENCE + Duration::from_secs(5), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn bodies_of_other_media_types_and_encodings() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (media, taken) in [
        ("application/json; charset=utf-8", true),
        ("application/yang.data+json", true),
        ("application/yang-data+json", true),
        ("text/plain", false),
        ("application/x-www-form-urlencoded", false),
        ("application/xml", false),
    ] {
        let before = daemon.snapshot()?;
        let (answer, _) = send(daemon, &post(2, &format!("content-type: {media}\r\n"), "{}"))?;
        if taken {
            assert!(answer.starts_with("HTTP/1.1 201 "), "{media}: {answer}");
            daemon.ctl("del s2").ok();
        } else {
            assert!(answer.starts_with("HTTP/1.1 415 "), "{media}: {answer}");
            assert!(answer.contains("send `Content-Type: application/json`"), "{answer}");
        }
        assert_eq!(daemon.snapshot()?, before, "{media}");
    }
    for encoding in ["gzip", "zstd", "identity, gzip", "nonsense"] {
        let (answer, _) = send(daemon, &post(2, &format!("content-encoding: {encoding}\r\n"), "{}"))?;
        assert!(answer.starts_with("HTTP/1.1 415 "), "{encoding}: {answer}");
        assert!(answer.contains("accept-encoding: identity") && answer.contains("omit Content-Encoding"), "{answer}");
    }
    let (answer, _) = send(daemon, &post(2, "content-encoding: identity\r\n", "{}"))?;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    daemon.ctl("del s2").ok();
    // Polycube's clients send no content type.
    let (answer, _) = send(daemon, &post(2, "", "{}"))?;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    Ok(())
}

#[test]
fn bodies_that_are_too_deep_or_repeat_a_key() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let before = daemon.snapshot()?;
    let deep = |depth: usize| format!("{{\"filters\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for (body, reason) in [
        (deep(40), "nested deeper than 32"),
        (deep(100_000), "nested deeper than 32"),
        (r#"{"snaplen":80,"snaplen":90}"#.to_owned(), "`snaplen` is given twice"),
    ] {
        let (answer, _) = send(daemon, &post(body.len(), "", &body))?;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(reason), "{answer}");
        assert_eq!(daemon.snapshot()?, before);
    }
    Ok(())
}

#[test]
fn head_is_get_without_the_body() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (path, status) in
        [("cubes", 200), ("sniffer/snaplen", 200), ("nothing", 404), ("attach", 405), ("metrics", 200)]
    {
        let path = format!("/polycube/v1/{path}/");
        let (get, head) = (daemon.http("GET", &path, None)?, daemon.http("HEAD", &path, None)?);
        assert_eq!((get.status, head.status), (status, status), "{path}");
        let kept = |headers: &[(String, String)]| -> Vec<(String, String)> {
            headers.iter().filter(|(name, _)| name != "date").cloned().collect()
        };
        assert_eq!(kept(&head.headers), kept(&get.headers), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
    }
    let wrong = daemon.http("POST", "/polycube/v1/version/", Some(&json!({})))?;
    assert_eq!(wrong.headers.iter().find(|(name, _)| name == "allow").map(|(_, value)| value.as_str()), Some("GET"));
    assert_eq!(daemon.http("GET", "/polycube/v1/sniffer/snaplen/", None)?.json()?, Value::from(262_144));
    Ok(())
}

#[test]
fn requests_have_one_host() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let request = |version: &str, hosts: &str| {
        let bytes = format!("GET /polycube/v1/version/ HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        send(daemon, bytes.as_bytes())
    };
    for (version, hosts, status, reason) in [
        ("1.1", "host: localhost\r\n", 200, ""),
        ("1.1", "host: [::1]:9000\r\n", 200, ""),
        ("1.1", "host:\r\n", 200, ""),
        ("1.1", "", 400, "no Host header"),
        ("1.1", "host: localhost\r\nhost: localhost\r\n", 400, "more than one Host header"),
        ("1.1", "host: a\r\nx-more: b\r\nHOST: b\r\n", 400, "more than one Host header"),
        ("1.1", "host: a b\r\n", 400, "is not valid"),
        ("1.1", "host: user@localhost\r\n", 400, "is not valid"),
        ("1.0", "", 200, ""),
        ("1.0", "host: a\r\nhost: b\r\n", 400, "more than one Host header"),
    ] {
        let (answer, _) = request(version, hosts)?;
        let line = format!("HTTP/{version} {status} ");
        assert!(answer.starts_with(&line) && answer.contains(reason), "{hosts:?}: {answer}");
    }
    Ok(())
}
