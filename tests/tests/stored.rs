//! Does what users asked for survive the daemon, whatever became of plugins, disks and the store itself?

use std::fs;

use anyhow::{Context, Result};
use polycube_tests::daemon::{Output, attempt};
use polycube_tests::disk::Disk;
use polycube_tests::hook::{Bystander, Hook, Verdict, programs_attached};
use polycube_tests::scene::{Scene, Watched, eventually};
use serde_json::{Value, json};

/// What a refused command says.
trait Refused {
    fn fails_saying(self, words: &str);
}

impl Refused for Output {
    #[track_caller]
    fn fails_saying(self, words: &str) {
        assert_ne!(self.code, Some(0), "{self}");
        assert!(self.to_string().contains(words), "{self}");
    }
}

/// Cubes and everything that is set on them, without what time changes.
fn configuration(scene: &Scene) -> Result<Value> {
    let mut whole = json!({});
    for (_, mut cubes) in scene.get("cubes")?.as_object().context("cubes by service")?.clone() {
        for cube in cubes.as_array_mut().context("a list of cubes")? {
            let name = cube["name"].as_str().context("a name")?.to_owned();
            // What a capture has seen and does changes by itself.
            for key in ["packets", "drops", "file", "idle", "status"] {
                cube.as_object_mut().context("a cube")?.remove(key);
            }
            let set = scene.get(&name)?;
            for key in ["filters", "snaplen", "capture", "format"] {
                cube[key] = set[key].clone();
            }
            whole[name] = cube.take();
        }
    }
    Ok(whole)
}

fn lab() -> Result<Scene> {
    let scene = Scene::set_up().peers(3).kept().bridge().start()?;
    for line in [
        "packetcapture add sniffer capture=bidirectional snaplen=96",
        "packetcapture add outer loglevel=DEBUG",
        "packetcapture add idle",
        "sniffer filters set dport=4242",
        "attach sniffer br1:toveth1",
        "attach sniffer br1:toveth2",
        "attach outer br1:toveth1",
        "attach outer veth3",
        "simplebridge add br2",
        "br2 ports add link",
        "br1 ports add link",
        "connect br1:link br2:link",
    ] {
        scene.daemon.ctl(line).ok();
    }
    Ok(scene)
}

#[test]
fn what_users_asked_for_is_there_after_a_stop_and_after_a_kill() -> Result<()> {
    let mut scene = lab()?;
    let before = configuration(&scene)?;
    for round in 0..4 {
        if round % 2 == 0 {
            scene.daemon.terminate()?;
        } else {
            scene.daemon.kill9()?;
        }
        scene.daemon.restart()?;
        assert_eq!(configuration(&scene)?, before, "round {round}: {}", scene.daemon.log());
    }
    scene.daemon.ctl("del br2").ok();
    scene.daemon.ctl("detach outer veth3").ok();
    scene.daemon.ctl("idle set snaplen=64").ok();
    let before = configuration(&scene)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(configuration(&scene)?, before);
    Ok(())
}

/// Waits until the daemon says that of a cube.
fn wait_for_failure(scene: &Scene, cube: &str, words: &str) -> Result<()> {
    eventually(words, || {
        let failure = scene.get(cube)?["failure"].as_str().unwrap_or_default().to_owned();
        Ok(failure.contains(words))
    })
}

