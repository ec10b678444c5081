//! Do linked cubes work like cubes on one wire, and does a deleted link leave nothing behind?

use anyhow::{Context, Result};
use polycube_tests::capture::Recorder;
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::Interface;
use polycube_tests::marks::passed;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};

/// Peer 1 at `br1`, peer 2 at `br2`, each with a port `link` that has no peer yet.
struct Site {
    scene: Scene,
}

impl Site {
    fn build() -> Result<Self> {
        let site = Self { scene: Scene::set_up().peers(2).fixtures(["marker"]).start()? };
        site.cube(1);
        site.cube(2);
        Ok(site)
    }

    fn cube(&self, number: usize) {
        self.ctl(&format!("simplebridge add br{number}"));
        self.ctl(&format!("br{number} ports add p peer=veth{number}"));
        self.ctl(&format!("br{number} ports add link"));
    }

    #[track_caller]
    fn ctl(&self, line: &str) -> String {
        self.scene.daemon.ctl(line).ok()
    }

    /// Status and peer of the port `link` of each bridge.
    fn ends(&self) -> Result<[String; 2]> {
        let end = |cube: &str| {
            let port = self.scene.get(&format!("{cube}/ports/link"))?;
            Ok::<_, anyhow::Error>(format!(
                "{} {}",
                port["status"].as_str().unwrap_or("?"),
                port["peer"].as_str().unwrap_or("?")
            ))
        };
        Ok([end("br1")?, end("br2")?])
    }

    /// The netdevs that the daemon has created.
    fn pairs(&self) -> Result<Vec<String>> {
        let mut found = self.scene.lab.host().interfaces()?;
        found.retain(|name| name.starts_with("pcn"));
        found.sort();
        Ok(found)
    }
}

const UP: [&str; 2] = ["UP br2:link", "UP br1:link"];

#[test]
fn connect_links_and_disconnect_unlinks() -> Result<()> {
    let site = Site::build()?;
    site.ctl("connect br1:link br2:link");
    assert_eq!(site.ends()?, UP);
    assert_eq!(site.pairs()?.len(), 2);
    assert_eq!((passed(&site.scene, 1, 2)?, passed(&site.scene, 2, 1)?), (String::new(), String::new()));
    let refused = site.scene.daemon.ctl("connect br1:link br2:link").one_line(2);
    assert!(refused.contains("br1:link already has a peer, br2:link"), "{refused}");
    site.ctl("disconnect br2:link br1:link");
    assert_eq!(site.ends()?, ["DOWN ", "DOWN "]);
    assert_eq!(site.pairs()?, [""; 0]);
    let refused = site.scene.daemon.ctl("disconnect br1:link br2:link").one_line(2);
    assert!(refused.contains("br1:link is not connected to br2:link"), "{refused}");
    Ok(())
}

#[test]
fn chains_work_at_both_ends() -> Result<()> {
    let site = Site::build()?;
    for (marker, point) in [("a", "br1:link"), ("b", "br1:link"), ("x", "br2:link"), ("y", "br2:link")] {
        site.ctl(&format!("marker add {marker} mark={}", marker.as_bytes()[0]));
        site.ctl(&format!("attach {marker} {point}"));
    }
    site.ctl("connect br1:link br2:link");
    assert_eq!((passed(&site.scene, 1, 2)?, passed(&site.scene, 2, 1)?), ("abyx".to_owned(), "xyba".to_owned()));
    site.ctl("detach a br1:link");
    site.ctl("attach a br2:link position=first");
    assert_eq!((passed(&site.scene, 1, 2)?, passed(&site.scene, 2, 1)?), ("byxa".to_owned(), "axyb".to_owned()));
    Ok(())
}

/// A port waits for its peer until that port names it in turn.
#[test]
fn both_sides_must_name_each_other() -> Result<()> {
    let site = Site::build()?;
    site.ctl("br1 ports link set peer=br2:link");
    assert_eq!(site.ends()?, ["DOWN br2:link", "DOWN "]);
    assert_eq!(site.pairs()?, [""; 0]);
    site.ctl("br2 ports link set peer=br1:link");
    assert_eq!(site.ends()?, UP);
    passed(&site.scene, 1, 2)?;
    site.ctl("del br2");
    assert_eq!(site.scene.get("br1/ports/link")?["status"], "DOWN");
    assert_eq!(site.pairs()?, [""; 0]);
    site.cube(2);
    site.ctl("connect br1:link br2:link");
    assert_eq!(site.ends()?, UP);
    passed(&site.scene, 2, 1)?;
    site.ctl("br2 ports del link");
    assert_eq!(site.pairs()?, [""; 0]);
    site.ctl("br2 ports add link peer=br1:link");
    assert_eq!(site.ends()?, UP);
    passed(&site.scene, 2, 1)?;
    Ok(())
}

#[test]
fn a_link_does_not_limit_the_size_of_frames() -> Result<()> {
    let site = Site::build()?;
    site.ctl("connect br1:link br2:link");
    site.scene.set_mtu(9000)?;
    let recorder = Recorder::start(site.scene.peer(2))?;
    Sender::open(site.scene.peer(1))?.send(&site.scene.flow(1, 2).frames(Protocol::Udp, 9014, 4))?;
    recorder.wait_for(4, PATIENCE)?;
    assert!(recorder.stop()?.frames.iter().all(|frame| frame.bytes.len() == 9014));
    Ok(())
}

