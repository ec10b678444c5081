//! Do packets pass undisturbed, whatever is attached, detached, reloaded or removed?

use anyhow::{Context, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::comparison::compare;
use polycube_tests::daemon::Daemon;
use polycube_tests::hook::{Attached, Bystander, Hook, Verdict, programs_attached};
use polycube_tests::lab::Interface;
use polycube_tests::scene::{PATIENCE, Scene, Watched, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender, Steady, reachable};

/// Runs `work` while frames flow from peer 1 to peer 2, and checks that all of them arrive.
#[track_caller]
fn under_traffic(scene: &Scene, work: impl FnOnce(&Steady) -> Result<()>) -> Result<u32> {
    let watched = Watched::start(scene)?;
    let done = work(watched.steady());
    let sent = watched.stop()?;
    done?;
    Ok(sent)
}

fn attached(scene: &Scene, netdev: &str) -> Result<Vec<Attached>> {
    programs_attached(scene.lab.host(), netdev)
}

/// Everything that shows that a port is wired: the names of the programs on its netdev, and the pins.
fn traces(scene: &Scene) -> Result<(usize, usize, usize)> {
    scene.daemon.wait_for_large_rings()?;
    Ok((attached(scene, "veth1")?.len(), attached(scene, "veth2")?.len(), scene.daemon.pins()?.len()))
}

#[test]
fn attaching_and_detaching_loses_no_frame() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    let before = traces(&scene)?;
    let sent = under_traffic(&scene, |_| {
        for _ in 0..100 {
            scene.daemon.ctl("attach sniffer br1:toveth1").ok();
            scene.daemon.ctl("detach sniffer br1:toveth1").ok();
        }
        Ok(())
    })?;
    assert_eq!(traces(&scene)?, before, "TCX programs on veth1 and veth2, pins");
    let captured = scene.counter("captured")?;
    assert!((1..=u64::from(sent)).contains(&captured), "{captured} captured of {sent}");
    Ok(())
}

#[test]
fn changing_what_is_captured_loses_no_frame() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let before = traces(&scene)?;
    under_traffic(&scene, |_| {
        for round in 0..10 {
            for setting in ["snaplen=64", "capture=ingress", "ring-size=1", "capture=off", "capture=egress"] {
                scene.daemon.ctl(&format!("sniffer set {setting}")).ok();
            }
            let settings = format!("capture=bidirectional snaplen={} ring-size=4", 1000 + round);
            scene.daemon.ctl(&format!("sniffer set {settings}")).ok();
        }
        Ok(())
    })?;
    assert_eq!(traces(&scene)?, before);
    Ok(())
}

/// Several cubes in a row, each inserted and removed at either end of the chain.
#[test]
fn changing_a_chain_loses_no_frame() -> Result<()> {
    let scene = Scene::bridge(2)?;
    for name in ["a", "b", "c"] {
        scene.daemon.ctl(&format!("packetcapture add {name} capture=bidirectional")).ok();
    }
    let before = traces(&scene)?;
    under_traffic(&scene, |steady| {
        for _ in 0..8 {
            for line in [
                "attach a br1:toveth1",
                "attach b br1:toveth1 position=first",
                "attach c br1:toveth1 after=b",
                "detach b br1:toveth1",
                "detach a br1:toveth1",
                "detach c br1:toveth1",
            ] {
                scene.daemon.ctl(line).ok();
                steady.wait_for(64)?;
            }
        }
        Ok(())
    })?;
    assert_eq!(traces(&scene)?, before);
    Ok(())
}

#[test]
fn a_plain_netdev_is_clean_after_detaching() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    assert_eq!(attached(&scene, "veth1")?.len(), 2, "ingress and egress");
    scene.daemon.ctl("sniffer set capture=egress").ok();
    assert_eq!(attached(&scene, "veth1")?.len(), 1);
    scene.daemon.ctl("detach sniffer veth1").ok();
    assert_eq!(attached(&scene, "veth1")?, []);
    assert!(scene.daemon.pins()?.is_empty(), "{:?}", scene.daemon.pins()?);
    Ok(())
}

