//! Are devices without Ethernet headers captured: with their own link type, filtered and anonymised from the IP header on?

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use polycube_tests::pcap::{self, CaptureFile};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::json;

/// Has packets come in at tun0, one for each line of hexadecimal digits.
const INJECT: &str = "
import fcntl, os, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH', b'tun0', 0x1001))
for line in sys.stdin:
    os.write(tun, bytes.fromhex(line))
";

/// One peer with veth1, and tun0 with an address.
fn scene() -> Result<Scene> {
    let scene = Scene::set_up().peers(1).start()?;
    ip(&scene, &["tuntap add dev tun0 mode tun", "link set tun0 up", "address add 10.99.0.1/24 dev tun0"])?;
    Ok(scene)
}

fn ip(scene: &Scene, commands: &[&str]) -> Result<()> {
    for words in commands {
        let status = scene.lab.host().command("ip").args(words.split(' ')).status();
        ensure!(status.context("ip is missing: install iproute2")?.success(), "ip {words}");
    }
    Ok(())
}

fn inject(scene: &Scene, packets: &[Vec<u8>]) -> Result<()> {
    let mut child = scene.lab.host().command("python3").args(["-c", INJECT]).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    for packet in packets {
        let digits: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(stdin, "{digits}")?;
    }
    drop(stdin);
    ensure!(child.wait()?.success(), "the packets cannot be injected");
    Ok(())
}

fn tcp(port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 99, 0, 2], [10, 99, 0, 1], 64).tcp(1234, port, 1, 1024);
    built(|out| builder.write(out, b"payload"))
}

fn udp6() -> Vec<u8> {
    let builder = PacketBuilder::ipv6([0xfd; 16], [0xfc; 16], 64).udp(1234, 53);
    built(|out| builder.write(out, b"payload"))
}

fn built<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut packet = Vec::new();
    write(&mut packet).expect("a vector takes everything");
    packet
}

fn captured(scene: &Scene, packets: usize) -> Result<CaptureFile> {
    pcap::wait_for(&scene.wait_for_dump()?, packets, PATIENCE)
}

/// What tshark says of each packet.
fn tshark(path: &Path, fields: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "separator= ", "-r"]).arg(path);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().context("tshark is missing: install tshark")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(|line| line.trim().to_owned()).collect())
}

#[test]
fn devices_of_both_kinds_are_in_one_file() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress format=pcapng").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    scene.daemon.ctl("attach sniffer tun0").ok();
    inject(&scene, &[tcp(80), udp6()])?;
    let flow = polycube_tests::traffic::Flow::between(scene.peer(1), scene.host(1));
    Sender::open(scene.peer(1))?.send(&[flow.frame(Protocol::Udp, 100, 0)])?;
    let found = captured(&scene, 3)?;
    assert_eq!([&found.records[0].bytes, &found.records[1].bytes], [&tcp(80), &udp6()]);
    assert_eq!(found.records[2].bytes, flow.frame(Protocol::Udp, 100, 0));
    let lines =
        tshark(&scene.wait_for_dump()?, &["frame.interface_name", "frame.encap_type", "tcp.dstport", "udp.dstport"])?;
    // WTAP_ENCAP_RAW_IP is 7, WTAP_ENCAP_ETHERNET 1.
    assert_eq!(lines[0], "tun0 7 80");
    assert!(lines[1].starts_with("tun0 7") && lines[1].ends_with("53"), "{lines:?}");
    assert!(lines[2].starts_with("veth1 1"), "{lines:?}");
    Ok(())
}

#[test]
fn filters_know_where_the_ip_header_is() -> Result<()> {
    for (settings, expected) in [
        ("filter='tcp port 80'", vec![tcp(80)]),
        ("filter='host 10.99.0.2'", vec![tcp(80), tcp(81)]),
        ("filter='ip6 and udp port 53'", vec![udp6()]),
        ("filters.dport=81", vec![tcp(81)]),
        ("filters.src=10.99.0.0/24 filters.l4proto=tcp filter='not port 81'", vec![tcp(80)]),
        ("snaplen=headers filter='port 80'", vec![tcp(80)[..40].to_vec()]),
    ] {
        let scene = scene()?;
        let words = format!("packetcapture add sniffer capture=ingress format=pcapng {settings}");
        // Quotes are the shell's.
        let words = words.split('\'').enumerate().flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![format!("\0{part}")],
        });
        let mut line: Vec<String> = Vec::new();
        for word in words {
            match (word.strip_prefix('\0'), line.last_mut()) {
                (Some(rest), Some(last)) => last.push_str(rest),
                _ => line.push(word),
            }
        }
        scene.daemon.ctl_words(&line.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        scene.daemon.ctl("attach sniffer tun0").ok();
        inject(&scene, &[tcp(80), tcp(81), udp6()])?;
        let found = captured(&scene, expected.len())?;
        let found: Vec<_> = found.records.iter().map(|record| record.bytes.clone()).collect();
        assert_eq!(found, expected, "{settings}");
        assert_eq!(scene.counter("seen")?, 3, "{settings}");
    }
    Ok(())
}

#[test]
fn what_leaves_is_captured_and_anonymised() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("packetcapture add sniffer capture=egress format=pcapng anonymize=true filter=icmp").ok();
    scene.daemon.ctl("attach sniffer tun0").ok();
    let mut ping = scene.lab.host().command("ping");
    // Nothing answers.
    ping.args(["-c", "1", "-W", "1", "10.99.0.2"]).stdout(Stdio::null()).status()?;
    let packet = &captured(&scene, 1)?.records[0].bytes;
    assert_eq!((packet[0], packet[9], packet[20]), (0x45, 1, 8), "an echo request");
    assert!(packet[12..16] != [10, 99, 0, 1] && packet[16..20] != [10, 99, 0, 2], "{packet:?}");
    assert_eq!(packet[12..15], packet[16..19], "both have the same network");
    Ok(())
}

