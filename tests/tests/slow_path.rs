//! Do packets that pass user space reach what they should, once, and in the same direction?

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::hook::programs_attached;
use polycube_tests::marks::passed;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Flow, Pace, Protocol, Sender, ping, sequence_of, tcp_transfer};
use rustix::process::Signal;

/// A counter of a cube's slow path.
fn counted(scene: &Scene, cube: &str, name: &str) -> Result<u64> {
    let state = scene.get(cube)?;
    state["slow-path"][name].as_u64().with_context(|| format!("no slow-path/{name} in {state}"))
}

/// Two peers joined by the bridge `br1`, with IP addresses; answers with the second's.
fn bridge() -> Result<(Scene, IpAddr)> {
    let scene = Scene::set_up().peers(2).fixtures(["marker"]).bridge().start()?;
    scene.peer(1).add_address("10.9.0.1/24")?;
    let address = scene.peer(2).add_address("10.9.0.2/24")?;
    Ok((scene, address))
}

#[test]
fn a_ping_passes_user_space_in_both_directions() -> Result<()> {
    let (scene, address) = bridge()?;
    for line in ["transparenthelloworld add t1 ingress-action=slowpath egress-action=SlowPath", "attach t1 br1:toveth1"]
    {
        scene.daemon.ctl(line).ok();
    }
    ping(scene.namespace(1), address)?;
    assert!(counted(&scene, "t1", "packets")? >= 4, "ARP and ICMP, both ways");
    assert_eq!((counted(&scene, "t1", "lost")?, counted(&scene, "t1", "stopped")?), (0, 0));
    let log = scene.daemon.log();
    for expected in ["attached to br1:toveth1, whose peer is veth1", "a packet at br1:toveth1 ingress: ", "type 0x0800"]
    {
        assert!(log.contains(expected), "no `{expected}` in {log}");
    }
    Ok(())
}