/// The netdev is used by the host itself: its stack still works with the sniffer attached.
#[test]
fn the_hosts_own_traffic_is_captured_and_goes_on() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let here = scene.host(1).add_address("10.9.0.1/24")?;
    let there = scene.peer(1).add_address("10.9.0.2/24")?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let recorder = Recorder::start(scene.peer(1))?;
    let (host, peer) = (scene.lab.host(), scene.namespace(1));
    assert!(reachable(host, peer, there)?.is_some(), "from the host");
    assert!(reachable(peer, host, here)?.is_some(), "to the host");
    // A late ARP exchange adds two packets.
    eventually("the end of the talk", || Ok(scene.counter("captured")? as usize == recorder.count()))?;
    let file = scene.captured()?;
    compare(&file.records, &recorder.stop()?.frames, 262_144)?;
    scene.daemon.ctl("detach sniffer veth1").ok();
    assert!(reachable(host, peer, there)?.is_some(), "after detaching");
    assert_eq!(scene.counter("captured")?, file.records.len() as u64);
    Ok(())
}

#[track_caller]
fn check_nothing_is_left(arguments: &[&str], netdevs: &[&str]) -> Result<()> {
    let mut scene = Scene::set_up().peers(2).arguments(arguments).bridge().start()?;
    scene.sniff("capture=bidirectional");
    let wire = scene.lab.veth("veth9", &scene.lab.peer("peer9")?, "eth0")?;
    scene.daemon.ctl("packetcapture add other capture=bidirectional").ok();
    scene.daemon.ctl("attach other veth9").ok();
    let near = Recorder::start(scene.peer(1))?;
    let far = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 10))?;
    far.wait_for(10, PATIENCE)?;
    let records = scene.captured()?.records;
    compare(&records, &near.stop()?.frames, 262_144)?;

    for netdev in netdevs {
        let is_wired = !attached(&scene, netdev)?.is_empty() || !filters(&scene, netdev)?.is_empty();
        assert!(is_wired, "{netdev} shows no trace while in use");
    }
    let status = scene.daemon.terminate()?;
    assert!(status.success(), "{status}");
    for netdev in netdevs {
        assert_eq!(attached(&scene, netdev)?, [], "{netdev}");
        assert_eq!(filters(&scene, netdev)?, "", "{netdev}");
    }
    assert!(scene.daemon.pins()?.is_empty(), "{:?}", scene.daemon.pins()?);
    assert!(!scene.daemon.socket().exists());
    assert_eq!(wire.host.counters()?.rx_dropped, 0);
    Ok(())
}

/// What `tc` shows about a netdev's clsact: queueing discipline and filters; empty if there are none.
fn filters(scene: &Scene, netdev: &str) -> Result<String> {
    let mut found = String::new();
    for arguments in [&["qdisc", "show", "dev", netdev, "clsact"][..], &["filter", "show", "dev", netdev, "ingress"]] {
        let output = scene.lab.host().command("tc").args(arguments).output();
        let output = output.context("tc is missing: install iproute2")?;
        found.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    Ok(found.trim().to_owned())
}

#[test]
fn sigterm_leaves_nothing_behind() -> Result<()> {
    check_nothing_is_left(&[], &["veth1", "veth2", "veth9"])
}

#[test]
fn sigterm_leaves_nothing_of_clsact_behind() -> Result<()> {
    check_nothing_is_left(&["--attach", "clsact"], &["veth1", "veth2", "veth9"])
}

/// Filters outlive the process that made them, unlike links whose pins are removed.
#[test]
fn clsact_filters_of_a_killed_daemon_are_removed_by_the_next() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).arguments(["--attach", "clsact"]).start()?;
    let other = Daemon::start_with(&scene.lab, &["--attach", "clsact"])?;
    for line in ["packetcapture add theirs capture=ingress", "attach theirs veth2"] {
        other.ctl(line).ok();
    }
    let theirs = filters(&scene, "veth2")?;
    for line in ["packetcapture add ours capture=bidirectional", "attach ours veth1", "attach ours veth2"] {
        scene.daemon.ctl(line).ok();
    }
    scene.daemon.kill9()?;
    let ours = filters(&scene, "veth1")?;
    assert!(ours.contains(" bpf ") && filters(&scene, "veth2")? != theirs, "{ours}");
    scene.daemon.restart()?;
    assert_eq!(filters(&scene, "veth1")?, "", "ours, and the clsact that it was attached to");
    assert_eq!(filters(&scene, "veth2")?, theirs, "another party's, with the same name");
    Ok(())
}