#[test]
fn a_cube_whose_plugin_is_gone_is_kept_and_comes_back_with_it() -> Result<()> {
    let mut scene = Scene::set_up()
        .peers(2)
        .kept()
        .fixtures(["marker"])
        .commands(["marker add m1", "marker add m2"])
        .bridge()
        .start()?;
    scene.daemon.ctl("attach m1 br1:toveth1").ok();
    scene.daemon.ctl("attach m1 veth2").ok();
    let (before, uuid) = (scene.get("m1")?, scene.get("m1")?["uuid"].clone());
    scene.daemon.terminate()?;
    let plugin = scene.plugin("marker")?;
    let away = plugin.with_extension("away");
    fs::rename(&plugin, &away)?;
    scene.daemon.restart()?;
    wait_for_failure(&scene, "m1", "could not be brought back: service `marker` does not exist")?;
    assert_eq!(scene.get("m1")?["uuid"], uuid);
    assert!(scene.get("cubes")?.to_string().contains("could not be brought back"));
    let topology = scene.daemon.ctl("topology show").ok();
    for line in [
        "m1 (marker)\n├─ could not be brought back: service `marker` does not exist",
        "─ at br1:toveth1, DOWN (not restored)",
        "─ at veth2, DOWN (not restored)",
        "m2 (marker)\n└─ could not be brought back",
    ] {
        assert!(topology.contains(line), "{topology}");
    }
    let marker = scene.get("services/marker")?;
    assert!(marker["failure"].to_string().contains("stored cubes need it"), "{marker}");
    assert!(scene.daemon.ctl("services show").ok().contains("stored cubes need it"));
    scene.daemon.ctl("m1 set size=1").fails_saying("could not be brought back");
    scene.daemon.ctl("simplebridge add m1").fails_saying("could not be brought back");
    scene.daemon.ctl("del m2").ok();
    // What is stored of it survives another start, and changes beside it.
    scene.daemon.ctl("packetcapture add sniffer").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    wait_for_failure(&scene, "m1", "service `marker` does not exist")?;
    scene.daemon.ctl("m2 show").fails_saying("m2");
    fs::rename(&away, &plugin)?;
    scene.daemon.ctl(&format!("services add type=lib uri={} name=marker", plugin.display())).ok();
    eventually("m1 again", || Ok(scene.get("m1")?.get("failure").is_none()))?;
    let after = scene.get("m1")?;
    assert_eq!((&after["uuid"], &after["parents"]), (&before["uuid"], &before["parents"]));
    let chain = scene.get("br1")?["ports"][0]["ingress-chain"].clone();
    assert!(chain.to_string().contains("m1") && chain.to_string().contains("sniffer"), "{chain}");
    // The next start finds the plugin by itself, as well as in the store.
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    assert!(scene.get("m1")?.get("failure").is_none());
    assert!(!scene.daemon.log().contains("cannot be loaded again"));
    Ok(())
}

/// What the daemons of version 0.1.0 stored.
const OLDEST: &[u8] = include_bytes!("stored/state-1.redb.zst");

#[test]
fn the_oldest_store_is_read() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().start()?;
    scene.daemon.terminate()?;
    fs::write(scene.daemon.state_dir().join("state.redb"), zstd::decode_all(OLDEST)?)?;
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1")?["uuid"], "0a7c1f3e-5a57-4a3c-9d41-8f2b6f0f1d11");
    assert_eq!(scene.get("br1/ports/toveth1/peer")?, json!("veth1"));
    assert_eq!(
        (&scene.get("br1/ports/toveth1/status")?, &scene.get("br1/ports/link/peer")?),
        (&json!("UP"), &json!("br2:link"))
    );
    let sniffer = scene.get("sniffer")?;
    assert_eq!(sniffer["parents"], json!(["br1:toveth1", "veth2"]));
    assert_eq!((&sniffer["snaplen"], &sniffer["filters"]["dport"]), (&json!(96), &json!(4242)));
    assert_eq!(scene.get("br2/loglevel")?, json!("DEBUG"));
    assert!(scene.get("services")?.to_string().contains("simplebridge"));
    let message = scene.get("gone")?["failure"].clone();
    assert_eq!(message, json!("could not be brought back: service `nothere` does not exist"));
    Ok(())
}

#[test]
fn a_damaged_store_is_put_aside_and_packets_go_on() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let watched = Watched::start(&scene)?;
    scene.daemon.kill9()?;
    fs::write(scene.daemon.state_dir().join("state.redb"), [7; 50_000])?;
    scene.daemon.restart()?;
    assert_eq!(scene.get("cubes")?, json!({}));
    assert!(scene.daemon.log().contains("is damaged"), "{}", scene.daemon.log());
    watched.steady().wait_for(1000)?;
    watched.stop()?;
    let aside = fs::read_dir(scene.daemon.state_dir())?.filter_map(Result::ok);
    assert_eq!(aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged-")).count(), 1);
    Ok(())
}

/// The table of cubes in the store, with a name and a text for each.
const CUBES: redb::TableDefinition<'static, &'static str, &'static [u8]> = redb::TableDefinition::new("cubes");

/// Writes over what is stored of a cube, while no daemon runs.
fn write_row(scene: &Scene, cube: &str, text: &[u8]) -> Result<Vec<u8>> {
    let database = redb::Database::open(scene.daemon.state_dir().join("state.redb"))?;
    let transaction = database.begin_write()?;
    let former = transaction.open_table(CUBES)?.insert(cube, text)?.context("a row")?.value().to_owned();
    transaction.commit()?;
    Ok(former)
}

