//! Do packets that pass user space reach what they should, once, and in the same direction?

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use polycube_tests::hook::programs_attached;
use polycube_tests::marks::passed;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{ping, tcp_transfer};

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
    assert!(programs_attached(host, "veth1")?.is_empty());
    Ok(())
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
    ] {
        scene.daemon.ctl(line).ok();
    }
    let pings = || ping(scene.namespace(1), address).is_ok();
    assert!(!pings(), "the default drops");
    scene.daemon.ctl("hw1 set action=FORWARD").ok();
    assert!(pings(), "both forward");
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
    assert!(pings());
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
