//! Does `capture` take what passes its places, and is nothing of it left, however it ends?

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Direction;
use polycube_tests::daemon::{Snapshot, binary_dir};
use polycube_tests::disk::Disk;
use polycube_tests::http;
use polycube_tests::pcap::{self, Format};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, Steady};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Two peers, and no cube.
fn scene() -> Result<Scene> {
    Scene::set_up().peers(2).start()
}

fn ctl(scene: &Scene, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary_dir()?.join("polycubectl"));
    command.args(words).current_dir("/").env("HOME", "/nowhere").env("TZ", "UTC");
    command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Starts a capture and waits until it says that it captures. Returns the rest of its stderr, too.
fn begin(scene: &Scene, words: &[&str]) -> Result<(Child, BufReader<std::process::ChildStderr>)> {
    let mut child = ctl(scene, words)?.spawn()?;
    let mut stderr = BufReader::new(child.stderr.take().context("stderr is a pipe")?);
    let mut line = String::new();
    stderr.read_line(&mut line)?;
    ensure!(line.starts_with("polycubectl: capturing at "), "{line}");
    Ok((child, stderr))
}

/// Ends it as Ctrl-C does; returns what it said.
fn interrupt(mut child: Child, mut stderr: BufReader<std::process::ChildStderr>) -> Result<String> {
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let status = child.wait()?;
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    ensure!(status.code() == Some(0), "{status}: {said}");
    Ok(said)
}

fn send(scene: &Scene, peer: usize, first: u32, count: u32) -> Result<()> {
    let flow = scene.flow(peer, 3 - peer);
    let frames: Vec<_> = (first..first + count).map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
    Sender::open(scene.peer(peer))?.send(&frames)?;
    Ok(())
}

/// The names of all cubes.
fn cubes(scene: &Scene) -> Result<Vec<String>> {
    let cubes = scene.get("topology")?;
    let name = |cube: &Value| cube["name"].as_str().map(str::to_owned);
    Ok(cubes.as_array().into_iter().flatten().filter_map(name).collect())
}

/// Waits until everything is as it was.
fn assert_nothing_is_left(scene: &Scene, before: &Snapshot) -> Result<()> {
    // A snapshot asks each cube that it finds in the list.
    eventually("no cube", || Ok(cubes(scene)?.is_empty()))?;
    eventually("nothing is left", || Ok(scene.daemon.snapshot()? == *before))?;
    let files = fs::read_dir(scene.daemon.capture_dir())?.collect::<Result<Vec<_>, _>>()?;
    ensure!(files.iter().all(|file| !file.file_name().to_string_lossy().contains("pcap")), "{files:?}");
    Ok(())
}

#[test]
fn a_file_has_the_packets_of_all_places_in_order_of_time() -> Result<()> {
    let scene = scene()?;
    let before = scene.daemon.snapshot()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("all.pcapng");
    let words = ["capture", "veth1", "veth2", "udp", "-w", path.to_str().context("UTF-8")?];
    let (child, stderr) = begin(&scene, &words)?;
    for round in 0..10 {
        send(&scene, 1, round * 20, 10)?;
        send(&scene, 2, round * 20 + 10, 10)?;
    }
    eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 200)))?;
    let said = interrupt(child, stderr)?;
    assert!(said.starts_with("200 packets captured, 20 kB in "), "{said}");
    assert!(said.contains(" packets seen by the filter\n0 packets dropped\n"), "{said}");
    let file = pcap::read(&path)?;
    assert!(file.numbers()?.into_iter().eq(0..200));
    assert!(file.records.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
    assert!(file.records.iter().any(|record| record.time_ns % 1_000 != 0), "nanoseconds");
    assert!(file.records.iter().all(|record| record.direction == Some(Direction::In)));
    let names: Vec<_> = file.metadata.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["veth1", "veth2"]);
    let places: Vec<_> = file.records.iter().map(|record| record.interface).collect();
    assert_eq!((places[0], places[10]), (Some(0), Some(1)));
    let last = file.metadata.statistics.last().context("statistics at the end")?;
    assert_eq!((last.delivered, last.dropped, last.packets_before), (200, 0, 200));
    if let Some(lines) = pcap::tcpdump(&path)? {
        assert_eq!(lines.len(), 200);
    }
    assert_nothing_is_left(&scene, &before)
}

