//! Does the demo client of the user's document write what a capture in network mode sees, and report the outcome?

mod mock;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::pcap;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Protocol, Sender};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use mock::Mock;

const PATIENCE: Duration = Duration::from_secs(20);
const HEADER: &str =
    r#"{"magic":2712847316,"version_major":2,"version_minor":4,"thiszone":0,"sigfigs":0,"snaplen":96,"linktype":1}"#;
const EMPTY: &str = r#"{"capturelen":0,"packetlen":0,"timestamp-seconds":0,"timestamp-microseconds":0,"rawdata":""}"#;

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/Packetcapture_Client/client.py")
}

/// The client with these arguments, in its own directory.
fn client(directory: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(program()).args(words).current_dir(directory.path()).env_remove("POLYCUBECTL_TOKEN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(command: &mut Command) -> Result<Child> {
    command.spawn().context("cannot start python3, which the demo client needs: apt install python3")
}

/// Runs the client to its end, with these lines on standard input.
fn run(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = start(command)?;
    child.stdin.take().context("stdin is a pipe")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

#[track_caller]
fn check(output: &Output, code: i32, expected: &str) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.code() == Some(code) && (stdout.contains(expected) || stderr.contains(expected)),
        "{} instead of {code}, and {expected:?} expected in\n{stdout}\n{stderr}",
        output.status
    );
}

fn packet(number: usize) -> String {
    let bytes = (0..60).map(|at| ((at + number) % 256) as u8).collect::<Vec<_>>();
    let rawdata = bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    json!({
        "capturelen": 60, "packetlen": 1500, "timestamp-seconds": 1_700_000_000 + number,
        "timestamp-microseconds": number, "rawdata": rawdata,
    })
    .to_string()
}

/// A daemon with one cube, and `packets` in its queue.
fn daemon(packets: usize) -> Result<Mock> {
    let asked = AtomicUsize::new(0);
    Ok(Mock::start(move |method, path| {
        let body = match (method, path.strip_prefix("/polycube/v1/")?) {
            (_, "cubes/") => r#"{"simplebridge":[],"packetcapture":[{"name":"sniffer"}]}"#.to_owned(),
            (_, "packetcapture/sniffer/") => r#"{"networkmode":false,"capture":"bidirectional"}"#.to_owned(),
            ("PATCH", "packetcapture/sniffer/networkmode/") => return Some((204, String::new())),
            (_, "packetcapture/sniffer/globalheader/") => HEADER.to_owned(),
            (_, "packetcapture/sniffer/packet/") => match asked.fetch_add(1, Ordering::SeqCst) {
                number if number < packets => packet(number),
                _ => EMPTY.to_owned(),
            },
            (_, "packetcapture/sniffer/counters/") => r#"{"seen":9,"dropped-queue":4,"dropped-ring":1}"#.to_owned(),
            _ => return Some((404, String::new())),
        };
        Some((200, body))
    })?)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn scripts_for_the_original_client_still_work() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mock = daemon(30)?;
    let port = mock.port.to_string();
    let output = run(&mut client(&directory, &["127.0.0.1", "dump", "--port", &port]), "1\ny\nstop\n")?;
    check(&output, 0, "30 packets, 1800 bytes");
    let text = String::from_utf8(output.stdout)?;
    for words in
        ["1: sniffer", "Please select the service number: ", "write \"stop\" to end the capture: ", "0 discarded"]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let path = directory.path().join("dump.pcap");
    let file = pcap::read(&path)?;
    assert_eq!((file.snaplen, file.records.len()), (96, 30));
    assert_eq!((file.records[7].bytes[0], file.records[7].orig_len), (7, 1500));
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
    assert_eq!(mock.connections(), 1, "the connection is not kept");
    assert!(mock.requests().contains(&"PATCH /polycube/v1/packetcapture/sniffer/networkmode/ true".to_owned()));
    Ok(())
}

