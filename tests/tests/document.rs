//! Do the commands of the user's document do what it says? They are quoted here unchanged.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use polycube_tests::capture::{Direction, Recorder, Recording};
use polycube_tests::comparison::compare;
use polycube_tests::hook::programs_attached;
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::{Flow, Protocol, Segments, Sender, sequence_of};

/// Frames from peer 1, which enter `br1` at `toveth1`, and back.
const THERE: usize = 7;
const THERE_LEN: usize = 100;
const BACK: usize = 4;
const BACK_LEN: usize = 200;

/// How the filters of a cube without any are shown.
const UNSET: &str = "src: unset\ndst: unset\nsport: unset\ndport: unset\nl4proto: unset\n";

/// Runs a line of the document.
#[track_caller]
fn run(scene: &Scene, line: &str) -> String {
    let words = line.strip_prefix("polycubectl ").expect("a line of the document");
    scene.daemon.ctl(words).ok()
}

/// Frames of both directions, recorded at peer 1; returns when the bridge has delivered them all.
fn traffic(scene: &Scene) -> Result<Recording> {
    let recorders = [Recorder::start(scene.peer(1))?, Recorder::start(scene.peer(2))?];
    // The bridge may have learned one of the peers or not: the order of the two directions does not matter.
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, THERE_LEN, THERE as u32))?;
    Sender::open(scene.peer(2))?.send(&scene.flow(2, 1).frames(Protocol::Udp, BACK_LEN, BACK as u32))?;
    for recorder in &recorders {
        recorder.wait_for(THERE + BACK, PATIENCE)?;
    }
    let [near, _] = recorders;
    near.stop()
}

/// The path in the sentence that `show dump` prints, if it prints the one with a path.
#[track_caller]
fn path_in(sentence: &str) -> Option<&Path> {
    let sentence = sentence.trim_end();
    if sentence == "no packets captured" {
        return None;
    }
    Some(Path::new(sentence.strip_prefix("capture dump in ").expect("one of two sentences")))
}

#[track_caller]
fn check_mode(mode: &str, directions: &[Direction]) -> Result<()> {
    let scene = Scene::bridge(2)?;
    run(&scene, &format!("polycubectl packetcapture add sniffer capture={mode}"));
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    assert_eq!(run(&scene, "polycubectl sniffer show dump"), "no packets captured\n", "{mode}");
    // Peer 1 sends what enters the bridge.
    let seen = traffic(&scene)?.reversed();
    let expected: Vec<_> = seen.frames.into_iter().filter(|seen| directions.contains(&seen.direction)).collect();
    assert_eq!(scene.counter("captured")?, expected.len() as u64, "{mode}");
    if directions.is_empty() {
        assert_eq!(run(&scene, "polycubectl sniffer show dump"), "no packets captured\n");
        assert_eq!(fs::read_dir(scene.daemon.capture_dir())?.count(), 0, "{mode} makes no file");
        return Ok(());
    }
    compare(&scene.captured()?.records, &expected, 65535).with_context(|| format!("capture={mode}"))
}

#[test]
fn each_mode_captures_what_its_name_says() -> Result<()> {
    check_mode("ingress", &[Direction::In])?;
    check_mode("egress", &[Direction::Out])?;
    check_mode("bidirectional", &[Direction::In, Direction::Out])?;
    check_mode("off", &[])
}

#[test]
fn a_mode_is_accepted_in_any_case() -> Result<()> {
    check_mode("INGRESS", &[Direction::In])?;
    check_mode("Bidirectional", &[Direction::In, Direction::Out])
}

