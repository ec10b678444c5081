//! Does everything survive the end of the daemon: what users asked for, the packets on their way, what cubes know?

use std::fs;

use anyhow::{Context, Result};
use polycube_tests::daemon::{Output, attempt};
use polycube_tests::disk::Disk;
use polycube_tests::hook::{Bystander, Hook, Verdict, programs_attached};
use polycube_tests::scene::{Scene, Watched, eventually};
use rustix::process::{Pid, Signal, kill_process};
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

/// Everything that is in the kernel, by its ids: what is taken over keeps them.
fn kernel(scene: &Scene) -> Result<Value> {
    let mut found = json!({});
    for netdev in ["veth1", "veth2", "veth3"] {
        let programs = programs_attached(scene.lab.host(), netdev)?;
        found[netdev] = programs.iter().map(|one| json!([one.program, one.link, one.name])).collect();
    }
    found["pins"] = scene.daemon.pins()?.iter().map(|path| path.display().to_string()).collect();
    Ok(found)
}

#[test]
fn no_frame_is_lost_while_the_daemon_is_killed_or_stopped_and_starts_again() -> Result<()> {
    let mut scene = lab()?;
    let _theirs = Bystander::attach(scene.host(1), Hook::Ingress, Verdict::Next)?;
    let before = kernel(&scene)?;
    let watched = Watched::start(&scene)?;
    for round in 0..10 {
        if round % 2 == 0 {
            scene.daemon.kill9()?;
        } else {
            scene.daemon.terminate()?;
        }
        watched.steady().wait_for(100)?;
        scene.daemon.restart()?;
        assert_eq!(kernel(&scene)?, before, "round {round}: {}", scene.daemon.log());
    }
    let sent = watched.stop()?;
    assert!(sent > 1000, "{sent} frames were sent");
    Ok(())
}

/// Runs a command beside the daemon.
#[track_caller]
fn run(scene: &Scene, words: &[&str]) -> Result<String> {
    let output = scene.lab.host().command(words[0]).args(&words[1..]).output()?;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The links on a hook in their order, and the programs that they run.
fn links(scene: &Scene, netdev: &str) -> Result<(Vec<u32>, Vec<u32>)> {
    let attached = programs_attached(scene.lab.host(), netdev)?;
    Ok((attached.iter().map(|one| one.link).collect(), attached.iter().map(|one| one.program).collect()))
}

#[test]
fn an_upgrade_exchanges_every_program_and_no_frame_is_lost() -> Result<()> {
    let mut scene = lab()?;
    let _theirs = Bystander::attach(scene.host(1), Hook::Ingress, Verdict::Next)?;
    let watched = Watched::start(&scene)?;
    for round in 0..10 {
        let before = links(&scene, "veth1")?;
        scene.daemon.terminate()?;
        scene.daemon.restart_with(if round % 2 == 0 { &["--fault", "upgrade"] } else { &[] })?;
        scene.daemon.wait_until_it_answers()?;
        let after = links(&scene, "veth1")?;
        assert_eq!(after.0, before.0, "each link keeps its place among the others");
        let kept = before.1.iter().filter(|program| after.1.contains(program)).count();
        assert_eq!(kept, 1, "only what others attached is the program that it was: {before:?} and {after:?}");
    }
    watched.stop()?;
    Ok(())
}

#[test]
fn filters_of_a_clsact_are_taken_over_too() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().arguments(["--attach", "clsact"]).bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    let filters = |scene: &Scene| -> Result<String> {
        let all = ["veth1", "veth2"].map(|netdev| {
            let hooks = ["ingress", "egress"].map(|hook| run(scene, &["tc", "filter", "show", "dev", netdev, hook]));
            Ok(hooks.into_iter().collect::<Result<Vec<String>>>()?.concat())
        });
        Ok(all.into_iter().collect::<Result<Vec<String>>>()?.concat())
    };
    let before = filters(&scene)?;
    assert!(before.contains("root"), "{before}");
    let watched = Watched::start(&scene)?;
    for round in 0..4 {
        if round % 2 == 0 {
            scene.daemon.kill9()?;
        } else {
            scene.daemon.terminate()?;
        }
        scene.daemon.restart()?;
        assert_eq!(filters(&scene)?, before, "round {round}");
    }
    watched.stop()?;
    scene.daemon.ctl("del br1").ok();
    scene.daemon.ctl("del sniffer").ok();
    assert_eq!(filters(&scene)?.trim(), "", "what was taken over is removed like what was made");
    Ok(())
}

#[test]
fn netdevs_that_came_and_went_meanwhile_are_wired_as_they_are_now() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer").ok();
    scene.daemon.ctl("attach sniffer veth3").ok();
    scene.daemon.terminate()?;
    run(&scene, &["ip", "link", "set", "veth3", "name", "other"])?;
    scene.daemon.restart()?;
    assert_eq!(programs_attached(scene.lab.host(), "other")?, [], "a netdev of another name is not asked for");
    assert_eq!(scene.get("br1/ports/toveth3/status")?, json!("DOWN"));
    run(&scene, &["ip", "link", "set", "other", "name", "veth3"])?;
    eventually("the netdev again", || Ok(scene.get("br1/ports/toveth3/status")? == json!("UP")))?;
    scene.daemon.kill9()?;
    run(&scene, &["ip", "link", "del", "veth3"])?;
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1/ports/toveth3/status")?, json!("DOWN"));
    assert!(scene.daemon.pins()?.iter().all(|pin| !pin.to_string_lossy().contains("sniffer")));
    Ok(())
}