/// A netdev that had clsact before the daemon started keeps it.
#[test]
fn an_existing_clsact_stays() -> Result<()> {
    let mut scene = Scene::set_up().peers(1).arguments(["--attach", "clsact"]).start()?;
    let added = scene.lab.host().command("tc").args(["qdisc", "add", "dev", "veth1", "clsact"]).status();
    assert!(added.context("tc is missing: install iproute2")?.success());
    let alone = filters(&scene, "veth1")?;
    assert!(alone.contains("clsact"), "{alone}");
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    for _ in 0..2 {
        scene.daemon.ctl("attach sniffer veth1").ok();
        assert_ne!(filters(&scene, "veth1")?, alone);
        scene.daemon.ctl("detach sniffer veth1").ok();
        assert_eq!(filters(&scene, "veth1")?, alone);
    }
    scene.daemon.ctl("attach sniffer veth1").ok();
    scene.daemon.terminate()?;
    assert_eq!(filters(&scene, "veth1")?, alone);
    Ok(())
}

/// Another netdev can get the ifindex of one that had a clsact of ours.
#[test]
fn a_clsact_of_another_netdev_with_the_same_ifindex_stays() -> Result<()> {
    let mut scene = Scene::set_up().peers(1).kept().arguments(["--attach", "clsact"]).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let index = scene.host(1).index().to_string();
    let run = |scene: &Scene, program: &str, words: &str| -> Result<()> {
        let status = scene.lab.host().command(program).args(words.split(' ')).status()?;
        anyhow::ensure!(status.success(), "{program} {words}");
        Ok(())
    };
    scene.daemon.terminate()?;
    run(&scene, "ip", "link del veth1")?;
    run(&scene, "ip", &format!("link add other index {index} type veth peer name otherend"))?;
    run(&scene, "tc", "qdisc add dev other clsact")?;
    scene.daemon.restart()?;
    assert!(filters(&scene, "other")?.contains("clsact"), "it is its user's: {}", scene.daemon.log());
    scene.daemon.ctl("detach sniffer veth1").ok();
    assert!(filters(&scene, "other")?.contains("clsact"));
    Ok(())
}

/// The kernel has one slot for clsact and `ingress`, and an egress filter on `ingress` would see incoming packets.
#[test]
fn an_ingress_qdisc_is_not_taken_for_clsact() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(["--attach", "clsact"]).start()?;
    let tc = |line: &str| {
        let status = scene.lab.host().command("tc").args(line.split(' ')).status();
        assert!(status.context("tc is missing: install iproute2")?.success(), "{line}");
        Ok::<_, anyhow::Error>(())
    };
    tc("qdisc add dev veth1 ingress")?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("simplebridge add br1").ok();
    scene.daemon.ctl("br1 ports add p").ok();
    let before = scene.daemon.snapshot()?;
    for line in ["attach sniffer veth1", "connect br1:p veth1"] {
        let refusal = scene.daemon.ctl(line).one_line(2);
        assert!(refusal.contains("`tc qdisc del dev veth1 ingress` removes it"), "{refusal}");
        assert_eq!(scene.daemon.snapshot()?, before, "{line}");
    }
    tc("qdisc del dev veth1 ingress")?;
    scene.daemon.ctl("attach sniffer veth1").ok();
    Ok(())
}

