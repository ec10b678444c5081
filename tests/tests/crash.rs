//! What do killed daemons and full disks leave of a capture?

use std::env;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use polycube_tests::disk::Disk;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, Steady};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How often daemons are killed; `POLYCUBE_KILLS` sets another number.
const KILLS: u32 = 30;
const CUT: &str = "ended within a record: its last";
const EMPTY: &str = "was begun by a killed daemon and has no packet: it is deleted";

fn kills() -> Result<u32> {
    env::var("POLYCUBE_KILLS").map_or(Ok(KILLS), |text| text.parse().context("POLYCUBE_KILLS is a number"))
}

/// A different number each time, because a daemon may be killed at any point.
fn random(below: u64) -> Result<u64> {
    Ok(u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()) / 7 % below)
}

fn capture_files(scene: &Scene) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(scene.daemon.capture_dir())?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    files.sort();
    Ok(files)
}

fn lines(scene: &Scene, text: &str) -> usize {
    scene.daemon.log().lines().filter(|line| line.contains(text)).count()
}

fn send(scene: &Scene, numbers: Range<u32>) -> Result<()> {
    let frames: Vec<_> = numbers.map(|number| scene.flow(1, 2).frame(Protocol::Udp, 1000, number)).collect();
    let sender = Sender::open(scene.peer(1))?;
    frames.chunks(64).try_for_each(|burst| {
        sender.send(burst)?;
        thread::sleep(Duration::from_millis(1));
        Ok(())
    })
}

/// Daemons are killed under traffic at any moment, in the first file or a later one, and others take their place.
#[test]
fn killed_daemons_leave_files_with_at_most_a_cut_end_which_the_next_one_repairs() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).start()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 1400, u32::MAX)?;
    let (mut cut, mut empty, mut written) = (0, 0, 0);
    for round in 0..kills()? {
        let format = ["pcap", "pcap-nanos", "pcapng"][round as usize % 3];
        let settings = json!({ "capture": "bidirectional", "format": format, "rotate": { "size": 1 } });
        let files = capture_files(&scene)?;
        scene.sniff_at("veth1", &settings)?;
        let logged = (lines(&scene, CUT), lines(&scene, EMPTY));
        assert_eq!(logged, (cut, empty), "round {round}: what the log says about the files before");
        if round % 2 == 0 {
            thread::sleep(Duration::from_micros(random(40_000)?));
        } else {
            // There is much to write, so that the kill falls into a write.
            scene.wait_for_dump()?;
            scene.daemon.signal(Signal::STOP)?;
            thread::sleep(Duration::from_millis(30));
            scene.daemon.signal(Signal::CONT)?;
            thread::sleep(Duration::from_micros(random(3000)?));
        }
        scene.daemon.kill9()?;
        for path in capture_files(&scene)?.into_iter().filter(|path| !files.contains(path)) {
            // The killed daemon's last file, as the kill left it.
            if fs::metadata(&path)?.len() == 0 {
                empty += 1;
            } else if pcap::read(&path).is_err() {
                cut += 1;
            }
            written += 1;
        }
        scene.daemon.restart()?;
    }
    scene.sniff_at("veth1", &json!({ "capture": "bidirectional" }))?;
    scene.wait_for_dump()?;
    steady.stop()?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    let files = capture_files(&scene)?;
    assert_eq!(files.len(), written - empty + scene.files()?.len(), "{cut} were cut, {empty} empty");
    for path in files {
        let numbers = pcap::read(&path).with_context(|| "a repaired file")?.numbers()?;
        ensure!(!numbers.is_empty(), "{} has no packet", path.display());
        // Rings that overflow while the next daemon starts leave gaps.
        ensure!(numbers.is_sorted_by(|one, next| one < next), "{}: packets doubled or out of order", path.display());
    }
    assert_eq!((lines(&scene, CUT), lines(&scene, EMPTY)), (cut, empty));
    eprintln!("{written} files of killed daemons: {cut} ended within a record, {empty} had no header");
    Ok(())
}

#[test]
fn the_cut_record_is_removed_and_the_capture_continues_in_a_new_file() -> Result<()> {
    for format in ["pcap", "pcap-nanos", "pcapng"] {
        let mut scene = Scene::set_up().peers(2).start()?;
        let settings = json!({ "capture": "bidirectional", "format": format });
        scene.sniff_at("veth1", &settings)?;
        send(&scene, 0..20)?;
        let path = scene.wait_for_dump()?;
        pcap::wait_for(&path, 20, Duration::from_secs(5))?;
        scene.daemon.kill9()?;
        // The way a kill between two pages leaves it.
        let file = fs::OpenOptions::new().write(true).open(&path)?;
        file.set_len(file.metadata()?.len() - 700)?;
        scene.daemon.restart()?;
        scene.sniff_at("veth1", &settings)?;
        assert!(pcap::read(&path)?.numbers()?.into_iter().eq(0..19), "{format}");
        let name = path.display().to_string();
        let reported = scene.daemon.log().lines().any(|line| line.contains(&name) && line.contains(CUT));
        assert!(reported, "{format}: the log does not report {name}");
        send(&scene, 20..40)?;
        let next = scene.wait_for_dump()?;
        assert_ne!(next, path);
        assert!(pcap::wait_for(&next, 20, Duration::from_secs(5))?.numbers()?.into_iter().eq(20..40), "{format}");
    }
    Ok(())
}