#[test]
fn a_mode_is_changed_while_attached_and_each_start_has_its_own_file() -> Result<()> {
    let scene = Scene::bridge(2)?;
    run(&scene, "polycubectl packetcapture add sniffer capture=off");
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    let (mut files, mut captured) = (Vec::new(), 0);
    for (mode, more) in [
        ("ingress", THERE),
        ("egress", BACK),
        ("off", 0),
        ("bidirectional", THERE + BACK),
        ("OFF", 0),
        ("Egress", BACK),
    ] {
        run(&scene, &format!("polycubectl sniffer set capture={mode}"));
        let shown = run(&scene, "polycubectl sniffer show capture");
        assert_eq!(shown.trim_end(), mode.to_lowercase());
        traffic(&scene)?;
        captured += more as u64;
        assert_eq!(scene.counter("captured")?, captured, "after {mode}");
        let dump = scene.wait_for_dump()?;
        if files.last() != Some(&dump) {
            files.push(dump);
        }
    }
    let packets: Vec<usize> = files
        .iter()
        .zip([THERE + BACK, THERE + BACK, BACK])
        .map(|(file, packets)| Ok(pcap::wait_for(file, packets, PATIENCE)?.records.len()))
        .collect::<Result<_>>()?;
    assert_eq!(packets, [THERE + BACK, THERE + BACK, BACK], "{files:#?}");
    Ok(())
}

#[test]
fn the_dump_is_where_the_sentence_says_and_tcpdump_reads_it() -> Result<()> {
    let scene = Scene::bridge(2)?;
    run(&scene, "polycubectl packetcapture add sniffer capture=bidirectional");
    assert_eq!(run(&scene, "polycubectl sniffer show dump"), "no packets captured\n", "before it is attached");
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    assert_eq!(run(&scene, "polycubectl sniffer show dump"), "no packets captured\n", "before the first packet");
    traffic(&scene)?;
    scene.captured()?;

    let sentence = run(&scene, "polycubectl sniffer show dump");
    let path = path_in(&sentence).context("packets were captured")?;
    assert_eq!(path.parent(), Some(scene.daemon.capture_dir().as_path()));
    let name = path.file_name().and_then(|name| name.to_str()).context("a name in UTF-8")?;
    let digits: String = name.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(digits, "sniffer-99999999T999999Z.pcap", "{name}");
    let mode = fs::metadata(path)?.permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "a capture is not readable by all users");

    let lines = pcap::tcpdump(path)?.context("tcpdump is missing: install it")?;
    assert_eq!(lines.len(), THERE + BACK, "{lines:#?}");
    for (len, count) in [(THERE_LEN, THERE), (BACK_LEN, BACK)] {
        let text = format!("length {len}: 198.18.0.1.4000 > 198.18.0.2.5000: UDP");
        assert_eq!(lines.iter().filter(|line| line.contains(&text)).count(), count, "{text} in {lines:#?}");
    }
    Ok(())
}

#[test]
fn the_snap_length_of_the_document_is_set_shown_and_kept() -> Result<()> {
    let scene = Scene::bridge(2)?;
    run(&scene, "polycubectl packetcapture add sniffer capture=bidirectional");
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    run(&scene, "polycubectl sniffer filters set snaplen=65535");
    assert_eq!(run(&scene, "polycubectl sniffer filters show"), format!("{UNSET}snaplen: 65535\n"));
    assert_eq!(run(&scene, "polycubectl sniffer show snaplen").trim_end(), "65535", "the two show the same setting");

    let recorder = Recorder::start(scene.peer(1))?;
    let sender = Sender::open(scene.peer(1))?;
    // With one byte more, the kernel would segment it before it leaves (net/core/dev.c, gso_features_check).
    let longest = Segments::new(&scene.flow(1, 2), 65_535 - 54, 1448, 1);
    sender.send_segments(std::slice::from_ref(&longest))?;
    recorder.wait_for(1, PATIENCE)?;
    let file = scene.captured()?;
    assert_eq!((file.snaplen, file.records[0].bytes.len()), (65535, 65535));
    compare(&file.records, &recorder.stop()?.reversed().frames, 65535)?;

    run(&scene, "polycubectl sniffer filters set snaplen=100");
    assert_eq!(run(&scene, "polycubectl sniffer filters show"), format!("{UNSET}snaplen: 100\n"));
    sender.send_segments(&[longest])?;
    let records = scene.captured()?.records;
    assert_eq!((records[1].bytes.len(), records[1].orig_len), (100, 65535));
    Ok(())
}

