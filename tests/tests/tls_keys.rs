//! Do TLS keys reach the readers of a capture ahead of the packets that need them, and nobody else?
//!
//! Client and server are Python's, with a key log; tshark decrypts what was captured, or does not.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::scene::{Scene, eventually};
use serde_json::json;

const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("10.7.0.2", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

const CLIENT: &str = r#"
import http.client, ssl, sys
context = ssl._create_unverified_context()
context.keylog_filename = sys.argv[1]
for path in sys.argv[2:]:
    connection = http.client.HTTPSConnection("10.7.0.2", context=context, timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().read() == b"hello"
    connection.close()
"#;

/// Keys have to come within a second of their packets, so one test runs at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A bridge between a client, peer 1, and a server of TLS, peer 2.
struct Site {
    server: Child,
    scene: Scene,
    directory: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    fn build() -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let scene = Scene::bridge(2)?;
        scene.peer(1).add_address("10.7.0.1/24")?;
        scene.peer(2).add_address("10.7.0.2/24")?;
        let directory = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = directory.path().join("server.pem");
        fs::write(&certificate, made.signing_key.serialize_pem() + &made.cert.pem())?;
        let mut command = scene.namespace(2).command("python3");
        command.args(["-c", SERVER]).arg(certificate).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = command.spawn().context("python3 is missing")?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "the server does not start: {line}");
        Ok(Self { server, scene, directory, _turn: turn })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gets `paths` from the server, a connection each; the keys go to the log `keys.log`.
    fn get(&self, paths: &[&str]) -> Result<()> {
        let mut command = self.scene.namespace(1).command("python3");
        command.args(["-c", CLIENT]).arg(self.path("keys.log")).args(paths);
        let status = command.status().context("python3 is missing")?;
        ensure!(status.success(), "the client failed");
        Ok(())
    }

    /// Starts `polycubectl` with these words, a key log and a file; `first` is the file that it writes first.
    fn follow(&self, words: &[&str], file: &str, first: &str) -> Result<Child> {
        let mut command = Command::new(binary_dir()?.join("polycubectl"));
        command.args(words).arg("--keys").arg(self.path("keys.log")).arg("-w").arg(self.path(file));
        command.env("POLYCUBECTL_URL", format!("unix://{}", self.scene.daemon.socket().display()));
        command.env("POLYCUBECTL_DEBUG", "true").stderr(fs::File::create(self.path(&format!("{file}.log")))?);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        eventually("it has begun", || Ok(self.path(first).metadata().is_ok_and(|file| file.len() > 0)))?;
        Ok(child)
    }

    /// Asserts that the secrets of the key log are nowhere but in the log itself and in files of packets.
    fn check_nothing_shows_them(&self) -> Result<()> {
        let log = fs::read_to_string(self.path("keys.log"))?;
        let secrets: Vec<&str> = keys(&log).filter_map(|line| line.split(' ').nth(2)).collect();
        ensure!(secrets.len() >= 4, "{log}");
        let daemon = &self.scene.daemon;
        let shown = ["config save", "cubes show -json", "sniffer show -json"];
        let mut texts: Vec<String> = shown.into_iter().map(|line| daemon.ctl(line).ok()).collect();
        texts.push(daemon.log());
        for entry in fs::read_dir(self.directory.path())?.chain(fs::read_dir(daemon.state_dir())?) {
            let path = entry?.path();
            let is_other = path.extension().is_none_or(|ending| ending == "log") && !path.ends_with("keys.log");
            if path.is_file() && is_other {
                texts.push(String::from_utf8_lossy(&fs::read(&path)?).into_owned());
            }
        }
        for secret in secrets {
            // A part of one, too.
            ensure!(!texts.iter().any(|text| text.contains(&secret[..16])), "{secret} is shown");
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The keys in a log, which Python begins with a comment.
fn keys(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| !line.starts_with('#'))
}

/// Ends a program in good order.
fn interrupt(mut child: Child) -> Result<()> {
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)?;
    child.wait()?;
    Ok(())
}

/// The requests that tshark can read in a file of encrypted packets, in one pass.
fn requests(path: &Path) -> Result<Vec<String>> {
    let fields = ["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"];
    let output = Command::new("tshark").arg("-r").arg(path).args(fields).output();
    let output = output.context("tshark is missing: install it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_stream_and_the_files_of_its_capture_are_decrypted_in_one_pass() -> Result<()> {
    let site = Site::build()?;
    site.scene.sniff("capture=bidirectional format=pcapng dump=first keys-wait=3000");
    let stream = site.follow(&["dump", "sniffer", "--follow"], "stream.pcapng", "stream.pcapng")?;
    site.get(&["/one", "/two"])?;
    eventually("both are in the stream", || Ok(requests(&site.path("stream.pcapng"))? == ["/one", "/two"]))?;
    site.scene.daemon.ctl("sniffer set dump=second").ok();
    site.get(&["/three"])?;
    eventually("the third, too", || Ok(requests(&site.path("stream.pcapng"))?.len() == 3))?;
    interrupt(stream)?;
    site.scene.daemon.ctl("sniffer set capture=off").ok();
    let directory = site.scene.daemon.capture_dir();
    ensure!(requests(&directory.join("first.pcapng"))? == ["/one", "/two"]);
    ensure!(requests(&directory.join("second.pcapng"))? == ["/three"]);
    let query = site.path("query.pcapng");
    let words = ["captures", "query", "tcp port 443", "-w", query.to_str().context("a path")?];
    site.scene.daemon.ctl_words(&words).ok();
    ensure!(requests(&query)? == ["/one", "/two", "/three"]);
    site.check_nothing_shows_them()
}

#[test]
fn one_line_captures_and_their_later_files_have_the_keys() -> Result<()> {
    let site = Site::build()?;
    let words = ["capture", "br1:toveth1", "tcp", "port", "443", "--rotate", "10s"];
    let capture = site.follow(&words, "one.pcapng", "one-000001.pcapng")?;
    site.get(&["/one"])?;
    eventually("the next file", || Ok(site.path("one-000002.pcapng").exists()))?;
    let log = fs::read_to_string(site.path("keys.log"))?;
    site.get(&["/two"])?;
    interrupt(capture)?;
    ensure!(requests(&site.path("one-000001.pcapng"))? == ["/one"]);
    let second = site.path("one-000002.pcapng");
    ensure!(requests(&second)? == ["/two"]);
    let key = keys(&log).next().context("a key")?;
    ensure!(fs::read(second)?.windows(key.len()).any(|bytes| bytes == key.as_bytes()), "the first keys are missing");
    Ok(())
}

#[test]
fn keys_that_come_late_are_ahead_of_what_is_read_later() -> Result<()> {
    let site = Site::build()?;
    site.scene.sniff("capture=bidirectional format=pcapng");
    site.get(&["/late"])?;
    eventually("all packets", || Ok(site.scene.get("sniffer/counters")?["captured"].as_u64() > Some(10)))?;
    thread::sleep(Duration::from_millis(200));
    let (before, after) = (site.path("before.pcapng"), site.path("after.pcapng"));
    let word = |path: &Path| path.to_str().map(str::to_owned).context("a path");
    site.scene.daemon.ctl(&format!("dump sniffer -w {}", word(&before)?)).ok();
    ensure!(requests(&before)?.is_empty(), "without keys, nothing can be read");
    let keys = word(&site.path("keys.log"))?;
    site.scene.daemon.ctl(&format!("dump sniffer -w {} --keys {keys}", word(&after)?)).ok();
    ensure!(requests(&after)? == ["/late"]);
    ensure!(site.scene.get("sniffer")?["tls-keys"].as_u64() >= Some(4));
    site.check_nothing_shows_them()
}

#[test]
fn what_is_not_a_key_and_what_has_no_place_for_one_is_refused() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let post = |cube: &str, body| scene.daemon.http("POST", &format!("/polycube/v1/{cube}/keys"), Some(&body));
    scene.daemon.ctl("packetcapture add old capture=ingress").ok();
    let refused = post("old", json!({ "log": "" }))?;
    ensure!(refused.status == 400, "{}", refused.text());
    ensure!(refused.text().contains("no place for TLS keys: set `format=pcapng`"), "{}", refused.text());
    scene.daemon.ctl("packetcapture add new capture=ingress format=pcapng").ok();
    let secret = "5ec3e7".repeat(16);
    let good = format!("CLIENT_RANDOM {} {secret}\n", "a".repeat(64));
    for (log, expected) in [
        (format!("CLIENT_RANDOM {secret}\n"), "line 9 is not a TLS key: it has 2 words"),
        (format!("# comment\nCLIENT_RANDOM abc {secret}\n"), "line 10 is not a TLS key: its second word"),
    ] {
        let refused = post("new", json!({ "log": log, "first-line": 9 }))?;
        ensure!(refused.status == 400 && refused.text().contains(expected), "{}", refused.text());
        ensure!(!refused.text().contains(&secret[..6]), "{}", refused.text());
    }
    let taken = post("new", json!({ "log": format!("{good}nonsense\n{good}") }))?.json()?;
    ensure!(taken["added"] == 1 && taken["known"] == 1 && taken["refused"] == 1, "{taken}");
    ensure!(taken["reasons"][0]["line"] == 2, "{taken}");
    // Mistakes that have a secret in another place.
    for (cube, body) in [
        ("new", json!({ "log": [good] })),
        ("new", json!(good)),
        ("none", json!({ "log": good })),
        ("none", json!({ "text": good })),
    ] {
        ensure!(post(cube, body)?.status >= 400);
    }
    ensure!(scene.get("new")?["tls-keys"] == 1);
    ensure!(!scene.daemon.log().contains("5ec3e7"), "a secret is in the log");
    scene.daemon.ctl("capture veth1 --keys k -w x.pcap").fails(64);
    scene.daemon.ctl("capture veth1 --keys k").fails(64);
    scene.daemon.ctl("dump new --keys k -w x.pcap").fails(64);
    scene.daemon.ctl("capture veth1 --keys / -w x.pcapng").fails(74);
    Ok(())
}
