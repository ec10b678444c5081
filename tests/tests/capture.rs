//! Does the file contain what crossed the port? An independent recording in the peer's namespace shows what did.

use std::fs;
use std::slice;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::comparison::compare;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Segments, Sender, Steady, pin_to_core, sequence_of, tcp_transfer};

/// The longest frames have 9000 bytes, tags included.
const MTU: u32 = 9100;

/// Frames of every protocol, family, tag and size, numbered from `first`.
fn frames(scene: &Scene, from: usize, to: usize, first: u32) -> Vec<Vec<u8>> {
    let v4 = scene.flow(from, to);
    let v6 = v4.with_ips("2001:db8::1", "2001:db8::2");
    let mut frames = Vec::new();
    for flow in [v4, v6, v4.with_vlan(100), v6.with_vlan(4094)] {
        for kind in [Protocol::Arp, Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
            for len in [60, 1500, 9000] {
                frames.push(flow.frame(kind, len.max(flow.shortest(kind)), first + frames.len() as u32));
            }
        }
    }
    // A provider's tag before the customer's (802.1ad): the kernel strips only the first.
    let mut twice = v4.with_vlan(7).frame(Protocol::Udp, 200, first + frames.len() as u32);
    twice.splice(12..12, [0x88, 0xa8, 0x20, 0x05]);
    frames.push(twice);
    frames
}

#[track_caller]
fn check_every_frame(snaplen: u32) -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.set_mtu(MTU)?;
    scene.sniff(&format!("capture=bidirectional snaplen={snaplen}"));
    let (there, back) = (frames(&scene, 1, 2, 0), frames(&scene, 2, 1, 1000));
    let recorders = [Recorder::start(scene.peer(1))?, Recorder::start(scene.peer(2))?];
    let senders = [Sender::open(scene.peer(1))?, Sender::open(scene.peer(2))?];
    for (there, back) in there.iter().zip(&back) {
        senders[0].send(slice::from_ref(there))?;
        senders[1].send(slice::from_ref(back))?;
    }
    for recorder in &recorders {
        recorder.wait_for(there.len() + back.len(), PATIENCE)?;
    }
    let [near, far] = recorders.map(Recorder::stop);
    let (near, far) = (near?.reversed(), far?);
    assert_eq!((near.drops, far.drops), (0, 0));
    for (direction, sent) in [(Direction::In, &there), (Direction::Out, &back)] {
        for recording in [&near, &far] {
            let arrived = recording.going(direction);
            assert_eq!(arrived.len(), sent.len());
            assert!(arrived.iter().map(|seen| &seen.bytes).eq(sent), "the bridge changed a frame going {direction:?}");
        }
    }
    let file = scene.captured()?;
    assert_eq!(file.snaplen, snaplen);
    compare(&file.records, &near.frames, snaplen).with_context(|| format!("snaplen {snaplen}"))
}

#[test]
fn every_protocol_and_size_is_captured_whole() -> Result<()> {
    check_every_frame(262_144)?;
    check_every_frame(65_535)
}

/// Cuts within the addresses, at both ends of the tag and in the middle of it, and after it.
#[test]
fn every_protocol_and_size_is_cut_at_the_snap_length() -> Result<()> {
    for snaplen in [1, 11, 12, 13, 14, 15, 16, 17, 64, 1499] {
        check_every_frame(snaplen)?;
    }
    Ok(())
}

#[test]
fn segments_are_captured_as_they_cross_the_port() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let recorders = [Recorder::start(scene.peer(1))?, Recorder::start(scene.peer(2))?];
    let mut count = 0;
    for (from, to) in [(1, 2), (2, 1)] {
        let flow = scene.flow(from, to);
        let v6 = flow.with_ips("2001:db8::1", "2001:db8::2");
        let packets: Vec<_> = [flow, v6, flow.with_vlan(100)]
            .iter()
            .flat_map(|flow| [3000, 32_768, 65_000].map(|len| Segments::new(flow, len, 1400, len as u32)))
            .collect();
        count += Sender::open(scene.peer(from))?.send_segments(&packets)?.frames as usize;
        for recorder in &recorders {
            recorder.wait_for(count, PATIENCE)?;
        }
    }
    let [near, far] = recorders.map(Recorder::stop);
    let (near, far) = (near?.reversed(), far?);
    assert_eq!((near.frames.len(), far.frames.len()), (count, count), "the bridge does not segment");
    compare(&scene.captured()?.records, &near.frames, 262_144)?;
    Ok(())
}

