//! Does Wireshark find captures, and their packets? The tests drive the program as Wireshark does, with arguments and a
//! named pipe.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, copy_program};
use polycube_tests::pcap::{self, Format};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

/// The program, in a directory without the other programs.
fn installed() -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let program = copy_program("polycube-extcap", folder.path())?;
    Ok((folder, program))
}

fn extcap(program: &PathBuf, daemon: &Daemon, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir("/").env("HOME", "/nowhere");
    command.env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program prints on success: on standard output, and nothing else.
#[track_caller]
fn said(program: &PathBuf, daemon: &Daemon, arguments: &str) -> String {
    let output = extcap(program, daemon, arguments).output().expect("the program runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stderr.is_empty(), "`{arguments}`: {}: {stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn each_capture_is_an_interface() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let daemon = &scene.daemon;
    let (_folder, program) = installed()?;
    let list = "--extcap-interfaces --extcap-version=4.4";
    let none = said(&program, daemon, list);
    assert!(none.starts_with("extcap {version=") && none.lines().count() == 1, "{none}");

    for line in ["packetcapture add a", "packetcapture add b", "simplebridge add br1", "attach a veth1"] {
        daemon.ctl(line).ok();
    }
    let interfaces = said(&program, daemon, list);
    let interfaces: Vec<_> = interfaces.lines().skip(1).collect();
    let expected = [
        "interface {value=polycube-a}{display=Polycube a (at veth1)}",
        "interface {value=polycube-b}{display=Polycube b (not attached)}",
    ];
    assert_eq!(interfaces, expected);

    let types = said(&program, daemon, "--extcap-interface polycube-a --extcap-dlts");
    assert_eq!(types, "dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
    let options = said(&program, daemon, "--extcap-interface polycube-a --extcap-config");
    assert!(options.contains("{call=--filter}") && options.contains("{call=--snaplen}"), "{options}");
    assert_eq!(said(&program, daemon, "--extcap-interface polycube-a --extcap-capture-filter arp"), "");
    Ok(())
}

#[test]
fn packets_come_through_the_pipe() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional format=pcapng");
    let (folder, program) = installed()?;
    let fifo = folder.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
    let arguments =
        format!("--capture --extcap-interface polycube-sniffer --fifo {} --snaplen 60 --filter udp", fifo.display());
    let mut child =
        extcap(&program, &scene.daemon, &arguments).arg("--extcap-capture-filter").arg("src port 4000").spawn()?;
    let mut pipe = File::open(&fifo)?;
    eventually("a reader", || Ok(scene.get("sniffer/streams")?.as_array().is_some_and(|readers| !readers.is_empty())))?;
    assert_eq!(scene.get("sniffer/filter")?, "(udp) and (src port 4000)");
    assert_eq!(scene.get("sniffer/snaplen")?, 60);
    let sender = Sender::open(scene.peer(1))?;
    sender.send(&scene.flow(1, 2).frames(Protocol::Icmp, 100, 10))?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 10);
    sender.send(&frames)?;
    let mut bytes = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let file = loop {
        let mut piece = [0; 4096];
        let length = pipe.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..length]);
        match pcap::parse(&bytes) {
            Ok(file) if file.records.len() == frames.len() => break file,
            unfinished => ensure!(length > 0 && Instant::now() < deadline, "{unfinished:?}"),
        }
    };
    assert_eq!(file.format, Format::Pcapng);
    for (record, frame) in file.records.iter().zip(&frames) {
        assert_eq!((record.bytes.as_slice(), record.orig_len), (&frame[..60], 100));
    }
    // Wireshark closes the pipe when its user stops the capture.
    drop(pipe);
    eventually("the end, without a packet", || Ok(child.try_wait()?.is_some()))?;
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
    Ok(())
}

#[test]
fn errors_are_reported_in_one_line() -> Result<()> {
    let mut scene = Scene::set_up().commands(["packetcapture add a"]).start()?;
    let daemon = &mut scene.daemon;
    let (folder, program) = installed()?;
    let fifo = folder.path().join("fifo");
    fs::write(&fifo, "")?;
    let capture = |cube: &str| format!("--capture --extcap-interface polycube-{cube} --fifo {}", fifo.display());
    let check = |daemon: &Daemon, arguments: &str, code: i32, expected: &str| -> Result<()> {
        let output = extcap(&program, daemon, arguments).output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(code), 1), "`{arguments}`: {stderr}");
        assert!(stderr.contains(expected), "`{arguments}`: {stderr}");
        Ok(())
    };
    check(daemon, &capture("nobody"), 2, "nobody")?;
    check(daemon, &(capture("a") + " --filter nonsense"), 2, "filter")?;
    check(daemon, &(capture("a") + " --snaplen 0"), 2, "snaplen")?;
    daemon.terminate().context("the daemon does not end")?;
    check(daemon, "--extcap-interfaces", 1, "no daemon answers")?;
    let usage = extcap(&program, daemon, "--capture").output()?;
    assert!(!usage.status.success() && !usage.stderr.is_empty());
    Ok(())
}
