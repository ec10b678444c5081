//! Is half of a change at the moment of a kill completed or undone, and never in between?

use std::path::Path;

use anyhow::{Context, Result, ensure};
use polycube_tests::hook::programs_attached;
use polycube_tests::scene::{Scene, Watched};
use serde_json::{Value, json};

/// More than any change here has.
const MOST_STEPS: u32 = 200;

/// What is set, wired and loaded. Ids and digests differ from daemon to daemon.
#[derive(Clone, Debug, PartialEq)]
struct Snapshot {
    cubes: Value,
    hooks: Vec<(String, Vec<String>)>,
    pins: Vec<String>,
    links: usize,
}

fn snapshot(scene: &Scene) -> Result<Snapshot> {
    scene.daemon.wait_for_large_rings()?;
    let mut cubes = scene.get("cubes")?;
    for cube in
        cubes.as_object_mut().context("cubes by service")?.values_mut().filter_map(Value::as_array_mut).flatten()
    {
        // A cube that is created again has another one.
        cube["uuid"] = Value::Null;
        for port in cube.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port["uuid"] = Value::Null;
            port["netdev"] = json!(port["netdev"].as_str().map(str::len));
        }
        let name = cube["name"].as_str().context("a name")?.to_owned();
        // What a capture has seen and does changes by itself.
        for key in ["packets", "bytes", "drops", "file", "idle", "status", "config"] {
            cube.as_object_mut().context("a cube")?.remove(key);
        }
        for key in ["filters", "snaplen", "capture"] {
            cube[key] = scene.get(&name)?[key].clone();
        }
    }
    let hooks = ["veth1", "veth2", "veth3"].map(|netdev| {
        let programs = programs_attached(scene.lab.host(), netdev)?;
        Ok((netdev.to_owned(), programs.into_iter().map(|one| format!("{:?} {}", one.hook, one.name)).collect()))
    });
    let mut pins: Vec<String> = scene.daemon.pins()?.iter().map(|pin| without_numbers(pin)).collect();
    pins.sort();
    Ok(Snapshot {
        cubes,
        hooks: hooks.into_iter().collect::<Result<_>>()?,
        pins,
        links: scene.get("netdevs")?.as_array().map_or(0, |all| {
            all.iter().filter(|netdev| netdev["name"].as_str().is_some_and(|name| name.starts_with("pcn"))).count()
        }),
    })
}

/// A pin without ifindex, revision and digest: `cubes/s1/0-ingress-1/next` for `cubes/s1/0-ingress-1-7-DIGEST/next`.
fn without_numbers(pin: &Path) -> String {
    let parts = pin.components().map(|part| {
        let part = part.as_os_str().to_string_lossy().into_owned();
        // Of a map's name, what follows its revision is its generation and its cube's UUID.
        let words: Vec<&str> = part.split('+').next().unwrap_or_default().split('-').collect();
        match words[..] {
            [point, direction, stage, _, _] => [point, direction, stage].join("-"),
            [_, direction, _] => direction.to_owned(),
            [map, _] => map.to_owned(),
            _ => part,
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Asserts that two snapshots are alike, and says where they are not.
#[track_caller]
fn assert_same(now: &Snapshot, expected: &Snapshot, what: &str) {
    assert_eq!(now.pins, expected.pins, "{what}");
    assert_eq!(now.hooks, expected.hooks, "{what}");
    assert_eq!(now.links, expected.links, "{what}");
    assert_eq!(now.cubes, expected.cubes, "{what}");
}

fn lab() -> Result<Scene> {
    Scene::set_up()
        .peers(3)
        .kept()
        .bridge()
        .commands([
            "packetcapture add s1 capture=bidirectional snaplen=96",
            "packetcapture add s2",
            "attach s1 br1:toveth1",
            "simplebridge add br2",
            "br2 ports add link",
            "br1 ports del toveth3",
            "br1 ports add link",
        ])
        .start()
}

/// Kills a daemon at each step of a change, and asserts that the next one has the state before it or after it, while not
/// one frame of those that pass is lost.
#[track_caller]
fn check(change: &str, back: &[&str]) -> Result<()> {
    let mut scene = lab()?;
    let before = snapshot(&scene)?;
    scene.daemon.ctl(change).ok();
    let after = snapshot(&scene)?;
    assert_ne!(before, after, "{change} changes something");
    for line in back {
        scene.daemon.ctl(line).ok();
    }
    assert_same(&snapshot(&scene)?, &before, &format!("{change} can be taken back"));
    let watched = Watched::start(&scene)?;
    let (mut undone, mut completed) = (0, 0);
    for step in 1.. {
        ensure!(step < MOST_STEPS, "{change} takes no end");
        scene.daemon.terminate()?;
        scene.daemon.restart_with(&["--fault", &format!("change {step}")])?;
        scene.daemon.wait_until_it_answers()?;
        if scene.daemon.outlives(change)? {
            break;
        }
        scene.daemon.wait_for_end()?;
        scene.daemon.restart()?;
        let now = snapshot(&scene)?;
        if now == after {
            completed += 1;
            for line in back {
                scene.daemon.ctl(line).ok();
            }
        } else {
            undone += 1;
            assert_same(&now, &before, &format!("{change}, killed at step {step}"));
        }
        assert_same(&snapshot(&scene)?, &before, &format!("{change}, killed at step {step} and taken back"));
    }
    watched.stop()?;
    assert!(undone > 1 && completed > 0, "{change}: {undone} were undone, {completed} completed");
    Ok(())
}

#[test]
fn attaching() -> Result<()> {
    check("attach s2 br1:toveth1", &["detach s2 br1:toveth1"])
}

#[test]
fn detaching() -> Result<()> {
    check("detach s1 br1:toveth1", &["attach s1 br1:toveth1"])
}

#[test]
fn setting_a_filter() -> Result<()> {
    check("s1 filters set dport=53", &["s1 filters del dport"])
}

#[test]
fn adding_a_port() -> Result<()> {
    check("br2 ports add p peer=veth3", &["br2 ports del p"])
}

#[test]
fn linking_two_cubes() -> Result<()> {
    check("connect br1:link br2:link", &["disconnect br1:link br2:link"])
}

/// Kills daemons while they bring back what is stored and take over what is there.
#[test]
fn starting() -> Result<()> {
    let mut scene = lab()?;
    scene.daemon.ctl("connect br1:link br2:link").ok();
    scene.daemon.ctl("attach s2 veth3").ok();
    let before = snapshot(&scene)?;
    let watched = Watched::start(&scene)?;
    scene.daemon.kill9()?;
    let mut killed = 0;
    for step in 1..MOST_STEPS {
        scene.daemon.restart_with(&["--fault", &format!("restore {step}")])?;
        if scene.daemon.wait_until_it_answers().is_ok() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 20, "killed at {killed} steps");
    assert_same(&snapshot(&scene)?, &before, "killed while it starts");
    watched.stop()?;
    Ok(())
}
