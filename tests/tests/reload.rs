//! Do cubes go on with new code when their service is loaded again, and with the old if they cannot?

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::{Daemon, plugin_dir};
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, Setup, Watched, eventually};
use serde_json::{Value, json};

/// More steps than any reload here has.
const MOST_STEPS: u32 = 100;

/// A scene whose daemon has this plugin directory.
fn scene(plugins: &Path) -> Setup {
    Scene::set_up().arguments([Path::new("--plugin-dir"), plugins].map(Path::to_string_lossy))
}

/// Writes a file whose bytes are those of `from`, with other texts: what another build of a plugin would be.
fn rebuild(from: &Path, to: &Path, texts: &[(&str, &str)]) -> Result<()> {
    let mut code = fs::read(from)?;
    for (was, now) in texts {
        ensure!(was.len() == now.len(), "{was} and {now} differ in length");
        let ends = code.len() - was.len();
        let places: Vec<usize> = (0..ends).filter(|at| code[*at..].starts_with(was.as_bytes())).collect();
        ensure!(!places.is_empty(), "{was} is not in {}", from.display());
        places.iter().for_each(|at| code[*at..at + now.len()].copy_from_slice(now.as_bytes()));
    }
    if to.exists() {
        fs::remove_file(to)?;
    }
    Ok(fs::write(to, code)?)
}

fn description(daemon: &Daemon, service: &str) -> Result<String> {
    let service = daemon.http("GET", &format!("/polycube/v1/services/{service}"), None)?.ok().json()?;
    Ok(service["description"].as_str().context("no description")?.to_owned())
}

/// The cubes' pins of maps and programs, with revisions and digests.
fn pins(scene: &Scene) -> Result<Vec<PathBuf>> {
    let mut pins = scene.daemon.pins()?;
    pins.sort();
    Ok(pins)
}

/// The numbers of the packets in all capture files, oldest file first.
fn numbers(scene: &Scene) -> Result<Vec<u32>> {
    let entries = fs::read_dir(scene.daemon.capture_dir())?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let mut files = paths.iter().map(|path| pcap::read(path)?.numbers()).collect::<Result<Vec<_>>>()?;
    files.sort_by_key(|numbers| numbers.first().copied());
    Ok(files.concat())
}

#[test]
fn no_packet_is_lost_and_each_is_captured_once_or_counted() -> Result<()> {
    let plugins = plugin_dir(&[])?;
    let scene = scene(plugins.path()).peers(2).bridge().start()?;
    for line in
        ["packetcapture add sniffer format=pcap-nanos", "attach sniffer br1:toveth1", "sniffer set capture=ingress"]
    {
        scene.daemon.ctl(line).ok();
    }
    scene.daemon.wait_for_large_rings()?;
    let before = pins(&scene)?;
    let fdb = scene.get("br1/fdb/entry")?.as_array().map(Vec::len);
    let watched = Watched::start(&scene)?;
    let file = |service: &str| plugins.path().join(format!("libpcn_{service}.so"));
    for round in 0..6 {
        watched.steady().wait_for(300)?;
        if round == 3 {
            rebuild(&file("packetcapture"), &file("packetcapture"), &[("Records the packets", "Takes up the pacets")])?;
            rebuild(&file("simplebridge"), &file("simplebridge"), &[("Learning switch", "A wiser switch.")])?;
        }
        scene.daemon.ctl("services reload packetcapture").ok();
        scene.daemon.ctl("services simplebridge reload").ok();
        assert_eq!(scene.get("sniffer/status")?, "capturing");
        assert_eq!(pins(&scene)?, before, "programs and maps stay where they are");
    }
    assert!(description(&scene.daemon, "packetcapture")?.starts_with("Takes up"));
    assert!(description(&scene.daemon, "simplebridge")?.starts_with("A wiser"));
    let sent = watched.stop()?;
    assert!(scene.get("br1/fdb/entry")?.as_array().map(Vec::len) >= fdb, "what was learned is not forgotten");
    eventually("all packets", || Ok(scene.get("sniffer/counters/seen")? == json!(sent)))?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    let (counters, numbers) = (scene.get("sniffer/counters")?, numbers(&scene)?);
    assert!(numbers.is_sorted_by(|one, next| one < next), "a packet is in the files twice, or out of order");
    assert_eq!(counters["captured"], json!(numbers.len()), "{counters}");
    let lost = ["dropped-ring-full", "dropped-disk"].iter().filter_map(|name| counters[name].as_u64()).sum::<u64>();
    assert_eq!(numbers.len() as u64 + lost, u64::from(sent), "{counters}");
    let audited = scene.daemon.log().lines().filter(|line| line.contains("POST services/packetcapture/reload")).count();
    assert_eq!(audited, 6, "each reload is one line");
    Ok(())
}