#[test]
fn the_name_of_a_file_makes_it_pcap() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    for (words, format) in
        [("a.pcap", Format::PcapMicroseconds), ("b.pcap --format pcap-nanos", Format::PcapNanoseconds)]
    {
        let (name, more) = words.split_once(' ').unwrap_or((words, ""));
        let path = directory.path().join(name);
        let words = ["capture", "veth1", "udp", "-c", "5", "-s", "60", "-w", path.to_str().context("UTF-8")?];
        let words: Vec<&str> = words.into_iter().chain(more.split_whitespace()).collect();
        let (mut child, _stderr) = begin(&scene, &words)?;
        send(&scene, 1, 0, 9)?;
        assert_eq!(child.wait()?.code(), Some(0));
        let file = pcap::read(&path)?;
        assert_eq!((file.format, file.records.len()), (format, 5));
        assert!(file.records.iter().all(|record| (record.bytes.len(), record.orig_len) == (60, 100)));
    }
    Ok(())
}

#[test]
fn lines_and_limits() -> Result<()> {
    let scene = scene()?;
    let (child, _stderr) = begin(&scene, &["capture", "veth1", "veth2", "udp", "-c", "3"])?;
    send(&scene, 1, 0, 5)?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 3), "{text}");
    assert!(text.lines().all(|line| line.contains(" veth1 in  198.18.0.1:") && line.ends_with("100 bytes")), "{text}");

    let (child, _stderr) = begin(&scene, &["capture", "veth1", "udp", "--bytes", "250"])?;
    send(&scene, 1, 0, 50)?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8(output.stdout)?.lines().count(), 3, "the packet that reaches the limit is the last");

    let quiet = scene.daemon.ctl("capture veth1 udp --for 1s -q");
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));

    let (child, _stderr) = begin(&scene, &["capture", "veth1", "udp", "--out", "--for", "1s"])?;
    send(&scene, 1, 0, 5)?;
    assert_eq!(child.wait_with_output()?.stdout, b"", "these come in");
    assert!(cubes(&scene)?.is_empty());
    Ok(())
}

#[test]
fn files_rotate_and_the_oldest_go() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let path = path.to_str().context("UTF-8")?;
    let words = ["capture", "veth1", "udp", "-w", path, "--rotate", "4kB", "--keep", "2", "-c", "200"];
    let (mut child, mut stderr) = begin(&scene, &words)?;
    send(&scene, 1, 0, 200)?;
    assert_eq!(child.wait()?.code(), Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    let mut names: Vec<_> = fs::read_dir(directory.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        said.contains(" files, of which 2 are kept, the last is ") && said.contains(&names[1].display().to_string()),
        "{said}"
    );
    let mut numbers = Vec::new();
    for name in &names {
        assert!(fs::metadata(name)?.len() <= 4100, "statistics follow the last packet");
        let file = pcap::read(name)?;
        assert_eq!(file.metadata.interfaces.len(), 1, "each file can be read by itself");
        numbers.extend(file.numbers()?);
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers.last() == Some(&199), "{numbers:?}");
    Ok(())
}