#[test]
fn what_stands_before_and_after_the_cube_meets_each_packet_once() -> Result<()> {
    let (scene, _) = bridge()?;
    for line in [
        "marker add a mark=97",
        "marker add b mark=98",
        "transparenthelloworld add t1",
        "attach a br1:toveth1 position=first",
        "attach t1 br1:toveth1 position=last",
        "attach b br1:toveth1 position=last",
        "marker add c mark=99",
        "attach c br1:toveth2",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let expected = (passed(&scene, 1, 2)?, passed(&scene, 2, 1)?);
    assert_eq!((expected.0.as_str(), expected.1.as_str()), ("bac", "cab"));
    for line in [
        "t1 set ingress-action=SLOWPATH",
        "t1 set egress-action=SLOWPATH",
        "detach a br1:toveth1",
        "attach a br1:toveth1 position=first",
        "detach b br1:toveth1",
        "attach b br1:toveth1 position=last",
    ] {
        scene.daemon.ctl(line).ok();
        let (inward, outward) = (passed(&scene, 1, 2)?, passed(&scene, 2, 1)?);
        let expected: (String, String) = match line {
            "detach a br1:toveth1" => ("bc".into(), "cb".into()),
            "detach b br1:toveth1" => ("ac".into(), "ca".into()),
            _ => expected.clone(),
        };
        assert_eq!((inward, outward), expected, "after {line}");
    }
    Ok(())
}

#[test]
fn segments_and_checksums_that_are_left_to_the_netdev_survive() -> Result<()> {
    let (scene, address) = bridge()?;
    for line in [
        "transparenthelloworld add t1 ingress-action=SLOWPATH egress-action=SLOWPATH",
        "attach t1 br1:toveth1",
        "t1 set loglevel=OFF",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let transfer = tcp_transfer(scene.namespace(1), scene.namespace(2), address, 20_000_000)?;
    assert!(transfer.bits_per_second() > 0.0);
    assert_eq!(counted(&scene, "t1", "stopped")?, 0);
    Ok(())
}

#[test]
fn a_netdev_without_a_port_has_a_slow_path_too() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.host(1).add_address("10.9.1.1/24")?;
    let address = scene.peer(1).add_address("10.9.1.2/24")?;
    let host = scene.daemon.host();
    ping(host, address)?;
    for line in ["transparenthelloworld add t1", "attach t1 veth1"] {
        scene.daemon.ctl(line).ok();
    }
    ping(host, address)?;
    scene.daemon.ctl("t1 set egress-action=DROP").ok();
    assert!(ping(host, address).is_err(), "what the host sends is dropped");
    scene.daemon.ctl("t1 set egress-action=SLOWPATH ingress-action=SLOWPATH").ok();
    ping(host, address)?;
    assert!(counted(&scene, "t1", "packets")? >= 2);
    scene.daemon.ctl("t1 set ingress-action=DROP").ok();
    assert!(ping(host, address).is_err(), "the answer is dropped");
    scene.daemon.ctl("detach t1 veth1").ok();
    ping(host, address)?;
    eventually("free hooks", || Ok(programs_attached(host, "veth1")?.is_empty()))
}

#[test]
fn hello_worlds_in_a_row_forward_show_and_drop() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    scene.peer(1).add_address("10.9.2.1/24")?;
    let address = scene.peer(2).add_address("10.9.2.2/24")?;
    for line in [
        "helloworld add hw1",
        "helloworld add hw2 action=forward",
        "helloworld hw1 ports add port1",
        "hw1 ports add port2",
        "hw2 ports add port1",
        "hw2 ports add port2",
        "connect hw1:port1 veth1",
        "connect hw1:port2 hw2:port1",
        "connect hw2:port2 veth2",
        "transparenthelloworld add t1",
        "attach t1 hw1:port2",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let log = scene.daemon.log();
    assert!(log.contains("attached to hw1:port2, whose peer is hw2:port1"), "not what the user named: {log}");
    let pings = || ping(scene.namespace(1), address).is_ok();
    assert!(!pings(), "the default drops");
    scene.daemon.ctl("hw1 set action=FORWARD").ok();
    eventually("both to forward", || Ok(pings()))?;
    scene.daemon.ctl("hw2 set action=SLOWPATH").ok();
    assert!(!pings(), "user space lets nothing go on");
    eventually("packets in user space", || Ok(counted(&scene, "hw2", "packets")? > 0))?;
    let log = scene.daemon.log();
    assert!(log.contains("a packet at port port1: "), "{log}");
    assert_eq!(scene.get("hw2")?["action"], "SLOWPATH");
    scene.daemon.ctl("hw2 set action=DROP").ok();
    let before = counted(&scene, "hw2", "packets")?;
    assert!(!pings());
    assert_eq!(counted(&scene, "hw2", "packets")?, before);
    scene.daemon.ctl("hw2 set action=FORWARD").ok();
    eventually("both to forward again", || Ok(pings()))?;
    Ok(())
}

#[test]
fn a_third_port_and_an_unknown_action_are_refused() -> Result<()> {
    let scene = Scene::set_up().commands(["helloworld add hw1"]).start()?;
    for port in ["port1", "port2"] {
        scene.daemon.ctl(&format!("helloworld hw1 ports add {port}")).ok();
    }
    let said = scene.daemon.ctl("hw1 ports add port3").one_line(2);
    assert!(said.contains("at most 2 ports"), "{said}");
    let said = scene.daemon.ctl("hw1 set action=PASS").one_line(2);
    assert!(said.contains("DROP") && said.contains("SLOWPATH") && said.contains("FORWARD"), "{said}");
    assert_eq!(scene.get("hw1")?["ports"].as_array().map(Vec::len), Some(2));
    Ok(())
}

/// Whether a ping passes, with the daemon's opinion of what was said before.
fn passes(scene: &Scene, address: IpAddr) -> bool {
    ping(scene.namespace(1), address).is_ok()
}

#[test]
fn a_cube_is_attached_before_its_port_has_a_peer_and_after() -> Result<()> {
    let scene =
        Scene::set_up().peers(2).commands(["simplebridge add br1", "br1 ports add p1", "br1 ports add p2"]).start()?;
    scene.peer(1).add_address("10.9.3.1/24")?;
    let address = scene.peer(2).add_address("10.9.3.2/24")?;
    for line in [
        "transparenthelloworld add before ingress-action=SLOWPATH egress-action=SLOWPATH",
        "attach before br1:p1",
        "br1 ports p1 set peer=veth1",
        "br1 ports p2 set peer=veth2",
        "transparenthelloworld add after ingress-action=SLOWPATH egress-action=SLOWPATH",
        "attach after br1:p2",
    ] {
        scene.daemon.ctl(line).ok();
    }
    assert!(passes(&scene, address));
    for cube in ["before", "after"] {
        assert!(counted(&scene, cube, "packets")? >= 2, "{cube}");
    }
    let log = scene.daemon.log();
    for line in ["attached to br1:p1, which has no peer", "attached to br1:p1, whose peer is veth1"] {
        assert!(log.contains(line), "no `{line}` in {log}");
    }
    // The port loses its peer, and gets it back.
    scene.daemon.ctl("br1 ports p1 set peer=").ok();
    assert!(!passes(&scene, address));
    scene.daemon.ctl("br1 ports p1 set peer=veth1").ok();
    assert!(passes(&scene, address));
    Ok(())
}

#[test]
fn cubes_come_and_go_in_every_position() -> Result<()> {
    let (scene, address) = bridge()?;
    for cube in ["a", "b", "c", "d"] {
        scene
            .daemon
            .ctl(&format!("transparenthelloworld add {cube} ingress-action=SLOWPATH egress-action=SLOWPATH"))
            .ok();
    }
    for line in [
        "attach a br1:toveth1 position=first",
        "attach b br1:toveth1 position=last",
        "attach c br1:toveth1 after=a",
        "attach d br1:toveth1 before=b",
        // From the middle, detached first; then one that is still attached.
        "detach c br1:toveth1",
        "transparenthelloworld del c",
        "transparenthelloworld del d",
        "attach a br1:toveth2",
        "detach a br1:toveth1",
    ] {
        scene.daemon.ctl(line).ok();
        assert!(passes(&scene, address), "after {line}");
    }
    assert_eq!(counted(&scene, "a", "stopped")? + counted(&scene, "b", "stopped")?, 0);
    // The port goes first, with a cube at it.
    scene.daemon.ctl("br1 ports del toveth2").ok();
    assert!(!passes(&scene, address));
    for line in ["br1 ports add toveth2 peer=veth2", "transparenthelloworld del a", "transparenthelloworld del b"] {
        scene.daemon.ctl(line).ok();
    }
    assert!(passes(&scene, address));
    Ok(())
}

#[test]
fn what_cannot_be_attached_or_detached_is_refused() -> Result<()> {
    let scene = Scene::bridge(1)?;
    for line in ["helloworld add hw1", "transparenthelloworld add t1", "attach t1 br1:toveth1"] {
        scene.daemon.ctl(line).ok();
    }
    for (line, expected) in [
        ("attach hw1 br1:toveth1", "hw1"),
        ("attach t1 br1:toveth1", "already"),
        ("detach t1 veth1", "t1"),
        ("detach t1 br1:no-port", "no-port"),
    ] {
        let said = scene.daemon.ctl(line).one_line(2);
        assert!(said.contains(expected), "{line}: {said}");
    }
    scene.daemon.ctl("detach t1 br1:toveth1").ok();
    scene.daemon.ctl("detach t1 br1:toveth1").one_line(2);
    Ok(())
}

#[test]
fn the_chain_of_a_netdev_is_shown_in_polycubes_words() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    for line in [
        "transparenthelloworld add th1",
        "transparenthelloworld add th2",
        "attach th1 veth1",
        "attach th2 veth1 position=last",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let shown = scene.daemon.ctl("topology show veth1").ok();
    assert!(shown.contains("th1 ---> th2 ---> stack"), "{shown}");
    Ok(())
}

#[test]
fn packets_go_on_through_user_space_after_a_restart() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).bridge().kept().start()?;
    scene.peer(1).add_address("10.9.4.1/24")?;
    let address = scene.peer(2).add_address("10.9.4.2/24")?;
    for line in ["transparenthelloworld add t1 ingress-action=SLOWPATH egress-action=SLOWPATH", "attach t1 br1:toveth1"]
    {
        scene.daemon.ctl(line).ok();
    }
    assert!(passes(&scene, address));
    scene.daemon.kill9()?;
    assert!(!passes(&scene, address), "nothing takes the packets");
    scene.daemon.restart()?;
    assert!(passes(&scene, address));
    scene.daemon.ctl("transparenthelloworld del t1").ok();
    assert!(passes(&scene, address));
    Ok(())
}

