//! Does what is captured go whole into a file that a client hands over, and nothing into one that it should not?

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, IoSlice, Read, Seek as _, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::disk::FreezableDisk;
use polycube_tests::http::{self, Reply};
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, Steady};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const INTO: (&str, &str) = ("polycube-into", "descriptor");
const CREATE: &str = "/polycube/v1/packetcapture/?ephemeral=stream";

/// A connection with whose first bytes files go.
struct Handing {
    stream: UnixStream,
    files: Vec<OwnedFd>,
}

impl Read for Handing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Handing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let files: Vec<_> = self.files.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty())?;
        self.files.clear();
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a request, and a file with it.
fn hand_over(
    scene: &Scene,
    file: Option<OwnedFd>,
    (method, path): (&str, &str),
    body: Option<&Value>,
) -> Result<Reply<Handing>> {
    let stream = UnixStream::connect(scene.daemon.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    http::exchange(Handing { stream, files: file.into_iter().collect() }, &[INTO], method, path, body)
}

fn send(scene: &Scene, first: u32, count: u32) -> Result<()> {
    let frames: Vec<_> = (first..first + count).map(|at| scene.flow(1, 2).frame(Protocol::Udp, 100, at)).collect();
    Sender::open(scene.peer(1))?.send(&frames)?;
    Ok(())
}

fn capture(scene: &Scene, words: &[&str], path: &Path) -> Result<Command> {
    let mut command = Command::new(binary_dir()?.join("polycubectl"));
    command.args(["capture", "veth1", "udp", "-w"]).arg(path).args(words).current_dir("/").env("HOME", "/nowhere");
    command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

/// Starts a capture and waits until it captures.
fn begin(scene: &Scene, words: &[&str], path: &Path) -> Result<Child> {
    let mut child = capture(scene, words, path)?.spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().context("stderr is a pipe")?).read_line(&mut line)?;
    ensure!(line.starts_with("polycubectl: capturing at "), "{line}");
    Ok(child)
}

#[test]
fn a_stream_goes_into_a_file_from_its_position_on() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "store": "none" }))?;
    for (format, packets) in [("pcap", 5), ("pcapng", 5)] {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"before, and much that is cut off")?;
        file.seek(SeekFrom::Start(6))?;
        let path = format!("/polycube/v1/sniffer/stream?format={format}&packets={packets}");
        let mut reply = hand_over(&scene, Some(file.try_clone()?.into()), ("GET", &path), None)?;
        assert_eq!(reply.status, 200, "{format}");
        assert!(reply.headers.contains(&("content-type".to_owned(), "application/x-ndjson".to_owned())));
        send(&scene, 0, 8)?;
        let mut text = String::new();
        reply.body.read_to_string(&mut text)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        assert!(bytes.starts_with(b"before"));
        assert!(pcap::parse(&bytes[6..])?.numbers()?.into_iter().eq(0..packets), "{format}");
        let last: Value = serde_json::from_str(text.lines().last().context("a report")?)?;
        assert_eq!(last["packets"], packets, "{text}");
        assert_eq!((&last["bytes"], &last["end"], &last["dropped"]), (&json!(500), &json!(bytes.len()), &json!(0)));
    }
    Ok(())
}

#[test]
fn what_is_not_a_file_to_write_is_refused_and_stays_as_it_is() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let before = scene.daemon.snapshot()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("old");
    fs::write(&path, "precious")?;
    let writable = || OpenOptions::new().write(true).open(&path);
    let body = json!({ "parents": ["veth1"], "store": "none" });
    let new = |file, body: &Value| hand_over(&scene, file, ("POST", CREATE), Some(body));
    let unfit = "a regular file that is open for writing, without O_APPEND";
    for (reply, expected) in [
        (new(Some(File::open(&path)?.into()), &body)?, unfit),
        (new(Some(OpenOptions::new().append(true).open(&path)?.into()), &body)?, unfit),
        (new(Some(io::pipe()?.1.into()), &body)?, unfit),
        (new(Some(File::open(directory.path())?.into()), &body)?, unfit),
        (new(Some(writable()?.into()), &json!({ "parents": ["nosuch"] }))?, "netdev `nosuch` does not exist"),
        (hand_over(&scene, Some(writable()?.into()), ("GET", "/polycube/v1/services/packetcapture/query"), None)?, ""),
    ] {
        let (status, mut text, mut body) = (reply.status, String::new(), reply.body);
        body.read_to_string(&mut text)?;
        assert!(status / 100 == 4 && text.contains(expected), "{status} {text}");
    }
    scene.sniff_at("veth1", &json!({ "capture": "ingress" }))?;
    for (path, expected) in
        [("stream?follow=false", "only packets as they come"), ("packet", "this stream is not written into files")]
    {
        let path = format!("/polycube/v1/sniffer/{path}");
        let reply = hand_over(&scene, Some(writable()?.into()), ("GET", &path), None)?;
        let (status, mut text, mut body) = (reply.status, String::new(), reply.body);
        body.read_to_string(&mut text)?;
        assert!(status / 100 == 4 && text.contains(expected), "{status} {text}");
    }
    assert_eq!(fs::read_to_string(&path)?, "precious");
    scene.daemon.ctl("sniffer del").ok();
    eventually("nothing is left", || Ok(scene.daemon.snapshot()? == before))
}