#[test]
fn a_tcp_transfer_is_captured_as_it_crosses_the_port() -> Result<()> {
    const BYTES: u64 = 8 << 20;
    let scene = Scene::bridge(2)?;
    scene.peer(1).add_address("10.10.10.1/24")?;
    let address = scene.peer(2).add_address("10.10.10.2/24")?;
    scene.sniff("capture=bidirectional snaplen=65535");
    scene.daemon.wait_for_large_rings()?;
    let recorder = Recorder::start(scene.peer(1))?;
    // On two cores, packets of one connection may overtake each other between the recorder and the port.
    thread::scope(|scope| {
        let transfer = || {
            pin_to_core(0)?;
            tcp_transfer(scene.namespace(1), scene.namespace(2), address, BYTES)
        };
        scope.spawn(transfer).join().expect("no panic")
    })?;
    // The last packets of a connection cross when both of its ends are already closed.
    let mut seen = 0;
    eventually("silence", || {
        thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut seen, recorder.count());
        Ok(seen == before)
    })?;
    let recording = recorder.stop()?.reversed();
    assert_eq!(recording.drops, 0);
    assert!(recording.frames.iter().any(|seen| seen.orig_len > 10_000), "the transfer had no large packets");
    let file = scene.captured()?;
    compare(&file.records, &recording.frames, 65_535)?;
    Ok(())
}

/// Two senders on two cores, one per direction: each core has its own ring, and the file has one order.
#[test]
fn what_two_cores_captured_is_in_order_of_time() -> Result<()> {
    const EACH: u32 = 50_000;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    scene.daemon.wait_for_large_rings()?;
    let recorder = Recorder::start(scene.peer(1))?;
    let together = Barrier::new(2);
    thread::scope(|scope| {
        let senders = [(0, 1, 2), (1, 2, 1)].map(|(core, from, to)| {
            let (scene, together) = (&scene, &together);
            scope.spawn(move || {
                pin_to_core(core)?;
                let frames = scene.flow(from, to).frames(Protocol::Udp, 80, EACH);
                let sender = Sender::open(scene.peer(from))?;
                together.wait();
                sender.send(&frames)
            })
        });
        senders.into_iter().try_for_each(|sender| sender.join().expect("no panic").map(drop))
    })?;
    recorder.wait_for(2 * EACH as usize, PATIENCE)?;
    let recording = recorder.stop()?.reversed();
    let records = scene.captured()?.records;
    let late = records.windows(2).position(|pair| pair[1].time_ns < pair[0].time_ns);
    assert_eq!(late, None, "packets before and after: {:?}", late.map(|at| (&records[at], &records[at + 1])));
    let turns = records.windows(2).filter(|pair| pair[0].bytes[..12] != pair[1].bytes[..12]).count();
    assert!(turns > 1, "the directions took turns {turns} times: the cores did not send at the same time");
    compare(&records, &recording.frames, 262_144)?;
    Ok(())
}

/// Each change loads another program beside the running one: no packet may bypass both, or pass both.
#[test]
fn no_packet_is_lost_or_doubled_when_the_snap_length_changes() -> Result<()> {
    const LEN: usize = 120;
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional ring-size=64");
    scene.daemon.wait_for_large_rings()?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), LEN, u32::MAX)?;
    let mut changes = 0;
    for _ in 0..4 {
        for snaplen in [64, 262_144, 100, 1000, 46] {
            scene.daemon.ctl(&format!("sniffer set snaplen={snaplen}")).ok();
            steady.wait_for(64)?;
            changes += 1;
        }
    }
    let sent = steady.stop()?;
    let captured = scene.counter("captured")?;
    let records = scene.captured()?.records;
    assert_eq!((captured, records.len()), (u64::from(sent), sent as usize));
    let mut lengths = Vec::new();
    for (number, record) in records.iter().enumerate() {
        assert_eq!(sequence_of(&record.bytes), Some(number as u32), "record {number}");
        assert_eq!(record.orig_len as usize, LEN);
        if lengths.last() != Some(&record.bytes.len()) {
            lengths.push(record.bytes.len());
        }
    }
    let known = lengths.iter().all(|len| [46, 64, 100, LEN].contains(len));
    assert!(known && lengths.len() > changes / 2, "{changes} changes gave {lengths:?}");
    Ok(())
}

/// The nice value of the thread that empties the rings (proc_pid_stat(5), field 19).
fn nice(scene: &Scene) -> Result<i32> {
    let tasks = format!("/proc/{}/task", scene.daemon.pid().context("the daemon runs")?);
    for task in fs::read_dir(tasks)? {
        // A thread may have ended since.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        if let Some((_, fields)) = stat.split_once("(capture:sniffer) ") {
            return Ok(fields.split(' ').nth(16).context("a nice value")?.parse()?);
        }
    }
    bail!("no thread captures")
}

#[test]
fn the_thread_that_records_has_the_priority_that_is_set_if_the_daemon_may_give_it() -> Result<()> {
    let scene = Scene::set_up().peers(2).bridge().arguments(["--keep-capability", "CAP_SYS_NICE"]).start()?;
    scene.sniff("capture=ingress");
    let usual = nice(&scene)?;
    scene.daemon.ctl("sniffer set priority=high").ok();
    assert_eq!(nice(&scene)?, -20);
    scene.daemon.ctl("sniffer set priority=normal").ok();
    assert_eq!(nice(&scene)?, usual);
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress priority=high");
    eventually("a reason", || {
        Ok(scene.daemon.log().contains("start polycubed with `--keep-capability CAP_SYS_NICE`"))
    })?;
    assert_eq!(nice(&scene)?, usual);
    assert_eq!(scene.status()?, "capturing");
    Ok(())
}
