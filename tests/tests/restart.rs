//! Do packets keep their way, and cubes what they know, while one daemon ends and the next one starts?

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use polycube_tests::bpf;
use polycube_tests::daemon::attempt;
use polycube_tests::hook::{Bystander, Hook, Verdict, programs_attached};
use polycube_tests::scene::{Scene, Watched, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// `BPF_MAP_TYPE_PROG_ARRAY` of include/uapi/linux/bpf.h.
const PROGRAM_ARRAY: u32 = 3;

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

/// Everything that is in the kernel, by its ids: what is taken over keeps them.
fn kernel(scene: &Scene) -> Result<Value> {
    scene.daemon.wait_for_large_rings()?;
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
    // A netdev of another name is not asked for.
    eventually("free hooks", || Ok(programs_attached(scene.lab.host(), "other")?.is_empty()))?;
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
    assert_eq!(scene.daemon.pins()?, Vec::<PathBuf>::new());
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
fn pins_that_others_removed_are_made_again_and_pins_of_others_stay() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().bridge().start()?;
    let before = kernel(&scene)?;
    for directory in ["cubes", "netdevs"] {
        fs::remove_dir_all(scene.daemon.bpffs_dir().join(directory))?;
    }
    eventually("the pins again", || Ok(kernel(&scene)? == before))?;
    eventually("the line", || Ok(scene.daemon.log().contains("another program removed pins of ours: made again")))?;
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
fn a_map_that_another_version_made_otherwise_is_replaced_and_the_log_names_it() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=ingress").ok();
    scene.daemon.ctl("attach sniffer br1:toveth1").ok();
    let pin = |name: &str| -> Result<PathBuf> {
        let pins = scene.daemon.pins()?;
        let is_it = |pin: &&PathBuf| pin.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
        pins.iter().find(is_it).cloned().with_context(|| format!("no {name} among {pins:?}"))
    };
    let (rings, bell) = (pin("RINGS-")?, pin("BELL-")?);
    scene.daemon.kill9()?;
    // A map of another type has the rings' name now.
    let directory = scene.daemon.bpffs_dir();
    fs::remove_file(directory.join(&rings))?;
    fs::rename(directory.join(&bell), directory.join(&rings))?;
    scene.daemon.restart()?;
    let log = scene.daemon.log();
    assert!(log.contains("an earlier daemon's map of this name is another one") && log.contains("map=RINGS"), "{log}");
    assert_eq!(scene.status()?, "capturing");
    Ok(())
}

#[test]
fn maps_of_others_in_the_place_of_a_programs_own_are_neither_written_nor_kept() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().bridge().start()?;
    let slots = |scene: &Scene| -> Result<Vec<PathBuf>> {
        let pins = scene.daemon.pins()?.into_iter().filter(|pin| pin.ends_with("next"));
        Ok(pins.collect())
    };
    let before = slots(&scene)?;
    let links_before = links(&scene, "veth1")?.0;
    scene.daemon.kill9()?;
    // Of other types, and of the same type, which others could fill.
    let shapes = [(bpf::ARRAY, 4, 4), (bpf::ARRAY, 4, 64), (PROGRAM_ARRAY, 4, 4)];
    let mut theirs = Vec::new();
    for (pin, (map_type, key_size, value_size)) in before.iter().zip(shapes.into_iter().cycle()) {
        let map = bpf::create(bpf::Shape { map_type, key_size, value_size, max_entries: 1, flags: 0 })?;
        let path = scene.daemon.bpffs_dir().join(pin);
        fs::remove_file(&path)?;
        bpf::pin(map.as_fd(), &path)?;
        theirs.push((map, map_type, value_size));
    }
    scene.daemon.restart()?;
    let log = scene.daemon.log();
    assert_eq!(log.matches("are not of the program that is pinned there").count(), before.len(), "{log}");
    for (map, map_type, value_size) in &theirs {
        let mut value = vec![0; *value_size as usize];
        let found = bpf::lookup(map.as_fd(), &[0; 4], &mut value);
        // The slot of an array of programs is empty.
        assert!(if *map_type == bpf::ARRAY { found.is_ok() } else { found.is_err() }, "{found:?}");
        assert!(value.iter().all(|byte| *byte == 0), "{value:?}");
    }
    let ids = theirs.iter().map(|(map, ..)| Ok(bpf::map_info(map.as_fd())?.id)).collect::<Result<Vec<u32>>>()?;
    let after = slots(&scene)?;
    assert_eq!(after.len(), before.len());
    for pin in after {
        let id = bpf::map_info(bpf::open(&scene.daemon.bpffs_dir().join(&pin))?.as_fd())?.id;
        assert!(!ids.contains(&id), "{} is still another program's", pin.display());
    }
    assert_eq!(links(&scene, "veth1")?.0, links_before, "roots keep their places on their hooks");
    let watched = Watched::start(&scene)?;
    watched.steady().wait_for(100)?;
    watched.stop()?;
    // And what was made is taken over by the next one, without a word.
    let kept = kernel(&scene)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(kernel(&scene)?, kept);
    assert_eq!(scene.daemon.log().matches("are not of the program that is pinned there").count(), before.len());
    Ok(())
}