#[test]
fn files_rotate_by_time() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let (words, began) = (["capture", "veth1", "udp", "-w", path.to_str().context("UTF-8")?], Instant::now());
    let (child, stderr) = begin(&scene, &[&words[..], &["--rotate", "1s"]].concat())?;
    let files = || -> Result<Vec<_>> {
        let mut files = fs::read_dir(directory.path())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    let mut sent = 0;
    eventually("a third file", || {
        send(&scene, 1, sent, 1)?;
        sent += 1;
        thread::sleep(Duration::from_millis(20));
        Ok(files()?.len() >= 3)
    })?;
    assert!(began.elapsed() >= Duration::from_secs(2), "files of {:?}", began.elapsed());
    let said = interrupt(child, stderr)?;
    let mut numbers = Vec::new();
    for (at, path) in files()?.iter().enumerate() {
        assert_eq!(path, &directory.path().join(format!("t-{:06}.pcapng", at + 1)), "{said}");
        let file = pcap::read(path)?;
        assert!(at >= 2 || !file.records.is_empty(), "{path:?} is empty");
        numbers.extend(file.numbers()?);
    }
    assert!(numbers.iter().copied().eq(0..sent), "{numbers:?}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_client_that_is_killed() -> Result<()> {
    let scene = scene()?;
    let before = scene.daemon.snapshot()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 100, u32::MAX)?;
    for round in 0..100_u64 {
        let mut child = ctl(&scene, &["capture", "veth1", "veth2"])?.stdout(Stdio::null()).spawn()?;
        // From before its request to the middle of its packets, at another moment each time.
        thread::sleep(Duration::from_micros(round * 7_300 % 60_000));
        child.kill()?;
        child.wait()?;
    }
    steady.stop()?;
    assert_nothing_is_left(&scene, &before)
}

#[test]
fn an_ephemeral_cube_says_whose_it_is_and_is_never_stored() -> Result<()> {
    let mut scene = scene()?;
    let (mut child, mut stderr) = begin(&scene, &["capture", "veth1"])?;
    let [name] = cubes(&scene)?.try_into().ok().context("one cube")?;
    let cube = scene.get(&format!("cubes/{name}"))?;
    let owner = cube["ephemeral"]["owner"].as_str().context("an owner")?;
    assert!(owner.starts_with("uid 0 (root), Unix socket, pid "), "{owner}");
    assert!(cube["ephemeral"]["age"].is_u64());
    let shown = scene.daemon.ctl("cubes show").ok();
    assert!(shown.contains(&name) && shown.contains("uid 0 (root)"), "{shown}");
    let saved = scene.daemon.ctl("config save").ok();
    assert!(!saved.contains(&name) && !saved.contains("veth1"), "{saved}");
    // A configuration that mentions nothing removes nothing that is not in any.
    let _ = scene.daemon.http("PUT", "/polycube/v1/config/", Some(&json!({ "cubes": [], "chains": {} })))?.ok();
    assert_eq!(cubes(&scene)?, [name]);
    scene.daemon.kill9()?;
    child.wait()?;
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    assert!(said.contains("closed the connection before its answer was complete"), "{said}");
    scene.daemon.restart()?;
    assert!(cubes(&scene)?.is_empty());
    eventually("no programs", || Ok(scene.daemon.snapshot()?.attached.values().all(Vec::is_empty)))
}

#[test]
fn a_daemon_that_stops_ends_the_capture() -> Result<()> {
    let mut scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let (mut child, mut stderr) = begin(&scene, &["capture", "veth1", "udp", "-w", path.to_str().context("UTF-8")?])?;
    send(&scene, 1, 0, 7)?;
    eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 7)))?;
    scene.daemon.terminate()?;
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    assert_eq!(child.wait()?.code(), Some(1), "{said}");
    assert!(said.ends_with("polycubectl: the daemon has ended the capture\n"), "{said}");
    assert_eq!(pcap::read(&path)?.metadata.statistics.last().context("statistics")?.delivered, 7);
    let host = scene.daemon.host();
    for interface in host.interfaces()? {
        let attached = polycube_tests::hook::programs_attached(host, &interface)?;
        assert!(attached.is_empty(), "{interface}: {attached:?}");
    }
    Ok(())
}

