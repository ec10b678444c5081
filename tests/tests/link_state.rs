//! When a port's netdev loses its carrier or goes down, does the bridge say so, and does it forget who was there? And does
//! nothing else change?

use std::time::Duration;

use anyhow::{Context, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::Interface;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Endpoint, Flow, Protocol, Sender};
use serde_json::Value;

const BROADCAST: [u8; 6] = [0xff; 6];
/// The address of a station behind port 2, and the same as text.
const GUEST: [u8; 6] = [0x02, 0xaa, 0, 0, 0, 0x01];
const GUEST_TEXT: &str = "02:aa:00:00:00:01";
/// The address of a static entry.
const BOUND: &str = "02:aa:00:00:00:02";

/// Has the bridge learn the address of each peer, and that of the guest behind port 2.
fn introduce(scene: &Scene) -> Result<()> {
    let recorder = Recorder::start(scene.peer(1))?;
    for peer in 1..=3 {
        announce(scene.peer(peer), scene.peer(peer).mac())?;
    }
    announce(scene.peer(2), GUEST)?;
    recorder.wait_for(4, PATIENCE)
}

/// Sends a broadcast.
fn announce(from: &Interface, source: [u8; 6]) -> Result<()> {
    let flow = Flow::between(from, from);
    let flow = Flow { from: Endpoint { mac: source, ..flow.from }, to: Endpoint { mac: BROADCAST, ..flow.to }, ..flow };
    Sender::open(from)?.send(&[flow.frame(Protocol::Udp, 100, 0)])?;
    Ok(())
}

/// Asserts which of the peers in `watched` get the frames that peer 1 sends to the guest. A peer that is down cannot be
/// watched.
#[track_caller]
fn check_guest(scene: &Scene, watched: &[usize], expected: &[usize]) -> Result<()> {
    let record = |peer: &usize| Recorder::start(scene.peer(*peer)).map(|recorder| (*peer, recorder));
    let recorders = watched.iter().map(record).collect::<Result<Vec<_>>>()?;
    let flow = scene.flow(1, 2);
    let flow = Flow { to: Endpoint { mac: GUEST, ..flow.to }, ..flow };
    Sender::open(scene.peer(1))?.send(&flow.frames(Protocol::Udp, 100, 5))?;
    for (peer, recorder) in &recorders {
        recorder.wait_for(if expected.contains(peer) { 5 } else { 0 }, PATIENCE)?;
    }
    // A flooded frame may still be on its way to where it should not go.
    std::thread::sleep(Duration::from_millis(50));
    for (peer, recorder) in recorders {
        let arrived = recorder.stop()?.going(Direction::In).len();
        assert_eq!(arrived, if expected.contains(&peer) { 5 } else { 0 }, "at peer {peer}");
    }
    Ok(())
}

/// The addresses that are known at a port.
fn known(scene: &Scene, port: &str) -> Result<Vec<String>> {
    let fdb = scene.get("br1/fdb")?;
    let entries = fdb["entry"].as_array().with_context(|| format!("no entries in {fdb}"))?;
    let at_port = entries.iter().filter(|entry| entry["port"] == port);
    Ok(at_port.filter_map(|entry| Some(entry["address"].as_str()?.to_owned())).collect())
}

/// Status and reason of a port.
fn status(scene: &Scene, port: &str) -> Result<(String, Option<String>)> {
    let port = scene.get(&format!("br1/ports/{port}"))?;
    let text = |key: &str| port[key].as_str().map(str::to_owned);
    Ok((text("status").context("no status")?, text("reason")))
}

#[track_caller]
fn wait_until_down(scene: &Scene, reason: &str) -> Result<()> {
    let expected = (String::from("DOWN"), Some(reason.to_owned()));
    eventually(reason, || Ok(status(scene, "toveth2")? == expected))?;
    eventually("the addresses to be forgotten", || Ok(known(scene, "toveth2")? == [BOUND]))
}

#[track_caller]
fn wait_until_up(scene: &Scene) -> Result<()> {
    eventually("the port to be up", || Ok(status(scene, "toveth2")? == (String::from("UP"), None)))
}

