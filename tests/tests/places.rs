//! Does a capture find what `any`, `netns:`, `pid:` and `container:` stand for, and follow it?
//!
//! Runtimes are servers of the test's own, and namespaces are real ones.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Direction;
use polycube_tests::daemon::{Daemon, binary_dir};
use polycube_tests::lab::{Lab, Namespace, Wire};
use polycube_tests::pcap;
use polycube_tests::scene::eventually;
use polycube_tests::traffic::{Flow, Protocol, Sender};
use serde_json::{Value, json};

/// A process in a namespace, as a container has one.
struct Process(Child);

impl Process {
    fn start(namespace: &Namespace) -> Result<Self> {
        Ok(Self(namespace.command("sleep").arg("300").stdin(Stdio::null()).spawn()?))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a runtime answers: status and body, or never.
#[derive(Clone)]
enum Answer {
    Says(u16, Value),
    Never,
}

/// A container runtime: what it says of each name.
struct Runtime {
    socket: PathBuf,
    containers: Arc<Mutex<Vec<(String, Answer)>>>,
}

impl Runtime {
    fn start(socket: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&socket)?;
        let containers = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&containers);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = Arc::clone(&known);
                thread::spawn(move || serve(stream, &known));
            }
        });
        Ok(Self { socket, containers })
    }

    fn set(&self, name: &str, answer: Answer) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        containers.retain(|(other, _)| other != name);
        containers.push((name.to_owned(), answer));
    }

    fn runs(&self, name: &str, pid: u32) {
        let state = json!({ "State": { "Running": true, "Pid": pid }, "HostConfig": { "NetworkMode": "bridge" } });
        self.set(name, Answer::Says(200, state));
    }
}

fn serve(mut stream: UnixStream, containers: &Mutex<Vec<(String, Answer)>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let name = request.strip_prefix("GET /containers/").and_then(|rest| rest.split_once("/json HTTP/1.1"));
    let name = name.map(|(name, _)| name.to_owned()).unwrap_or_default();
    let answer = containers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, answer)| answer.clone());
    let answer = answer.unwrap_or_else(|| Answer::Says(404, json!({ "message": "No such container" })));
    let Answer::Says(status, body) = answer else {
        thread::sleep(Duration::from_secs(30));
        return;
    };
    let body = body.to_string();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    // The daemon may have given up.
    let _ = stream.write_all(answer.as_bytes());
}