#[test]
fn a_port_stays_in_promiscuous_mode_and_leaves_the_mode_of_its_user_alone() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().start()?;
    run(&scene, &["ip", "link", "set", "veth2", "promisc", "on"])?;
    for line in ["simplebridge add br1", "br1 ports add p1 peer=veth1", "br1 ports add p2 peer=veth2"] {
        scene.daemon.ctl(line).ok();
    }
    let modes =
        |scene: &Scene| Ok::<_, anyhow::Error>((scene.host(1).is_promiscuous()?, scene.host(2).is_promiscuous()?));
    assert_eq!(modes(&scene)?, (true, true));
    scene.daemon.kill9()?;
    assert_eq!(modes(&scene)?, (true, true), "frames to others still come in");
    scene.daemon.restart()?;
    assert_eq!(modes(&scene)?, (true, true));
    scene.daemon.ctl("br1 ports del p1").ok();
    scene.daemon.ctl("br1 ports del p2").ok();
    assert_eq!(modes(&scene)?, (false, true));
    scene.daemon.ctl("br1 ports add p1 peer=veth1").ok();
    scene.daemon.terminate()?;
    let (state, bpffs) = (scene.daemon.state_dir(), scene.daemon.bpffs_dir());
    let (state, bpffs) = (state.to_str().context("UTF-8")?, bpffs.to_str().context("UTF-8")?);
    attempt(&scene.lab, &["--state-dir", state, "--bpffs", bpffs, "cleanup"])?.ok();
    assert_eq!(modes(&scene)?, (false, true));
    Ok(())
}

#[test]
fn a_netdev_that_got_the_ifindex_of_another_keeps_the_mode_of_its_user() -> Result<()> {
    let mut scene = Scene::set_up().peers(1).kept().start()?;
    let make = |scene: &Scene, name: &str| {
        let kind = ["type", "veth", "peer", "name", "far"];
        let same = ["ip", "link", "add", name, "index", "4242", "address", "02:00:00:00:00:01"];
        run(scene, &[&same[..], &kind[..]].concat())?;
        run(scene, &["ip", "link", "set", "far", "up"])?;
        run(scene, &["ip", "link", "set", name, "up"])
    };
    let is_promiscuous =
        |scene: &Scene| Ok::<_, anyhow::Error>(run(scene, &["ip", "-d", "link", "show", "spare"])?.contains("PROMISC"));
    make(&scene, "spare")?;
    scene.daemon.ctl("simplebridge add br1").ok();
    scene.daemon.ctl("br1 ports add p peer=spare").ok();
    assert!(is_promiscuous(&scene)?);
    // A namespace that starts anew gives the same names, addresses and ifindexes.
    scene.daemon.kill9()?;
    run(&scene, &["ip", "link", "del", "spare"])?;
    make(&scene, "spare")?;
    run(&scene, &["ip", "link", "set", "spare", "promisc", "on"])?;
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1/ports/p/status")?, json!("UP"));
    scene.daemon.ctl("br1 ports del p").ok();
    assert!(is_promiscuous(&scene)?, "its user has set it: {}", scene.daemon.log());
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
    check_link(["br1", "br2"], "link")
}

