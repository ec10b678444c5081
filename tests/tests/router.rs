//! Can a plugin be a router by the slow path alone: answer ARP and pings, ask for neighbours, and send out of its ports?

use anyhow::{Context as _, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{ping, tcp_transfer};

/// A router between two peers in two networks.
fn router() -> Result<Scene> {
    let scene = Scene::set_up().peers(2).fixtures(["router"]).start()?;
    for line in [
        "router add r1",
        "r1 ports add left peer=veth1",
        "r1 ports add right peer=veth2",
        "r1 interface add left ip=10.8.1.254 mac=1",
        "r1 interface add right ip=10.8.2.254 mac=2",
    ] {
        scene.daemon.ctl(line).ok();
    }
    for (number, route) in [(1, "10.8.2.0/24"), (2, "10.8.1.0/24")] {
        scene.peer(number).add_address(&format!("10.8.{number}.1/24"))?;
        let via = format!("10.8.{number}.254");
        let status = scene.namespace(number).command("ip").args(["route", "add", route, "via", &via]).status()?;
        assert!(status.success());
    }
    Ok(scene)
}

fn counted(scene: &Scene, name: &str) -> Result<u64> {
    let state = scene.get("r1")?;
    state[name].as_u64().with_context(|| format!("no {name} in {state}"))
}

#[test]
fn it_answers_arp_and_pings_and_forwards_between_networks() -> Result<()> {
    let scene = router()?;
    ping(scene.namespace(1), "10.8.1.254".parse()?)?;
    ping(scene.namespace(2), "10.8.2.254".parse()?)?;
    // The first packet waits for the neighbour's address.
    ping(scene.namespace(1), "10.8.2.1".parse()?)?;
    ping(scene.namespace(2), "10.8.1.1".parse()?)?;
    // With segments that are still to be cut, and checksums that are still to be computed.
    tcp_transfer(scene.namespace(1), scene.namespace(2), "10.8.2.1".parse()?, 5_000_000)?;
    assert_eq!(counted(&scene, "unsent")?, 0);
    Ok(())
}

#[test]
fn what_it_sends_passes_the_cubes_of_the_port() -> Result<()> {
    let scene = router()?;
    for line in ["packetcapture add sniffer capture=egress", "attach sniffer r1:left"] {
        scene.daemon.ctl(line).ok();
    }
    ping(scene.namespace(1), "10.8.1.254".parse()?)?;
    // The answers to ARP and to the ping.
    eventually("captured answers", || Ok(scene.counter("captured")? >= 2))?;
    scene.daemon.ctl("transparenthelloworld add wall egress-action=DROP").ok();
    scene.daemon.ctl("attach wall r1:left position=last").ok();
    assert!(ping(scene.namespace(1), "10.8.1.254".parse()?).is_err());
    Ok(())
}

#[test]
fn a_frame_that_cannot_be_sent_is_refused_in_one_line() -> Result<()> {
    let scene = router()?;
    scene.daemon.ctl("r1 ports del right").ok();
    scene.daemon.ctl("r1 ports add idle").ok();
    for (input, expected) in [
        ("port=0 length=13", "a frame of 13 bytes cannot be sent: it takes 14 to 65557"),
        ("port=0 length=0", "a frame of 0 bytes cannot be sent"),
        ("port=0 length=65558", "a frame of 65558 bytes cannot be sent"),
        ("port=1 length=60", "no packet can leave by the port with id 1: it does not exist, or has no peer"),
        ("port=1 length=60 into=true", "no packet can leave by the port with id 1"),
        ("port=127 length=60", "no packet can leave by the port with id 127"),
        ("port=4294967295 length=60", "no packet can leave by the port with id 4294967295"),
    ] {
        let said = scene.daemon.ctl(&format!("r1 send {input}")).one_line(2);
        assert!(said.contains(expected), "{input}: {said}");
    }
    // Longer than the netdev takes: the kernel finds that, and counts it.
    scene.daemon.ctl("r1 send port=0 length=1515").ok();
    assert_eq!((counted(&scene, "too-long")?, counted(&scene, "sent")?), (1, 0));
    let recorder = Recorder::start(scene.peer(1))?;
    scene.daemon.ctl("r1 send port=0 length=1514").ok();
    recorder.wait_for(1, PATIENCE)?;
    let lengths: Vec<usize> = recorder.stop()?.going(Direction::In).iter().map(|frame| frame.bytes.len()).collect();
    assert!(lengths.contains(&1514), "{lengths:?}");
    assert_eq!((counted(&scene, "too-long")?, counted(&scene, "sent")?), (1, 1));
    Ok(())
}

#[test]
fn a_frame_that_is_sent_into_a_port_comes_in_there() -> Result<()> {
    let scene = router()?;
    for line in ["packetcapture add sniffer capture=ingress", "attach sniffer r1:left"] {
        scene.daemon.ctl(line).ok();
    }
    scene.daemon.ctl("r1 send port=0 length=60 into=true").ok();
    eventually("a captured frame", || Ok(scene.counter("captured")? == 1))
}
