//! Does network mode deliver each packet to one client, once, as the original's clients request it?

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::{Recorder, Seen};
use polycube_tests::comparison::TOLERANCE;
use polycube_tests::http::{self, exchange};
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, sequence_of};
use serde_json::{Value, json};

/// Where the document's client expects the daemon.
const TCP: [&str; 4] = ["--addr", "127.0.0.1", "--port", "9000"];

fn send(scene: &Scene, len: usize, count: u32) -> Result<()> {
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, len, count))?;
    Ok(())
}

fn wait_for_seen(scene: &Scene, count: u64) -> Result<()> {
    eventually("the packets", || Ok(scene.counter("seen")? == count))?;
    // A stream without `follow` first waits for what is in flight.
    scene.stream_to_end("stream?follow=false").map(drop)
}

/// Takes a packet; `None` if there is none, which the empty string means.
fn take(scene: &Scene) -> Result<Option<Seen>> {
    let packet = scene.daemon.http("GET", "/polycube/v1/packetcapture/sniffer/packet/", None)?.ok().json()?;
    let mut names: Vec<_> = packet.as_object().context("an object")?.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = ["capturelen", "packetlen", "rawdata", "timestamp-microseconds", "timestamp-seconds"];
    ensure!(names == expected, "{names:?}");
    let count = |name: &str| packet[name].as_u64().with_context(|| format!("no {name} in {packet}"));
    let text = packet["rawdata"].as_str().context("rawdata is not text")?;
    if text.is_empty() {
        ensure!(count("capturelen")? == 0 && count("timestamp-seconds")? == 0, "{packet}");
        return Ok(None);
    }
    // The way a client does that encodes the text as Latin-1.
    let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>().context("latin-1")?;
    ensure!(count("capturelen")? == bytes.len() as u64, "{packet}");
    let micros = count("timestamp-seconds")? * 1_000_000 + count("timestamp-microseconds")?;
    let orig_len = u32::try_from(count("packetlen")?)?;
    Ok(Some(Seen { time_ns: micros * 1000, direction: polycube_tests::capture::Direction::In, bytes, orig_len }))
}

fn waiting(scene: &Scene) -> Result<u64> {
    scene.get("sniffer/queue")?["waiting"].as_u64().context("`waiting` is not a number")
}

#[test]
fn each_packet_is_delivered_once_and_byte_for_byte() -> Result<()> {
    const COUNT: u32 = 300;
    let scene = Scene::bridge(2)?;
    scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", "networkmode": true, "snaplen": 320 }))?;
    let header = scene.get("packetcapture/sniffer/globalheader")?;
    let expected = json!({
        "magic": 0xa1b2_c3d4_u32, "version_major": 2, "version_minor": 4, "thiszone": 0, "sigfigs": 0,
        "snaplen": 320, "linktype": 1,
    });
    assert_eq!(header, expected);
    assert_eq!(take(&scene)?, None);
    let near = Recorder::start(scene.peer(1))?;
    // Every possible byte, and some packets that are cut off.
    send(&scene, 400, COUNT)?;
    wait_for_seen(&scene, COUNT.into())?;
    let sent = near.stop()?.frames;
    let mut values = BTreeSet::new();
    let mut late = 0;
    for (number, sent) in sent.iter().enumerate() {
        let packet = take(&scene)?.with_context(|| format!("packet {number} of {}", sent.orig_len))?;
        assert_eq!((packet.orig_len, packet.bytes.as_slice()), (400, &sent.bytes[..320]), "packet {number}");
        // Between the two time stamps, the machine may be busy with something else.
        late += usize::from(packet.time_ns.abs_diff(sent.time_ns) > TOLERANCE.as_nanos() as u64);
        values.extend(packet.bytes);
    }
    assert!(late < sent.len() / 2, "{late} of {} time stamps differ by more than {TOLERANCE:?}", sent.len());
    assert_eq!((values.len(), sent.len()), (256, COUNT as usize));
    assert_eq!(take(&scene)?, None);
    assert_eq!(scene.balance()?["captured"], COUNT);
    Ok(())
}