#[test]
fn formats_and_filters_that_do_not_fit_are_refused() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    let refusal = scene.daemon.ctl("attach sniffer tun0").one_line(2);
    ensure!(refusal.contains("set format=pcapng"), "{refusal}");
    scene.daemon.ctl("sniffer set format=pcapng").ok();
    scene.daemon.ctl("attach sniffer tun0").ok();
    for (words, message) in [
        (["sniffer", "set", "format=pcap"], "set format=pcapng"),
        (["sniffer", "set", "networkmode=true"], "network mode"),
        (["sniffer", "set", "filter=arp"], "no Ethernet headers"),
    ] {
        let refusal = scene.daemon.ctl_words(&words).one_line(2);
        ensure!(refusal.contains(message), "{words:?}: {refusal}");
    }
    scene.daemon.ctl("attach sniffer veth1").ok();
    let answer = scene.daemon.http("GET", "/polycube/v1/sniffer/stream?format=pcap&follow=false", None)?;
    ensure!(answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("format=pcapng"), "{answer:?}");
    scene.daemon.ctl("simplebridge add br1").ok();
    scene.daemon.ctl("br1 ports add p").ok();
    let refusal = scene.daemon.ctl("br1 ports p set peer=tun0").one_line(2);
    ensure!(refusal.contains("no Ethernet headers"), "{refusal}");
    assert_eq!(scene.get("sniffer/format")?, json!("pcapng"));
    Ok(())
}

/// A capture of one line.
fn one_line(scene: &Scene, words: &[&str], file: &Path) -> Result<std::process::Child> {
    let mut capture = Command::new(polycube_tests::daemon::binary_dir()?.join("polycubectl"));
    capture.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    capture.arg("capture").args(words).args(["--for", "20s", "-w"]).arg(file);
    Ok(capture.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

fn first_line(child: &mut std::process::Child) -> Result<String> {
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().context("stderr is a pipe")?).read_line(&mut said)?;
    Ok(said)
}

#[test]
fn a_file_of_pcap_has_the_link_type_of_its_places() -> Result<()> {
    let scene = scene()?;
    let file = scene.daemon.capture_dir().join("tun.pcap");
    let mut child = one_line(&scene, &["tun0", "tcp", "--in", "-c", "2"], &file)?;
    ensure!(first_line(&mut child)?.contains("capturing at tun0"), "it does not begin");
    inject(&scene, &[tcp(80), udp6(), tcp(81)])?;
    ensure!(child.wait()?.success(), "the capture failed");
    let lines = tshark(&file, &["frame.encap_type", "tcp.dstport"])?;
    assert_eq!(lines, ["7 80", "7 81"]);
    // A live stream has it, too.
    scene.daemon.ctl("packetcapture add sniffer capture=ingress store=none").ok();
    scene.daemon.ctl("attach sniffer tun0").ok();
    let mut stream = scene.open("stream?format=pcap")?;
    let mut header = [0; 24];
    stream.body.read_exact(&mut header)?;
    assert_eq!(header[20..], 101_u32.to_ne_bytes());
    Ok(())
}

#[test]
fn a_file_of_pcap_that_cannot_be_is_not_there() -> Result<()> {
    let scene = scene()?;
    let file = scene.daemon.capture_dir().join("both.pcap");
    let child = one_line(&scene, &["veth1", "tun0"], &file)?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && said.contains("write pcapng"), "{said}");
    ensure!(!file.exists(), "an empty file is left");
    Ok(())
}

/// A netdev may come back as one of another kind.
#[test]
fn a_file_of_pcap_ends_where_another_kind_of_link_comes() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    let file = scene.daemon.capture_dir().join("one.pcap");
    let mut child = one_line(&scene, &["veth1", "udp", "--in"], &file)?;
    ensure!(first_line(&mut child)?.contains("capturing at veth1"), "it does not begin");
    let frames: Vec<_> = (0..3).map(|number| scene.flow(1, 2).frame(Protocol::Udp, 100, number)).collect();
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("the packets", || Ok(pcap::read(&file).is_ok_and(|file| file.records.len() == 3)))?;
    ip(&scene, &["link delete veth1", "tuntap add dev veth1 mode tun", "link set veth1 up"])?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2) && said.contains("write pcapng"), "{said}");
    ensure!(said.contains("3 packets captured") && said.contains("veth1"), "{said}");
    assert!(pcap::read(&file)?.numbers()?.into_iter().eq(0..3));
    Ok(())
}

#[test]
fn lines_show_what_is_in_the_packets() -> Result<()> {
    let scene = scene()?;
    let mut capture = Command::new(polycube_tests::daemon::binary_dir()?.join("polycubectl"));
    capture.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    capture.args(["capture", "tun0", "tcp", "-c", "1", "--for", "20s"]);
    let mut child = capture.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    BufReader::new(child.stderr.take().context("stderr is a pipe")?).read_line(&mut said)?;
    ensure!(said.contains("capturing at tun0"), "{said}");
    inject(&scene, &[udp6(), tcp(80)])?;
    let output = child.wait_with_output()?;
    let line = String::from_utf8(output.stdout)?;
    ensure!(line.contains("10.99.0.2:1234 > 10.99.0.1:80 TCP"), "{line}");
    Ok(())
}