/// The daemon has removed the cube while its packets are still on their way to the client.
#[test]
fn a_client_that_reads_late_gets_the_end_of_its_stream() -> Result<()> {
    let mut scene = scene()?;
    let body = json!({ "parents": ["veth1"], "capture": "ingress", "format": "pcapng", "store": "none" });
    let path = "/polycube/v1/packetcapture/?ephemeral=stream";
    let mut reply = http::open(&scene.daemon.socket(), "POST", path, Some(&body))?;
    ensure!(reply.status == 201, "status {}", reply.status);
    // More than the connection and the pipe hold.
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 1400, 2000);
    Sender::open(scene.peer(1))?.send(&frames)?;
    let host = scene.daemon.host().clone();
    let mut stream = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let ended = scope.spawn(|| scene.daemon.terminate());
        eventually("no programs", || Ok(polycube_tests::hook::programs_attached(&host, "veth1")?.is_empty()))?;
        thread::sleep(Duration::from_millis(200));
        reply.body.read_to_end(&mut stream).context("the stream is cut off")?;
        let status = ended.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        ensure!(status.success(), "{status}");
        Ok(())
    })?;
    ensure!(stream.len() > 1400, "{} bytes", stream.len());
    Ok(())
}

#[test]
fn a_place_that_goes_is_waited_for() -> Result<()> {
    let scene = scene()?;
    let peer = scene.lab.peer("third")?;
    let wire = scene.lab.veth("veth9", &peer, "eth0")?;
    let (child, mut stderr) = begin(&scene, &["capture", "veth9"])?;
    wire.host.delete()?;
    let mut line = String::new();
    stderr.read_line(&mut line)?;
    assert_eq!(line, "polycubectl: no packets come for now: the capture is waiting for a netdev at veth9\n");
    let _again = scene.lab.veth("veth9", &peer, "eth0")?;
    line.clear();
    stderr.read_line(&mut line)?;
    assert_eq!(line, "polycubectl: packets can come again\n");
    interrupt(child, stderr)?;
    assert!(cubes(&scene)?.is_empty());
    Ok(())
}

#[test]
fn what_is_wrong_is_one_line_and_nothing_is_left() -> Result<()> {
    let scene = scene()?;
    let before = scene.daemon.snapshot()?;
    for (line, expected) in [
        ("capture veth1 nosuch", "netdev `nosuch` does not exist"),
        ("capture veth1 br9:p", "cube `br9` does not exist"),
        ("capture veth1 tcp prot 80", "syntax error at `prot`, character 5 of `tcp prot 80`"),
        ("capture veth1 inbound", "use --in or --out of `capture`"),
        ("capture veth1 -s 300000", "262144"),
    ] {
        let said = scene.daemon.ctl(line).one_line(2);
        assert!(said.contains(expected), "{line}: {said}");
    }
    for (body, expected) in [
        (json!({ "parents": ["veth1", "veth1"] }), "veth1"),
        (json!({ "parents": ["veth1"], "capture": "both" }), "both"),
        (json!({ "parents": ["veth1"], "without-connection": "x" }), "does not have the right form"),
    ] {
        let path = "/polycube/v1/packetcapture/?ephemeral=stream";
        let refused = scene.daemon.http("POST", path, Some(&body))?;
        assert_eq!(refused.status / 100, 4, "{body}");
        assert!(String::from_utf8_lossy(&refused.body).contains(expected), "{body}");
    }
    for (query, expected) in [
        ("ephemeral", "`ephemeral` is one of stream, packet, not ``"),
        ("ephemeral=files", "`ephemeral` is one of stream, packet, not `files`"),
        ("ephemeral=stream&fromat=pcap", "there is no parameter `fromat`; did you mean `format`?"),
        ("ephemeral=stream&packets=0", "`packets` is a number from 1, not `0`"),
    ] {
        let path = format!("/polycube/v1/packetcapture/?{query}");
        let refused = scene.daemon.http("POST", &path, Some(&json!({ "parents": ["veth1"] })))?;
        assert_eq!(refused.status, 400, "{query}");
        let error = &refused.json()?["ietf-restconf:errors"]["error"][0]["error-message"];
        assert_eq!(error, expected, "{query}");
    }
    assert_nothing_is_left(&scene, &before)
}