#[test]
fn clsact_loses_no_frame_either() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(["--attach", "clsact"]).bridge().start()?;
    assert_eq!(attached(&scene, "veth1")?, [], "no TCX");
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    under_traffic(&scene, |steady| {
        for snaplen in 100..115 {
            scene.daemon.ctl("attach sniffer br1:toveth1").ok();
            scene.daemon.ctl(&format!("sniffer set snaplen={snaplen}")).ok();
            steady.wait_for(64)?;
            scene.daemon.ctl("detach sniffer br1:toveth1").ok();
        }
        Ok(())
    })?;
    assert!(scene.counter("captured")? > 0);
    Ok(())
}

/// Another party's program drops what comes in. Packets are captured before it, and dropped by it even without the
/// sniffer.
#[test]
fn another_partys_program_stays_in_place() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.host(1).add_address("10.9.0.1/24")?;
    let there = scene.peer(1).add_address("10.9.0.2/24")?;
    let (host, peer) = (scene.lab.host(), scene.namespace(1));
    let bystander = Bystander::attach(scene.host(1), Hook::Ingress, Verdict::Drop)?;
    let alone = attached(&scene, "veth1")?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let names: Vec<_> = attached(&scene, "veth1")?.into_iter().map(|attached| attached.name).collect();
    assert!(names.len() == 2 && names.contains(&"bystander".to_owned()), "{names:?}");
    assert_eq!(reachable(host, peer, there)?, None, "the other program drops the answers");
    scene.daemon.ctl("detach sniffer veth1").ok();
    assert_eq!(attached(&scene, "veth1")?, alone);
    assert_eq!(reachable(host, peer, there)?, None);

    drop(bystander);
    let _behind = Bystander::attach(scene.host(1), Hook::Egress, Verdict::Next)?;
    scene.daemon.ctl("sniffer set capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    assert!(reachable(host, peer, there)?.is_some(), "a chain ends with the next program, not with a verdict");
    assert!(scene.counter("captured")? > 0);
    Ok(())
}

/// Sends `n` frames from peer 1 to peer 2 and as many back; returns how many of them the sniffer captured.
fn exchange(scene: &Scene, n: u32) -> Result<u64> {
    let before = scene.counter("captured")?;
    for (from, to) in [(1, 2), (2, 1)] {
        let recorder = Recorder::start(scene.peer(to))?;
        Sender::open(scene.peer(from))?.send(&scene.flow(from, to).frames(Protocol::Udp, 100, n))?;
        recorder.wait_for(n as usize, PATIENCE)?;
        let arrived = recorder.stop()?.going(Direction::In).len();
        assert_eq!(arrived, n as usize, "{from} to {to}");
    }
    Ok(scene.counter("captured")? - before)
}

#[test]
fn a_port_whose_peer_appears_later_is_captured_then() -> Result<()> {
    let scene = Scene::set_up().peers(2).start()?;
    scene.daemon.ctl("simplebridge add br1").ok();
    scene.daemon.ctl("br1 ports add toveth1").ok();
    scene.daemon.ctl("br1 ports add toveth2 peer=veth2").ok();
    scene.sniff("capture=bidirectional");
    assert_eq!(attached(&scene, "veth1")?, []);
    scene.daemon.ctl("connect br1:toveth1 veth1").ok();
    assert_eq!(exchange(&scene, 5)?, 10);
    scene.daemon.ctl("disconnect br1:toveth1 veth1").ok();
    assert_eq!(attached(&scene, "veth1")?, []);
    scene.daemon.ctl("br1 ports toveth1 set peer=veth1").ok();
    assert_eq!(exchange(&scene, 5)?, 10);
    Ok(())
}

