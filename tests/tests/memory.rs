//! What do captures take up, and when do they give it back?

use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use polycube_tests::bpf;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};

/// MiB that all captures of the daemon under test may use.
const LIMIT: u64 = 40;

fn rings(scene: &Scene, cube: &str) -> Result<u64> {
    scene.get(&format!("{cube}/memory/rings"))?.as_u64().context("a number of bytes")
}

fn pinned_rings(scene: &Scene) -> Result<usize> {
    let pins = scene.daemon.pins()?;
    Ok(pins.iter().filter(|pin| pin.to_string_lossy().contains("RINGS")).count())
}

#[test]
fn a_capture_has_rings_while_it_is_on_and_keeps_the_rest() -> Result<()> {
    let scene = Scene::set_up().peers(2).bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress").ok();
    assert_eq!((rings(&scene, "sniffer")?, pinned_rings(&scene)?), (0, 0), "on, but attached to nothing");
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    assert_eq!(pinned_rings(&scene)?, 1);
    assert!(rings(&scene, "sniffer")? > 16 << 20);
    let frames: Vec<_> = (0..10).map(|number| scene.flow(1, 2).frame(Protocol::Udp, 100, number)).collect();
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("the packets", || Ok(scene.counter("captured")? == 10))?;

    scene.daemon.ctl("sniffer set capture=off").ok();
    assert_eq!((rings(&scene, "sniffer")?, pinned_rings(&scene)?), (0, 0));
    let kept =
        |scene: &Scene| -> Result<(Value, Value)> { Ok((scene.get("sniffer/counters")?, scene.get("sniffer/files")?)) };
    let before = kept(&scene)?;
    assert_eq!((&before.0["captured"], &before.1[0]["packets"]), (&json!(10), &json!(10)));
    scene.daemon.ctl("sniffer set capture=ingress").ok();
    assert_eq!((kept(&scene)?, pinned_rings(&scene)?), (before.clone(), 1));
    scene.daemon.ctl("detach sniffer br1:toveth1").ok();
    assert_eq!((kept(&scene)?, pinned_rings(&scene)?), (before, 0));
    Ok(())
}

/// Bytes of the pinned maps whose names contain `name`.
fn pinned_bytes(scene: &Scene, name: &str) -> Result<u64> {
    let pins = scene.daemon.pins()?;
    let bytes = |pin: &PathBuf| {
        let info = bpf::map_info(bpf::open(&scene.daemon.bpffs_dir().join(pin))?.as_fd())?;
        Ok(u64::from(info.value_size) * u64::from(info.max_entries))
    };
    pins.iter().filter(|pin| pin.to_string_lossy().contains(name)).map(bytes).sum()
}

#[test]
fn the_large_ring_comes_when_it_is_needed_and_stays_through_a_restart() -> Result<()> {
    let mut scene = Scene::set_up().kept().peers(2).bridge().start()?;
    scene.sniff("capture=ingress ring-memory=when-needed");
    let flow = scene.flow(1, 2);
    let send = |scene: &Scene, numbers: Range<u32>, length: usize| {
        let frames = numbers.map(|number| flow.frame(Protocol::Udp, length, number)).collect::<Vec<_>>();
        Sender::open(scene.peer(1))?.send(&frames)
    };
    send(&scene, 0..10, 1000)?;
    eventually("the first packets", || Ok(scene.counter("captured")? == 10))?;
    let small = pinned_bytes(&scene, "RINGS")?;
    assert_eq!((small > 0, pinned_bytes(&scene, "LARGE")?), (true, 0), "an idle capture has the small lanes only");
    let promised = rings(&scene, "sniffer")?;
    assert!(small < promised / 8, "{small} of {promised} bytes");

    // More than half of a small lane, so that the consumer has the large one made, and less than all of it.
    eventually("the large ring", || {
        send(&scene, 0..700, 1000)?;
        Ok(pinned_bytes(&scene, "LARGE")? == promised - small)
    })?;
    let counters = |scene: &Scene| scene.get("sniffer/counters");
    let count = |counters: &Value, name: &str| counters[name].as_u64().unwrap_or_default();
    let all = |counters: &Value| {
        let [seen, captured, dropped] = ["seen", "captured", "dropped-ring-full"].map(|name| count(counters, name));
        (seen == captured + dropped).then_some((seen, dropped))
    };
    eventually("all packets", || Ok(all(&counters(&scene)?).is_some()))?;
    // A small lane may have been full before the large ring was there.
    let (_, dropped) = all(&counters(&scene)?).context("all packets")?;

    scene.daemon.kill9()?;
    // More than a small lane has room for, while nobody empties it.
    send(&scene, 0..3000, 1000)?;
    scene.daemon.restart()?;
    assert_eq!(pinned_bytes(&scene, "LARGE")?, promised - small);
    eventually("the packets of the time without a daemon", || {
        Ok(all(&counters(&scene)?).is_some_and(|(seen, _)| seen > 3000))
    })?;
    assert_eq!(counters(&scene)?["dropped-ring-full"], dropped);
    scene.daemon.ctl("sniffer set capture=off").ok();
    assert_eq!((pinned_bytes(&scene, "LARGE")?, pinned_bytes(&scene, "LANES")?), (0, 0));
    Ok(())
}

#[test]
fn the_capture_that_would_pass_the_limit_is_refused_and_the_refusal_says_what_uses_the_memory() -> Result<()> {
    let scene = Scene::set_up().peers(1).arguments(["--capture-memory", &LIMIT.to_string()]).start()?;
    let set_up = |number: u64| {
        scene.daemon.ctl(&format!("packetcapture add s{number} ring-size=1")).ok();
        scene.daemon.ctl(&format!("attach s{number} veth1")).ok();
        scene.daemon.ctl(&format!("s{number} set capture=ingress"))
    };
    set_up(0).ok();
    let one = rings(&scene, "s0")?;
    let fitting = (LIMIT << 20) / one;
    assert!(fitting > 3, "{one} bytes");
    (1..fitting).for_each(|number| drop(set_up(number).ok()));
    let refusal = set_up(fitting).one_line(2);
    let (limit, mebibytes) = (format!("of the {LIMIT} MiB that captures may use"), one.div_ceil(1 << 20));
    for part in [&limit, &format!("s0 {mebibytes}, s1 {mebibytes}"), "backlogs 0", "--capture-memory"] {
        assert!(refusal.contains(part), "{refusal} does not say {part}");
    }
    let memory = scene.get("s1/memory")?;
    assert_eq!((&memory["total"], &memory["limit"]), (&json!(one * fitting), &json!(LIMIT << 20)));
    let metrics = scene.daemon.http("GET", "/metrics", None)?;
    assert!(metrics.text().contains(&format!("packetcapture_ring_bytes{{cubeName=\"s0\"}} {one}")));
    let text = metrics.text();
    let lines: Vec<&str> = text.lines().collect();
    let of_cubes = lines.iter().filter(|line| line.starts_with("packetcapture_ring_bytes{"));
    let of_cubes: u64 = of_cubes.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert!(lines.contains(&format!("polycube_ring_bytes {of_cubes}").as_str()), "{of_cubes}: {lines:?}");

    scene.daemon.ctl("s0 set capture=off").ok();
    scene.daemon.ctl(&format!("s{fitting} set capture=ingress")).ok();
    assert_eq!((rings(&scene, "s0")?, rings(&scene, &format!("s{fitting}"))?), (0, one));
    Ok(())
}
