//! PCAP-over-IP: do readers get the packets as they connect, without harm to each other, and does the port come back?

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Direction;
use polycube_tests::pcap::{self, CaptureFile, Format};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender};
use serde_json::{Value, json};

/// Connects, and writes what comes to a file.
const READER: &str = "
import socket, sys
connection = socket.create_connection(('127.0.0.1', 57012), timeout=60)
with open(sys.argv[1], 'wb', buffering=0) as file:
    while piece := connection.recv(65536):
        file.write(piece)
";
/// Connects so often, and reads nothing until standard input ends.
const IDLERS: &str = "
import socket, sys
connections = []
for _ in range(int(sys.argv[1])):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(('127.0.0.1', 57012))
    connections.append(connection)
sys.stdin.read()
";
/// Has the port until standard input ends.
const HOLDER: &str = "
import socket, sys
listener = socket.create_server(('127.0.0.1', 57012))
print('there', flush=True)
sys.stdin.read()
";

/// A program that ends with its test.
struct Program(Child);

impl Program {
    fn python(scene: &Scene, script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = scene.lab.host().command("python3");
        command.args(["-c", script]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A reader that writes to a file.
fn reader(scene: &Scene, name: &str) -> Result<(Program, PathBuf)> {
    let path = scene.daemon.capture_dir().join(name);
    let reader = Program::python(scene, READER, &[path.to_str().context("a path in UTF-8")?])?;
    Ok((reader, path))
}

fn listener(scene: &Scene, cube: &str) -> Result<Value> {
    Ok(scene.get(cube)?["listener"].clone())
}

fn wait_for_readers(scene: &Scene, cube: &str, readers: u64) -> Result<()> {
    // A reader counts before its stream is open.
    eventually("readers", || {
        let streams = scene.get(&format!("{cube}/streams"))?.as_array().map_or(0, Vec::len);
        Ok(listener(scene, cube)?["readers"] == readers && u64::try_from(streams)? == readers)
    })
}

fn flow(scene: &Scene, number: usize) -> Flow {
    Flow::between(scene.peer(number), scene.host(number))
}

fn send(scene: &Scene, number: usize, count: u32) -> Result<()> {
    let frames: Vec<_> = (0..count).map(|at| flow(scene, number).frame(Protocol::Udp, 1000, at)).collect();
    Sender::open(scene.peer(number))?.send(&frames)?;
    Ok(())
}

fn wait_for(path: &std::path::Path, packets: usize) -> Result<CaptureFile> {
    eventually("the reader's file", || Ok(path.exists()))?;
    pcap::wait_for(path, packets, PATIENCE)
}

/// A reader that connects, and gets the packets that follow. It is there until the program is dropped.
fn served(scene: &Scene, packets: u32) -> Result<(Program, CaptureFile)> {
    let (program, path) = reader(scene, "read")?;
    wait_for_readers(scene, "sniffer", 1)?;
    // One of the daemon's listener gets the capture's stream a little later.
    eventually("a stream", || Ok(scene.get("sniffer/streams")?.as_array().is_some_and(|all| !all.is_empty())))?;
    send(scene, 1, packets)?;
    Ok((program, wait_for(&path, packets as usize)?))
}

#[test]
fn readers_that_connect_get_the_packets() -> Result<()> {
    for (value, format) in [
        ("57012", Format::PcapMicroseconds),
        ("127.0.0.1:57012/pcap-nanos", Format::PcapNanoseconds),
        (":57012/pcapng", Format::Pcapng),
    ] {
        let scene = Scene::set_up().peers(1).start()?;
        let settings = json!({ "capture": "ingress", "format": "pcapng", "store": "none", "pcap-over-ip": value });
        scene.sniff_at("veth1", &settings)?;
        assert_eq!(listener(&scene, "sniffer")?["status"], "listening");
        let (_reader, found) = served(&scene, 3)?;
        assert_eq!(found.format, format, "{value}");
        assert_eq!(found.records[2].bytes, flow(&scene, 1).frame(Protocol::Udp, 1000, 2), "{value}");
        if format == Format::Pcapng {
            assert_eq!(found.records[0].direction, Some(Direction::In));
        }
        let shown = scene.get("sniffer/streams")?;
        ensure!(shown[0]["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{shown}");
        ensure!(shown[0]["packets"] == 3, "{shown}");
    }
    Ok(())
}

#[test]
fn tshark_connects() -> Result<()> {
    for value in ["57012", "57012/pcapng"] {
        let scene = Scene::set_up().peers(1).start()?;
        scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none", "pcap-over-ip": value }))?;
        let mut tshark = scene.lab.host().command("tshark");
        tshark.args([
            "-n",
            "-i",
            "TCP@127.0.0.1:57012",
            "-c",
            "3",
            "-T",
            "fields",
            "-e",
            "udp.dstport",
            "-e",
            "frame.len",
        ]);
        let tshark = tshark.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut tshark = Program(tshark.context("tshark is missing: install tshark")?);
        wait_for_readers(&scene, "sniffer", 1)?;
        send(&scene, 1, 3)?;
        let mut said = String::new();
        std::io::Read::read_to_string(&mut tshark.0.stdout.take().context("stdout is a pipe")?, &mut said)?;
        let lines: Vec<&str> = said.lines().collect();
        ensure!(lines.len() == 3 && lines.iter().all(|line| line.ends_with("\t1000")), "{value}: {said}");
    }
    Ok(())
}

#[test]
fn captures_with_the_same_port_are_one_stream() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    for number in [1, 2] {
        let body =
            json!({ "capture": "ingress", "pcap-over-ip": "57012/pcapng", "parents": [format!("veth{number}")] });
        let _ = scene.daemon.http("POST", &format!("/polycube/v1/packetcapture/s{number}/"), Some(&body))?.ok();
    }
    let (_reader, path) = reader(&scene, "both")?;
    eventually("both streams", || {
        Ok(["s1", "s2"].iter().all(|cube| scene.get(cube).is_ok_and(|it| it["streams"][0]["id"] == 0)))
    })?;
    send(&scene, 1, 2)?;
    wait_for(&path, 2)?;
    send(&scene, 2, 3)?;
    wait_for(&path, 5)?;
    // One that comes later is served, too.
    let body = json!({ "capture": "egress", "pcap-over-ip": "57012/pcapng", "parents": ["veth1"] });
    let _ = scene.daemon.http("POST", "/polycube/v1/packetcapture/s3/", Some(&body))?.ok();
    eventually("the third stream", || Ok(scene.get("s3")?["streams"][0]["id"] == 0))?;
    Sender::open(scene.host(1))?.send(&[flow(&scene, 1).frame(Protocol::Udp, 500, 0)])?;
    wait_for(&path, 6)?;
    let output =
        Command::new("tshark").args(["-n", "-T", "fields", "-e", "frame.interface_name", "-r"]).arg(&path).output()?;
    let names = String::from_utf8(output.stdout)?;
    assert_eq!(names.lines().collect::<Vec<_>>(), ["veth1", "veth1", "veth2", "veth2", "veth2", "veth1"]);
    let refusal = scene.daemon.ctl("s2 set pcap-over-ip=57012").one_line(2);
    ensure!(refusal.contains("one format for all captures"), "{refusal}");
    // Those that are left go on.
    scene.daemon.ctl("s2 del").ok();
    send(&scene, 1, 1)?;
    wait_for(&path, 7)?;
    Ok(())
}

#[test]
fn the_daemon_serves_all_captures() -> Result<()> {
    let scene = Scene::set_up().peers(1).arguments(["--pcap-over-ip", "57012"]).start()?;
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none" }))?;
    let _reader = served(&scene, 1)?;
    scene.daemon.ctl("sniffer set pcap-over-ip=none").ok();
    assert_eq!(listener(&scene, "sniffer")?, Value::Null);
    eventually("the end of the stream", || Ok(scene.get("sniffer/streams")?.as_array().is_some_and(Vec::is_empty)))
}

#[test]
fn a_slow_reader_loses_its_own_packets() -> Result<()> {
    const BURSTS: usize = 100;
    let scene = Scene::set_up().peers(1).start()?;
    let settings = json!({ "capture": "ingress", "store": "none", "pcap-over-ip": "57012", "stream-buffer": 1 });
    scene.sniff_at("veth1", &settings)?;
    let _idler = Program::python(&scene, IDLERS, &["1"])?;
    wait_for_readers(&scene, "sniffer", 1)?;
    let (_reader, path) = reader(&scene, "read")?;
    wait_for_readers(&scene, "sniffer", 2)?;
    for burst in 1..=BURSTS {
        send(&scene, 1, 200)?;
        wait_for(&path, burst * 200)?;
    }
    let readers = scene.readers()?;
    let lost: Vec<u64> = readers.iter().map(|reader| reader.dropped).collect();
    ensure!(lost.len() == 2 && lost[0] > 0 && lost[1] == 0, "{readers:?}");
    ensure!(readers[0].packets + readers[0].dropped <= (BURSTS * 200) as u64, "{readers:?}");
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_tried_again() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let mut holder = Program::python(&scene, HOLDER, &[])?;
    let mut line = [0; 6];
    std::io::Read::read_exact(holder.0.stdout.as_mut().context("stdout is a pipe")?, &mut line)?;
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none", "pcap-over-ip": "57012" }))?;
    let status = listener(&scene, "sniffer")?["status"].as_str().map(str::to_owned).context("no status")?;
    ensure!(status.starts_with("cannot listen at 127.0.0.1:57012: Address already in use"), "{status}");
    thread::sleep(Duration::from_millis(2500));
    let said = scene.daemon.log().matches("cannot listen at 127.0.0.1:57012").count();
    assert_eq!(said, 1, "it is said once: {}", scene.daemon.log());
    drop(holder);
    eventually("the port", || Ok(listener(&scene, "sniffer")?["status"] == "listening"))?;
    served(&scene, 1)?;
    Ok(())
}

#[test]
fn a_restart_brings_it_back() -> Result<()> {
    let mut scene = Scene::set_up().peers(1).kept().start()?;
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none", "pcap-over-ip": "57012" }))?;
    let (mut first, _) = reader(&scene, "first")?;
    wait_for_readers(&scene, "sniffer", 1)?;
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    ensure!(first.0.wait()?.code().is_some(), "the reader still waits");
    served(&scene, 2)?;
    Ok(())
}

#[test]
fn its_own_packets_are_left_out() -> Result<()> {
    let scene = Scene::set_up().start()?;
    let up = scene.lab.host().command("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(up.success(), "ip link set lo up");
    scene.sniff_at(
        "lo",
        &json!({ "capture": "ingress", "store": "none", "pcap-over-ip": "57012", "filter": "tcp or icmp" }),
    )?;
    let (_reader, path) = reader(&scene, "read")?;
    wait_for_readers(&scene, "sniffer", 1)?;
    let mut ping = scene.lab.host().command("ping");
    ensure!(ping.args(["-c", "3", "-i", "0.2", "127.0.0.1"]).stdout(Stdio::null()).status()?.success(), "ping");
    // An echo request and a reply for each.
    wait_for(&path, 6)?;
    assert_eq!(scene.counter("captured")?, 6, "the connection itself is recorded");
    Ok(())
}

#[test]
fn one_address_does_not_take_all_rooms() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none", "pcap-over-ip": "57012" }))?;
    let idlers = Program::python(&scene, IDLERS, &["12"])?;
    wait_for_readers(&scene, "sniffer", 8)?;
    eventually("the line", || Ok(scene.daemon.log().matches("no room for 127.0.0.1:").count() == 1))?;
    drop(idlers);
    wait_for_readers(&scene, "sniffer", 0)?;
    served(&scene, 1)?;
    Ok(())
}

#[test]
fn places_that_are_wrong_are_refused_and_those_open_to_others_are_warned_of() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer").ok();
    for value in ["0", "localhost:57012", "65536", "57012/erf"] {
        let refusal = scene.daemon.ctl(&format!("sniffer set pcap-over-ip={value}")).one_line(2);
        ensure!(refusal.contains("is not a place to listen at"), "{refusal}");
    }
    let refusal = scene.daemon.ctl("sniffer set pcap-over-ip=80").one_line(2);
    ensure!(refusal.contains("cannot listen at 127.0.0.1:80: Permission denied"), "{refusal}");
    scene.daemon.ctl("sniffer set pcap-over-ip=0.0.0.0:57012").ok();
    let log = scene.daemon.log();
    ensure!(log.contains("everybody who reaches 0.0.0.0:57012 reads this capture's packets"), "{log}");
    Ok(())
}