#[test]
fn a_cube_whose_row_cannot_be_read_is_shown_and_kept_with_its_pins() -> Result<()> {
    let mut scene = lab()?;
    let before = configuration(&scene)?;
    scene.daemon.wait_for_large_rings()?;
    let pins = scene.daemon.pins()?;
    let watched = Watched::start(&scene)?;
    scene.daemon.terminate()?;
    let odd = br#"{"uuid":"5","service":"packetcapture","config":7,"ports":"none"}"#;
    let former = write_row(&scene, "outer", odd)?;
    scene.daemon.restart()?;
    wait_for_failure(&scene, "outer", "could not be brought back: what is stored of it cannot be read (")?;
    assert!(scene.get("topology")?.to_string().contains("cannot be read"));
    assert_eq!(scene.daemon.pins()?, pins, "{}", scene.daemon.log());
    scene.daemon.ctl("packetcapture add outer").fails_saying("is tried again at each start, and can be deleted");
    scene.daemon.ctl("detach sniffer br1:toveth1").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1 position=first").ok();
    // What config save prints can be read back while it waits.
    let saved = scene.daemon.ctl("config save").ok();
    assert!(!saved.contains("outer"), "{saved}");
    assert_eq!(scene.daemon.ctl_reading(&["config", "apply"], Some(&saved)).code, Some(0));
    scene.daemon.terminate()?;
    assert_eq!(write_row(&scene, "outer", &former)?, odd, "it is left as it is");
    watched.stop()?;
    scene.daemon.restart()?;
    assert_eq!(configuration(&scene)?["outer"], before["outer"]);
    Ok(())
}

#[test]
fn a_store_at_which_the_database_aborts_is_put_aside() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let watched = Watched::start(&scene)?;
    scene.daemon.kill9()?;
    // A process that opens the store panics, and again while it unwinds.
    scene.daemon.restart_with(&["--fault", "trial"])?;
    scene.daemon.wait_until_it_answers()?;
    let log = scene.daemon.log();
    assert!(log.contains("is damaged (the database ends a process that opens it, signal: 6"), "{log}");
    assert_eq!(scene.get("cubes")?, json!({}));
    scene.daemon.ctl("simplebridge add br2").ok();
    watched.stop()?;
    Ok(())
}

/// The database panics at some damages, and aborts the process at others.
#[test]
fn a_store_that_is_damaged_while_the_daemon_runs_ends_nothing() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let store = scene.daemon.state_dir().join("state.redb");
    let whole = fs::read(&store)?;
    let watched = Watched::start(&scene)?;
    // Pages of the trees, everything after the header, and half of the file.
    let of = |damage: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        bytes
    };
    for damaged in [
        of(|bytes| bytes.iter_mut().skip(4096).step_by(97).for_each(|byte| *byte ^= 0xff)),
        of(|bytes| bytes[320..].fill(0xff)),
        of(|bytes| bytes.truncate(bytes.len() / 2)),
    ] {
        fs::write(&store, damaged)?;
        eventually("the daemon has seen it", || Ok(scene.daemon.ctl("br1 set loglevel=DEBUG").code != Some(0)))?;
        let refused = scene.daemon.ctl("simplebridge add br2").one_line(2);
        assert!(refused.contains("changes cannot be stored, so nothing was changed: "), "{refused}");
        assert!(refused.contains("state.redb was written by another program and is damaged"), "{refused}");
        fs::write(&store, &whole)?;
        eventually("changes are made again", || Ok(scene.daemon.ctl("br1 set loglevel=INFO").code == Some(0)))?;
    }
    assert!(scene.daemon.is_running()?);
    scene.daemon.ctl("simplebridge add br3").ok();
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(scene.get("simplebridge")?.as_array().map(Vec::len), Some(2));
    // It ends as ever with a store that is damaged.
    fs::write(&store, of(|bytes| bytes[320..].fill(0xff)))?;
    assert!(scene.daemon.terminate()?.success());
    watched.stop()?;
    Ok(())
}