/// Checks a sniffer that writes to `disk` with these other settings, above a floor of so many MiB, and its status and
/// counter while there is no room.
fn check_no_room(
    (disk, filled, floor): (&Disk, usize, &str),
    mut settings: Value,
    (reason, counter): (&str, &str),
) -> Result<()> {
    let filler = disk.fill(filled)?;
    let root = disk.path().to_str().context("UTF-8")?;
    let scene = Scene::set_up().peers(2).arguments(["--capture-root", root, "--capture-floor", floor]).start()?;
    settings["capture"] = "bidirectional".into();
    settings["dump"] = disk.path().join("trace").display().to_string().into();
    scene.sniff_at("veth1", &settings)?;
    // All at once they might not find room, not even the first of them.
    send(&scene, 0..10)?;
    scene.wait_for_dump()?;
    send(&scene, 10..1000)?;
    eventually("the end of the room", || Ok(scene.counter(counter)? > 0 && scene.counter("seen")? == 1000))?;
    let status = scene.status()?;
    assert!(status.starts_with("the capture file cannot be written") && status.contains(reason), "{status}");
    assert_eq!(lines(&scene, "packets are lost until it can"), 1, "the log reports it once");
    let path = scene.wait_for_dump()?;
    let before = pcap::read(&path).context("a file without room")?.numbers()?;
    assert!(before.iter().copied().eq(0..before.len() as u32) && !before.is_empty(), "{before:?}");

    fs::remove_file(filler)?;
    // The directory is checked once a second. Until then a single packet may find room where many do not.
    thread::sleep(Duration::from_secs(2));
    eventually("packets with room", || {
        let seen = scene.counter("seen")? as u32;
        send(&scene, seen..seen + 1)?;
        Ok(scene.status()? == "capturing")
    })?;
    let seen = scene.counter("seen")? as u32;
    send(&scene, seen..seen + 100)?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    let numbers = pcap::read(&path)?.numbers()?;
    let counters = scene.balance()?;
    assert_eq!((&counters["seen"], &counters["captured"]), (&json!(seen + 100), &json!(numbers.len())));
    assert!(numbers.is_sorted_by(|one, next| one < next), "doubled or out of order");
    assert!(numbers.iter().rev().copied().take(100).eq((seen..seen + 100).rev()));
    let dropped = counters[counter].as_u64().context("a number")?;
    assert_eq!(lines(&scene, &format!("is written again; packets missing in it: {dropped}")), 1, "{dropped}");
    Ok(())
}

#[test]
fn a_full_disk_pauses_a_capture_until_there_is_room() -> Result<()> {
    for format in ["pcap", "pcapng"] {
        let reported = ("No space left on device", "dropped-disk");
        check_no_room((&Disk::new(2)?, 3 << 19, "0"), json!({ "format": format }), reported)?;
    }
    Ok(())
}

/// Direct writes are found to have failed later than others.
#[test]
fn what_a_full_disk_did_not_take_by_direct_writes_is_counted() -> Result<()> {
    let disk = Disk::new(2)?;
    let scene = Scene::set_up().peers(2).arguments(["--capture-root", disk.path().to_str().context("UTF-8")?]);
    let scene = scene.arguments(["--capture-floor", "0"]).start()?;
    disk.fill(3 << 19)?;
    let dump = disk.path().join("trace").display().to_string();
    scene.sniff_at("veth1", &json!({ "capture": "ingress", "dump": dump, "storage": { "direct": true } }))?;
    for first in (0..1000).step_by(100) {
        send(&scene, first..first + 100)?;
    }
    eventually("the packets", || Ok(scene.counter("seen")? == 1000))?;
    let path = scene.wait_for_dump()?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    let numbers = pcap::read(&path)?.numbers()?;
    assert!(numbers.iter().copied().eq(0..numbers.len() as u32) && !numbers.is_empty(), "{numbers:?}");
    let counters = scene.balance()?;
    let lost = 1000 - numbers.len();
    assert!(lost > 0, "there was room");
    assert_eq!((&counters["captured"], &counters["dropped-disk"]), (&json!(numbers.len()), &json!(lost)));
    Ok(())
}

#[test]
fn the_ceiling_of_a_directory_pauses_a_capture_until_there_is_room() -> Result<()> {
    let reported = ("the directory has reached its ceiling of 1 MiB", "dropped-disk");
    check_no_room((&Disk::new(8)?, 3 << 18, "0"), json!({ "storage": { "ceiling": 1 } }), reported)
}

#[test]
fn the_floor_of_a_disk_pauses_a_capture_until_there_is_room() -> Result<()> {
    let reported = ("its disk has 1 MiB free or less, which captures leave to others", "dropped-floor");
    check_no_room((&Disk::new(8)?, 13 << 19, "1"), json!({}), reported)
}

#[test]
fn a_disk_that_is_full_from_the_start_is_reported_and_gets_the_first_file_later() -> Result<()> {
    let disk = Disk::new(2)?;
    let filler = disk.fill(2 << 20)?;
    let directory = disk.path().to_str().context("UTF-8")?;
    let scene = Scene::set_up().peers(2).arguments(["--capture-dir", directory, "--capture-floor", "0"]).start()?;
    scene.daemon.ctl("packetcapture add sniffer").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    let refusal = scene.daemon.ctl("sniffer set capture=ingress").one_line(2);
    assert!(refusal.contains("No space left on device"), "{refusal}");
    fs::remove_file(&filler)?;
    scene.daemon.ctl("sniffer set capture=ingress").ok();
    disk.fill(2 << 20)?;
    send(&scene, 0..10)?;
    eventually("packets without room", || Ok(scene.counter("dropped-disk")? == 10))?;
    assert_eq!(scene.dump()?, None);
    scene.daemon.ctl("sniffer set snaplen=1500").ok();
    fs::remove_file(&filler)?;
    send(&scene, 10..20)?;
    assert!(pcap::wait_for(&scene.wait_for_dump()?, 10, Duration::from_secs(5))?.numbers()?.into_iter().eq(10..20));
    eventually("the end of trouble", || Ok(scene.status()? == "capturing"))
}
