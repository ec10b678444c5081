//! Mirrors to a netdev and to a cube's port.

use anyhow::Result;
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::scene::{PATIENCE, eventually};
use polycube_tests::traffic::Protocol::{Arp, Tcp, Udp};
use polycube_tests::traffic::{Segments, Sender};

use super::stage::{Stage, assert_frames};

#[test]
fn a_netdev_gets_what_passes_in_both_directions() -> Result<()> {
    let stage = Stage::new("target=veth9")?;
    let flow = stage.scene.flow(1, 2);
    let sent = [flow.frame(Udp, 60, 1), flow.frame(Tcp, 1514, 2), flow.frame(Arp, 60, 3)];
    assert_frames(&stage.copies(1, &sent, 3)?, &sent);
    let back = [flow.reversed().frame(Udp, 700, 4)];
    assert_frames(&stage.copies(2, &back, 1)?, &back);
    assert_eq!(stage.status()?, "mirroring to veth9");
    assert_eq!(stage.counter("mirrored-packets")?, 4);
    assert_eq!(stage.counter("mirrored-bytes")?, 60 + 1514 + 60 + 700);
    Ok(())
}

#[test]
fn a_direction_is_mirrored_alone() -> Result<()> {
    let stage = Stage::new("target=veth9 direction=egress")?;
    let flow = stage.scene.flow(1, 2);
    assert!(stage.copies(1, &[flow.frame(Udp, 60, 1)], 0)?.is_empty());
    let back = [flow.reversed().frame(Udp, 60, 2)];
    assert_frames(&stage.copies(2, &back, 1)?, &back);
    stage.scene.daemon.ctl("s1 set direction=ingress").ok();
    assert!(stage.copies(2, &back, 0)?.is_empty());
    Ok(())
}

#[test]
fn ipv6_and_tags_are_mirrored_as_they_are() -> Result<()> {
    let stage = Stage::new("target=veth9")?;
    let flow = stage.scene.flow(1, 2);
    let sent = [
        flow.with_ips("2001:db8::1", "2001:db8::2").frame(Udp, 80, 1),
        flow.with_vlan(5).frame(Udp, 80, 2),
        flow.with_vlan(4094).with_ips("2001:db8::1", "2001:db8::2").frame(Tcp, 100, 3),
    ];
    assert_frames(&stage.copies(1, &sent, 3)?, &sent);
    Ok(())
}

#[test]
fn a_filter_decides_and_counts() -> Result<()> {
    let stage = Stage::new("target=veth9 filter=tcp")?;
    stage.scene.daemon.ctl("s1 filters set dport=5000 l4proto=tcp").ok();
    let flow = stage.scene.flow(1, 2);
    let sent = [flow.frame(Udp, 60, 1), flow.frame(Tcp, 60, 2), flow.frame(Udp, 60, 3)];
    assert_frames(&stage.copies(1, &sent, 1)?, &sent[1..2]);
    assert_eq!((stage.counter("filtered")?, stage.counter("mirrored-packets")?), (2, 1));
    assert_eq!(stage.state()?["program"]["expression"], "((tcp dst port 5000)) and (tcp)");
    let refused = stage.scene.daemon.ctl("s1 set filter=tpc").fails(2);
    assert!(refused.contains("syntax error") || refused.contains("tpc"), "{refused}");
    Ok(())
}

/// With these many packets, one in a thousand runs is further off than six standard deviations.
#[test]
fn one_in_ten_packets_is_mirrored_and_the_rest_counted() -> Result<()> {
    const COUNT: u32 = 4000;
    let stage = Stage::new("target=veth9 sample=10")?;
    let sent = stage.scene.flow(1, 2).frames(Udp, 60, COUNT);
    let copies = stage.copies(1, &sent, 200)?;
    let (mirrored, left_out) = (stage.counter("mirrored-packets")?, stage.counter("sampled-out")?);
    assert_eq!((copies.len() as u64, mirrored + left_out), (mirrored, COUNT.into()));
    assert!((286..=514).contains(&mirrored), "{mirrored} of {COUNT}");
    assert!(copies.iter().all(|copy| sent.contains(copy)));
    Ok(())
}

