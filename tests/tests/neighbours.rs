//! Others share the machine: what they do to netdevs, links and filters of ours, and what we must not do to theirs.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Result, ensure};
use polycube_tests::bpf;
use polycube_tests::hook::programs_attached;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::reachable;

/// Two peers at a bridge, with `s` at the first one's port.
fn bridge(arguments: &[&str]) -> Result<(Scene, IpAddr)> {
    let commands = ["packetcapture add s capture=bidirectional", "attach s br1:toveth1"];
    let scene = Scene::set_up().peers(2).arguments(arguments).bridge().commands(commands).start()?;
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.peer(2).add_address("10.0.0.2/24")?;
    ensure!(passes(&scene, address)?, "traffic passes the bridge");
    Ok((scene, address))
}

fn passes(scene: &Scene, address: IpAddr) -> Result<bool> {
    Ok(reachable(scene.namespace(1), scene.namespace(2), address)?.is_some())
}

fn run(mut command: Command, words: &str) -> Result<()> {
    let status = command.args(words.split_whitespace()).status()?;
    ensure!(status.success(), "{words}: {status}");
    Ok(())
}

fn ip(scene: &Scene, words: &str) -> Result<()> {
    run(scene.daemon.host().command("ip"), words)
}

#[test]
fn a_link_that_another_program_detached_is_made_again() -> Result<()> {
    let (scene, address) = bridge(&[])?;
    let attached = programs_attached(scene.daemon.host(), "veth1")?;
    ensure!(attached.len() == 2, "{attached:?}");
    for program in &attached {
        bpf::detach_link(program.link)?;
    }
    eventually("other programs", || {
        let again = programs_attached(scene.daemon.host(), "veth1")?;
        Ok(again.len() == 2 && again.iter().all(|program| !attached.contains(program)))
    })?;
    ensure!(passes(&scene, address)?, "traffic passes again");
    let again = programs_attached(scene.daemon.host(), "veth1")?;
    ensure!(again.len() == 2 && again != attached, "{again:?}");
    let log = scene.daemon.log();
    ensure!(log.contains("WARN another program took our program off: attaching it again netdev=\"veth1\""), "{log}");
    let captured = scene.get("s")?["counters"]["captured"].clone();
    ensure!(captured.as_u64().is_some(), "the capture goes on: {captured}");

    // Once more, and the netdev is left alone, with the reason.
    bpf::detach_link(again[0].link)?;
    eventually("the port says why it is down", || {
        let failure = scene.get("br1")?["failure"].as_str().unwrap_or_default().to_owned();
        Ok(failure.contains("port toveth1 is left down: another program took our program off 2 times"))
    })?;
    ensure!(scene.get("br1/ports/toveth1")?["status"] == "DOWN");
    scene.daemon.ctl("br1 ports add p3").ok();
    Ok(())
}

#[test]
fn a_filter_that_another_program_deleted_is_made_again() -> Result<()> {
    let (scene, address) = bridge(&["--attach", "clsact"])?;
    run(scene.daemon.host().command("tc"), "qdisc del dev veth1 clsact")?;
    eventually("the warning", || Ok(scene.daemon.log().contains("another program took our program off")))?;
    eventually("traffic passes again", || passes(&scene, address))
}

#[test]
fn a_netdev_is_one_port_whichever_of_its_names_is_given() -> Result<()> {
    let long = "the-uplink-of-this-machine-in-the-second-rack";
    let scene = Scene::set_up().peers(2).commands(["simplebridge add br1"]).start()?;
    ip(&scene, &format!("link property add dev veth1 altname {long}"))?;
    scene.daemon.ctl(&format!("br1 ports add p1 peer={long}")).ok();
    ensure!(scene.get("br1/ports/p1")?["peer"] == "veth1", "a port shows the netdev's own name");
    let refused = scene.daemon.ctl("br1 ports add p2 peer=veth1").one_line(2);
    ensure!(refused.contains("`veth1` is already the peer of br1:p1"), "{refused}");
    scene.daemon.ctl("packetcapture add s").ok();
    scene.daemon.ctl(&format!("attach s {long}")).ok();
    let refused = scene.daemon.ctl("attach s veth1").one_line(2);
    ensure!(refused.contains("already attached to veth1"), "{refused}");
    scene.daemon.ctl(&format!("detach s {long}")).ok();
    scene.daemon.ctl(&format!("disconnect br1:p1 {long}")).ok();
    Ok(())
}

#[test]
fn a_port_of_a_linux_bridge_does_not_become_a_port_of_ours() -> Result<()> {
    let scene = Scene::set_up().peers(2).commands(["simplebridge add br1", "packetcapture add s"]).start()?;
    let _bridge = scene.lab.kernel_bridge("kbr0", &[scene.host(1)])?;
    let refused = scene.daemon.ctl("br1 ports add p1 peer=veth1").one_line(2);
    ensure!(refused.contains("netdev `veth1` is a port of `kbr0`"), "{refused}");
    ensure!(refused.contains("`ip link set veth1 nomaster` frees it"), "{refused}");
    scene.daemon.ctl("attach s veth1").ok();
    ip(&scene, "link set veth1 nomaster")?;
    scene.daemon.ctl("br1 ports add p1 peer=veth1").ok();
    Ok(())
}
