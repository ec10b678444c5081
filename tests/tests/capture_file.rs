//! What happens to the capture file, and to the packets' path: while the capture runs, when its reader cannot keep up,
//! when the daemon is killed, and when there is no traffic.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Recorder;
use polycube_tests::comparison::compare;
use polycube_tests::hook::programs_attached;
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Pace, Protocol, Sender, Steady};
use rustix::process::Signal;

/// How far the file may lag behind the traffic.
const BEHIND: Duration = Duration::from_millis(100);

/// For each of `count` packets, the time from just before it is sent until the file has it.
fn delays_of_thin_traffic(scene: &Scene, count: u32) -> Result<Vec<Duration>> {
    let sender = Sender::open(scene.peer(1))?;
    let send = |number| sender.send(&[scene.flow(1, 2).frame(Protocol::Udp, 100, number)]);
    send(0)?;
    let path = scene.wait_for_dump()?;
    (1..=count)
        .map(|number| {
            // A sleeping reader, and one that was just woken.
            thread::sleep(Duration::from_millis(u64::from(number % 7) * 20));
            let begin = Instant::now();
            send(number)?;
            pcap::wait_for(&path, number as usize + 1, PATIENCE)?;
            Ok(begin.elapsed())
        })
        .collect()
}

/// How long the file takes to catch up with what had been sent at the start, `count` times.
fn delays_of_steady_traffic(scene: &Scene, count: usize) -> Result<Vec<Duration>> {
    const LEN: usize = 100;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), LEN, u32::MAX)?;
    let path = scene.wait_for_dump()?;
    let delay = |_| {
        steady.wait_for(200)?;
        // The headers of file and record: draft-ietf-opsawg-pcap, sections 4 and 5.
        let (wanted, begin) = (24 + u64::from(steady.sent()) * (16 + LEN as u64), Instant::now());
        eventually("the packets", || Ok(fs::metadata(&path)?.len() >= wanted))?;
        Ok(begin.elapsed())
    };
    let delays = (0..count).map(delay).collect::<Result<_>>()?;
    steady.stop()?;
    Ok(delays)
}

/// Other work on the machine may delay either reader now and then; if half of the packets are late, the daemon is slow.
#[track_caller]
fn check_delays(what: &str, mut delays: Vec<Duration>) {
    delays.sort();
    let median = delays[delays.len() / 2];
    assert!(median <= BEHIND, "{what}: the file is {median:?} behind, {delays:?}");
}

#[test]
fn the_file_is_at_most_a_tenth_of_a_second_behind() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    check_delays("thin traffic", delays_of_thin_traffic(&scene, 20)?);
    scene.daemon.ctl("sniffer set capture=off").ok();
    scene.daemon.ctl("sniffer set capture=bidirectional").ok();
    scene.daemon.wait_for_large_rings()?;
    check_delays("steady traffic", delays_of_steady_traffic(&scene, 20)?);
    Ok(())
}

/// A reader that looks during a write may find the last packet cut off; a moment later it is whole.
#[test]
fn the_file_can_be_read_at_any_moment() -> Result<()> {
    const READS: usize = 20;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    scene.daemon.wait_for_large_rings()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 300, u32::MAX)?;
    let path = scene.wait_for_dump()?;
    let mut last = 0;
    for read in 0..READS {
        steady.wait_for(100)?;
        let (file, cut) = pcap::read_unfinished(&path).with_context(|| format!("read {read}"))?;
        let found = file.numbers()?;
        assert!(found.iter().copied().eq(0..found.len() as u32), "read {read}");
        ensure!(found.len() >= last, "the file has shrunk from {last} to {} packets", found.len());
        last = found.len();
        if cut > 0 {
            pcap::wait_for(&path, found.len() + 1, PATIENCE)?;
        }
    }
    let sent = steady.stop()?;
    assert_eq!(scene.captured()?.records.len(), sent as usize);
    Ok(())
}