#[test]
fn copies_are_cut_and_originals_are_not() -> Result<()> {
    let stage = Stage::new("target=veth9 snaplen=70")?;
    let flow = stage.scene.flow(1, 2);
    let sent = [flow.frame(Udp, 60, 1), flow.frame(Tcp, 1514, 2), flow.with_vlan(7).frame(Udp, 500, 3)];
    let expected = sent.iter().map(|frame| frame[..frame.len().min(70)].to_vec()).collect::<Vec<_>>();
    assert_frames(&stage.copies(1, &sent, 3)?, &expected);
    let back = [flow.reversed().frame(Udp, 700, 4)];
    assert_frames(&stage.copies(2, &back, 1)?, &[back[0][..70].to_vec()]);
    assert_eq!((stage.counter("mirrored-bytes")?, stage.counter("shortened")?), (60 + 70 + 70 + 70, 0));
    Ok(())
}

/// The Ethernet header, and the IP header where the kernel has looked for what follows it, not where a tag is in its way; of a packet whose checksum is still to be
/// computed, TCP's, too.
#[test]
fn a_copy_is_as_short_as_the_kernel_allows() -> Result<()> {
    let stage = Stage::new("target=veth9 snaplen=20")?;
    let flow = stage.scene.flow(1, 2);
    let v6 = flow.with_ips("2001:db8::1", "2001:db8::2");
    let sent = [
        flow.frame(Udp, 100, 1),
        v6.frame(Udp, 100, 2),
        flow.with_vlan(7).frame(Udp, 100, 3),
        v6.with_vlan(7).frame(Tcp, 100, 4),
    ];
    let expected = [34, 54, 20, 20].iter().zip(&sent).map(|(length, frame)| frame[..*length].to_vec());
    assert_frames(&stage.copies(1, &sent, 4)?, &expected.collect::<Vec<_>>());
    for (flow, length) in [(flow, 54), (v6, 74)] {
        let large = Segments::new(&flow, 3000, 1448, 1);
        let copies = Recorder::start(&stage.wire.peer)?;
        Sender::open(stage.scene.peer(1))?.send_segments(std::slice::from_ref(&large))?;
        copies.wait_for(1, PATIENCE)?;
        let copies = copies.stop()?.going(Direction::In);
        assert!(copies.iter().any(|copy| copy.bytes == large.frame()[..length]), "none of {length} bytes: {copies:?}");
    }
    Ok(())
}

/// Copies that are cut pass the egress of the netdev that is mirrored, where others must not take them for packets.
#[test]
fn nobody_else_sees_copies_on_their_way() -> Result<()> {
    let stage = Stage::unmirrored()?;
    stage.scene.sniff("capture=egress");
    stage.mirror("target=veth9 snaplen=64");
    stage.scene.daemon.ctl("packetcapture add after capture=egress").ok();
    stage.scene.daemon.ctl("attach after br1:toveth1").ok();
    let flow = stage.scene.flow(1, 2);
    assert_eq!(stage.copies(1, &flow.frames(Udp, 100, 50), 50)?.len(), 50);
    assert_eq!(stage.copies(2, &flow.reversed().frames(Udp, 100, 20), 20)?.len(), 20);
    // A capture counts what it has taken out of its rings.
    for sniffer in ["sniffer", "after"] {
        let captured = || anyhow::Ok(stage.scene.get(&format!("{sniffer}/counters"))?["captured"].as_u64());
        eventually("the packets that leave", || Ok(captured()? >= Some(20)))?;
        assert_eq!(captured()?, Some(20), "{sniffer}");
    }
    Ok(())
}

#[test]
fn a_netdev_that_is_missing_is_waited_for_and_found_again() -> Result<()> {
    let stage = Stage::new("target=veth8")?;
    let flow = stage.scene.flow(1, 2);
    assert_eq!(stage.status()?, "waiting for the netdev `veth8`, which does not exist");
    assert!(stage.copies(1, &[flow.frame(Udp, 60, 1)], 0)?.is_empty());
    assert_eq!(stage.counter("no-way")?, 1);
    for _ in 0..2 {
        let wire = stage.scene.lab.veth("veth8", stage.wire.peer.namespace(), "eth8")?;
        eventually("a way", || Ok(stage.status()? == "mirroring to veth8"))?;
        let sent = [flow.frame(Udp, 60, 2)];
        assert_frames(&stage.copies_at(&wire.peer, (1, &sent), 1)?, &sent);
        wire.host.delete()?;
        eventually("no way", || Ok(stage.status()?.starts_with("waiting for")))?;
    }
    Ok(())
}

