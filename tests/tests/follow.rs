//! When netdevs appear, disappear or are renamed, does whatever cannot follow delay nothing else, and does it follow as
//! soon as it can?

use std::fs;

use anyhow::{Context, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::lab::Interface;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender};

#[track_caller]
fn ip(scene: &Scene, words: &str) {
    let status = scene.lab.host().command("ip").args(words.split(' ')).status();
    assert!(status.expect("ip is missing: install iproute2").success(), "ip {words}");
}

fn text(scene: &Scene, path: &str, key: &str) -> Result<String> {
    let found = scene.get(path)?;
    Ok(found[key].as_str().unwrap_or_default().to_owned())
}

fn status(scene: &Scene, port: &str) -> Result<String> {
    text(scene, &format!("br1/ports/{port}"), "status")
}

/// Asserts that the frames of a flow arrive at peer 1.
fn arrives(scene: &Scene, from: &Interface) -> Result<()> {
    let recorder = Recorder::start(scene.peer(1))?;
    Sender::open(from)?.send(&Flow::between(from, scene.peer(1)).frames(Protocol::Udp, 100, 5))?;
    recorder.wait_for(5, PATIENCE)?;
    assert_eq!(recorder.stop()?.going(Direction::In).len(), 5);
    Ok(())
}

/// While a netdev is away, its chain can grow beyond the limit.
#[test]
fn a_chain_that_is_too_long_when_its_netdev_returns_delays_nothing_else() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let ctl = |line: &str| scene.daemon.ctl(line).ok();
    scene.host(2).clone().delete()?;
    eventually("the port to be down", || Ok(status(&scene, "toveth2")? == "DOWN"))?;
    for number in 0..34 {
        ctl(&format!("packetcapture add c{number} capture=ingress ring-size=1"));
        ctl(&format!("attach c{number} br1:toveth2"));
    }
    let wire = scene.lab.veth("veth2", scene.namespace(2), "eth0")?;
    let reason = "port toveth2 is left down: the ingress chain on veth2 would have 35 programs";
    eventually("the reason", || Ok(text(&scene, "br1", "failure")?.contains(reason)))?;
    assert_eq!(status(&scene, "toveth2")?, "DOWN");
    let reports = scene.daemon.log().lines().filter(|line| line.contains("left alone, and tried again")).count();
    assert_eq!(reports, 1, "{}", scene.daemon.log());

    ctl("simplebridge add br2");
    ctl("c0 set loglevel=debug");
    ctl("packetcapture add one-more capture=ingress");
    let line = scene.daemon.ctl("attach one-more br1:toveth2").one_line(2);
    assert!(line.contains("would have 36 programs"), "{line}");
    ctl("detach c0 br1:toveth2");
    assert_eq!(status(&scene, "toveth2")?, "DOWN", "still one program too many");
    ctl("detach c1 br1:toveth2");
    eventually("the port to be up", || Ok(status(&scene, "toveth2")? == "UP"))?;
    arrives(&scene, &wire.peer)?;
    assert_eq!(text(&scene, "br1", "failure")?, "");
    assert_eq!(scene.get("c33/counters")?["captured"], 5);
    Ok(())
}

#[test]
fn a_capture_that_cannot_start_again_delays_nothing_else() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let ctl = |line: &str| scene.daemon.ctl(line).ok();
    let directory = scene.daemon.capture_dir().join("away");
    fs::create_dir(&directory)?;
    let dump = directory.join("dump").display().to_string();
    ctl(&format!("packetcapture add sniffer capture=bidirectional dump={dump}"));
    ctl("attach sniffer br1:toveth2");
    scene.host(2).clone().delete()?;
    eventually("the port to be down", || Ok(status(&scene, "toveth2")? == "DOWN"))?;
    fs::remove_dir_all(&directory)?;

    let wire = scene.lab.veth("veth2", scene.namespace(2), "eth0")?;
    eventually("the port to be up", || Ok(status(&scene, "toveth2")? == "UP"))?;
    arrives(&scene, &wire.peer)?;
    let failure = text(&scene, "sniffer", "failure")?;
    assert!(failure.contains("left as it was before") && failure.contains("cannot be written"), "{failure}");
    ctl("simplebridge add br2");
    ctl("br1 set loglevel=debug");

    ip(&scene, "link set veth2 name lan0");
    eventually("the new name", || Ok(text(&scene, "br1/ports/toveth2", "peer")? == "lan0"))?;
    ctl("br1 fdb set aging-time=20");
    assert_eq!(status(&scene, "toveth2")?, "UP");
    arrives(&scene, &wire.peer)?;

    fs::create_dir(&directory)?;
    eventually("the capture to follow", || Ok(text(&scene, "sniffer", "failure")?.is_empty()))?;
    arrives(&scene, &wire.peer)?;
    assert_eq!(scene.counter("captured")?, 5);
    Ok(())
}

#[test]
fn another_device_with_a_peers_name_is_not_the_peer() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth2").ok();
    scene.host(2).clone().delete()?;
    eventually("the port to be down", || Ok(status(&scene, "toveth2")? == "DOWN"))?;
    ip(&scene, "tuntap add dev veth2 mode tun");
    let reason = "port toveth2 is left down: netdev `veth2` has no Ethernet headers";
    eventually("the reason", || Ok(text(&scene, "br1", "failure")?.contains(reason)))?;
    assert_eq!(status(&scene, "toveth2")?, "DOWN");
    scene.daemon.ctl("simplebridge add br2").ok();
    ip(&scene, "tuntap del dev veth2 mode tun");
    let wire = scene.lab.veth("veth2", scene.namespace(2), "eth0")?;
    eventually("the port to be up", || Ok(status(&scene, "toveth2")? == "UP"))?;
    arrives(&scene, &wire.peer)?;
    assert_eq!((text(&scene, "br1", "failure")?, scene.counter("captured")?), (String::new(), 5));
    Ok(())
}

#[test]
fn what_a_change_asks_for_is_not_deferred() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let nowhere = scene.daemon.capture_dir().join("nowhere/dump").display().to_string();
    scene.daemon.ctl(&format!("packetcapture add sniffer capture=bidirectional dump={nowhere}")).ok();
    let before = scene.daemon.snapshot().context("before")?;
    let line = scene.daemon.ctl("attach sniffer br1:toveth2").one_line(2);
    assert!(line.contains("cannot be written"), "{line}");
    assert_eq!(scene.daemon.snapshot()?, before);
    Ok(())
}