#[test]
fn a_full_disk_ends_it_and_leaves_whole_records() -> Result<()> {
    let scene = scene()?;
    let before = scene.daemon.snapshot()?;
    let disk = Disk::new(1)?;
    let path = disk.path().join("t.pcapng");
    let (mut child, mut stderr) = begin(&scene, &["capture", "veth1", "udp", "-w", path.to_str().context("UTF-8")?])?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 1400, 4000)?;
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    assert_eq!(child.wait()?.code(), Some(74), "{said}");
    assert!(said.contains("cannot write ") && said.contains("No space left on device"), "{said}");
    steady.stop()?;
    assert!(!pcap::read(&path)?.records.is_empty());
    assert_nothing_is_left(&scene, &before)
}

/// A daemon whose TCP port needs a token of the role `capture`.
#[test]
fn over_tcp_the_role_capture_suffices_and_the_stream_is_not_captured() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir()?;
    let file = place.path().join("tokens");
    let tokens = ["[[token]]\nname = \"alice\"\nrole = \"capture\"\ntoken = \"of-alice\"\n"].concat();
    fs::write(&file, tokens)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let options = ["--addr", "127.0.0.1", "--token-file", file.to_str().context("UTF-8")?];
    let scene = Scene::set_up().peers(2).arguments(options).start()?;
    let stream = scene.daemon.host().enter(|| {
        post(
            9000,
            "of-alice",
            &json!({
                "parents": ["lo"], "capture": "bidirectional", "format": "pcapng", "store": "none",
            }),
        )
    })?;
    let [name] = cubes(&scene)?.try_into().ok().context("one cube")?;
    let cube = scene.get(&name)?;
    let shown = cube["program"]["expression"].as_str().context("an expression")?;
    assert_eq!(shown, "not (tcp and host 127.0.0.1 and port 9000 and host 127.0.0.1)");
    // Its own packets would be captured again and again, and those of its client's other requests are of no interest: only
    // what others send is there.
    let mut seen = Vec::new();
    let mut stream = BufReader::new(stream);
    scene.daemon.host().enter(|| {
        TcpStream::connect(("127.0.0.1", 9000)).map(drop)?;
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
        (0..3).try_for_each(|_| socket.send_to(b"other", ("127.0.0.1", 9)).map(drop))
    })?;
    eventually("the other packets", || {
        let piece = stream.fill_buf()?;
        let count = piece.len();
        seen.extend_from_slice(piece);
        stream.consume(count);
        Ok(seen.windows(4).filter(|word| *word == [127, 0, 0, 1]).count() >= 6)
    })?;
    thread::sleep(Duration::from_millis(300));
    let captured = scene.get(&format!("{name}/counters"))?["captured"].as_u64().context("a count")?;
    // Each has an answer: nothing is at the port.
    assert!(captured <= 6, "{captured} packets: the client is captured, too");
    drop(stream);
    eventually("no cube", || Ok(cubes(&scene)?.is_empty()))
}

/// Asks for an ephemeral capture over TCP; returns the connection after the answer's head.
fn post(port: u16, token: &str, body: &Value) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let body = body.to_string();
    write!(
        stream,
        "POST /polycube/v1/packetcapture/?ephemeral=stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    ensure!(head.starts_with("HTTP/1.1 201 ") && head.contains("location: /polycube/v1/packetcapture-"), "{head}");
    Ok(stream)
}

#[test]
fn capinfos_finds_an_interface_for_each_place() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let words = ["capture", "veth1", "veth2", "udp", "-c", "4", "-w", path.to_str().context("UTF-8")?];
    let (mut child, _stderr) = begin(&scene, &words)?;
    send(&scene, 1, 0, 4)?;
    assert_eq!(child.wait()?.code(), Some(0));
    let described = described(&path)?;
    for expected in ["Number of packets:   4", "Name = veth1", "Name = veth2", "Number of stat entries = 1"] {
        assert!(described.contains(expected), "{expected}: {described}");
    }
    Ok(())
}

fn described(path: &Path) -> Result<String> {
    let output = Command::new("capinfos").arg(path).output().context("capinfos is needed: install wireshark-common")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