#[test]
fn a_killed_daemon_leaves_a_valid_file_and_the_next_one_cleans_up() -> Result<()> {
    const FRAMES: u32 = 500;
    let mut scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let far = Recorder::start(scene.peer(2))?;
    let sender = Sender::open(scene.peer(1))?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 200, FRAMES);
    sender.send(&frames)?;
    let path = scene.wait_for_dump()?;
    pcap::wait_for(&path, FRAMES as usize, PATIENCE)?;
    scene.daemon.kill9()?;
    let found = pcap::read(&path)?.numbers()?;
    assert!(found.iter().copied().eq(0..FRAMES), "{found:?}");
    sender.send(&frames)?;
    far.wait_for(2 * FRAMES as usize, PATIENCE).context("what the daemon left does not forward")?;

    scene.daemon.restart()?;
    for netdev in ["veth1", "veth2"] {
        assert_eq!(programs_attached(scene.lab.host(), netdev)?, [], "left on {netdev}");
    }
    assert_eq!(scene.daemon.pins()?, [] as [&Path; 0]);
    assert_eq!(pcap::read(&path)?.numbers()?, found, "the old file is left alone");

    scene.daemon.ctl("simplebridge add br1").ok();
    for number in [1, 2] {
        scene.daemon.ctl(&format!("br1 ports add toveth{number} peer=veth{number}")).ok();
    }
    scene.sniff("capture=bidirectional");
    let near = Recorder::start(scene.peer(1))?;
    sender.send(&frames)?;
    near.wait_for(FRAMES as usize, PATIENCE)?;
    compare(&scene.captured()?.records, &near.stop()?.frames, 262_144)?;
    assert_ne!(scene.wait_for_dump()?, path);
    Ok(())
}

#[test]
fn a_daemon_killed_under_load_leaves_every_packet_but_the_last_whole() -> Result<()> {
    for round in 0..4 {
        let mut scene = Scene::bridge(2)?;
        scene.sniff("capture=bidirectional");
        let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 1400, 50_000)?;
        let path = scene.wait_for_dump()?;
        steady.wait_for(1000 + 777 * round)?;
        scene.daemon.kill9()?;
        let (file, cut) = pcap::read_unfinished(&path)?;
        let found = file.numbers()?;
        assert!(found.iter().copied().eq(0..found.len() as u32), "{cut} bytes after {} packets", found.len());
        steady.stop()?;
    }
    Ok(())
}

/// The reader is stopped, so the ring must overflow: packets that are not captured are counted, and still pass.
#[test]
fn what_does_not_fit_into_a_full_ring_is_counted_and_passes() -> Result<()> {
    const FRAMES: u32 = 5000;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional ring-size=1");
    scene.daemon.wait_for_large_rings()?;
    let far = Recorder::start(scene.peer(2))?;
    let sender = Sender::open(scene.peer(1))?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 1000, 2 * FRAMES);
    let (before, after) = frames.split_at(FRAMES as usize);

    scene.daemon.signal(Signal::STOP)?;
    sender.send(before)?;
    far.wait_for(before.len(), PATIENCE)?;
    scene.daemon.signal(Signal::CONT)?;
    let (captured, dropped) = (scene.counter("captured")?, scene.counter("dropped-ring-full")?);
    assert_eq!(captured + dropped, u64::from(FRAMES));
    // At least what one ring holds; two if the sender moved between the cores.
    assert!(captured >= 1000 && dropped > 0, "{captured} captured, {dropped} dropped");
    let path = scene.wait_for_dump()?;
    pcap::wait_for(&path, captured as usize, PATIENCE)?;

    // The ring is empty again. Slowly, because it is the smallest possible.
    for chunk in after.chunks(100) {
        let captured = scene.counter("captured")?;
        sender.send(chunk)?;
        pcap::wait_for(&path, captured as usize + chunk.len(), PATIENCE)?;
    }
    assert_eq!(scene.counter("dropped-ring-full")?, dropped, "nothing is dropped while there is room");
    let found = pcap::read(&path)?.numbers()?;
    assert_eq!(found.len() as u64, captured + u64::from(FRAMES));
    assert!(found.is_sorted_by(|one, next| one < next), "out of order, or doubled");
    assert!(found[captured as usize..].iter().copied().eq(FRAMES..2 * FRAMES));

    far.wait_for(frames.len(), PATIENCE)?;
    let arrived = far.stop()?;
    assert!(arrived.frames.iter().map(|seen| &seen.bytes).eq(&frames), "the stream did not pass whole");
    Ok(())
}