/// Only the two cubes send on a link.
#[test]
fn a_quiet_link_is_silent() -> Result<()> {
    let site = Site::build()?;
    site.ctl("packetcapture add sniffer capture=bidirectional");
    site.ctl("attach sniffer br1:link");
    site.ctl("connect br1:link br2:link");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(site.scene.counter("captured")?, 0);
    Ok(())
}

#[test]
fn a_link_that_is_deleted_by_hand_is_created_again() -> Result<()> {
    let site = Site::build()?;
    site.ctl("connect br1:link br2:link");
    let index = || Ok::<_, anyhow::Error>(Interface::find(site.scene.lab.host(), &site.pairs()?[0])?.index());
    let before = index()?;
    Interface::find(site.scene.lab.host(), &site.pairs()?[1])?.delete()?;
    eventually("another pair", || Ok(site.pairs()?.len() == 2 && index()? != before))?;
    let host = site.scene.lab.host();
    let is_wired = |end: &String| Ok::<_, anyhow::Error>(!programs_attached(host, end)?.is_empty());
    eventually("both ends to be wired", || {
        Ok(site.pairs()?.iter().map(is_wired).collect::<Result<Vec<_>>>()? == [true; 2])
    })?;
    eventually("both ends to be up", || Ok(site.ends()? == UP))?;
    passed(&site.scene, 1, 2)?;
    Ok(())
}

#[test]
fn no_pair_outlives_the_daemon() -> Result<()> {
    let mut site = Site::build()?;
    site.ctl("connect br1:link br2:link");
    site.scene.daemon.kill9()?;
    assert_eq!(site.pairs()?.len(), 2, "a killed daemon cannot delete them");
    site.scene.daemon.restart()?;
    assert_eq!(site.pairs()?, [""; 0]);
    site.cube(1);
    site.cube(2);
    site.ctl("connect br1:link br2:link");
    passed(&site.scene, 1, 2)?;
    site.scene.daemon.terminate()?;
    assert_eq!(site.pairs()?, [""; 0]);
    Ok(())
}

#[test]
fn links_that_make_no_sense_are_refused() -> Result<()> {
    let site = Site::build()?;
    site.ctl("connect br1:link br2:link");
    site.ctl("br1 ports add spare");
    site.ctl("marker add a");
    let pairs = site.pairs()?;
    let before = site.scene.daemon.snapshot()?;
    for (line, reason) in [
        ("connect br1:spare br1:p", "br1:p already has a peer, veth1"),
        ("connect br1:spare br2:link", "br2:link already has a peer, br1:link"),
        ("connect br1:spare br1:spare", "cannot be linked to itself"),
        ("br1 ports spare set peer=br1:spare", "cannot be linked to itself"),
        ("br1 ports spare set peer=br2:nothing", "port `nothing` of cube `br2` does not exist"),
        ("br1 ports spare set peer=br3:p", "cube `br3` does not exist"),
        ("br1 ports spare set peer=a:p", "cube `a` (service marker) is transparent and has no ports"),
        ("br1 ports spare set peer=PAIR", "is the daemon's own, the link at br1:link: name the port"),
        ("connect br1:spare PAIR", "is the daemon's own"),
        ("attach a PAIR", "is the daemon's own"),
        ("disconnect br1:link veth1", "br1:link is not connected to veth1"),
    ] {
        let refusal = site.scene.daemon.ctl(&line.replace("PAIR", &pairs[0])).one_line(2);
        assert!(refusal.contains(reason), "{line}: {refusal}");
        assert_eq!(site.scene.daemon.snapshot()?, before, "{line}");
    }
    assert_eq!(site.pairs()?, pairs);
    Ok(())
}

/// As a kernel bridge refuses them. Loopback frames do have Ethernet headers, and observing them does no harm.
#[test]
fn netdevs_without_frames_for_a_bridge_are_refused() -> Result<()> {
    let site = Site::build()?;
    let made = site.scene.lab.host().command("ip").args(["tuntap", "add", "dev", "tun0", "mode", "tun"]).status();
    assert!(made.context("ip is missing: install iproute2")?.success());
    site.ctl("packetcapture add sniffer capture=bidirectional");
    let before = site.scene.daemon.snapshot()?;
    let (bare, loopback) = ("netdev `tun0` has no Ethernet headers", "netdev `lo` is the host's loopback");
    for (line, reason) in [
        ("br1 ports link set peer=tun0", bare),
        ("connect br1:link tun0", bare),
        ("attach sniffer tun0", "`tun0` has packets without Ethernet headers"),
        ("br1 ports link set peer=lo", loopback),
        ("connect br1:link lo", loopback),
    ] {
        let refusal = site.scene.daemon.ctl(line).one_line(2);
        assert!(refusal.contains(reason), "{line}: {refusal}");
        assert_eq!(site.scene.daemon.snapshot()?, before, "{line}");
    }
    site.ctl("attach sniffer lo");
    Ok(())
}