fn port(scene: &Scene, name: &str) -> Result<(String, String)> {
    let port = scene.get(&format!("br1/ports/{name}"))?;
    let text = |key: &str| port[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {port}"));
    Ok((text("status")?, text("peer")?))
}

#[test]
fn a_port_whose_peer_is_deleted_is_down_until_it_returns() -> Result<()> {
    let scene = Scene::bridge(3)?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer br1:toveth3").ok();
    assert_eq!(port(&scene, "toveth3")?, ("UP".to_owned(), "veth3".to_owned()));

    scene.host(3).clone().delete()?;
    eventually("the port to be down", || Ok(port(&scene, "toveth3")? == ("DOWN".to_owned(), "veth3".to_owned())))?;
    let words = ["WARN", "cube=br1", "port=\"toveth3\"", "netdev=\"veth3\""];
    eventually("the warning", || {
        Ok(scene.daemon.log().lines().any(|line| words.iter().all(|word| line.contains(word))))
    })?;
    assert_eq!(scene.get("sniffer")?["parent"], "br1:toveth3", "still attached");
    assert_eq!(exchange(&scene, 5)?, 0, "the other ports do not go on working");

    let wire = scene.lab.veth("veth3", scene.namespace(3), "eth0")?;
    eventually("the port to be up", || Ok(port(&scene, "toveth3")?.0 == "UP"))?;
    let recorder = Recorder::start(scene.peer(1))?;
    let flow = Flow::between(&wire.peer, scene.peer(1));
    Sender::open(&wire.peer)?.send(&flow.frames(Protocol::Udp, 100, 5))?;
    recorder.wait_for(5, PATIENCE)?;
    assert_eq!(scene.counter("captured")?, 5);
    Ok(())
}

/// Deleting an interface while frames cross it affects only that interface's frames.
#[test]
fn deleting_a_peer_under_traffic_does_not_disturb_the_others() -> Result<()> {
    let scene = Scene::bridge(3)?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer br1:toveth3").ok();
    under_traffic(&scene, |steady| {
        for _ in 0..3 {
            let interface = Interface::find(scene.lab.host(), "veth3")?;
            steady.wait_for(100)?;
            interface.delete()?;
            eventually("the port to be down", || Ok(port(&scene, "toveth3")?.0 == "DOWN"))?;
            scene.lab.veth("veth3", scene.namespace(3), "eth0")?;
            eventually("the port to be up", || Ok(port(&scene, "toveth3")?.0 == "UP"))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Its frames pass without a gap: it is the same netdev.
#[test]
fn a_renamed_netdev_stays_the_peer() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    scene.daemon.ctl("packetcapture add outer capture=bidirectional").ok();
    scene.daemon.ctl("attach outer veth1").ok();
    let rename = |from: &str, to: &str| {
        let status = scene.lab.host().command("ip").args(["link", "set", from, "name", to]).status();
        assert!(status.expect("ip is missing: install iproute2").success());
    };
    let before = attached(&scene, "veth1")?;
    under_traffic(&scene, |_| {
        rename("veth1", "lan0");
        eventually("the new name", || Ok(port(&scene, "toveth1")? == ("UP".to_owned(), "lan0".to_owned())))
    })?;
    assert_eq!(attached(&scene, "lan0")?, before);
    assert_eq!(scene.get("outer")?["parent"], "lan0");
    scene.daemon.ctl("detach outer lan0").ok();
    assert_eq!(exchange(&scene, 5)?, 10);
    // The old name is free for another netdev.
    scene.daemon.ctl("br1 ports add other peer=lan0").one_line(2);
    rename("veth2", "wan0");
    eventually("the new name", || Ok(port(&scene, "toveth2")? == ("UP".to_owned(), "wan0".to_owned())))?;
    rename("wan0", "tmp0");
    rename("lan0", "wan0");
    rename("tmp0", "lan0");
    eventually("both names", || {
        Ok((port(&scene, "toveth1")?.1, port(&scene, "toveth2")?.1) == ("wan0".into(), "lan0".into()))
    })?;
    assert_eq!(exchange(&scene, 5)?, 10);
    Ok(())
}