/// Programs go on to hand packets over while no daemon runs.
#[test]
fn packets_from_long_before_a_start_do_not_come_out_in_a_burst() -> Result<()> {
    const OLD: u64 = 50;
    let mut scene = Scene::set_up().peers(2).bridge().kept().start()?;
    for line in ["transparenthelloworld add t1 ingress-action=SLOWPATH", "attach t1 br1:toveth1"] {
        scene.daemon.ctl(line).ok();
    }
    let sender = Sender::open(scene.peer(1))?;
    scene.daemon.kill9()?;
    sender.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, OLD as u32))?;
    std::thread::sleep(Duration::from_millis(1_200));
    let arrived = Recorder::start(scene.peer(2))?;
    scene.daemon.restart()?;
    eventually("old packets to be counted", || Ok(counted(&scene, "t1", "expired")? >= OLD))?;
    let new = scene.flow(1, 2).frame(Protocol::Udp, 100, 1_000);
    sender.send(std::slice::from_ref(&new))?;
    arrived.wait_for(1, PATIENCE)?;
    let arrived = arrived.stop()?.going(Direction::In);
    let numbers = arrived.iter().filter_map(|seen| sequence_of(&seen.bytes)).collect::<Vec<_>>();
    assert_eq!(numbers, [1_000], "only what came later");
    assert_eq!(counted(&scene, "t1", "expired")?, OLD);
    Ok(())
}