#[test]
fn reading_the_state_takes_nothing() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", "networkmode": true }))?;
    send(&scene, 100, 5)?;
    wait_for_seen(&scene, 5)?;
    let cubes = scene.get("cubes")?;
    assert_eq!(cubes["packetcapture"][0]["name"], "sniffer", "{cubes}");
    for path in ["sniffer", "packetcapture/sniffer", "packetcapture", "cubes", "sniffer/queue", "sniffer/globalheader"]
    {
        scene.get(path)?;
    }
    let _ = scene.daemon.http("GET", "/metrics", None)?.ok();
    for line in
        ["sniffer show", "sniffer packet show", "sniffer show -json", "sniffer show dump", "topology", "cubes show"]
    {
        scene.daemon.ctl(line).ok();
    }
    assert_eq!(scene.dump_sentence()?, "the service is running in network mode");
    let snapshot = scene.stream_to_end("stream?follow=false&format=pcap")?;
    assert!(pcap::parse(&snapshot)?.numbers()?.into_iter().eq(0..5));
    for _ in 0..3 {
        let head = scene.daemon.http("HEAD", "/polycube/v1/sniffer/packet/", None)?.ok();
        let has = |header: &str| head.headers.iter().any(|(name, _)| name == header);
        assert!(has("cache-control") && !has("content-length"), "{head:?}");
    }
    assert_eq!(waiting(&scene)?, 5);
    for number in 0..5 {
        assert_eq!(sequence_of(&take(&scene)?.context("a packet")?.bytes), Some(number));
    }
    assert_eq!((waiting(&scene)?, take(&scene)?), (0, None));
    Ok(())
}

#[test]
fn a_full_queue_discards_the_oldest_and_counts_them() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let settings = json!({ "capture": "ingress", "networkmode": true, "queue": { "packets": 100 } });
    scene.sniff_at("br1:toveth1", &settings)?;
    scene.daemon.wait_for_large_rings()?;
    send(&scene, 1000, 250)?;
    wait_for_seen(&scene, 250)?;
    let counters = scene.balance()?;
    assert_eq!((waiting(&scene)?, &counters["dropped-queue"]), (100, &json!(150)));
    assert_eq!(sequence_of(&take(&scene)?.context("a packet")?.bytes), Some(150));
    // Limited by bytes: a MiB has room for 1048 packets.
    scene.daemon.ctl("sniffer queue set packets=100000 size=1").ok();
    send(&scene, 1000, 2000)?;
    wait_for_seen(&scene, 2250)?;
    assert_eq!(waiting(&scene)?, (1 << 20) / 1000);
    scene.balance()?;
    for number in 2000 - (1 << 20) / 1000..2000 {
        assert_eq!(sequence_of(&take(&scene)?.context("a packet")?.bytes), Some(number));
    }
    Ok(())
}

#[test]
fn many_clients_share_the_packets() -> Result<()> {
    const COUNT: u32 = 1000;
    let scene = Scene::bridge(2)?;
    scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", "networkmode": true }))?;
    send(&scene, 100, COUNT)?;
    wait_for_seen(&scene, COUNT.into())?;
    let take_all = || {
        let mut numbers = Vec::new();
        while let Some(packet) = take(&scene)? {
            numbers.push(sequence_of(&packet.bytes).context("no number")?);
        }
        Ok(numbers)
    };
    let clients: Result<Vec<_>> = thread::scope(|scope| {
        let clients = [0; 4].map(|_| scope.spawn(take_all));
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    let clients = clients?;
    assert!(clients.iter().all(|numbers| numbers.is_sorted()), "each client gets packets in order of time");
    let mut numbers = clients.concat();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..COUNT));
    Ok(())
}

