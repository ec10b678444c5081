//! Do cubes of objects go on with another version as a whole, or not at all?

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::capture::Recorder;
use polycube_tests::daemon::plugin_dir;
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};
use tempfile::TempDir;

/// More steps than any reload here has.
const MOST_STEPS: u32 = 100;

/// The ports that frames are sent to. The first version drops what is sent to the first, the second one what is sent to the
/// second. Both drop what is sent to a port of the list: the first version stores 9999 as 9999, and the second one as 3879.
const PORTS: [u16; 4] = [1111, 2222, 3879, 9999];

/// The ports that each version lets frames pass to.
const FIRST: [u16; 2] = [2222, 3879];
const SECOND: [u16; 2] = [1111, 9999];

/// A port that nothing blocks.
const LAST: u16 = 7;

/// How long a frame that a later one overtook may take.
const QUIET: Duration = Duration::from_millis(50);

/// The manifest of the first version.
fn first() -> Result<Value> {
    let manifest = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects/steps.json"))?;
    Ok(serde_json::from_slice(&manifest)?)
}

/// The manifest of the second version, with another value at a JSON pointer.
fn second(pointer: &str, value: Value) -> Result<Value> {
    let mut manifest = first()?;
    manifest["description"] = json!("The second version");
    manifest["hooks"] = json!([{ "program": "second" }]);
    manifest["tail-calls"] = json!({ "jumps": ["count_second"] });
    manifest["config"]["properties"]["blocked"]["items"]["properties"]["port"] = json!({ "type": "integer" });
    if !pointer.is_empty() {
        *manifest.pointer_mut(pointer).context("a place in the manifest")? = value;
    }
    Ok(manifest)
}

/// A directory with both versions.
fn directory() -> Result<TempDir> {
    let directory = plugin_dir(&[])?;
    for (name, manifest) in [("steps", first()?), ("other", second("", Value::Null)?)] {
        put(&directory, name, &manifest)?;
    }
    Ok(directory)
}

fn put(directory: &TempDir, name: &str, manifest: &Value) -> Result<()> {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects/steps.o");
    fs::copy(object, directory.path().join(format!("{name}.o")))?;
    Ok(fs::write(directory.path().join(format!("{name}.json")), manifest.to_string())?)
}

/// Cube `s1` sees what peer 1 sends, and `s2` what peer 2 sends.
fn start(directory: &TempDir, lines: &[&str]) -> Result<Scene> {
    let argument = directory.path().display().to_string();
    let scene = Scene::set_up().peers(2).kept().arguments(["--plugin-dir", &argument]).bridge();
    let cubes = ["services add type=object uri=steps.o name=steps", "steps add s1", "steps add s2"];
    let attached = ["attach s1 veth1", "attach s2 veth2", "s1 blocked add 9999", "s2 blocked add 9999"];
    scene.commands(cubes).commands(attached).commands(lines).start()
}

/// The ports that frames from a peer to the other one pass to.
fn passing(scene: &Scene, from: usize, to: usize) -> Result<Vec<u16>> {
    let recorder = Recorder::start(scene.peer(to))?;
    let sender = Sender::open(scene.peer(from))?;
    for port in PORTS.into_iter().chain([LAST]) {
        let mut flow = scene.flow(from, to);
        flow.to.port = port;
        sender.send(&flow.frames(Protocol::Udp, 100, 1))?;
    }
    recorder.wait_for(1, PATIENCE)?;
    thread::sleep(QUIET);
    // The destination port of UDP in IPv4 without options.
    let port = |frame: &[u8]| Some(u16::from_be_bytes(frame.get(36..38)?.try_into().ok()?));
    let is_udp = |frame: &[u8]| frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
    let frames = recorder.stop()?.frames;
    let ports = frames.iter().map(|frame| &*frame.bytes).filter(|frame| is_udp(frame)).filter_map(port);
    let mut ports: Vec<u16> = ports.collect();
    assert_eq!(ports.pop(), Some(LAST));
    Ok(ports)
}

/// Asserts that a cube treats packets as a version does, and that its tail calls lead to the same version.
#[track_caller]
fn check(scene: &Scene, (cube, from, to): (&str, usize, usize), version: &str, ports: [u16; 2]) -> Result<()> {
    let counted = |name: &str| -> Result<u64> { Ok(scene.get(cube)?[name].as_u64().unwrap_or_default()) };
    let before = (counted("first")?, counted("second")?);
    assert_eq!(passing(scene, from, to)?, ports, "{cube} is the {version} version");
    let added = (counted("first")? - before.0, counted("second")? - before.1);
    assert_eq!(added, if version == "first" { (3, 0) } else { (0, 3) }, "the tail calls of {cube}");
    Ok(())
}