#[test]
fn a_link_between_ports_with_the_longest_names_is_taken_over_too() -> Result<()> {
    let [one, other, port] = ["b", "c", "p"].map(|letter| letter.repeat(64));
    check_link([&one, &other], &port)
}

/// Asserts that a link between ports of these cubes outlives daemons, and no frame is lost.
#[track_caller]
fn check_link([one, other]: [&str; 2], port: &str) -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().start()?;
    for line in [
        &format!("simplebridge add {one}"),
        &format!("simplebridge add {other}"),
        &format!("{one} ports add p peer=veth1"),
        &format!("{other} ports add p peer=veth2"),
        &format!("{one} ports add {port}"),
        &format!("{other} ports add {port}"),
        &format!("connect {one}:{port} {other}:{port}"),
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

#[test]
fn a_daemon_that_stands_still_holds_up_no_packet() -> Result<()> {
    let scene = lab()?;
    let watched = Watched::start(&scene)?;
    scene.daemon.signal(Signal::STOP)?;
    watched.steady().wait_for(20_000)?;
    scene.daemon.signal(Signal::CONT)?;
    watched.stop()?;
    assert_eq!(scene.get("br1")?["name"], "br1");
    Ok(())
}

/// Gives the pins the names that the daemons before version 0.1.0 gave them: without a digest, and maps without their
/// generation and cube.
fn make_old(directory: &std::path::Path) -> Result<()> {
    for cube in fs::read_dir(directory.join("cubes"))? {
        let cube = cube?.path();
        for pin in fs::read_dir(&cube)? {
            let pin = pin?.path();
            let name = pin.file_name().and_then(|name| name.to_str()).context("UTF-8")?.to_owned();
            if name != "maps" {
                fs::rename(&pin, cube.join(name.rsplitn(2, '-').last().context("a name")?))?;
                continue;
            }
            for map in fs::read_dir(&pin)? {
                let map = map?.path();
                let name = map.file_name().and_then(|name| name.to_str()).context("UTF-8")?.to_owned();
                fs::rename(&map, pin.join(name.split('+').next().context("a name")?))?;
            }
        }
    }
    for root in fs::read_dir(directory.join("netdevs"))? {
        let root = root?.path();
        let name = root.file_name().and_then(|name| name.to_str()).context("UTF-8")?.to_owned();
        if name.split('-').count() == 3 {
            fs::rename(&root, root.with_file_name(name.rsplitn(2, '-').last().context("a name")?))?;
        }
    }
    Ok(())
}

#[test]
fn pins_of_the_oldest_layout_are_exchanged_and_no_frame_is_lost() -> Result<()> {
    let mut scene = lab()?;
    let watched = Watched::start(&scene)?;
    watched.steady().wait_for(10)?;
    let before = links(&scene, "veth1")?;
    scene.daemon.terminate()?;
    make_old(&scene.daemon.bpffs_dir())?;
    assert!(scene.daemon.pins()?.iter().all(|pin| !pin.to_string_lossy().contains('+')));
    scene.daemon.restart()?;
    let after = links(&scene, "veth1")?;
    assert_eq!(after.0, before.0, "each link keeps its place");
    assert!(after.1.iter().all(|program| !before.1.contains(program)), "without a digest, each program is exchanged");
    assert!(
        scene.get("br1/fdb/entry")?.as_array().is_some_and(|learned| !learned.is_empty()),
        "its map was taken over"
    );
    watched.stop()?;
    // The next start finds today's layout.
    let before = kernel(&scene)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(kernel(&scene)?["veth1"], before["veth1"]);
    Ok(())
}