#[test]
fn a_daemon_that_cannot_store_a_change_says_so_and_makes_no_other() -> Result<()> {
    let disk = Disk::new(8)?;
    let state = disk.path().to_str().context("UTF-8")?;
    let mut scene = Scene::set_up().peers(1).kept().arguments(["--state-dir", state]).start()?;
    scene.daemon.ctl("simplebridge add br1").ok();
    assert!(disk.fill(64 << 20).is_err(), "the disk takes what it has room for, and is full then");
    let mut refused = 0;
    let mut made = Vec::new();
    for number in 0..2000 {
        let output = scene.daemon.ctl(&format!("packetcapture add s{number}"));
        if output.code == Some(0) {
            made.push(number);
            continue;
        }
        let said = output.fails(2);
        if refused == 0 {
            assert!(said.contains("is in force, but it could not be stored"), "{said}");
            made.push(number);
        } else {
            assert!(said.contains("changes cannot be stored, so nothing was changed"), "{said}");
        }
        refused += 1;
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the disk was never full");
    fs::remove_file(disk.path().join("filler"))?;
    eventually("room", || Ok(scene.daemon.ctl("br1 set loglevel=DEBUG").code == Some(0)))?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    let captures = scene.get("packetcapture")?;
    assert_eq!(captures.as_array().context("a list")?.len(), made.len(), "{:?}", made.last());
    Ok(())
}

#[test]
fn a_second_daemon_and_a_cleanup_beside_a_running_one_are_refused() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let (state, bpffs) = (scene.daemon.state_dir(), scene.daemon.bpffs_dir());
    let (state, bpffs) = (state.to_str().context("UTF-8")?, bpffs.to_str().context("UTF-8")?);
    let pid = scene.daemon.pid().context("a daemon")?;
    let run = |more: &[&str]| -> Result<Output> {
        attempt(&scene.lab, &[&["--state-dir", state, "--bpffs", bpffs], more].concat())
    };
    for words in [&[][..], &["cleanup"], &["cleanup", "--dry-run"]] {
        let said = run(words)?.one_line(1);
        assert!(said.contains(&format!("polycubed (pid {pid}) already uses {state}")), "{words:?}: {said}");
    }
    let other = attempt(&scene.lab, &["--bpffs", bpffs, "cleanup"])?.one_line(1);
    assert!(other.contains("another polycubed pins there"), "{other}");
    scene.daemon.kill9()?;
    let pins = scene.daemon.pins()?;
    let run = |more: &[&str]| -> Result<Output> {
        attempt(&scene.lab, &[&["--state-dir", state, "--bpffs", bpffs], more].concat())
    };
    let listed = run(&["cleanup", "--dry-run"])?.ok();
    assert!(listed.contains("/cubes/br1/"), "{listed}");
    assert_eq!(scene.daemon.pins()?, pins, "a dry run removes nothing");
    let theirs = Bystander::attach(scene.host(1), Hook::Ingress, Verdict::Next)?;
    assert_eq!(run(&["cleanup"])?.ok(), listed);
    assert!(scene.daemon.pins()?.is_empty());
    let left = programs_attached(scene.lab.host(), "veth1")?;
    assert_eq!(left.len(), 1, "what others attached stays: {left:?}");
    drop(theirs);
    // The flags may follow, as where a package is removed.
    let said = attempt(&scene.lab, &["cleanup", "--state-dir", state, "--bpffs", bpffs])?.ok();
    assert_eq!(said.trim(), "nothing is left");
    // What is stored stays, and is built again.
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1")?["ports"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[test]
fn a_second_daemon_with_the_same_port_hears_of_the_first_by_its_pid() -> Result<()> {
    let tcp = ["--addr", "127.0.0.1", "--no-auth"];
    let scene = Scene::set_up().kept().arguments(tcp).start()?;
    let (state, pid) = (scene.daemon.state_dir(), scene.daemon.pid().context("a daemon")?);
    let words = [&tcp[..], &["--state-dir", state.to_str().context("UTF-8")?]].concat();
    let said = attempt(&scene.lab, &words)?.one_line(1);
    assert!(said.contains(&format!("polycubed (pid {pid}) already uses")), "{said}");
    Ok(())
}

#[test]
fn a_damaged_store_without_anything_in_the_kernel_is_no_reason_to_clean_up() -> Result<()> {
    let mut scene = Scene::set_up().kept().start()?;
    scene.daemon.terminate()?;
    assert!(scene.daemon.pins()?.is_empty());
    fs::write(scene.daemon.state_dir().join("state.redb"), [7; 50_000])?;
    scene.daemon.restart()?;
    let log = scene.daemon.log();
    assert!(log.contains("is damaged") && !log.contains("there is no store that says"), "{log}");
    Ok(())
}