const CUBES: [(&str, usize, usize); 2] = [("s1", 1, 2), ("s2", 2, 1)];

#[test]
fn a_reload_that_is_refused_leaves_lists_tail_calls_and_packets_as_they_were() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &["s2 set trap=true", "s2 blocked add 8001", "s2 blocked add 8002"])?;
    let refusals = [
        // The last cube's program for tail calls, when the first one has prepared everything.
        (
            "/tail-calls/jumps",
            json!(["fallible"]),
            ["cube `s2` cannot go on", "program `fallible`", "invalid mem access"],
        ),
        (
            "/hooks",
            json!([{ "program": "second" }, { "program": "fallible", "stage": 1 }]),
            [
                "cube `s2` cannot go on",
                "program `fallible` of cube `s2` at point ",
                "invalid mem access 'scalar', at `return trap ? ",
            ],
        ),
        (
            "/config/properties/blocked/x-map",
            json!("few"),
            ["cube `s2` cannot go on", "the program's map has room for 2 entries, not for 3", "blocked"],
        ),
    ];
    let wiring = || -> Result<(Value, Value, Value, Vec<_>)> {
        let mut pins = scene.daemon.pins()?;
        pins.sort();
        let service = scene.get("services/steps")?;
        Ok((scene.get("s1")?["stored"].clone(), scene.get("s2")?["stored"].clone(), service, pins))
    };
    let before = wiring()?;
    assert_eq!(before.0, json!([{ "port": 9999, "weight": 1 }]));
    for (pointer, value, words) in refusals {
        put(&directory, "bad", &second(pointer, value)?)?;
        let refused = scene.daemon.ctl("services reload steps uri=bad.o").one_line(2);
        assert!(words.iter().all(|word| refused.contains(word)), "{pointer}: {refused}");
        assert_eq!(wiring()?, before, "{pointer}");
        for cube in CUBES {
            check(&scene, cube, "first", FIRST).with_context(|| pointer.to_owned())?;
        }
    }
    scene.daemon.ctl("services reload steps uri=other.o").ok();
    for cube in CUBES {
        check(&scene, cube, "second", SECOND)?;
    }
    assert_eq!(scene.get("s1/blocked")?, json!([{ "port": 9999, "weight": 1 }]), "what is configured is the same");
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_while_it_reloads_comes_back_with_one_version() -> Result<()> {
    let directory = directory()?;
    let mut scene = start(&directory, &[])?;
    let mut killed = Vec::new();
    for step in 1.. {
        ensure!(step < MOST_STEPS, "a reload takes no end");
        scene.daemon.terminate()?;
        scene.daemon.restart_with(&["--fault", &format!("change {step}")])?;
        scene.daemon.wait_until_it_answers()?;
        if scene.daemon.outlives("services reload steps uri=other.o")? {
            break;
        }
        scene.daemon.wait_for_end()?;
        scene.daemon.restart()?;
        let description = scene.get("services/steps")?["description"].clone();
        let is_first = description == "The first version";
        ensure!(is_first || description == "The second version", "{description}");
        for cube in CUBES {
            let (version, ports) = if is_first { ("first", FIRST) } else { ("second", SECOND) };
            check(&scene, cube, version, ports).with_context(|| format!("killed at step {step}"))?;
        }
        killed.push(is_first);
        if !is_first {
            scene.daemon.ctl("services reload steps uri=steps.o").ok();
        }
    }
    assert!(killed.len() >= 8, "a reload of two cubes has more than {} steps", killed.len());
    for cube in CUBES {
        check(&scene, cube, "second", SECOND)?;
    }
    Ok(())
}

/// What a map of a list has is left alone where nothing changes, so that other entries keep what programs counted.
#[test]
fn lists_and_counters_outlive_a_reload_of_the_same_object() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &[])?;
    check(&scene, CUBES[0], "first", FIRST)?;
    let before = scene.get("s1")?;
    scene.daemon.ctl("services reload steps").ok();
    assert_eq!(scene.get("s1")?, before);
    check(&scene, CUBES[0], "first", FIRST)
}