#[test]
fn the_mode_is_changed_under_traffic() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    send(&scene, 100, 3)?;
    let path = scene.wait_for_dump()?;
    // The document's commands.
    scene.daemon.ctl("sniffer set networkmode=true").ok();
    assert_eq!(scene.dump_sentence()?, "the service is running in network mode");
    send(&scene, 100, 4)?;
    wait_for_seen(&scene, 7)?;
    assert_eq!((waiting(&scene)?, pcap::read(&path)?.records.len()), (4, 3));
    scene.daemon.ctl("sniffer set networkmode=false").ok();
    send(&scene, 100, 5)?;
    wait_for_seen(&scene, 12)?;
    let next = scene.wait_for_dump()?;
    assert_eq!((waiting(&scene)?, pcap::read(&next)?.records.len()), (0, 5));
    assert_eq!(scene.counter("dropped-queue")?, 4, "nobody can take them any more");
    assert_ne!(next, path);
    Ok(())
}

/// The client's requests, including the original's: it changes the mode at the cube's short path.
#[test]
fn the_short_path_works_with_a_redirect_or_without() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(TCP).arguments(["--no-auth"]).bridge().start()?;
    scene.sniff("capture=ingress");
    let ask = |method: &str, path: &str, body: Option<&Value>| {
        let stream = scene.lab.host().enter(|| TcpStream::connect("127.0.0.1:9000"))?;
        let mut reply = exchange(stream, &[("host", "127.0.0.1:9000")], method, path, body)?;
        let mut text = String::new();
        reply.body.read_to_string(&mut text)?;
        Ok::<_, anyhow::Error>((reply.status, reply.headers, text))
    };
    let mut path = String::from("/polycube/v1/sniffer/networkmode/");
    let (mut status, headers, _) = ask("PATCH", &path, Some(&json!(true)))?;
    if status == 308 {
        path = headers.into_iter().find(|(name, _)| name == "location").context("a location")?.1;
        status = ask("PATCH", &path, Some(&json!(true)))?.0;
    }
    assert!((200..300).contains(&status), "{status}");
    let (_, _, cube) = ask("GET", "/polycube/v1/packetcapture/sniffer/", None)?;
    assert_eq!(serde_json::from_str::<Value>(&cube)?["networkmode"], true);
    let head = http::open(&scene.daemon.socket(), "GET", "/polycube/v1/packetcapture/sniffer/packet/", None)?;
    assert!(head.headers.iter().any(|(name, value)| name == "content-type" && value.contains("json")));
    Ok(())
}

/// Starts the client as the document does, in the daemon's namespace.
fn client(scene: &Scene, directory: &Path) -> Result<Child> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/Packetcapture_Client/client.py");
    let mut command: Command = scene.lab.host().command("python3");
    command.arg(program).args(["127.0.0.1", "dump"]).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("cannot start python3, which the demo client needs: apt install python3")
}

#[test]
fn the_demo_client_writes_what_crossed_the_port() -> Result<()> {
    const COUNT: u32 = 500;
    let scene = Scene::set_up().peers(2).arguments(TCP).arguments(["--no-auth"]).bridge().start()?;
    scene.sniff("capture=bidirectional");
    let directory = tempfile::tempdir()?;
    let mut child = client(&scene, directory.path())?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    stdin.write_all(b"1\ny\n")?;
    eventually("network mode", || Ok(scene.get("sniffer/networkmode")? == true))?;
    let near = Recorder::start(scene.peer(1))?;
    send(&scene, 500, COUNT)?;
    near.wait_for(COUNT as usize, PATIENCE)?;
    let path = directory.path().join("dump.pcap");
    eventually("the packets", || {
        Ok(pcap::read_unfinished(&path).is_ok_and(|(file, _)| file.records.len() == COUNT as usize))
    })?;
    stdin.write_all(b"stop\n")?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (file, sent) = (pcap::read(&path)?, near.stop()?.frames);
    assert!(file.records.iter().map(|record| &record.bytes).eq(sent.iter().map(|seen| &seen.bytes)));
    Ok(())
}