#[test]
fn a_reload_that_is_refused_leaves_everything_as_it_was() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let file = |name: &str| plugins.path().join(name);
    let whole = file("libpcn_panicky.so");
    let scene = scene(plugins.path()).peers(2).bridge().start()?;
    let daemon = &scene.daemon;
    for line in
        ["panicky add pancake00 size=3", "panicky add other", "attach other veth2", "attach pancake00 br1:toveth1"]
    {
        daemon.ctl(line).ok();
    }
    rebuild(&whole, &file("fewer.so"), &[("milliseconds", "millisecondz")])?;
    rebuild(&whole, &file("failing.so"), &[("stillborn", "pancake00")])?;
    let snapshot = || -> Result<(Value, Vec<PathBuf>, Value)> {
        Ok((scene.get("cubes")?, pins(&scene)?, scene.get("services/panicky")?))
    };
    let before = snapshot()?;
    let watched = Watched::start(&scene)?;
    for (line, words) in [
        ("services reload nothing", &["service `nothing` does not exist"][..]),
        ("services reload panicky uri=nowhere.so", &["services/uri", "there is no file `nowhere.so`"]),
        ("services reload panicky uri=/etc/passwd", &["there is no file `/etc/passwd`"]),
        ("services reload panicky uri=libpcn_simplebridge.so", &["is service `simplebridge`, not `panicky`"]),
        (
            "services reload panicky uri=fewer.so",
            &["does not take the configuration of cube `other`", "of cube `pancake00`", "milliseconds"],
        ),
        (
            "services reload panicky uri=failing.so",
            &["cube `pancake00` cannot go on with the new code: it panicked at", "told to panic in Create"],
        ),
        ("services reload panicky file=fewer.so", &["unknown key `file`"]),
    ] {
        let output = daemon.ctl(line);
        assert!(output.code != Some(0), "{line}: {output}");
        assert!(words.iter().all(|word| output.stderr.contains(word)), "{line}: {output}");
        assert_eq!(snapshot()?, before, "{line}");
    }
    let log = daemon.log();
    assert!(log.contains("told to panic in Create") && !log.contains("the cube is not created"), "{log}");
    assert!(log.contains("the cube goes on with the code before"), "{log}");
    // The cubes still hear of changes, and commit to them.
    daemon.ctl("pancake00 set size=4").ok();
    watched.stop()?;
    Ok(())
}

#[test]
fn a_cube_whose_code_has_failed_goes_on_with_new_code() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let scene = scene(plugins.path()).peers(2).bridge().start()?;
    let daemon = &scene.daemon;
    for line in ["panicky add p1 panic=action", "attach p1 br1:toveth1"] {
        daemon.ctl(line).ok();
    }
    assert!(daemon.ctl("p1 provoke").code != Some(0));
    assert!(daemon.ctl("p1 set size=5").stderr.contains("the plugin of cube `p1` failed"));
    let watched = Watched::start(&scene)?;
    daemon.ctl("services reload panicky").ok();
    daemon.ctl("p1 set size=5 panic=none").ok();
    daemon.ctl("p1 provoke").ok();
    assert_eq!(scene.get("p1/size")?, 5);
    watched.stop()?;
    Ok(())
}

#[test]
fn a_stuck_cube_gets_code_that_answers() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let scene = scene(plugins.path()).peers(2).bridge().start()?;
    let daemon = &scene.daemon;
    for line in ["panicky add p1 sleep=action milliseconds=60000", "panicky add p2", "attach p1 br1:toveth1"] {
        daemon.ctl(line).ok();
    }
    let watched = Watched::start(&scene)?;
    thread::scope(|scope| -> Result<()> {
        scope.spawn(|| daemon.ctl("p1 provoke"));
        eventually("the cube is stuck", || {
            Ok(scene.get("p1")?["failure"].as_str().is_some_and(|why| why.contains("the cube is stuck")))
        })?;
        daemon.ctl("services reload panicky").ok();
        assert_eq!(scene.get("p1")?["failure"], Value::Null);
        daemon.ctl("p1 set sleep=none size=5").ok();
        daemon.ctl("p1 provoke").ok();
        assert_eq!((scene.get("p1/size")?, scene.get("p2/size")?), (json!(5), json!(0)));
        Ok(())
    })?;
    watched.stop()?;
    Ok(())
}

