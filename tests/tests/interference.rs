//! Does a capture survive what other programs do to its files while they are written, and say what happened?

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polycube_tests::disk::{Disk, FreezableDisk};
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::json;

/// A sniffer that has written ten packets into `trace.pcap`, and that file.
fn capturing(scene: Scene) -> Result<(Scene, PathBuf)> {
    scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", "dump": "trace" }))?;
    send(&scene, 0, 10)?;
    let path = scene.wait_for_dump()?;
    pcap::wait_for(&path, 10, Duration::from_secs(10))?;
    Ok((scene, path))
}

fn send(scene: &Scene, first: u32, count: u32) -> Result<()> {
    let frames: Vec<_> =
        (first..first + count).map(|number| scene.flow(1, 2).frame(Protocol::Udp, 1000, number)).collect();
    let sender = Sender::open(scene.peer(1))?;
    frames.chunks(64).try_for_each(|burst| {
        sender.send(burst)?;
        thread::sleep(Duration::from_millis(1));
        Ok(())
    })
}

fn states(scene: &Scene) -> Result<Vec<String>> {
    Ok(scene.files()?.into_iter().map(|file| file.state).collect())
}

/// What was done to the file, and the message and the state that say so.
#[track_caller]
fn check(what: &str, state: &str, interfere: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let (scene, path) = capturing(Scene::bridge(2)?)?;
    interfere(&path)?;
    // Without another packet.
    eventually(what, || Ok(states(&scene)? == [state]))?;
    send(&scene, 10, 5)?;
    eventually("the next file", || Ok(states(&scene)? == [state, "open"]))?;
    let after = scene.wait_for_dump()?;
    assert_eq!(after.file_name(), Some("trace-000001.pcap".as_ref()));
    assert!(pcap::wait_for(&after, 5, Duration::from_secs(10))?.numbers()?.into_iter().eq(10..15), "{what}");
    let counters = scene.balance()?;
    assert_eq!((&counters["captured"], &counters["removed"]), (&json!(15), &json!(10)), "{what}");
    assert_eq!(scene.status()?, "capturing");
    let line = format!("another program has {what} {} while it was being written, with 10 packets", path.display());
    assert_eq!(scene.daemon.log().matches(&line).count(), 1, "{what}: {}", scene.daemon.log());
    // Readers of the packets so far get those that there are.
    let place = tempfile::tempdir()?;
    let dump = place.path().join("dump.pcap");
    scene.daemon.ctl_words(&["sniffer", "dump", "-w", dump.to_str().context("UTF-8")?]).ok();
    assert!(pcap::read(&dump)?.numbers()?.into_iter().eq(10..15), "{what}");
    Ok(())
}

#[test]
fn a_capture_continues_in_a_new_file_when_its_own_is_deleted() -> Result<()> {
    check("deleted", "removed", |path| fs::remove_file(path))
}

#[test]
fn a_capture_continues_in_a_new_file_when_its_own_is_moved() -> Result<()> {
    check("moved or replaced", "removed", |path| fs::rename(path, path.with_file_name("rotated by another")))
}

#[test]
fn a_capture_continues_in_a_new_file_when_its_own_is_replaced() -> Result<()> {
    check("moved or replaced", "removed", |path| {
        fs::hard_link(path, path.with_file_name("a backup"))?;
        fs::write(path.with_extension("new"), "dear")?;
        fs::rename(path.with_extension("new"), path)
    })
}

#[test]
fn a_capture_continues_in_a_new_file_when_its_own_is_truncated() -> Result<()> {
    check("truncated", "truncated", |path| File::create(path).map(drop))
}

#[test]
fn packets_that_were_removed_are_not_an_empty_capture() -> Result<()> {
    let (scene, path) = capturing(Scene::bridge(2)?)?;
    fs::remove_file(path)?;
    for when in ["before it is noticed", "afterwards"] {
        let refusal = scene.daemon.ctl("sniffer dump -w -").one_line(2);
        assert!(
            refusal.contains("the capture's files were removed or truncated by another program"),
            "{when}: {refusal}"
        );
        eventually("the removal", || Ok(states(&scene)? == ["removed"]))?;
    }
    Ok(())
}

#[test]
fn deleting_the_open_file_makes_room_on_a_full_disk() -> Result<()> {
    let disk = Disk::new(2)?;
    let directory = disk.path().to_str().context("UTF-8")?;
    let arguments = ["--capture-dir", directory, "--capture-floor", "0"];
    let scene = Scene::set_up().peers(2).arguments(arguments).bridge().start()?;
    let (scene, path) = capturing(scene)?;
    send(&scene, 10, 3000)?;
    eventually("a full disk", || Ok(scene.counter("dropped-disk")? > 0))?;
    fs::remove_file(&path)?;
    eventually("room on the disk", || Ok(states(&scene)?[0] == "removed" && disk.fill(1 << 20).is_ok()))?;
    // The filler has grown into a part of the room.
    disk.fill(0)?;
    send(&scene, 5000, 10)?;
    let next = disk.path().join("trace-000001.pcap");
    eventually("the packets", || {
        Ok(pcap::read(&next).is_ok_and(|file| file.numbers().is_ok_and(|numbers| numbers.ends_with(&[5008, 5009]))))
    })?;
    eventually("the end of trouble", || Ok(scene.status()? == "capturing"))
}

/// Runs a command, which must not wait for the disk; returns its refusal, or nothing.
#[track_caller]
fn at_once(scene: &Scene, words: &str) -> String {
    let began = Instant::now();
    let output = scene.daemon.ctl(words);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "`{words}` took {took:?}");
    output.stderr
}

#[test]
fn a_frozen_disk_keeps_no_change_waiting() -> Result<()> {
    let disk = FreezableDisk::new()?;
    let directory = disk.path().to_str().context("UTF-8")?;
    let scene = Scene::set_up().peers(2).arguments(["--capture-dir", directory]).bridge().start()?;
    let (scene, path) = capturing(scene)?;
    let freeze = disk.freeze()?;
    send(&scene, 10, 10)?;
    for change in
        ["sniffer set snaplen=300", "sniffer set dump=other", "br1 fdb set aging-time=250", "sniffer set capture=off"]
    {
        assert_eq!(at_once(&scene, change), "", "{change}");
    }
    for _ in 0..2 {
        let refusal = at_once(&scene, "sniffer set capture=ingress");
        assert!(refusal.contains(&format!("{} does not answer", disk.path().display())), "{refusal}");
    }
    assert_eq!(at_once(&scene, "packetcapture add another"), "");
    assert_eq!(at_once(&scene, "packetcapture del another"), "");
    assert!(scene.daemon.log().contains("does not answer: the capture's last packets are written when it does"));

    drop(freeze);
    assert!(pcap::wait_for(&path, 20, Duration::from_secs(10))?.numbers()?.into_iter().eq(0..20));
    eventually("the closed file", || Ok(states(&scene)? == ["closed"]))?;
    scene.daemon.ctl("sniffer set capture=ingress").ok();
    send(&scene, 20, 5)?;
    let next = disk.path().join("other.pcap");
    assert!(pcap::wait_for(&next, 5, Duration::from_secs(10))?.numbers()?.into_iter().eq(20..25));
    Ok(())
}
