//! Is the kit itself right? Needs root, and nothing of this project but the kit.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::lab::{Lab, Offload};
use polycube_tests::traffic::{Flow, Pace, Protocol, Segments, Sender, reachable, sequence_of, tcp_transfer};

#[test]
fn two_peers_reach_each_other_through_a_kernel_bridge() -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    let (west, east) = (lab.veth("veth1", &left, "eth0")?, lab.veth("veth2", &right, "eth0")?);
    lab.kernel_bridge("br0", &[&west.host, &east.host])?;
    west.peer.add_address("10.0.0.1/24")?;
    west.peer.add_address("fd00::1/64")?;
    let v4 = east.peer.add_address("10.0.0.2/24")?;
    let v6 = east.peer.add_address("fd00::2/64")?;

    assert!(reachable(&left, &right, v4)?.is_some(), "IPv4");
    assert!(reachable(&left, &right, v6)?.is_some(), "IPv6");
    let transfer = tcp_transfer(&left, &right, v4, 64 << 20)?;
    assert_eq!(transfer.bytes, 64 << 20);
    assert!(east.peer.counters()?.rx_bytes > 64 << 20);
    println!("{:.1} Gbit/s", transfer.bits_per_second() / 1e9);
    Ok(())
}

#[test]
fn a_broken_path_is_not_reachable() -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    let wire = lab.join((&left, "eth0"), (&right, "eth0"))?;
    wire.host.add_address("10.0.0.1/24")?;
    let address = wire.peer.add_address("10.0.0.2/24")?;
    assert!(reachable(&left, &right, address)?.is_some());
    wire.peer.down()?;
    assert_eq!(reachable(&left, &right, address)?, None);
    Ok(())
}

#[test]
fn offloads_can_be_turned_off_and_on() -> Result<()> {
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    for offload in [Offload::Tso, Offload::Gso, Offload::Gro, Offload::TxChecksum] {
        let before = wire.peer.offload(offload)?;
        wire.peer.set_offload(offload, !before)?;
        assert_eq!(wire.peer.offload(offload)?, !before, "{offload:?}");
    }
    Ok(())
}

/// Frames of every protocol and size arrive at the other end of a wire unchanged, and both ends' recorders agree.
#[test]
fn sender_and_recorder_agree_on_every_protocol_and_size() -> Result<()> {
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    wire.host.set_mtu(9100)?;
    wire.peer.set_mtu(9100)?;
    let v4 = Flow::between(&wire.peer, &wire.host);
    let v6 = v4.with_ips("2001:db8::1", "2001:db8::2");
    let mut frames = Vec::new();
    for flow in [v4, v6, v4.with_vlan(100), v6.with_vlan(4094)] {
        for kind in [Protocol::Arp, Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
            for len in [60, 64, 512, 1500, 1514, 9000] {
                frames.push(flow.frame(kind, len.max(flow.shortest(kind)), frames.len() as u32));
            }
        }
    }

    let (near, far) = (Recorder::start(&wire.peer)?, Recorder::start(&wire.host)?);
    let sent = Sender::open(&wire.peer)?.send(&frames)?;
    assert_eq!(sent.frames, frames.len() as u64);
    far.wait_for(frames.len(), Duration::from_secs(5))?;
    for (end, direction) in [(near.stop()?, Direction::Out), (far.stop()?, Direction::In)] {
        assert_eq!(end.drops, 0);
        assert_eq!(end.frames.len(), frames.len());
        for (seen, sent) in end.frames.iter().zip(&frames) {
            assert_eq!((seen.direction, seen.orig_len as usize), (direction, sent.len()));
            assert_eq!(seen.bytes, *sent, "{direction:?}");
        }
        assert!(end.frames.is_sorted_by_key(|seen| seen.time_ns), "{direction:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let age = now - Duration::from_nanos(end.frames[0].time_ns);
        assert!(age < Duration::from_secs(10), "a new frame is {age:?} old");
    }
    Ok(())
}

#[test]
fn a_flood_of_a_counted_number_of_frames_arrives_whole() -> Result<()> {
    const FRAMES: u64 = 100_003;
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    let frames = Flow::between(&wire.peer, &wire.host).frames(Protocol::Udp, 64, 3);
    let recorder = Recorder::start(&wire.host)?;
    let sender = Sender::open(&wire.peer)?;
    let sent = sender.flood(&frames, Pace::Count(FRAMES))?;
    assert_eq!(sent.frames, FRAMES);
    recorder.wait_for(FRAMES as usize, Duration::from_secs(20))?;
    let recording = recorder.stop()?;
    assert_eq!((recording.frames.len() as u64, recording.drops), (FRAMES, 0));
    for (place, seen) in recording.frames.iter().enumerate() {
        assert_eq!(seen.bytes, frames[place % frames.len()], "frame {place}");
    }

    let timed = sender.flood(&frames, Pace::Flood(Duration::from_millis(100)))?;
    assert!(timed.elapsed >= Duration::from_millis(100) && timed.frames > 0);
    println!("{:.2} Mpps", timed.rate() / 1e6);
    Ok(())
}

#[test]
fn segments_cross_a_wire_whole_and_are_cut_where_offload_ends() -> Result<()> {
    const SEGMENT: u16 = 1400;
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    let v4 = Flow::between(&wire.peer, &wire.host);
    for flow in [v4, v4.with_ips("2001:db8::1", "2001:db8::2")] {
        wire.peer.set_offload(Offload::Tso, true)?;
        let packet = Segments::new(&flow, 32 * 1024, SEGMENT, 7);
        let recorder = Recorder::start(&wire.host)?;
        Sender::open(&wire.peer)?.send_segments(std::slice::from_ref(&packet))?;
        recorder.wait_for(1, Duration::from_secs(5))?;
        let whole = recorder.stop()?.frames;
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].bytes, packet.frame());
        assert_eq!(sequence_of(&whole[0].bytes), Some(7));

        wire.peer.set_offload(Offload::Tso, false)?;
        let cut = (32 * 1024_usize).div_ceil(SEGMENT.into());
        let recorder = Recorder::start(&wire.host)?;
        Sender::open(&wire.peer)?.send_segments(&[packet])?;
        recorder.wait_for(cut, Duration::from_secs(5))?;
        assert_eq!(recorder.stop()?.frames.len(), cut);
    }
    Ok(())
}