#[test]
fn kernels_without_tcx_have_a_slow_path_too() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(["--attach", "clsact"]).bridge().start()?;
    scene.peer(1).add_address("10.9.5.1/24")?;
    let address = scene.peer(2).add_address("10.9.5.2/24")?;
    for line in ["transparenthelloworld add t1 ingress-action=SLOWPATH egress-action=SLOWPATH", "attach t1 br1:toveth1"]
    {
        scene.daemon.ctl(line).ok();
    }
    assert!(passes(&scene, address));
    assert!(counted(&scene, "t1", "packets")? >= 2);
    Ok(())
}

#[test]
fn what_user_space_is_too_slow_for_is_lost_and_counted() -> Result<()> {
    const FRAMES: u64 = 10_000;
    let scene = Scene::set_up().peers(1).commands(["helloworld add hw1 action=SLOWPATH loglevel=OFF"]).start()?;
    scene.daemon.ctl("hw1 ports add port1 peer=veth1").ok();
    let frames = Flow::between(scene.peer(1), scene.host(1)).frames(Protocol::Udp, 1_500, 64);
    // However fast the machine is, a daemon that stands still is too slow.
    scene.daemon.signal(Signal::STOP)?;
    Sender::open(scene.peer(1))?.flood(&frames, Pace::Count(FRAMES))?;
    scene.daemon.signal(Signal::CONT)?;
    let all = || -> Result<u64> { Ok(counted(&scene, "hw1", "packets")? + counted(&scene, "hw1", "lost")?) };
    eventually("all packets are received or counted as lost", || Ok(all()? >= FRAMES))?;
    // 4 MiB take 2,500 of them.
    assert!(counted(&scene, "hw1", "lost")? > 0);
    Ok(())
}
