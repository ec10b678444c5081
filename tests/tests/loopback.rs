//! Does a capture on the loopback record each packet once, as tcpdump does, although it passes the netdev twice?

use std::net::Ipv4Addr;

use anyhow::Result;
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::ping;

const PINGS: usize = 3;

/// Type of an ICMP message, after headers of 14 and 20 bytes.
const TYPE: usize = 34;

#[track_caller]
fn check(capture: &str, filter: &str, is_renamed: bool) -> Result<()> {
    let scene = Scene::set_up().start()?;
    let host = scene.lab.host();
    let mut name = "lo";
    if is_renamed {
        name = "local0";
        for words in [["link", "set", "lo", "down"].as_slice(), &["link", "set", "lo", "name", name, "up"]] {
            assert!(host.command("ip").args(words).status()?.success());
        }
        eventually("the new name", || Ok(scene.get("netdevs")?.to_string().contains(name)))?;
    }
    let add = ["packetcapture", "add", "sniffer", &format!("capture={capture}"), &format!("filter={filter}")];
    scene.daemon.ctl_words(&add).ok();
    scene.daemon.ctl(&format!("attach sniffer {name}")).ok();
    for _ in 0..PINGS {
        ping(host, Ipv4Addr::LOCALHOST.into())?;
    }
    let records = pcap::wait_for(&scene.wait_for_dump()?, 2 * PINGS, PATIENCE)?.records;
    let kinds: Vec<_> = records.iter().map(|record| record.bytes[TYPE]).collect();
    assert_eq!(kinds, [8, 0].repeat(PINGS), "{capture}, {filter}: requests and replies");
    assert_eq!(scene.counter("seen")?, 2 * PINGS as u64);
    Ok(())
}

#[test]
fn both_directions_are_one() -> Result<()> {
    check("bidirectional", "", false)
}

#[test]
fn both_directions_with_a_filter_are_one() -> Result<()> {
    check("bidirectional", "icmp", false)
}

#[test]
fn the_loopback_may_have_another_name() -> Result<()> {
    check("bidirectional", "", true)
}

#[test]
fn each_direction_alone_has_every_packet() -> Result<()> {
    check("ingress", "", false)?;
    check("egress", "", false)
}