#[test]
fn a_cube_that_was_set_aside_comes_back_with_code_that_takes_it() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let (file, whole) = (plugins.path().join("libpcn_panicky.so"), plugins.path().join("whole.so"));
    fs::copy(&file, &whole)?;
    let mut scene = scene(plugins.path()).kept().peers(2).bridge().start()?;
    for line in ["panicky add p1 milliseconds=7", "panicky add p2", "attach p1 br1:toveth1"] {
        scene.daemon.ctl(line).ok();
    }
    let watched = Watched::start(&scene)?;
    scene.daemon.terminate()?;
    rebuild(&whole, &file, &[("milliseconds", "millisecondz")])?;
    scene.daemon.restart()?;
    for cube in ["p1", "p2"] {
        let failure = scene.get(cube)?["failure"].to_string();
        assert!(failure.contains("service `panicky` does not take its configuration any more"), "{failure}");
    }
    fs::remove_file(&file)?;
    fs::copy(&whole, &file)?;
    scene.daemon.ctl("services reload panicky").ok();
    for cube in ["p1", "p2"] {
        assert_eq!(scene.get(cube)?["failure"], Value::Null, "{cube} is back at once");
    }
    assert_eq!(scene.get("p1/milliseconds")?, 7);
    scene.daemon.ctl("p1 set size=3").ok();
    watched.stop()?;
    Ok(())
}

#[test]
fn a_plugin_that_is_missing_at_start_is_loaded_when_it_is_there() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let (file, aside) = (plugins.path().join("libpcn_panicky.so"), plugins.path().join("aside"));
    let mut scene = scene(plugins.path()).kept().peers(2).bridge().start()?;
    for line in ["panicky add p1 size=7", "attach p1 br1:toveth1"] {
        scene.daemon.ctl(line).ok();
    }
    fs::rename(&file, &aside)?;
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    let failure = scene.get("p1")?["failure"].to_string();
    assert!(failure.contains("service `panicky` does not exist"), "{failure}");
    fs::rename(&aside, &file)?;
    eventually("the cube is back", || Ok(scene.get("p1")?["failure"] == Value::Null))?;
    scene.daemon.ctl("p1 set size=8").ok();
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_while_it_reloads_has_one_code_or_the_other() -> Result<()> {
    let plugins = plugin_dir(&["panicky"])?;
    let mut scene = scene(plugins.path()).kept().peers(2).bridge().start()?;
    for line in [
        "packetcapture add sniffer capture=ingress",
        "attach sniffer br1:toveth1",
        "panicky add p1",
        "attach p1 br1:toveth2",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let cubes = |scene: &Scene| -> Result<Value> {
        let mut cubes = scene.get("topology")?;
        cubes.as_array_mut().context("cubes")?.iter_mut().for_each(|cube| cube["ports"] = Value::Null);
        Ok(cubes)
    };
    scene.daemon.wait_for_large_rings()?;
    let (before, found) = (cubes(&scene)?, pins(&scene)?);
    let watched = Watched::start(&scene)?;
    let mut killed = 0;
    for step in 1.. {
        ensure!(step < MOST_STEPS, "a reload takes no end");
        scene.daemon.terminate()?;
        scene.daemon.restart_with(&["--fault", &format!("change {step}")])?;
        scene.daemon.wait_until_it_answers()?;
        if scene.daemon.outlives("services reload packetcapture")? {
            break;
        }
        killed += 1;
        scene.daemon.wait_for_end()?;
        scene.daemon.restart()?;
        assert_eq!(cubes(&scene)?, before, "killed at step {step}");
        assert_eq!(pins(&scene)?.len(), found.len(), "killed at step {step}");
        assert_eq!(scene.get("sniffer/status")?, "capturing", "killed at step {step}");
    }
    assert!(killed >= 3, "a reload has more than {killed} steps");
    watched.stop()?;
    Ok(())
}