#[test]
fn the_daemons_packets_arrive_as_they_passed() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(["--addr", "127.0.0.1", "--no-auth"]).bridge().start()?;
    scene.sniff("capture=bidirectional");
    let directory = tempfile::tempdir()?;
    // The daemon listens in its own network namespace.
    let mut command = scene.lab.host().command(Path::new("python3"));
    command.arg(program()).args(["127.0.0.1", "dump"]).current_dir(directory.path()).env_remove("POLYCUBECTL_TOKEN");
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    stdin.write_all(b"1\ny\n")?;
    let path = directory.path().join("dump.pcap");
    wait_for("the file", || path.exists())?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 300, 100);
    Sender::open(scene.peer(1))?.send(&frames)?;
    // Packets queued in the daemon when "stop" arrives belong to the capture.
    wait_for("packets in the daemon", || scene.counter("captured").is_ok_and(|packets| packets == 100))?;
    stdin.write_all(b"stop\n")?;
    let output = child.wait_with_output()?;
    check(&output, 0, "100 packets, 30000 bytes");
    check(&output, 0, ", 0 discarded: dump.pcap");
    let file = pcap::read(&path)?;
    assert!(file.records.iter().map(|record| &record.bytes).eq(&frames));
    assert!(file.records.is_sorted_by_key(|record| record.time_ns));
    assert_eq!(scene.get("sniffer/networkmode")?, true);
    Ok(())
}

#[test]
fn a_signal_ends_it_with_whole_records() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mock = daemon(usize::MAX)?;
    let port = mock.port.to_string();
    for (number, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let name = format!("s{number}");
        let mut child = start(&mut client(&directory, &["localhost", &name, "--port", &port]))?;
        let mut stdin = child.stdin.take().context("stdin is a pipe")?;
        stdin.write_all(b"1\ny\n")?;
        let path = directory.path().join(name + ".pcap");
        wait_for("packets in the file", || fs::metadata(&path).is_ok_and(|file| file.len() > 100_000))?;
        kill_process(Pid::from_child(&child), signal)?;
        let output = child.wait_with_output()?;
        check(&output, 0, "packets, ");
        pcap::read(&path)?;
        drop(stdin);
    }
    Ok(())
}

#[test]
fn a_closed_stdin_ends_it() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mock = daemon(20)?;
    let port = mock.port.to_string();
    let output = run(&mut client(&directory, &["127.0.0.1", "dump.pcap", "--port", &port]), "1\ny\n")?;
    check(&output, 0, "20 packets");
    assert_eq!(pcap::read(&directory.path().join("dump.pcap"))?.records.len(), 20);
    Ok(())
}

#[test]
fn an_existing_file_is_kept() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mock = daemon(1)?;
    let port = mock.port.to_string();
    let path = directory.path().join("dump.pcap");
    fs::write(&path, "precious")?;
    let words = ["127.0.0.1", "dump", "--port", &port];
    check(&run(&mut client(&directory, &words), "1\ny\nstop\n")?, 74, "dump.pcap is there already");
    assert_eq!((fs::read_to_string(&path)?.as_str(), mock.requests().len()), ("precious", 0));
    check(&run(&mut client(&directory, &[&words[..], &["--force"]].concat()), "1\ny\nstop\n")?, 0, "1 packets");
    assert_eq!(pcap::read(&path)?.records.len(), 1);
    fs::remove_file(&path)?;
    std::os::unix::fs::symlink("elsewhere", &path)?;
    check(
        &run(&mut client(&directory, &[&words[..], &["--force"]].concat()), "1\ny\nstop\n")?,
        74,
        "cannot write dump.pcap",
    );
    assert!(!directory.path().join("elsewhere").exists());
    Ok(())
}