#[test]
fn a_bridge_still_knows_where_everybody_is() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let watched = Watched::start(&scene)?;
    watched.steady().wait_for(10)?;
    let entries =
        |scene: &Scene| -> Result<usize> { Ok(scene.get("br1/fdb/entry")?.as_array().context("a list")?.len()) };
    eventually("an address", || Ok(entries(&scene)? > 0))?;
    let learned = entries(&scene)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert!(entries(&scene)? >= learned);
    watched.stop()?;
    Ok(())
}

#[test]
fn an_ephemeral_daemon_leaves_nothing_and_takes_what_another_left() -> Result<()> {
    let mut scene = Scene::bridge(2)?;
    scene.daemon.kill9()?;
    assert!(!scene.daemon.pins()?.is_empty());
    scene.daemon.restart()?;
    assert_eq!(scene.daemon.pins()?, Vec::<std::path::PathBuf>::new());
    assert_eq!(scene.get("cubes")?, json!({}));
    assert!(!fs::exists(scene.daemon.state_dir().join("state.redb"))?);
    eventually("free hooks", || Ok(programs_attached(scene.lab.host(), "veth1")?.is_empty()))?;
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
    Ok(())
}

#[test]
fn pins_that_others_removed_are_made_again_and_pins_of_others_stay() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().bridge().start()?;
    let before = kernel(&scene)?;
    for directory in ["cubes", "netdevs"] {
        fs::remove_dir_all(scene.daemon.bpffs_dir().join(directory))?;
    }
    eventually("the pins again", || Ok(kernel(&scene)? == before))?;
    assert!(scene.daemon.log().contains("another program removed pins of ours: made again"));
    let theirs = ["cubes/theirs/notes", "cubes/br1/theirs", "netdevs/theirs"];
    for directory in theirs {
        fs::create_dir_all(scene.daemon.bpffs_dir().join(directory))?;
    }
    let watched = Watched::start(&scene)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(kernel(&scene)?, before);
    watched.stop()?;
    scene.daemon.ctl("del br1").ok();
    assert!(theirs.iter().all(|directory| scene.daemon.bpffs_dir().join(directory).is_dir()));
    assert!(scene.daemon.log().contains("netdevs/theirs"), "{}", scene.daemon.log());
    Ok(())
}

#[test]
fn packets_go_on_while_the_plugin_of_their_bridge_is_gone() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().fixtures(["marker"]).bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    let before = kernel(&scene)?;
    let watched = Watched::start(&scene)?;
    scene.daemon.terminate()?;
    let plugin = scene.plugin("simplebridge")?;
    let away = plugin.with_extension("away");
    fs::rename(&plugin, &away)?;
    scene.daemon.restart()?;
    wait_for_failure(&scene, "br1", "service `simplebridge` does not exist")?;
    watched.steady().wait_for(1000)?;
    scene.daemon.terminate()?;
    fs::rename(&away, &plugin)?;
    scene.daemon.restart()?;
    assert_eq!(kernel(&scene)?, before, "what waited was taken over");
    assert_eq!(scene.get("sniffer")?["parents"], json!(["br1:toveth1"]));
    watched.stop()?;
    Ok(())
}

#[test]
fn a_link_between_cubes_keeps_its_netdevs_and_carries_on() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().start()?;
    for line in [
        "simplebridge add br1",
        "simplebridge add br2",
        "br1 ports add p peer=veth1",
        "br2 ports add p peer=veth2",
        "br1 ports add link",
        "br2 ports add link",
        "connect br1:link br2:link",
    ] {
        scene.daemon.ctl(line).ok();
    }
    let ends = |scene: &Scene| -> Result<Vec<Value>> {
        let all = scene.get("netdevs")?;
        let all = all.as_array().context("a list")?.iter();
        Ok(all.filter(|one| one["name"].as_str().is_some_and(|name| name.starts_with("pcn"))).cloned().collect())
    };
    let names = |scene: &Scene| -> Result<Vec<Value>> {
        Ok(ends(scene)?.iter().map(|end| json!([end["name"], end["ifindex"]])).collect())
    };
    let before = names(&scene)?;
    assert_eq!(before.len(), 2);
    let watched = Watched::start(&scene)?;
    for round in 0..4 {
        if round % 2 == 0 {
            scene.daemon.kill9()?;
        } else {
            scene.daemon.terminate()?;
        }
        scene.daemon.restart()?;
        assert_eq!(names(&scene)?, before, "round {round}");
    }
    watched.stop()?;
    Ok(())
}

/// What the daemons of version 0.1.0 stored.
const OLDEST: &[u8] = include_bytes!("restart/state-1.redb.zst");

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
fn a_daemon_that_stands_still_holds_up_no_packet() -> Result<()> {
    let scene = lab()?;
    let pid = Pid::from_raw(scene.daemon.pid().context("a daemon")?.cast_signed()).context("a process")?;
    let watched = Watched::start(&scene)?;
    kill_process(pid, Signal::STOP)?;
    watched.steady().wait_for(20_000)?;
    kill_process(pid, Signal::CONT)?;
    watched.stop()?;
    assert_eq!(scene.get("br1")?["name"], "br1");
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
    assert_eq!(run(&["cleanup"])?.ok().trim(), "nothing is left");
    // What is stored stays, and is built again.
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1")?["ports"].as_array().map(Vec::len), Some(2));
    Ok(())
}