/// A proxy of Unix sockets passes no descriptors on: the client then gets the stream.
#[test]
fn without_a_descriptor_the_stream_comes_by_the_connection() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let proxy = directory.path().join("proxy");
    let listener = UnixListener::bind(&proxy)?;
    let socket = scene.daemon.socket().to_owned();
    thread::spawn(move || -> Result<()> {
        for theirs in listener.incoming() {
            let (mut theirs, mut ours) = (theirs?, UnixStream::connect(&socket)?);
            let (mut back, mut from) = (theirs.try_clone()?, ours.try_clone()?);
            // Either ends with its connection.
            thread::spawn(move || io::copy(&mut from, &mut back));
            thread::spawn(move || io::copy(&mut theirs, &mut ours));
        }
        Ok(())
    });
    for name in ["a.pcapng", "a.pcap"] {
        let path = directory.path().join(name);
        let mut command = capture(&scene, &["-c", "3"], &path)?;
        let mut child = command.env("POLYCUBECTL_URL", format!("unix://{}", proxy.display())).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().context("stderr is a pipe")?).read_line(&mut line)?;
        assert!(line.starts_with("polycubectl: capturing at "), "{line}");
        send(&scene, 0, 3)?;
        assert_eq!(child.wait()?.code(), Some(0));
        assert!(pcap::read(&path)?.numbers()?.into_iter().eq(0..3), "{name}");
    }
    Ok(())
}

#[test]
fn a_file_has_one_capture_at_a_time() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let mut child = begin(&scene, &["-c", "3"], &path)?;
    for more in [&["--force", "-c", "1"][..], &["--force", "-c", "1", "--bytes", "1M"]] {
        let second = capture(&scene, more, &path)?.output()?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(
            second.status.code() == Some(74) && said.contains("another capture is being written into it"),
            "{said}"
        );
    }
    let file = OpenOptions::new().write(true).open(&path)?;
    let body = json!({ "parents": ["veth1"], "store": "none" });
    let mut reply = hand_over(&scene, Some(file.into()), ("POST", CREATE), Some(&body))?;
    let mut text = String::new();
    reply.body.read_to_string(&mut text)?;
    assert!(reply.status == 500 && text.contains("another capture is being written into it"), "{text}");
    send(&scene, 0, 3)?;
    assert_eq!(child.wait()?.code(), Some(0));
    assert!(pcap::read(&path)?.numbers()?.into_iter().eq(0..3));
    Ok(())
}

/// Another file may have the name by the time that the daemon is killed.
#[test]
fn what_a_killed_daemon_wrote_is_kept_under_any_name() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let (path, other) = (directory.path().join("t.pcapng"), directory.path().join("u.pcapng"));
    let mut child = begin(&scene, &[], &path)?;
    send(&scene, 0, 9)?;
    eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 9)))?;
    fs::rename(&path, &other)?;
    fs::write(&path, "mine")?;
    scene.daemon.kill9()?;
    let mut said = String::new();
    child.stderr.take().context("stderr is a pipe")?.read_to_string(&mut said)?;
    assert_eq!(child.wait()?.code(), Some(1), "{said}");
    assert!(said.contains("9 packets captured") && said.contains("closed the connection"), "{said}");
    assert_eq!(fs::read_to_string(&path)?, "mine");
    assert!(pcap::read(&other)?.numbers()?.into_iter().eq(0..9));
    Ok(())
}

#[test]
fn a_disk_that_stands_still_is_waited_for() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let disk = FreezableDisk::new()?;
    for is_patient in [true, false] {
        let path = disk.path().join(format!("{is_patient}.pcapng"));
        let mut child = begin(&scene, &[], &path)?;
        let mut stderr = BufReader::new(child.stderr.take().context("stderr is a pipe")?);
        send(&scene, 0, 3)?;
        eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 3)))?;
        let freeze = disk.freeze()?;
        send(&scene, 3, 3)?;
        kill_process(Pid::from_child(&child), Signal::INT)?;
        let mut said = String::new();
        stderr.read_line(&mut said)?;
        assert!(said.contains("waiting for its disk"), "{said}");
        if is_patient {
            drop(freeze);
            assert_eq!(child.wait()?.code(), Some(0));
            assert!(pcap::read(&path)?.numbers()?.into_iter().eq(0..6));
        } else {
            kill_process(Pid::from_child(&child), Signal::INT)?;
            assert_eq!(child.wait()?.code(), Some(74));
            stderr.read_to_string(&mut said)?;
            assert!(said.contains("its last packets are missing"), "{said}");
        }
    }
    Ok(())
}