/// A bridge with three ports that knows who is where, and a static entry at port 2.
fn set_up() -> Result<Scene> {
    let scene = Scene::bridge(3)?;
    scene.daemon.ctl(&format!("br1 fdb entry add {BOUND} port=toveth2")).ok();
    wait_until_up(&scene)?;
    introduce(&scene)?;
    assert_eq!(known(&scene, "toveth2")?.len(), 3);
    check_guest(&scene, &[2, 3], &[2])?;
    Ok(scene)
}

#[track_caller]
fn assert_others_stay(scene: &Scene) -> Result<()> {
    for port in ["toveth1", "toveth3"] {
        assert_eq!((status(scene, port)?, known(scene, port)?.len()), ((String::from("UP"), None), 1), "{port}");
    }
    Ok(())
}

#[test]
fn a_station_that_moves_after_its_link_went_down_is_reached_at_once() -> Result<()> {
    let scene = set_up()?;
    let programs = programs_attached(scene.lab.host(), "veth2")?;
    scene.peer(2).down()?;
    wait_until_down(&scene, "no-carrier")?;
    assert_others_stay(&scene)?;
    let netdev = scene.get("netdevs/veth2")?;
    assert_eq!((&netdev["status"], &netdev["reason"]), (&"DOWN".into(), &"no-carrier".into()));
    let shown = scene.daemon.ctl("topology").ok();
    assert!(shown.contains("toveth2 ─ veth2, DOWN (no carrier)"), "{shown}");

    // The guest is behind port 3 now, and has not said a word there.
    check_guest(&scene, &[3], &[3])?;
    scene.peer(2).up()?;
    wait_until_up(&scene)?;
    check_guest(&scene, &[2, 3], &[2, 3])?;
    announce(scene.peer(3), GUEST)?;
    eventually("the guest", || Ok(known(&scene, "toveth3")?.iter().any(|address| address == GUEST_TEXT)))?;
    check_guest(&scene, &[2, 3], &[3])?;
    assert_eq!(programs_attached(scene.lab.host(), "veth2")?, programs, "no program was loaded for it");
    Ok(())
}

#[test]
fn each_way_of_going_down_is_named() -> Result<()> {
    let scene = set_up()?;
    scene.host(2).down()?;
    wait_until_down(&scene, "netdev-down")?;
    assert_others_stay(&scene)?;
    scene.host(2).up()?;
    wait_until_up(&scene)?;

    introduce(&scene)?;
    scene.daemon.ctl("disconnect br1:toveth2 veth2").ok();
    wait_until_down(&scene, "no-peer")?;
    scene.daemon.ctl("connect br1:toveth2 veth2").ok();
    wait_until_up(&scene)?;

    introduce(&scene)?;
    scene.host(2).clone().delete()?;
    wait_until_down(&scene, "no-netdev")?;
    assert_others_stay(&scene)
}

/// The kernel may merge the two events into one.
#[test]
fn a_link_that_is_down_for_a_moment_only_is_noticed() -> Result<()> {
    let scene = set_up()?;
    for _ in 0..5 {
        introduce(&scene)?;
        scene.peer(2).down()?;
        scene.peer(2).up()?;
        wait_until_up(&scene)?;
        eventually("the addresses to be forgotten", || Ok(known(&scene, "toveth2")? == [BOUND]))?;
        scene.peer(2).wait_until_running()?;
    }
    assert_others_stay(&scene)
}

#[test]
fn a_capture_shows_the_state_of_its_netdev() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.daemon.ctl("packetcapture add sniffer").ok();
    scene.daemon.ctl("attach sniffer br1:toveth2").ok();
    let point = || -> Result<Value> { Ok(scene.get("sniffer/points")?[0].clone()) };
    eventually("the point to be up", || Ok(point()?["status"] == "UP"))?;
    scene.peer(2).down()?;
    eventually("the point to be down", || Ok(point()?["reason"] == "no-carrier"))?;
    assert_eq!(point()?["status"], "DOWN");
    Ok(())
}