/// The next record's space may still be in use, by the oldest unread record.
#[test]
fn a_cut_vlan_tag_does_not_run_into_the_oldest_record() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress ring-size=1 snaplen=13");
    scene.daemon.wait_for_large_rings()?;
    let frames = scene.flow(1, 2).with_vlan(100).frames(Protocol::Udp, 64, 1);
    let sender = Sender::open(scene.peer(1))?;
    // The ring is full up to the reader's position: in the middle of a lap, at the end of a record.
    sender.flood(&frames, Pace::Count(1000))?;
    eventually("the first packets", || Ok(scene.counter("captured")? == 1000))?;
    scene.captured()?;
    scene.daemon.signal(Signal::STOP)?;
    sender.flood(&frames, Pace::Count(100_000))?;
    scene.daemon.signal(Signal::CONT)?;
    eventually("a full ring", || Ok(scene.counter("dropped-ring-full")? > 0))?;
    let records = scene.captured()?.records;
    let first = records[0].time_ns;
    let late = records.iter().filter(|record| record.time_ns.abs_diff(first) > 600_000_000_000).count();
    assert_eq!(late, 0, "records with overwritten times, of {}", records.len());
    Ok(())
}

/// With a running reader and a flood, however the machine copes, the sum is exact.
#[test]
fn captured_and_dropped_are_what_was_sent() -> Result<()> {
    const FRAMES: u64 = 200_000;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress ring-size=1");
    scene.daemon.wait_for_large_rings()?;
    let before = scene.host(2).counters()?.tx_frames;
    Sender::open(scene.peer(1))?.flood(&scene.flow(1, 2).frames(Protocol::Udp, 200, 64), Pace::Count(FRAMES))?;
    eventually("the end of the flood", || Ok(scene.host(2).counters()?.tx_frames - before >= FRAMES))?;
    let counters = scene.get("sniffer/counters")?;
    let count = |name: &str| counters[name].as_u64().unwrap_or_default();
    let sum = count("captured") + count("dropped-ring-full") + count("dropped-nested");
    assert_eq!(sum, FRAMES, "{counters}");
    assert_eq!(count("bytes"), 200 * count("captured"), "{counters}");
    assert_eq!(count("dropped-fault") + count("dropped-disk"), 0, "{counters}");
    assert_eq!(scene.captured()?.records.len() as u64, count("captured"));
    Ok(())
}

#[test]
fn each_start_has_its_own_file_even_within_a_second() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=off");
    let sender = Sender::open(scene.peer(1))?;
    let mut files = Vec::new();
    for number in 0..4 {
        scene.daemon.ctl("sniffer set capture=bidirectional").ok();
        assert_eq!(scene.dump()?, None, "start {number} has no packet yet");
        sender.send(&[scene.flow(1, 2).frame(Protocol::Udp, 100, number)])?;
        scene.daemon.ctl("sniffer set capture=off").ok();
        sender.send(&[scene.flow(1, 2).frame(Protocol::Udp, 100, 99)])?;
        files.push(scene.dump()?.context("a packet was captured")?);
        assert_eq!(pcap::read(&files[number as usize])?.numbers()?, [number], "complete once it is off");
    }
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 4, "{files:#?}");
    assert_eq!(fs::read_dir(scene.daemon.capture_dir())?.count(), 4);
    Ok(())
}

/// How often the capture's thread has gone to sleep.
fn switches(scene: &Scene) -> Result<u64> {
    let pid = scene.daemon.pid().context("the daemon is not running")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may have ended since.
        if fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "capture:sniffer") {
            let status = fs::read_to_string(task.join("status"))?;
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            return Ok(count.context("a count")?.trim().parse()?);
        }
    }
    anyhow::bail!("the daemon has no thread called capture:sniffer")
}

#[test]
fn the_capture_of_an_idle_port_wakes_for_the_tick_alone() -> Result<()> {
    const LOOK: Duration = Duration::from_secs(1);
    /// A tick costs three: the consumer wakes, looks once more after 50 ms, and waits for the programs. A second may have
    /// two or three ticks. A consumer that polled would wake twenty times.
    const MOST: u64 = 9;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let fall_asleep = || {
        eventually("sleep", || {
            let before = switches(&scene)?;
            thread::sleep(Duration::from_millis(200));
            Ok(switches(&scene)? == before)
        })
    };
    let check = |when: &str| {
        fall_asleep()?;
        let before = switches(&scene)?;
        thread::sleep(LOOK);
        let switches = switches(&scene)? - before;
        assert!(switches <= MOST, "{switches} wake-ups within {LOOK:?} {when}");
        Ok::<_, anyhow::Error>(())
    };
    check("before the first packet")?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 100))?;
    assert_eq!(scene.captured()?.records.len(), 100);
    check("after the last packet")
}
