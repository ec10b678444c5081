//! What becomes of the kernel's part of what cannot be brought back, and of what nothing says the use of?

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use polycube_tests::daemon::attempt;
use polycube_tests::scene::{Scene, Watched, eventually};

/// Longer than it takes until what waits is tried again.
const RETRIES: Duration = Duration::from_secs(11);

fn pins(scene: &Scene, cube: &str) -> Result<Vec<String>> {
    let pins = scene.daemon.pins()?;
    let pins = pins.iter().map(|pin| pin.display().to_string()).filter(|pin| pin.contains(&format!("cubes/{cube}/")));
    Ok(pins.collect())
}

#[test]
fn a_retry_that_is_refused_gives_back_what_it_had_taken_over() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let own = scene.daemon.capture_dir().join("own");
    fs::create_dir_all(&own)?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl(&format!("sniffer set dump={}/x", own.display())).ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    scene.daemon.wait_for_large_rings()?;
    let before = pins(&scene, "sniffer")?;
    assert!(!before.is_empty());
    let watched = Watched::start(&scene)?;
    scene.daemon.kill9()?;
    let aside = own.with_file_name("aside");
    fs::rename(&own, &aside)?;
    scene.daemon.restart()?;
    let failure = |scene: &Scene| Ok::<_, anyhow::Error>(scene.get("sniffer")?["failure"].clone());
    assert!(failure(&scene)?.is_string(), "{}", scene.daemon.log());
    thread::sleep(RETRIES);
    assert_eq!(pins(&scene, "sniffer")?, before, "{}", scene.daemon.log());
    fs::rename(&aside, &own)?;
    eventually("the capture", || Ok(failure(&scene)?.is_null()))?;
    watched.stop()?;
    assert_eq!(pins(&scene, "sniffer")?, before, "it goes on with its own rings");
    Ok(())
}

#[test]
fn without_a_store_what_is_in_the_kernel_goes_on() -> Result<()> {
    for store in ["empty", "missing"] {
        let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
        let before = scene.daemon.pins()?;
        let watched = Watched::start(&scene)?;
        scene.daemon.terminate()?;
        let file = scene.daemon.state_dir().join("state.redb");
        if store == "empty" {
            fs::write(file, "")?;
        } else {
            fs::remove_file(file)?;
        }
        scene.daemon.restart()?;
        assert_eq!(scene.daemon.pins()?, before, "{store}");
        assert!(scene.daemon.log().contains("there is no store that says what the programs"), "{store}");
        watched.steady().wait_for(1000)?;
        watched.stop()?;
    }
    Ok(())
}

#[test]
fn a_dry_run_deletes_nothing() -> Result<()> {
    let mut scene = Scene::set_up().kept().start()?;
    for line in
        ["simplebridge add br1", "simplebridge add br2", "br1 ports add p", "br2 ports add p", "connect br1:p br2:p"]
    {
        scene.daemon.ctl(line).ok();
    }
    let links = |scene: &Scene| -> Result<Vec<String>> {
        let output = scene.lab.host().command("ip").args(["-o", "link"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let names = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.split('@').next());
        Ok(names.filter(|name| name.starts_with("pcn")).map(str::to_owned).collect())
    };
    let before = links(&scene)?;
    assert_eq!(before.len(), 2);
    scene.daemon.terminate()?;
    assert!(scene.lab.host().command("ip").args(["link", "set", &before[0], "down"]).status()?.success());
    let (state, bpffs) = (scene.daemon.state_dir(), scene.daemon.bpffs_dir());
    let arguments = ["--state-dir", state.to_str().context("UTF-8")?, "--bpffs", bpffs.to_str().context("UTF-8")?];
    let run = |more: &[&str]| attempt(&scene.lab, &[&arguments, more].concat());
    let listed = run(&["cleanup", "--dry-run"])?.ok();
    assert!(listed.contains("half a link"), "{listed}");
    assert_eq!(links(&scene)?, before);
    assert_eq!(run(&["cleanup"])?.ok(), listed);
    assert!(links(&scene)?.is_empty());
    Ok(())
}

#[test]
fn a_new_cube_does_not_get_the_maps_of_a_deleted_one_of_its_name() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().fixtures(["marker"]).bridge().start()?;
    let watched = Watched::start(&scene)?;
    watched.steady().wait_for(100)?;
    watched.stop()?;
    eventually("an address", || Ok(scene.get("br1/fdb/entry")?.as_array().is_some_and(|all| !all.is_empty())))?;
    scene.daemon.terminate()?;
    let plugin = scene.plugin("simplebridge")?;
    let away = plugin.with_extension("away");
    fs::rename(&plugin, &away)?;
    scene.daemon.restart()?;
    let failure = |scene: &Scene| Ok::<_, anyhow::Error>(scene.get("br1")?["failure"].clone());
    eventually("the reason", || Ok(failure(&scene)?.is_string()))?;
    let old = pins(&scene, "br1")?;
    assert!(!old.is_empty());
    fs::rename(&away, &plugin)?;
    // Before the cube is tried again, and before what it left is removed.
    scene.daemon.ctl("del br1").ok();
    scene.daemon.ctl(&format!("services add type=lib uri={} name=simplebridge", plugin.display())).ok();
    scene.daemon.ctl("simplebridge add br1").ok();
    assert_eq!(scene.get("br1/fdb/entry")?, serde_json::json!([]), "{}", scene.daemon.log());
    eventually("what the old one left to go", || {
        let now = pins(&scene, "br1")?;
        Ok(now.iter().all(|pin| !old.contains(pin)))
    })?;
    Ok(())
}
