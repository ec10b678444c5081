//! Can clients that have not shown the token keep out those that have?

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::Lab;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{self, AddressFamily, SocketType, socket};
use tempfile::TempDir;

/// More connections than a listener serves at once.
const STRANGERS: usize = 600;

/// How long a client with the token may wait, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);

const DAEMON: ([u8; 4], u16) = ([127, 0, 0, 1], 9000);

/// A daemon that listens on TCP.
struct Site {
    daemon: Daemon,
    lab: Lab,
    place: TempDir,
}

impl Site {
    fn build() -> Result<Self> {
        let lab = Lab::new()?;
        let place = tempfile::tempdir()?;
        let token = place.path().join("token");
        fs::write(&token, "secret\n")?;
        fs::set_permissions(&token, Permissions::from_mode(0o600))?;
        let options = ["--addr", "127.0.0.1", "--token-file", &token.display().to_string()];
        Ok(Self { daemon: Daemon::start_with(&lab, &options)?, lab, place })
    }

    fn token(&self) -> PathBuf {
        self.place.path().join("token")
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = self.lab.host().enter(|| TcpStream::connect(SocketAddr::from(DAEMON)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Connects and sends `words`, many times. The daemon may already have closed some of the connections.
    fn flood(&self, words: &str) -> Result<Vec<TcpStream>> {
        let connect = |_| {
            let mut stream = self.connect()?;
            let _ = stream.write_all(words.as_bytes());
            Ok(stream)
        };
        (0..STRANGERS).map(connect).collect()
    }

    #[track_caller]
    fn check_that_the_token_is_served(&self, meanwhile: &str) {
        for _ in 0..3 {
            let begin = Instant::now();
            let token = self.token();
            self.daemon.ctl(&format!("--url http://127.0.0.1:9000 --token-file {} version", token.display())).ok();
            assert!(begin.elapsed() < PATIENCE, "{meanwhile}: {:?}", begin.elapsed());
        }
    }
}

fn get(token: &str) -> String {
    format!("GET /polycube/v1/version/ HTTP/1.1\r\nhost: 127.0.0.1:9000\r\nauthorization: Bearer {token}\r\n\r\n")
}

/// Asks with the token over a connection that stays open, and gives the answer's status.
fn ask(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(get("secret").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("a length")?;
    stream.read_exact(&mut vec![0; length.parse()?])?;
    Ok(head.split(' ').nth(1).context("a status")?.to_owned())
}

#[test]
fn strangers_do_not_keep_others_out() -> Result<()> {
    let site = Site::build()?;
    for (what, words) in [
        ("silent", String::new()),
        ("half a head", "GET /polycube/v1/cubes/ HTTP/1.1\r\nhost: 127.0.0.1:9000\r\nx-more: ".to_owned()),
        ("a wrong token", get("wrong")),
        ("many wrong tokens", get("wrong").repeat(20)),
        ("half a body", get("wrong").replace("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 9\r\n\r\n{")),
    ] {
        let strangers = site.flood(&words)?;
        site.check_that_the_token_is_served(what);
        drop(strangers);
    }
    Ok(())
}

/// Connections that come all the time evict others, but not before a client's request is read.
#[test]
fn a_flood_that_goes_on_does_not_keep_others_out() -> Result<()> {
    let site = Site::build()?;
    let (host, is_over) = (site.lab.host(), &AtomicBool::new(false));
    let (full, is_full) = mpsc::channel();
    thread::scope(|scope| {
        let connect = move || {
            let mut connections = VecDeque::new();
            // More would use up the local ports.
            for count in 0..20_000 {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                connections.extend(TcpStream::connect(SocketAddr::from(DAEMON)));
                connections.drain(..connections.len().saturating_sub(STRANGERS));
                if count == STRANGERS {
                    full.send(())?;
                }
                // After twice as many as may be pending, time for a client to send its request.
                if count % 128 == 0 {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            anyhow::Ok(())
        };
        let flood = scope.spawn(move || host.enter(connect));
        let checked = is_full.recv().map(|()| site.check_that_the_token_is_served("a flood"));
        is_over.store(true, Ordering::Relaxed);
        flood.join().expect("the flood")?;
        Ok(checked?)
    })
}

#[test]
fn an_admitted_connection_stays() -> Result<()> {
    let site = Site::build()?;
    let mut known = site.connect()?;
    assert_eq!(ask(&mut known)?, "200");
    let _strangers = site.flood("")?;
    assert_eq!(ask(&mut known)?, "200");
    Ok(())
}

#[test]
fn a_stranger_has_less_time() -> Result<()> {
    let site = Site::build()?;
    let begin = Instant::now();
    let mut known = site.connect()?;
    assert_eq!(ask(&mut known)?, "200");
    for words in [String::new(), "GET / HTTP/1.1\r\nhost: ".to_owned()] {
        let begin = Instant::now();
        let mut stranger = site.connect()?;
        stranger.set_read_timeout(Some(PATIENCE * 2))?;
        stranger.write_all(words.as_bytes())?;
        match stranger.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            read => drop(read?),
        }
        let elapsed = begin.elapsed();
        ensure!(elapsed > Duration::from_secs(4) && elapsed < Duration::from_secs(8), "{words:?}: {elapsed:?}");
        assert_eq!(ask(&mut known)?, "200", "after {:?}", begin.elapsed());
    }
    ensure!(begin.elapsed() > Duration::from_secs(9), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn a_wrong_token_has_one_answer() -> Result<()> {
    let site = Site::build()?;
    let mut stranger = site.connect()?;
    stranger.write_all(get("wrong").repeat(3).as_bytes())?;
    let mut answer = String::new();
    stranger.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!((answer.matches("HTTP/1.1 ").count(), answer.matches("connection: close").count()), (1, 1), "{answer}");
    Ok(())
}

#[test]
fn unread_refusals_do_not_keep_others_out() -> Result<()> {
    let site = Site::build()?;
    // The kernel keeps less for a connection of small packets.
    ensure!(site.lab.host().command("ip").args(["link", "set", "lo", "mtu", "1280"]).status()?.success());
    let requests = "GET / HTTP/1.1\r\nhost: 127.0.0.1:9000\r\n\r\n".repeat(1000);
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let stream = site.lab.host().enter(|| socket(AddressFamily::INET, SocketType::STREAM, None))?;
        // With little room for answers, few of them fill it.
        set_socket_recv_buffer_size(&stream, 4096)?;
        net::connect(&stream, &SocketAddr::from(DAEMON))?;
        let mut stream = TcpStream::from(stream);
        let _ = stream.write_all(requests.as_bytes());
        strangers.push(stream);
    }
    site.check_that_the_token_is_served("refusals that are not read");
    Ok(())
}
