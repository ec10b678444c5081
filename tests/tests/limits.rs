//! Does a client that is slow, greedy or sloppy harm only itself?

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::Lab;
use polycube_tests::scene::Scene;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{self, AddressFamily, SocketType, socket};
use serde_json::{Value, json};

/// The daemon's time limit for a client, and a margin for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10 + 10);

/// How many connections a listener serves at once.
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

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let mut idle: Vec<UnixStream> =
        (0..CONNECTIONS).map(|_| UnixStream::connect(daemon.socket())).collect::<Result<_, _>>()?;
    // Each of them is served, including the last ones.
    for stream in [0, CONNECTIONS - 1].map(|index| &idle[index]) {
        let mut stream = stream;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /polycube/v1/version/ HTTP/1.1\r\nhost: x\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])?;
    }
    let mut late = UnixStream::connect(daemon.socket())?;
    late.write_all(b"GET /polycube/v1/version/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    late.set_read_timeout(Some(Duration::from_millis(300)))?;
    let waits = late.read_exact(&mut [0; 12]).expect_err("it is one connection too many");
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
    idle.pop();
    late.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = [0; 12];
    late.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 200");
    Ok(())
}

/// Uses all connections, reads none of the answers, and requests the version meanwhile.
#[track_caller]
fn check_that_others_get_in<S: Write>(
    daemon: &Daemon,
    connect: impl Fn() -> Result<S>,
    requests: &str,
    version: &str,
) -> Result<()> {
    let connected: Result<Vec<S>> = (0..CONNECTIONS).map(|_| connect()).collect();
    let mut greedy = connected?;
    for stream in &mut greedy {
        stream.write_all(requests.as_bytes())?;
    }
    let begin = Instant::now();
    daemon.ctl(version).ok();
    ensure!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn unread_answers_do_not_keep_others_out() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(4);
    check_that_others_get_in(daemon, || Ok(UnixStream::connect(daemon.socket())?), &requests, "version")
}

#[test]
fn unread_refusals_do_not_keep_others_out() -> Result<()> {
    let lab = Lab::new()?;
    // The kernel buffers less for a connection with small packets.
    ensure!(lab.host().command("ip").args(["link", "set", "lo", "mtu", "1280"]).status()?.success());
    let directory = tempfile::tempdir()?;
    let token = directory.path().join("token");
    fs::write(&token, "secret\n")?;
    fs::set_permissions(&token, Permissions::from_mode(0o600))?;
    let token = token.to_str().context("UTF-8")?;
    let daemon = Daemon::start_with(&lab, &["--addr", "127.0.0.1", "--token-file", token])?;
    let connect = || {
        let stream = lab.host().enter(|| socket(AddressFamily::INET, SocketType::STREAM, None))?;
        // With a small buffer, a few answers fill it.
        set_socket_recv_buffer_size(&stream, 4096)?;
        net::connect(&stream, &SocketAddr::from(([127, 0, 0, 1], 9000)))?;
        Ok(TcpStream::from(stream))
    };
    let requests = "GET / HTTP/1.1\r\nhost: 127.0.0.1:9000\r\n\r\n".repeat(1000);
    let version = format!("--url http://127.0.0.1:9000 --token-file {token} version");
    check_that_others_get_in(&daemon, connect, &requests, &version)
}

#[test]
fn bodies_of_other_media_types() -> Result<()> {
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