/// Runs a line that sets one filter, and sends frames from, to and within the document's prefix, with port 80 at either
/// end, both or none, over two protocols: only those that `fit` are captured.
#[track_caller]
fn check_filter(line: &str, shown: &str, fit: impl Fn(&Flow, Protocol) -> bool) -> Result<()> {
    let scene = Scene::bridge(2)?;
    run(&scene, "polycubectl packetcapture add sniffer capture=bidirectional");
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    run(&scene, line);
    let settings = run(&scene, "polycubectl sniffer filters show");
    assert!(settings.lines().any(|setting| setting == shown), "{settings}");
    assert_eq!(settings.matches(": unset\n").count(), 4, "{settings}");

    let (mut frames, mut expected) = (Vec::new(), Vec::new());
    for (from, to) in [("10.10.10.77", "10.10.10.78"), ("10.10.10.77", "10.9.0.1"), ("10.9.0.1", "10.10.10.77")] {
        for (sport, dport) in [(80, 80), (80, 4000), (4000, 80), (4000, 4000)] {
            for kind in [Protocol::Udp, Protocol::Tcp] {
                let mut flow = scene.flow(1, 2).with_ips(from, to);
                (flow.from.port, flow.to.port) = (sport, dport);
                frames.push(flow.frame(kind, THERE_LEN, frames.len() as u32));
                expected.extend(fit(&flow, kind).then(|| frames.len() - 1));
            }
        }
    }
    let recorder = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&frames)?;
    recorder.wait_for(frames.len(), PATIENCE)?;
    assert!(recorder.stop()?.frames.iter().map(|seen| &seen.bytes).eq(&frames), "{line}: not all passed unchanged");
    let records = scene.captured()?.records;
    let numbers: Vec<_> = records.iter().filter_map(|record| sequence_of(&record.bytes)).collect();
    assert_eq!(numbers, expected.iter().map(|number| *number as u32).collect::<Vec<_>>(), "{line}");
    assert!(records.iter().zip(expected).all(|(record, number)| record.bytes == frames[number]), "{line}");
    Ok(())
}

#[test]
fn each_filter_of_the_document_takes_what_it_names() -> Result<()> {
    let inside = |ip: IpAddr| ip.to_string().starts_with("10.10.10.");
    let set = "polycubectl sniffer filters set";
    check_filter(&format!("{set} src=10.10.10.10/24"), "src: 10.10.10.10/24", |flow, _| inside(flow.from.ip))?;
    check_filter(&format!("{set} dst=10.10.10.10/24"), "dst: 10.10.10.10/24", |flow, _| inside(flow.to.ip))?;
    check_filter(&format!("{set} sport=80"), "sport: 80", |flow, _| flow.from.port == 80)?;
    check_filter(&format!("{set} dport=80"), "dport: 80", |flow, _| flow.to.port == 80)?;
    check_filter(&format!("{set} l4proto=tcp"), "l4proto: tcp", |_, kind| kind == Protocol::Tcp)
}

/// The document says that the service does not run when `off`, so it must cost nothing.
#[test]
fn off_takes_the_programs_off_the_port() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let attached = || Ok::<_, anyhow::Error>(programs_attached(scene.lab.host(), "veth1")?.len());
    assert_eq!(attached()?, 1, "the bridge's root, ingress");
    run(&scene, "polycubectl packetcapture add sniffer capture=off");
    run(&scene, "polycubectl attach sniffer br1:toveth1");
    assert_eq!(attached()?, 1);
    run(&scene, "polycubectl sniffer set capture=bidirectional");
    assert_eq!(attached()?, 2, "and a root at egress");
    run(&scene, "polycubectl sniffer set capture=off");
    assert_eq!(attached()?, 1);
    Ok(())
}