#[test]
fn a_token_is_sent() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mock = daemon(0)?;
    let port = mock.port.to_string();
    fs::write(directory.path().join("token"), "from-file\n")?;
    let words = |name| ["127.0.0.1", name, "--port", port.as_str()];
    let with = |name, given: &str| client(&directory, &[&words(name)[..], &["--token", given]].concat());
    check(&run(&mut with("a", "token"), "1\ny\nstop\n")?, 0, "0 packets");
    check(&run(&mut with("b", "given"), "1\ny\nstop\n")?, 0, "0 packets");
    check(&run(client(&directory, &words("c")).env("POLYCUBECTL_TOKEN", "from-env"), "1\ny\nstop\n")?, 0, "0 packets");
    for token in ["from-file", "given", "from-env"] {
        assert!(mock.requests().contains(&format!("GET /polycube/v1/cubes/ Bearer {token}")), "{token}");
    }
    check(&run(&mut with("d", "./nowhere"), "")?, 64, "cannot read the token file ./nowhere");
    Ok(())
}

#[test]
fn each_mistake_has_its_own_line_and_status() -> Result<()> {
    let directory = tempfile::tempdir()?;
    check(&run(&mut client(&directory, &["-h"]), "")?, 0, "<IPv4 address> <file destination name>");
    check(&run(&mut client(&directory, &["127.0.0.1"]), "")?, 64, "<file destination name>");
    check(
        &run(&mut client(&directory, &["127.0.0.1", "d", "--port", "1"]), "")?,
        1,
        "http://127.0.0.1:1 does not answer",
    );

    let served = |status, body: &'static str| Mock::start(move |_, _| Some((status, body.to_owned())));
    let refused = r#"{"ietf-restconf:errors":{"error":[{"error-message":"not today"}]}}"#;
    for (status, body, code, expected) in [
        (200, "{}", 2, "No packetcapture services up"),
        (200, r#"{"simplebridge":[]}"#, 2, "No packetcapture services up"),
        (200, "<html>", 2, "is not JSON"),
        (401, "", 2, "wants a token"),
        (503, "", 2, "503"),
        (409, refused, 2, "not today"),
        (308, "http://elsewhere/", 1, "which is another server"),
        (308, "/polycube/v1/cubes/", 1, "redirects more than 5 times"),
    ] {
        let port = served(status, body)?.port.to_string();
        check(&run(&mut client(&directory, &["127.0.0.1", "d", "--port", &port]), "")?, code, expected);
    }

    let mock = daemon(0)?;
    let port = mock.port.to_string();
    let words = ["127.0.0.1", "d", "--port", &port];
    check(&run(&mut client(&directory, &words), "1\nn\n")?, 2, "polycubectl sniffer set networkmode=true");
    check(&run(&mut client(&directory, &words), "2\n0\nx\n1\ny\nstop\n")?, 0, "'x' is not a number from 1 to 1");
    Ok(())
}

#[test]
fn packets_received_before_the_daemon_ends_are_kept() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let left = AtomicUsize::new(0);
    let mock = Mock::start(move |_, path| match path.strip_prefix("/polycube/v1/")? {
        "cubes/" => Some((200, r#"{"packetcapture":[{"name":"a"},{"name":"b c"}]}"#.to_owned())),
        "packetcapture/b%20c/" => Some((200, r#"{"networkmode":true}"#.to_owned())),
        "packetcapture/b%20c/globalheader/" => Some((200, HEADER.to_owned())),
        "packetcapture/b%20c/packet/" => match left.fetch_add(1, Ordering::SeqCst) {
            number if number < 5 => Some((200, packet(number))),
            _ => None,
        },
        _ => Some((404, String::new())),
    })?;
    let port = mock.port.to_string();
    let mut child = start(&mut client(&directory, &["127.0.0.1", "dump", "--port", &port]))?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    stdin.write_all(b"2\n")?;
    let mut text = String::new();
    child.stderr.take().context("stderr is a pipe")?.read_to_string(&mut text)?;
    let status = child.wait()?;
    assert!(status.code() == Some(1) && text.contains("does not answer"), "{status}: {text}");
    assert_eq!(pcap::read(&directory.path().join("dump.pcap"))?.records.len(), 5);
    Ok(())
}