/// Clients whose captures are refused, and which are gone before they hear of it.
#[test]
fn refused_captures_of_clients_that_hang_up_leave_no_cube() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let before = scene.daemon.snapshot()?;
    let body = json!({ "parents": ["veth1"], "store": "none" }).to_string();
    let request = format!(
        "POST {CREATE}&packets=0 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let socket = scene.daemon.socket();
    let hang_up = |client: u64| -> Result<()> {
        for round in 0..8 {
            let mut stream = UnixStream::connect(&socket)?;
            stream.write_all(request.as_bytes())?;
            thread::sleep(Duration::from_micros((client * 8 + round) * 7_300 % 300_000));
        }
        Ok(())
    };
    // Several at once: the removal of a cube then waits its turn.
    thread::scope(|scope| {
        let clients: Vec<_> = (0..30)
            .map(|client| {
                let hang_up = &hang_up;
                scope.spawn(move || hang_up(client))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    eventually("nothing is left", || Ok(scene.get("topology")? == json!([])))?;
    eventually("nothing is left", || Ok(scene.daemon.snapshot()? == before))
}

#[test]
fn a_refused_capture_leaves_the_old_file_and_no_new_one() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let (old, new) = (directory.path().join("old.pcapng"), directory.path().join("new.pcapng"));
    fs::write(&old, "precious")?;
    for (path, force) in [(&old, "--force"), (&new, "-q")] {
        let output = capture(&scene, &[force, "-s", "300000"], path)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("262144"), "{said}");
    }
    assert_eq!(fs::read_to_string(&old)?, "precious");
    assert!(!new.exists());
    let mut child = begin(&scene, &["--force", "-c", "3"], &old)?;
    send(&scene, 0, 3)?;
    assert_eq!(child.wait()?.code(), Some(0));
    assert!(pcap::read(&old)?.numbers()?.into_iter().eq(0..3));
    Ok(())
}

/// Scripts wait for the file, and anyone who looks later takes an empty one for a capture.
#[test]
fn a_client_that_is_killed_before_it_captures_leaves_no_file() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    scene.daemon.signal(Signal::STOP)?;
    let mut child = capture(&scene, &[], &path)?.spawn()?;
    let descriptors = format!("/proc/{}/fd", child.id());
    eventually("the client's file", || {
        let mut targets = fs::read_dir(&descriptors)?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(targets.any(|target| target.starts_with(directory.path())))
    })?;
    assert!(!path.exists(), "it is there before the capture is");
    kill_process(Pid::from_child(&child), Signal::KILL)?;
    child.wait()?;
    scene.daemon.signal(Signal::CONT)?;
    assert_eq!(fs::read_dir(directory.path())?.count(), 0);
    eventually("no cube", || Ok(scene.get("topology")? == json!([])))
}

#[test]
fn devices_and_pipes_take_packets_too() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let mut child = begin(&scene, &["--force", "-c", "3"], Path::new("/dev/null"))?;
    send(&scene, 0, 3)?;
    assert_eq!(child.wait()?.code(), Some(0));
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let read = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read(pipe))
    };
    let mut child = begin(&scene, &["--force", "-c", "3", "--format", "pcap"], &pipe)?;
    send(&scene, 0, 3)?;
    assert_eq!(child.wait()?.code(), Some(0));
    let bytes = read.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    assert!(pcap::parse(&bytes)?.numbers()?.into_iter().eq(0..3));
    Ok(())
}

/// However the client or the daemon ends, the file has whole records.
#[test]
fn files_are_whole_when_client_or_daemon_is_killed() -> Result<()> {
    const ROUNDS: u64 = 12;
    let mut scene = Scene::set_up().peers(2).start()?;
    let directory = tempfile::tempdir()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 1400, u32::MAX)?;
    let mut packets = 0;
    for round in 0..ROUNDS {
        let format = ["pcapng", "pcap"][round as usize % 2];
        let path = directory.path().join(format!("{round}.{format}"));
        let mut child = begin(&scene, &[], &path)?;
        // There is much to write, so that the kill falls into a write.
        scene.daemon.signal(Signal::STOP)?;
        thread::sleep(Duration::from_millis(30));
        scene.daemon.signal(Signal::CONT)?;
        thread::sleep(Duration::from_micros(round * 700 % 5_000));
        if round % 4 < 2 {
            scene.daemon.kill9()?;
            assert_eq!(child.wait()?.code(), Some(1));
            scene.daemon.restart()?;
        } else {
            kill_process(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            eventually("no cube", || Ok(scene.get("topology")? == json!([])))?;
        }
        if !path.exists() {
            continue;
        }
        let file = pcap::read(&path).with_context(|| format!("round {round}, {format}"))?;
        let numbers = file.numbers()?;
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "round {round}");
        packets += numbers.len();
    }
    steady.stop()?;
    assert!(packets > 0);
    Ok(())
}