#[test]
fn a_lab_is_silent_until_something_is_sent() -> Result<()> {
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    for address in ["10.0.0.1/24", "fd00::1/64"] {
        wire.peer.add_address(address)?;
    }
    let recorder = Recorder::start(&wire.host)?;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(recorder.stop()?.frames, []);
    Ok(())
}

/// A command, a socket and a closure each run in the namespace they were given; the caller stays in its own.
#[test]
fn namespaces_are_entered_by_closures_and_commands_only() -> Result<()> {
    let lab = Lab::new()?;
    let left = lab.peer("left")?;
    let inode = || std::fs::read_link("/proc/thread-self/ns/net");
    let outside = inode()?;
    let inside = left.enter(inode)?;
    assert_ne!(outside, inside);
    let output = left.command("readlink").arg("/proc/self/ns/net").output()?;
    assert_eq!(String::from_utf8(output.stdout)?.trim(), inside.to_str().unwrap());
    assert_eq!(inode()?, outside);
    assert_eq!(left.interfaces()?, ["lo"]);
    Ok(())
}

/// Not even when the test panics half-way.
#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let outer = Lab::new()?;
    let witness = outer.peer("witness")?;
    let left_behind = std::panic::catch_unwind(|| {
        let lab = Lab::named().expect("root");
        let peer = lab.peer("left").expect("a namespace");
        let wire = lab.join((&witness, "survivor"), (&peer, "eth0")).expect("a wire");
        let names: Vec<_> = [lab.host(), &peer].map(|namespace| namespace.path().expect("on disk").to_owned()).into();
        assert!(names.iter().all(|name| name.exists()));
        assert_eq!(wire.host.name(), "survivor");
        std::panic::panic_any(names);
    });
    let payload = left_behind.expect_err("the closure panics");
    let names = payload.downcast::<Vec<std::path::PathBuf>>().expect("a list of names");
    assert!(names.iter().all(|name| !name.exists()), "{names:?}");
    // The kernel removes a namespace a little later, and the other end of the wire with it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while witness.interfaces()? != ["lo"] {
        assert!(Instant::now() < deadline, "{:?} is left of the lab", witness.interfaces()?);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