/// A daemon with a container runtime, and a peer namespace whose `eth0` is at `veth1`.
struct Stage {
    runtime: Runtime,
    wire: Wire,
    peer: Namespace,
    daemon: Daemon,
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Stage {
    fn start() -> Result<Self> {
        let lab = Lab::named()?;
        let directory = tempfile::tempdir()?;
        let runtime = Runtime::start(directory.path().join("runtime.sock"))?;
        let peer = lab.peer("web")?;
        let wire = lab.veth("veth1", &peer, "eth0")?;
        let socket = runtime.socket.display().to_string();
        let daemon = Daemon::start_with(&lab, &["--kept", "--container-socket", &socket])?;
        Ok(Self { runtime, wire, peer, daemon, lab, directory })
    }

    /// The name under which `ip netns` lists the peer's namespace.
    fn netns(&self) -> Result<String> {
        let path = self.peer.path().context("namespaces have names here")?;
        Ok(path.file_name().context("a file")?.to_string_lossy().into_owned())
    }

    fn send(&self, wire: &Wire, out: bool, first: u32, count: u32) -> Result<()> {
        let (from, to) = if out { (&wire.peer, &wire.host) } else { (&wire.host, &wire.peer) };
        let flow = Flow::between(from, to);
        let frames: Vec<_> = (first..first + count).map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
        Sender::open(from)?.send(&frames)?;
        Ok(())
    }

    /// Starts a one-line capture that is on when this returns.
    fn capture(&self, words: &[&str]) -> Result<Running> {
        let files = fs::read_dir(self.directory.path())?.count();
        let file = self.directory.path().join(format!("{files}.pcapng"));
        let mut command = Command::new(binary_dir()?.join("polycubectl"));
        command.arg("capture").args(words).arg("-w").arg(&file);
        command.env("POLYCUBECTL_URL", format!("unix://{}", self.daemon.socket().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begin = Instant::now();
        let child = command.spawn()?;
        let mut running = Running { child, file, took: Duration::ZERO };
        eventually("the capture has begun", || {
            ensure!(running.child.try_wait()?.is_none(), "it has ended");
            Ok(fs::metadata(&running.file).is_ok_and(|file| file.len() > 0))
        })?;
        running.took = begin.elapsed();
        Ok(running)
    }

    fn refused(&self, words: &str) -> String {
        self.daemon.ctl(words).fails(2)
    }

    /// The points of the cube `s`, as name and status.
    fn points(&self) -> Result<Vec<String>> {
        let cube = self.daemon.http("GET", "/polycube/v1/s/", None)?.json()?;
        let points = cube["points"].as_array().with_context(|| format!("no points: {cube}"))?.iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = points.map(|point| format!("{} {}", text(&point["name"]), text(&point["status"])));
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        Ok(shown)
    }
}

struct Running {
    child: Child,
    file: PathBuf,
    took: Duration,
}

impl Running {
    /// Ends it when it has `count` packets. Returns each packet's interface and direction.
    fn end(mut self, count: usize) -> Result<Vec<(String, Direction)>> {
        let read = |path: &Path| pcap::read(path).map(|file| file.records.len()).unwrap_or_default();
        eventually("the packets", || Ok(read(&self.file) >= count))?;
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.child.wait()?;
        let file = pcap::read(&self.file)?;
        let names: Vec<_> = file.metadata.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let place = |record: &pcap::Record| {
            let interface = record.interface.context("an interface")?;
            Ok((names[interface].clone(), record.direction.context("a direction")?))
        };
        file.records.iter().map(place).collect()
    }
}

/// Asserts how many packets went which way at a place.
#[track_caller]
fn assert_seen(seen: &[(String, Direction)], place: &str, inward: usize, outward: usize) {
    let count = |direction| seen.iter().filter(|(name, way)| name == place && *way == direction).count();
    assert_eq!((count(Direction::In), count(Direction::Out)), (inward, outward), "{place}: {seen:?}");
}

#[test]
fn a_namespace_is_captured_as_it_sees_its_packets() -> Result<()> {
    let stage = Stage::start()?;
    let process = Process::start(&stage.peer)?;
    stage.runtime.runs("web", process.pid());
    for place in
        [format!("netns:{}", stage.netns()?), format!("pid:{}", process.pid()), "container:web/eth0".to_owned()]
    {
        for (way, inward, outward) in [(None, 3, 5), (Some("--in"), 3, 0), (Some("--out"), 0, 5)] {
            let words: Vec<&str> = [place.as_str(), "udp"].into_iter().chain(way).collect();
            let running = stage.capture(&words)?;
            stage.send(&stage.wire, true, 0, 5)?;
            stage.send(&stage.wire, false, 5, 3)?;
            let shown = format!("{}/eth0", place.trim_end_matches("/eth0"));
            assert_seen(&running.end(inward + outward)?, &shown, inward, outward);
        }
    }
    Ok(())
}

#[test]
fn any_takes_in_netdevs_that_come_and_takes_each_packet_of_one_once() -> Result<()> {
    let stage = Stage::start()?;
    let netns = format!("netns:{}", stage.netns()?);
    let other = stage.lab.peer("other")?;
    let running = stage.capture(&["any", &netns, "udp"])?;
    let later = stage.lab.veth("veth7", &other, "eth0")?;
    let cube = stage.daemon.http("GET", "/polycube/v1/topology", None)?.json()?[0]["name"]
        .as_str()
        .context("a cube")?
        .to_owned();
    eventually("veth7 is in", || {
        let cube = stage.daemon.http("GET", &format!("/polycube/v1/{cube}/"), None)?.json()?;
        Ok(cube["points"].as_array().is_some_and(|all| all.iter().any(|point| point["name"] == "veth7")))
    })?;
    stage.send(&later, true, 0, 4)?;
    stage.send(&stage.wire, true, 4, 2)?;
    let seen = running.end(6)?;
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_seen(&seen, "veth7", 4, 0);
    assert_seen(&seen, &format!("{netns}/eth0"), 0, 2);
    Ok(())
}

/// What a running capture's point says: its status, and the reason.
fn point_of_capture(stage: &Stage, name: &str) -> Result<Option<(String, String)>> {
    let cubes = stage.daemon.http("GET", "/polycube/v1/topology", None)?.json()?;
    let cube = cubes[0]["name"].as_str().context("a cube")?;
    let cube = stage.daemon.http("GET", &format!("/polycube/v1/{cube}/"), None)?.json()?;
    let points = cube["points"].as_array().with_context(|| format!("no points: {cube}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let point = points.iter().find(|point| point["name"] == name);
    Ok(point.map(|point| (text(&point["status"]), text(&point["reason"]))))
}

#[test]
fn one_tunnel_does_not_end_the_capture_of_any() -> Result<()> {
    for (words, tunnel_first, expected) in [
        (&["any", "udp and not ether host 2:0:0:0:0:9"][..], false, "ethernet addresses"),
        (&["any", "udp and not ether host 2:0:0:0:0:9"], true, "ethernet addresses"),
        (&["any", "--format=pcap"], false, "write pcapng"),
        (&["any", "--format=pcap"], true, "write pcapng"),
        // The daemon does not write these by itself.
        (&["any", "--format=pcap", "--bytes=1M"], false, "write pcapng"),
        (&["any", "--format=pcap", "--bytes=1M"], true, "write pcapng"),
    ] {
        let stage = Stage::start()?;
        let other = stage.lab.peer("other")?;
        let tunnel = || -> Result<()> {
            for words in ["tuntap add dev tun7 mode tun", "link set tun7 up"] {
                let status = stage.lab.host().command("ip").args(words.split(' ')).status();
                ensure!(status.context("ip is missing: install iproute2")?.success(), "ip {words}");
            }
            Ok(())
        };
        if tunnel_first {
            tunnel()?;
        }
        let mut running = stage.capture(words)?;
        if !tunnel_first {
            tunnel()?;
        }
        eventually("tun7 is left out, with the reason", || {
            let point = point_of_capture(&stage, "tun7")?;
            Ok(point.is_some_and(|(status, why)| {
                status == "DOWN" && why.starts_with("left out: ") && why.contains(expected)
            }))
        })?;
        let later = stage.lab.veth("veth7", &other, "eth0")?;
        eventually("veth7 is in", || {
            Ok(point_of_capture(&stage, "veth7")?.is_some_and(|(_, reason)| !reason.starts_with("left out")))
        })?;
        stage.send(&later, true, 0, 4)?;
        eventually("the packets", || Ok(pcap::read(&running.file).is_ok_and(|file| file.records.len() >= 4)))?;
        let mut stderr = BufReader::new(running.child.stderr.take().context("stderr is a pipe")?);
        let mut said = String::new();
        while !said.contains("not capturing at tun7: ") {
            ensure!(stderr.read_line(&mut said)? > 0, "{words:?}: the client has not said why: {said}");
        }
        assert!(said.contains(expected), "{said}");
        assert!(running.child.try_wait()?.is_none(), "the capture goes on");
        let pid = rustix::process::Pid::from_child(&running.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        assert!(running.child.wait()?.success());
    }
    Ok(())
}

#[test]
fn a_capture_follows_its_container() -> Result<()> {
    let mut stage = Stage::start()?;
    let first = Process::start(&stage.peer)?;
    stage.runtime.runs("web", first.pid());
    stage.daemon.ctl("packetcapture add s capture=bidirectional").ok();
    stage.daemon.ctl("attach s container:web").ok();
    assert_eq!(stage.points()?, ["container:web UP", "veth1 UP"]);
    assert_eq!(stage.daemon.http("GET", "/polycube/v1/s/", None)?.json()?["parents"], json!(["container:web"]));
    stage.runtime.set("web", Answer::Says(404, json!({})));
    drop(first);
    eventually("it waits", || Ok(stage.points()? == ["container:web DOWN"]))?;
    let again = stage.lab.peer("again")?;
    stage.lab.veth("veth9", &again, "eth0")?;
    let second = Process::start(&again)?;
    stage.runtime.runs("web", second.pid());
    eventually("it is back", || Ok(stage.points()? == ["container:web UP", "veth9 UP"]))?;
    stage.runtime.set("web", Answer::Never);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.points()?, ["container:web UP", "veth9 UP"], "a runtime that is stuck ends nothing");
    stage.daemon.kill9()?;
    stage.daemon.restart()?;
    assert_eq!(stage.points()?, ["container:web UP", "veth9 UP"], "nor does a new daemon");
    stage.daemon.ctl("detach s container:web").ok();
    assert_eq!(stage.points()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_container_that_starts_again_is_captured_within_two_seconds() -> Result<()> {
    let stage = Stage::start()?;
    let mut process = Process::start(&stage.peer)?;
    stage.runtime.runs("web", process.pid());
    stage.daemon.ctl("packetcapture add s capture=bidirectional").ok();
    stage.daemon.ctl("attach s container:web").ok();
    let mut fastest = Duration::MAX;
    // The machine may be busy.
    for netdev in ["again1", "again2", "again3"] {
        stage.runtime.set("web", Answer::Says(404, json!({})));
        drop(process);
        eventually("it waits", || Ok(stage.points()? == ["container:web DOWN"]))?;
        let peer = stage.lab.peer(netdev)?;
        stage.lab.veth(netdev, &peer, "eth0")?;
        process = Process::start(&peer)?;
        let began = Instant::now();
        stage.runtime.runs("web", process.pid());
        let expected = [format!("{netdev} UP"), "container:web UP".to_owned()];
        eventually("it is back", || Ok(stage.points()? == expected))?;
        fastest = fastest.min(began.elapsed());
    }
    eprintln!("{fastest:?} until a container that started again was captured");
    ensure!(fastest < Duration::from_secs(2), "{fastest:?}");
    Ok(())
}

#[test]
fn a_place_that_stands_for_nothing_is_refused_with_the_reason() -> Result<()> {
    let stage = Stage::start()?;
    let process = Process::start(&stage.peer)?;
    let host = json!({ "State": { "Running": true, "Pid": process.pid() }, "HostConfig": { "NetworkMode": "host" } });
    stage.runtime.set("host", Answer::Says(200, host));
    stage.runtime.set("old", Answer::Says(200, json!({ "State": { "Running": false, "Pid": 0 } })));
    let twice = json!({ "message": "multiple IDs found with provided prefix: a" });
    stage.runtime.set("a", Answer::Says(400, twice));
    stage.runtime.set("slow", Answer::Never);
    stage.daemon.ctl("packetcapture add s capture=bidirectional").ok();
    let alone = stage.lab.peer("alone")?;
    let alone = Process::start(&alone)?;
    let own = Process::start(stage.lab.host())?;
    for (place, expected) in [
        ("container:none", "container `none` does not exist"),
        ("container:old", "container `old` does not run"),
        ("container:host", "its network mode is host"),
        ("container:a", "multiple IDs found with provided prefix: a"),
        ("container:slow", "it has not answered for 3 s"),
        ("netns:none", "network namespace `none` does not exist"),
        ("pid:4194305", "process 4194305 does not exist"),
        (&format!("pid:{}", alone.pid()), "no netdev leads from here into"),
        (&format!("pid:{}", own.pid()), "in the daemon's own network namespace: name its netdevs one by one, or `any`"),
        (&format!("pid:{}/lo", process.pid()), "has no end here"),
        (&format!("pid:{}/eth7", process.pid()), "netdev `eth7` does not exist in"),
        ("pod:web", "does not name a pod: give its namespace, too"),
        ("netns:", "does not name a place"),
    ] {
        let begin = Instant::now();
        let said = stage.refused(&format!("attach s {place}"));
        assert!(said.contains(expected), "{place}: {said}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{place}");
        let said = stage.refused(&format!("capture {place}"));
        assert!(said.contains(expected), "{place}: {said}");
    }
    assert_eq!(stage.points()?, Vec::<String>::new());
    stage.daemon.ctl("attach s any").ok();
    assert!(stage.refused("attach s any").contains("already attached to any"));
    assert!(stage.refused("detach s veth1").contains("by `any`: detach it from any"));
    Ok(())
}

#[test]
fn a_namespace_that_goes_while_it_is_attached_leaves_nothing() -> Result<()> {
    let stage = Stage::start()?;
    stage.daemon.ctl("packetcapture add s capture=bidirectional").ok();
    stage.daemon.ctl("attach s any").ok();
    for round in 0..5 {
        let wire = stage.lab.veth(&format!("gone{round}"), &stage.peer, &format!("gone{round}"))?;
        wire.host.delete()?;
    }
    eventually("only what is there", || {
        let points = stage.points()?;
        Ok(points == ["any UP", "lo DOWN", "veth1 UP"] || points == ["any UP", "lo UP", "veth1 UP"])
    })?;
    Ok(())
}

#[test]
fn a_capture_of_a_place_that_is_gone_says_what_it_waits_for() -> Result<()> {
    let stage = Stage::start()?;
    let netns = format!("netns:{}", stage.netns()?);
    stage.daemon.ctl(&format!("packetcapture add s capture=bidirectional parent={netns}")).ok();
    let idle = || Ok::<_, anyhow::Error>(stage.daemon.http("GET", "/polycube/v1/s/", None)?.json()?["idle"].clone());
    assert_eq!(idle()?, Value::Null);
    stage.wire.host.delete()?;
    eventually("it waits", || Ok(idle()? == format!("waiting for {netns}")))
}

#[test]
fn any_of_100_netdevs_starts_in_one_go() -> Result<()> {
    let stage = Stage::start()?;
    for number in 0..50 {
        stage.lab.join((stage.lab.host(), &format!("a{number}")), (stage.lab.host(), &format!("b{number}")))?;
    }
    let running = stage.capture(&["any", "udp"])?;
    // The kernel attaches programs one after the other, and the machine may be busy.
    eprintln!("{:?} until the capture of 100 netdevs had begun", running.took);
    stage.send(&stage.wire, true, 0, 2)?;
    let took = running.took;
    assert_seen(&running.end(2)?, "veth1", 2, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    Ok(())
}
