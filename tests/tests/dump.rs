//! Do a capture's packets reach its followers whole and at once: in files, through pipes, as lines?

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polycube_tests::capture::Direction;
use polycube_tests::daemon::binary_dir;
use polycube_tests::pcap::{self, Format, Record};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const FRAMES: u32 = 200;

fn scene() -> Result<Scene> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    Ok(scene)
}

/// `polycubectl` with these words, its output in pipes.
fn ctl(scene: &Scene, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary_dir()?.join("polycubectl"));
    command.args(words).current_dir("/").env("HOME", "/nowhere");
    command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Starts it, and waits until the daemon shows its reader.
fn follow(scene: &Scene, command: &mut Command) -> Result<Child> {
    let child = command.spawn()?;
    eventually("a reader", || Ok(scene.get("sniffer/streams")?.as_array().is_some_and(|readers| !readers.is_empty())))?;
    Ok(child)
}

/// Sends frames through the port, and returns them.
fn send(scene: &Scene, count: u32) -> Result<Vec<Vec<u8>>> {
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, count);
    Sender::open(scene.peer(1))?.send(&frames)?;
    Ok(frames)
}

fn bytes(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(|record| record.bytes.as_slice()).collect()
}

/// Ends it as Ctrl-C does; returns what it printed on stderr.
fn interrupt(child: Child) -> Result<String> {
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    Ok(stderr)
}

#[test]
fn what_is_followed_into_a_file_is_what_passed() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    for (name, format) in
        [("pcap", Format::PcapMicroseconds), ("pcap-nanos", Format::PcapNanoseconds), ("pcapng", Format::Pcapng)]
    {
        let path = directory.path().join(name);
        let words = ["sniffer", "dump", "--follow", "--format", name, "-w", path.to_str().context("UTF-8")?];
        let child = follow(&scene, &mut ctl(&scene, &words)?)?;
        let frames = send(&scene, FRAMES)?;
        eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == frames.len())))?;
        let summary = interrupt(child)?;
        assert!(summary.starts_with("200 packets, 20 kB in ") && summary.contains(", 0 dropped: "), "{summary}");
        let file = pcap::read(&path)?;
        let last = file.metadata.statistics.last().map(|last| (last.delivered, last.dropped, last.packets_before));
        assert_eq!(last, (format == Format::Pcapng).then_some((u64::from(FRAMES), 0, FRAMES as usize)), "{name}");
        assert_eq!((file.format, bytes(&file.records)), (format, frames.iter().map(Vec::as_slice).collect()));
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
        let again = scene.daemon.ctl_words(&words).one_line(74);
        assert!(again.ends_with("already exists: choose another name, or give --force to overwrite it"), "{again}");
        eventually("no reader", || Ok(scene.get("sniffer/streams")?.as_array().is_some_and(Vec::is_empty)))?;
    }
    Ok(())
}

#[test]
fn what_ends_by_itself_ends_with_statistics() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("three.pcapng");
    let words = ["sniffer", "dump", "--follow", "-c", "3", "-w", path.to_str().context("UTF-8")?];
    let child = follow(&scene, &mut ctl(&scene, &words)?)?;
    send(&scene, FRAMES)?;
    assert!(child.wait_with_output()?.status.success());
    let file = pcap::read(&path)?;
    let last = file.metadata.statistics.last().context("no statistics at the end")?;
    assert_eq!((file.records.len(), last.delivered, last.packets_before), (3, 3, 3));
    Ok(())
}

/// The kernel records directions if the cube's own format has them.
#[test]
fn directions_are_those_of_the_port() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional format=pcapng");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("o.pcapng");
    let words = ["sniffer", "dump", "--follow", "-w", path.to_str().context("UTF-8")?];
    let dump = follow(&scene, &mut ctl(&scene, &words)?)?;
    let mut watch = ctl(&scene, &["sniffer", "watch"])?.spawn()?;
    eventually("two readers", || {
        Ok(scene.get("sniffer/streams")?.as_array().is_some_and(|readers| readers.len() == 2))
    })?;
    send(&scene, 10)?;
    let lines = BufReader::new(watch.stdout.take().context("stdout is a pipe")?).lines().take(10);
    for line in lines {
        let line = line?;
        assert!(line.contains(" in  198.18.0.1:"), "{line}");
    }
    eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 10)))?;
    assert!(pcap::read(&path)?.records.iter().all(|record| record.direction == Some(Direction::In)));
    interrupt(dump)?;
    interrupt(watch)?;
    Ok(())
}

#[test]
fn the_ending_of_a_name_chooses_pcapng_and_refuses_a_directory() -> Result<()> {
    let scene = scene()?;
    let place = tempfile::tempdir()?;
    send(&scene, FRAMES)?;
    for (name, flags, format) in [
        ("o.pcapng", &[][..], Format::Pcapng),
        ("o.pcap", &[], Format::PcapMicroseconds),
        ("given.pcapng", &["--format", "pcap-nanos"], Format::PcapNanoseconds),
    ] {
        let path = place.path().join(name);
        let words = [&["sniffer", "dump", "-w", path.to_str().context("UTF-8")?], flags].concat();
        scene.daemon.ctl_words(&words).ok();
        assert_eq!((pcap::read(&path)?.format, pcap::read(&path)?.records.len()), (format, FRAMES as usize), "{name}");
    }
    let directory = place.path().to_str().context("UTF-8")?;
    for words in [&["sniffer", "dump", "-w", directory][..], &["sniffer", "dump", "--force", "-w", directory]] {
        let refusal = scene.daemon.ctl_words(words).one_line(74);
        assert!(refusal.ends_with("is a directory: give the name of a file in it"), "{refusal}");
    }
    Ok(())
}

