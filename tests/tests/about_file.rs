//! Does a file say where it comes from: the machine, its clock, the places, and what the user wanted to be known?

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Direction;
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};

/// What `program` prints about a file.
fn output(program: &str, arguments: &[&str], path: &Path) -> Result<String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.with_context(|| format!("{program} is missing: install tshark"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn send(scene: &Scene) -> Result<()> {
    let flow = polycube_tests::traffic::Flow::between(scene.peer(1), scene.host(1));
    Sender::open(scene.peer(1))?.send(&[flow.frame(Protocol::Udp, 200, 0)])?;
    Ok(())
}

#[test]
fn wireshark_reads_it_all() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let words =
        ["packetcapture", "add", "sniffer", "capture=ingress", "format=pcapng", "filter=udp", "snaplen=headers"];
    scene.daemon.ctl_words(&[&words[..], &["comment=before the change"]].concat()).ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    send(&scene)?;
    let path = scene.wait_for_dump()?;
    let file = pcap::wait_for(&path, 1, PATIENCE)?;
    assert_eq!(file.records[0].bytes.len(), 42);
    let said = output("capinfos", &[], &path)?;
    for part in ["before the change", "Linux", "polycubed", "veth1", "udp"] {
        ensure!(said.contains(part), "{part} is missing in {said}");
    }
    let bytes = std::fs::read(&path)?;
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    ensure!(has(b"clock ") && has(b"host ") && has(b"offloads: "), "{said}");
    ensure!(has(&scene.host(1).mac()), "the MAC address is missing");
    Ok(())
}

#[test]
fn a_stream_without_a_file_has_nanoseconds_and_directions() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress store=none").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let file = scene.daemon.capture_dir().join("stream.pcapng");
    let mut dump = Command::new(polycube_tests::daemon::binary_dir()?.join("polycubectl"));
    dump.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    dump.args(["sniffer", "dump", "--follow", "-c", "20", "-w"]).arg(&file);
    let mut child = dump.spawn()?;
    eventually("the reader", || {
        Ok(scene.get("sniffer/streams")?.as_array().is_some_and(|readers| !readers.is_empty()))
    })?;
    for _ in 0..20 {
        send(&scene)?;
    }
    ensure!(child.wait()?.success(), "the stream failed");
    let records = pcap::read(&file)?.records;
    ensure!(records.iter().all(|record| record.direction == Some(Direction::In)), "{records:?}");
    ensure!(records.iter().any(|record| record.time_ns % 1_000 != 0), "microseconds: {records:?}");
    Ok(())
}

#[test]
fn what_is_hidden_in_packets_is_not_in_their_description() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress format=pcapng anonymize=true").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    send(&scene)?;
    let path = scene.wait_for_dump()?;
    pcap::wait_for(&path, 1, PATIENCE)?;
    let bytes = std::fs::read(&path)?;
    ensure!(!bytes.windows(6).any(|window| window == scene.host(1).mac()), "the MAC address is there");
    Ok(())
}

#[test]
fn a_capture_in_one_line_has_its_comment() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let file = scene.daemon.capture_dir().join("commented.pcapng");
    let mut capture = Command::new(polycube_tests::daemon::binary_dir()?.join("polycubectl"));
    capture.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    capture.args(["capture", "veth1", "--comment", "of the one line", "--for", "1s", "-q", "-w"]).arg(&file);
    ensure!(capture.status()?.success(), "the capture failed");
    let said = output("capinfos", &[], &file)?;
    ensure!(said.contains("of the one line"), "{said}");
    Ok(())
}

/// Has a TCP connection send a little, and more than a segment has.
const TALK: &str = "
import socket, sys, threading
listener = socket.create_server((sys.argv[1], 7000))
def take():
    connection = listener.accept()[0]
    while connection.recv(65536):
        pass
threading.Thread(target=take, daemon=True).start()
print('there', flush=True)
sys.stdin.read()
";
const SAY: &str = "
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), timeout=20)
connection.sendall(b'x')
connection.sendall(b'x' * 100000)
connection.close()
";

#[test]
fn checksums_that_are_left_to_the_netdev_are_marked() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress format=pcapng filter=tcp").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let address = scene.host(1).add_address("10.9.0.1/24")?.to_string();
    scene.peer(1).add_address("10.9.0.2/24")?;
    let mut server = scene.lab.host().command("python3");
    server.args(["-c", TALK, &address]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn()?;
    server.stdout.as_mut().context("stdout is a pipe")?.read_exact(&mut [0; 6])?;
    let said = scene.namespace(1).command("python3").args(["-c", SAY, &address]).status()?;
    ensure!(said.success(), "the connection failed");
    drop(server.stdin.take());
    server.wait()?;
    // Its checksums are computed by the sender.
    let flow = polycube_tests::traffic::Flow::between(scene.peer(1), scene.host(1));
    Sender::open(scene.peer(1))?.send(&[flow.frame(Protocol::Tcp, 200, 0)])?;
    let file = scene.captured()?;
    let path = scene.wait_for_dump()?;
    let arguments = ["-n", "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-e", "frame.packet_flags"];
    let arguments = [&arguments[..], &["-e", "tcp.checksum.status", "-e", "tcp.dstport", "-r"]].concat();
    let lines = output("tshark", &arguments, &path)?;
    let mut counts = [0; 3];
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let flags = u32::from_str_radix(fields[0].trim_start_matches("0x"), 16).with_context(|| line.to_owned())?;
        // PROTO_CHECKSUM_E_GOOD is 1.
        let (is_open, is_segmented, is_good) = (flags & 1 << 9 != 0, flags & 1 << 11 != 0, fields[1] == "1");
        ensure!(is_open != is_good, "the mark and the checksum of {line}");
        counts[usize::from(is_open) + usize::from(is_segmented)] += 1;
    }
    ensure!(
        counts.iter().all(|count| *count > 0),
        "computed, open and segmented: {counts:?} of {}",
        file.records.len()
    );
    Ok(())
}