/// Another bridge floods what comes in at its port, as it does with any frame.
#[test]
fn a_port_gets_copies_as_if_they_came_in_there() -> Result<()> {
    for settings in ["target=br2:in", "target=br2:in snaplen=200"] {
        let stage = Stage::new(settings)?;
        assert_eq!(stage.status()?, "waiting for the port br2:in, which does not exist, or has no peer");
        let _wire = stage.scene.lab.veth("veth8", stage.wire.peer.namespace(), "eth8")?;
        for line in ["simplebridge add br2", "br2 ports add in peer=veth8", "br2 ports add out peer=veth9"] {
            stage.scene.daemon.ctl(line).ok();
        }
        eventually("a way", || Ok(stage.status()? == "mirroring into br2:in, at veth8"))?;
        let flow = stage.scene.flow(1, 2);
        let sent = [flow.frame(Udp, 60, 1), flow.with_vlan(5).frame(Udp, 80, 2)];
        assert_frames(&stage.copies(1, &sent, 2)?, &sent);
        let back = [flow.reversed().frame(Udp, 100, 3)];
        // The bridge has learned where peer 1 is: at the port where its frames came in.
        assert!(stage.copies(2, &back, 0)?.is_empty());
        assert_eq!(stage.counter("mirrored-packets")?, 3);
    }
    Ok(())
}

#[test]
fn a_mirror_to_what_it_mirrors_is_refused() -> Result<()> {
    let stage = Stage::unmirrored()?;
    stage.scene.daemon.ctl("span add s1 target=veth1").ok();
    let refused = stage.scene.daemon.ctl("attach s1 br1:toveth1").fails(2);
    let why = "target=veth1 is what is mirrored, at br1:toveth1: copies would be mirrored again";
    assert!(refused.contains(why), "{refused}");
    stage.scene.daemon.ctl("s1 set target=veth9").ok();
    stage.scene.daemon.ctl("attach s1 br1:toveth1").ok();
    let refused = stage.scene.daemon.ctl("s1 set target=veth1").fails(2);
    assert!(refused.contains(why), "{refused}");
    let refused = stage.scene.daemon.ctl("s1 set target=br1:toveth1").fails(2);
    assert!(refused.contains("target=br1:toveth1 is what is mirrored: copies would be mirrored again"), "{refused}");
    Ok(())
}

/// The port is not what is mirrored, but its netdev is.
#[test]
fn a_mirror_into_the_port_of_what_it_mirrors_is_refused_or_stops() -> Result<()> {
    let stage = Stage::unmirrored()?;
    stage.scene.daemon.ctl("span add s1 target=br1:toveth2").ok();
    let refused = stage.scene.daemon.ctl("attach s1 veth2").fails(2);
    let why = "target=br1:toveth2 is what is mirrored, at veth2: copies would be mirrored again";
    assert!(refused.contains(why), "{refused}");
    stage.scene.daemon.ctl("br1 ports add later").ok();
    stage.scene.daemon.ctl("s1 set target=br1:later").ok();
    stage.scene.daemon.ctl("attach s1 veth9").ok();
    stage.scene.daemon.ctl("br1 ports later set peer=veth9").ok();
    let why = "`veth9` at br1:later is what is mirrored: copies would be mirrored again";
    eventually("the loop to be seen", || Ok(stage.scene.get("s1")?["status"] == why))
}

/// Two mirrors that each mirror the other's target.
#[test]
fn a_loop_that_cannot_be_seen_is_cut_and_counted() -> Result<()> {
    let stage = Stage::new("target=veth9 direction=ingress")?;
    stage.scene.daemon.ctl("span add s2 target=veth1 direction=egress").ok();
    stage.scene.daemon.ctl("attach s2 veth9").ok();
    let sent = [stage.scene.flow(1, 2).frame(Udp, 60, 1)];
    assert_frames(&stage.copies(1, &sent, 1)?, &sent);
    assert_eq!(stage.scene.get("s2/counters")?["again"], 1);
    assert_eq!(stage.scene.get("s2/counters")?["mirrored-packets"], 0);
    Ok(())
}
