//! Do readers of packets learn why none come, and that the daemon has ended? Do streams end after a number of packets?

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::pcap::{self, Format};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};

/// A follower of the sniffer.
struct Follower {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Follower {
    fn start(scene: &Scene, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary_dir()?.join("polycubectl"));
        command.args(words).current_dir("/").env("HOME", "/nowhere");
        command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("stderr is a pipe")?).lines();
        Ok(Self { child, stderr })
    }

    /// The next line on stderr.
    fn says(&mut self) -> Result<String> {
        Ok(self.stderr.next().context("stderr is closed")??)
    }

    fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

fn send(scene: &Scene, count: u32) -> Result<()> {
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, count))?;
    Ok(())
}

#[test]
fn a_follower_learns_at_once_why_no_packets_come() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let ctl = |line: &str| scene.daemon.ctl(line).ok();
    ctl("packetcapture add sniffer");
    let watch = ["sniffer", "watch"];
    let dump = ["sniffer", "dump", "--follow", "-w", "-"];
    for (change, status, way) in [
        ("sniffer set capture=off", "off", "; sniffer set capture=bidirectional switches it on"),
        ("sniffer set capture=bidirectional", "attached nowhere", "; attach sniffer PLACE attaches it"),
        ("attach sniffer veth9", "waiting for a netdev at veth9", ""),
    ] {
        if change.starts_with("attach") {
            let gone = scene.lab.veth("veth9", scene.namespace(2), "eth9")?;
            ctl(change);
            gone.host.delete()?;
            eventually("the netdev to be gone", || Ok(scene.status()? == status))?;
        } else {
            ctl(change);
        }
        assert_eq!(scene.status()?, status);
        for words in [&watch[..], &dump] {
            let begun = Instant::now();
            let mut follower = Follower::start(&scene, words)?;
            assert_eq!(follower.says()?, format!("polycubectl: no packets come for now: sniffer is {status}{way}"));
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            assert_eq!(follower.child.try_wait()?, None, "it goes on waiting");
            follower.end()?;
        }
    }
    Ok(())
}

#[test]
fn a_follower_learns_that_the_port_goes_and_comes() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let mut follower = Follower::start(&scene, &["sniffer", "watch"])?;
    eventually("a reader", || Ok(!scene.readers()?.is_empty()))?;
    scene.daemon.ctl("br1 ports del toveth1").ok();
    let expected =
        "polycubectl: no packets come for now: sniffer is attached nowhere; attach sniffer PLACE attaches it";
    assert_eq!(follower.says()?, expected);
    scene.daemon.ctl("br1 ports add toveth1 peer=veth1").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    assert_eq!(follower.says()?, "polycubectl: packets can come again from sniffer");
    follower.end()
}

#[test]
fn a_daemon_that_ends_is_named_as_the_reason() -> Result<()> {
    let mut scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let mut follower = Follower::start(&scene, &["sniffer", "watch"])?;
    eventually("a reader", || Ok(!scene.readers()?.is_empty()))?;
    scene.daemon.kill9()?;
    let said = follower.says()?;
    assert!(said.starts_with("0 packets"), "{said}");
    let reason = follower.says()?;
    assert!(
        reason.ends_with("closed the connection before its answer was complete: polycubed has ended or was restarted")
    );
    assert_eq!(follower.child.wait()?.code(), Some(1));
    Ok(())
}

#[test]
fn a_stream_ends_after_the_number_of_packets() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional format=pcapng");
    let place = tempfile::tempdir()?;
    let path = |name: &str| place.path().join(name).display().to_string();
    let live = path("live.pcapng");
    let mut dump = Follower::start(&scene, &["sniffer", "dump", "--follow", "-c", "3", "-w", &live])?;
    let mut watch = Follower::start(&scene, &["sniffer", "watch", "-c", "2"])?;
    eventually("two readers", || Ok(scene.readers()?.len() == 2))?;
    send(&scene, 10)?;
    assert_eq!((dump.child.wait()?.code(), watch.child.wait()?.code()), (Some(0), Some(0)));
    assert!(dump.says()?.starts_with("3 packets") && watch.says()?.starts_with("2 packets"));

    scene.captured()?;
    let past = path("past.pcapng");
    scene.daemon.ctl_words(&["sniffer", "dump", "-c", "4", "-w", &past]).ok();
    for (name, packets) in [(live, 3), (past, 4)] {
        let file = pcap::read(name.as_ref())?;
        assert_eq!((file.format, file.records.len()), (Format::Pcapng, packets));
        let bytes = std::fs::read(&name)?;
        // The last block, of the length at its end, is an Interface Statistics Block.
        let length = u32::from_ne_bytes(*bytes.last_chunk().context("a block")?) as usize;
        assert_eq!(bytes[bytes.len() - length..][..4], 5_u32.to_ne_bytes(), "{name} has no statistics at the end");
    }
    Ok(())
}

#[test]
fn a_number_of_packets_that_is_none_is_refused() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    for packets in ["0", "-1", "x", ""] {
        let path = format!("/polycube/v1/sniffer/stream?packets={packets}");
        let answer = scene.daemon.http("GET", &path, None)?;
        ensure!(answer.status == 400, "{packets}: {}", answer.status);
        ensure!(answer.text().contains("`packets` is a number from 1"), "{}", answer.text());
    }
    Ok(())
}

#[test]
fn no_packets_wait_after_network_mode() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional networkmode=true");
    let waiting = || Ok::<_, anyhow::Error>(scene.get("sniffer/queue")?["waiting"].as_u64());
    for last in ["sniffer set networkmode=false", "sniffer set capture=off"] {
        send(&scene, 7)?;
        eventually("packets in the queue", || Ok(waiting()? == Some(7)))?;
        let before = scene.counter("dropped-queue")?;
        scene.daemon.ctl(last).ok();
        if last.ends_with("off") {
            assert_eq!(waiting()?, Some(7), "a client can still take them");
            scene.daemon.ctl("sniffer set networkmode=false").ok();
        }
        eventually("an empty queue", || Ok(waiting()? == Some(0)))?;
        assert_eq!(scene.counter("dropped-queue")?, before + 7);
        scene.balance()?;
        scene.daemon.ctl("sniffer set networkmode=true").ok();
    }
    Ok(())
}
