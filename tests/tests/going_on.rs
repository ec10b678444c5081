//! Does a capture go on when its daemon is killed or stopped, and starts again?

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::Steady;
use serde_json::{Value, json};

const ROUNDS: usize = 20;

/// The numbers of the packets in all capture files, in the order of their names.
fn numbers(scene: &Scene) -> Result<Vec<u32>> {
    let entries = fs::read_dir(scene.daemon.capture_dir())?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    // The first file of a second has no number: `name.pcap` comes before `name-000001.pcap`.
    paths.sort_by_key(|path| path.with_extension(""));
    let files = paths.iter().map(|path| pcap::read(path)?.numbers()).collect::<Result<Vec<_>>>()?;
    Ok(files.concat())
}

fn count(counters: &Value, name: &str) -> Result<u64> {
    counters[name].as_u64().with_context(|| format!("{name} of {counters}"))
}

#[test]
fn each_packet_is_recorded_once_or_counted_over_many_restarts() -> Result<()> {
    let mut scene = Scene::set_up().kept().peers(2).bridge().start()?;
    // A large ring, because packets keep coming while no daemon runs.
    scene.daemon.ctl("packetcapture add sniffer format=pcap-nanos rotate.size=1 ring-size=64").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    scene.daemon.ctl("sniffer set capture=ingress").ok();
    scene.daemon.wait_for_large_rings()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 500, u32::MAX)?;
    let (mut seen, mut captured) = (0, 0);
    for round in 0..ROUNDS {
        steady.wait_for(200)?;
        if round % 4 == 3 {
            scene.daemon.terminate()?;
        } else {
            scene.daemon.kill9()?;
        }
        steady.wait_for(50)?;
        scene.daemon.restart()?;
        let counters = scene.get("sniffer/counters")?;
        let now = (count(&counters, "seen")?, count(&counters, "captured")?);
        // What waited in the memory of a killed daemon for the disk had counted as captured, and is lost.
        let lost = count(&counters, "dropped-disk")?;
        assert!(now.0 > seen && now.1 + lost >= captured, "round {round}: a counter went back: {counters}");
        (seen, captured) = now;
        assert_eq!(scene.status()?, "capturing");
    }
    let sent = steady.stop()?;
    eventually("all packets", || Ok(count(&scene.get("sniffer/counters")?, "seen")? == u64::from(sent)))?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    let counters = scene.balance()?;
    let numbers = numbers(&scene)?;
    assert!(numbers.is_sorted_by(|one, next| one < next), "a packet is in the files twice, or out of order");
    assert_eq!(counters["captured"], json!(numbers.len()), "{counters:?}");
    let lost = counters["dropped-ring-full"].as_u64().context("a number")?;
    assert_eq!(lost, 0, "{counters:?}");
    Ok(())
}

#[test]
fn a_capture_stops_after_as_many_packets_as_it_was_asked_for_whatever_daemons_come_and_go() -> Result<()> {
    let mut scene = Scene::set_up().kept().peers(2).bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer format=pcap-nanos stop-after.packets=100000").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    scene.daemon.ctl("sniffer set capture=ingress").ok();
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 200, u32::MAX)?;
    for round in 0..2 {
        steady.wait_for(100)?;
        eventually("packets", || Ok(count(&scene.get("sniffer/counters")?, "captured")? > 0))?;
        if round == 0 {
            scene.daemon.kill9()?;
        } else {
            scene.daemon.terminate()?;
        }
        scene.daemon.restart()?;
        assert_eq!(scene.status()?, "capturing", "round {round}");
    }
    eventually("the end", || Ok(scene.get("sniffer/capture")? == json!("off")))?;
    steady.stop()?;
    let numbers = numbers(&scene)?;
    assert_eq!(numbers.len(), 100_000);
    let wrong = numbers.windows(2).position(|pair| pair[0] >= pair[1]);
    assert_eq!(wrong, None, "{:?}", wrong.map(|at| &numbers[at.saturating_sub(3)..][..8]));
    Ok(())
}