#[test]
fn what_was_captured_so_far_is_written_without_waiting() -> Result<()> {
    let scene = scene()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("so far.pcap");
    let frames = send(&scene, FRAMES)?;
    scene.captured()?;
    let output = scene.daemon.ctl_words(&["sniffer", "dump", "-w", path.to_str().context("UTF-8")?]);
    assert!(output.code == Some(0) && output.stdout.is_empty() && output.stderr.starts_with("200 packets"), "{output}");
    assert_eq!(bytes(&pcap::read(&path)?.records), frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_pipe_gets_each_packet_as_it_arrives() -> Result<()> {
    let scene = scene()?;
    let mut child = follow(&scene, &mut ctl(&scene, &["sniffer", "dump", "-w", "-", "--follow", "--format", "pcap"])?)?;
    let mut stdout = child.stdout.take().context("stdout is a pipe")?;
    let mut header = [0; 24];
    stdout.read_exact(&mut header)?;
    for _ in 0..3 {
        let frame = send(&scene, 1)?.remove(0);
        let sent = Instant::now();
        let mut record = [0; 16 + 100];
        stdout.read_exact(&mut record)?;
        assert_eq!(record[16..], frame);
        // It should arrive at once, but the machine may be busy.
        assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
    }
    interrupt(child)?;
    Ok(())
}

#[test]
fn a_reader_that_stops_ends_it_quietly() -> Result<()> {
    let scene = scene()?;
    for words in [&["sniffer", "dump", "--follow"][..], &["sniffer", "watch"]] {
        let mut child = follow(&scene, &mut ctl(&scene, words)?)?;
        drop(child.stdout.take());
        eventually("the end, without a packet", || Ok(child.try_wait()?.is_some()))?;
        let output = child.wait_with_output()?;
        assert_eq!((output.status.code(), String::from_utf8(output.stderr)?.as_str()), (Some(0), ""), "{words:?}");
    }
    Ok(())
}

#[test]
fn tcpdump_reads_along() -> Result<()> {
    let scene = scene()?;
    let mut child = follow(&scene, &mut ctl(&scene, &["sniffer", "dump", "-w", "-", "--follow"])?)?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    // A copy of the pipe in the command would keep it open, and hide that its reader is gone.
    let tcpdump = Command::new("tcpdump")
        .args(["-nn", "-c", "5", "-r", "-"])
        .stdin(stdout)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start tcpdump: apt install tcpdump")?;
    send(&scene, FRAMES)?;
    let output = tcpdump.wait_with_output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout)?.lines().count(), 5);
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn watch_shows_a_line_for_each_packet() -> Result<()> {
    let scene = scene()?;
    let mut child = follow(&scene, &mut ctl(&scene, &["sniffer", "watch"])?)?;
    let lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
    send(&scene, FRAMES)?;
    let lines = lines.take(FRAMES as usize).collect::<Result<Vec<_>, _>>()?;
    for line in &lines {
        let (_, what) = line.split_once(' ').context("a time at the start")?;
        assert_eq!(what, "198.18.0.1:4000 > 198.18.0.2:5000 UDP, 100 bytes");
    }
    assert!(interrupt(child)?.starts_with("200 packets"));
    Ok(())
}

/// Both ends of a pseudoterminal.
fn terminal() -> Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = OpenOptions::new().read(true).write(true).open(Path::new(name.to_str()?))?;
    Ok((ours.into(), theirs.into()))
}

#[test]
fn a_terminal_gets_a_live_line_and_no_binary() -> Result<()> {
    let scene = scene()?;
    let (_ours, theirs) = terminal()?;
    let refused = ctl(&scene, &["sniffer", "dump", "--follow"])?.stdout(theirs).output()?;
    let stderr = String::from_utf8(refused.stderr)?;
    assert_eq!((refused.status.code(), stderr.lines().count()), (Some(64), 1), "{stderr}");
    assert!(stderr.contains("-w FILE"), "{stderr}");

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("live.pcap");
    let (mut ours, theirs) = terminal()?;
    let words = ["sniffer", "dump", "--follow", "-w", path.to_str().context("UTF-8")?];
    let child = follow(&scene, ctl(&scene, &words)?.stderr(theirs))?;
    send(&scene, FRAMES)?;
    let mut shown = String::new();
    let mut piece = [0; 4096];
    while !shown.contains("200 packets, ") {
        let mut ready = [PollFd::new(&ours, PollFlags::IN)];
        poll(&mut ready, Some(&PATIENCE.try_into()?))?;
        assert!(ready[0].revents().contains(PollFlags::IN), "nothing follows {shown:?}");
        let length = ours.read(&mut piece)?;
        shown.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    assert!(shown.contains("\r\u{1b}[K") && shown.contains(" a second, 0 dropped"), "{shown:?}");
    interrupt(child)?;
    Ok(())
}

#[test]
fn what_cannot_be_dumped_is_refused() -> Result<()> {
    let scene = scene()?;
    for (words, expected) in [
        (&["nobody", "dump", "--follow"][..], "nobody"),
        (&["br1", "dump", "--follow"], "br1"),
        (&["sniffer", "dump", "--format", "erf"], "`format` is one of pcap, pcap-nanos, pcapng, not `erf`"),
    ] {
        let line = scene.daemon.ctl_words(words).one_line(2);
        assert!(line.contains(expected), "{line}");
    }
    Ok(())
}
