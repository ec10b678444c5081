//! Mirrors to a collector on another machine. tshark decodes what arrives.

use anyhow::Result;
use polycube_tests::capture::{Direction, Recorder, Seen};
use polycube_tests::lab::Namespace;
use polycube_tests::scene::{PATIENCE, eventually};
use polycube_tests::traffic::Protocol::{Arp, Tcp, Udp};
use polycube_tests::traffic::{Segments, Sender, ping};

use super::decoded::fields;
use super::stage::{MOMENT, Stage, assert_frames};

fn collecting(settings: &str) -> Result<Stage> {
    let stage = Stage::unmirrored()?.addressed()?;
    stage.mirror("");
    stage.scene.daemon.ctl(&format!("s1 collector set {settings}")).ok();
    Ok(stage)
}

/// Frames of many kinds: IPv4, IPv6, ARP, with tags, and of the longest size for which there is room beside `outer` bytes.
fn frames(stage: &Stage, outer: usize) -> Vec<Vec<u8>> {
    let flow = stage.scene.flow(1, 2);
    let v6 = flow.with_ips("2001:db8::1", "2001:db8::2");
    vec![
        flow.frame(Udp, 60, 1),
        v6.frame(Udp, 80, 2),
        flow.frame(Arp, 60, 3),
        flow.with_vlan(5).frame(Udp, 90, 4),
        v6.with_vlan(4094).frame(Tcp, 100, 5),
        flow.frame(Udp, 1514 - outer, 6),
        flow.with_vlan(6).frame(Udp, 1514 - outer, 7),
        twice_tagged(&flow.with_vlan(8).frame(Udp, 100, 8)),
    ]
}

/// A frame with a provider's tag before its own.
fn twice_tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x88, 0xa8, 0x60, 0x64], &frame[12..]].concat()
}

/// What follows the outer headers.
fn inner(copies: &[Vec<u8>], outer: usize) -> Vec<Vec<u8>> {
    copies.iter().map(|copy| copy[outer..].to_vec()).collect()
}

/// Sends every kind of frame through a mirror with these settings; tshark finds `expected` in the outer header of each.
#[track_caller]
fn check(settings: &str, outer: usize, expected: &[(&str, &str)]) -> Result<Stage> {
    let stage = collecting(settings)?;
    let sent = frames(&stage, outer);
    let copies = stage.copies(1, &sent, sent.len())?;
    assert_frames(&inner(&copies, outer), &sent);
    let names = expected.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    for found in fields(&copies, &names)? {
        for ((name, expected), found) in expected.iter().zip(&found) {
            // Of the outer header and the inner one, the first is the outer.
            assert_eq!(found.split(',').next().unwrap(), *expected, "{settings}: {name}, {found}");
        }
    }
    assert_eq!(stage.counter("mirrored-packets")?, sent.len() as u64);
    assert_eq!(stage.counter("mirrored-bytes")?, sent.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!((stage.counter("shortened")?, stage.counter("failed")?, stage.counter("no-way")?), (0, 0, 0));
    Ok(stage)
}

const OVER_IPV4: [(&str, &str); 7] = [
    ("eth.type", "0x0800"),
    ("ip.src", "10.9.0.1"),
    ("ip.dst", "10.9.0.2"),
    ("ip.ttl", "64"),
    ("ip.dsfield.dscp", "0"),
    ("ip.flags.df", "1"),
    ("ip.checksum.status", "1"),
];
const OVER_IPV6: [(&str, &str); 5] = [
    ("eth.type", "0x86dd"),
    ("ipv6.src", "fd09::1"),
    ("ipv6.dst", "fd09::2"),
    ("ipv6.hlim", "64"),
    ("ipv6.tclass.dscp", "0"),
];

#[test]
fn vxlan_over_ipv4() -> Result<()> {
    let vxlan = [("udp.dstport", "4789"), ("udp.checksum", "0x0000"), ("vxlan.vni", "1")];
    let stage = check("address=10.9.0.2", 50, &[&OVER_IPV4[..], &vxlan].concat())?;
    assert_eq!(stage.status()?, "mirroring to 10.9.0.2 by VXLAN, over veth9 from 10.9.0.1");
    let state = stage.state()?;
    let way = &state["way"];
    assert_eq!((&way["netdev"], &way["source"], &way["mtu"]), (&"veth9".into(), &"10.9.0.1".into(), &1500.into()));
    assert_eq!(way["neighbour"], "10.9.0.2");
    Ok(())
}

#[test]
fn the_outer_header_is_what_the_settings_say() -> Result<()> {
    let settings = "address=10.9.0.2 id=16777215 port=8472 ttl=7 dscp=46";
    let stage = collecting(settings)?;
    let copies = stage.copies(1, &stage.scene.flow(1, 2).frames(Udp, 60, 1), 1)?;
    let names = ["ip.ttl", "ip.dsfield.dscp", "udp.dstport", "udp.length", "ip.len"];
    let found = fields(&copies, &names)?;
    assert_eq!(found, [["7", "46", "8472", "76", "96"]]);
    assert_eq!(copies[0][42..50], [8, 0, 0, 0, 0xff, 0xff, 0xff, 0]);
    Ok(())
}

/// Each flow has a port of its own, as RFC 7348 recommends, so that paths and queues share the load.
#[test]
fn flows_have_source_ports_of_their_own() -> Result<()> {
    let stage = collecting("address=10.9.0.2")?;
    let flow = |port: u16| {
        let mut flow = stage.scene.flow(1, 2);
        flow.from.port = port;
        flow
    };
    let sent = (0..20).map(|number| flow(1000 + number / 2).frame(Udp, 60, number.into())).collect::<Vec<_>>();
    let copies = stage.copies(1, &sent, sent.len())?;
    let ports = copies.iter().map(|copy| u16::from_be_bytes([copy[34], copy[35]])).collect::<Vec<_>>();
    assert!(ports.iter().all(|port| *port >= 49152), "{ports:?}");
    assert!(ports.chunks(2).all(|pair| pair[0] == pair[1]), "{ports:?}");
    let distinct = ports.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct > 5, "{ports:?}");
    Ok(())
}

#[test]
fn vxlan_over_ipv6() -> Result<()> {
    let vxlan = [("udp.dstport", "4789"), ("udp.checksum", "0x0000"), ("vxlan.vni", "77")];
    check("address=fd09::2 id=77", 70, &[&OVER_IPV6[..], &vxlan].concat()).map(drop)
}

#[test]
fn gre_over_both_families() -> Result<()> {
    let gre = [("gre.proto", "0x6558"), ("gre.flags_and_version", "0x0000")];
    check("address=10.9.0.2 encapsulation=gre", 38, &[&OVER_IPV4[..], &gre].concat())?;
    let with_key = [("gre.proto", "0x6558"), ("gre.flags_and_version", "0x2000"), ("gre.key", "0x0000002a")];
    check("address=fd09::2 encapsulation=gre id=42", 62, &[&OVER_IPV6[..], &with_key].concat())?;
    Ok(())
}

#[test]
fn erspan_over_both_families() -> Result<()> {
    let erspan = [
        ("gre.proto", "0x88be"),
        ("gre.flags_and_version", "0x1000"),
        ("erspan.version", "1"),
        ("erspan.spanid", "100"),
        ("erspan.truncated", "0"),
    ];
    let stage = check("address=10.9.0.2 encapsulation=erspan id=100", 50, &[&OVER_IPV4[..], &erspan].concat())?;
    // Sequence numbers go on; tags are shown in both places; the index says where the packet passed.
    let sent = frames(&stage, 50);
    let copies = stage.copies(1, &sent, sent.len())?;
    let found = fields(&copies, &["gre.sequence_number", "erspan.vlan"])?;
    let expected =
        [("8", "0"), ("9", "0"), ("10", "0"), ("11", "5"), ("12", "4094"), ("13", "0"), ("14", "6"), ("15", "100")];
    let expected = expected.map(|(number, vlan)| vec![number.to_owned(), vlan.to_owned()]);
    assert_eq!(found, expected);
    let index = |copy: &[u8]| u32::from_be_bytes(copy[46..50].try_into().unwrap());
    assert!(copies.iter().all(|copy| index(copy) & 1 == 0));
    let back = [stage.scene.flow(2, 1).frame(Udp, 60, 1)];
    let copies = stage.copies(2, &back, 1)?;
    assert_eq!((index(&copies[0]) & 1, inner(&copies, 50)), (1, back.to_vec()), "what leaves is marked");
    check("address=fd09::2 encapsulation=erspan id=100", 70, &[&OVER_IPV6[..], &erspan].concat()).map(drop)
}

#[test]
fn copies_are_cut_to_the_snap_length_and_to_what_the_way_takes() -> Result<()> {
    let stage = collecting("address=10.9.0.2 encapsulation=erspan")?;
    let flow = stage.scene.flow(1, 2);
    let sent = [flow.frame(Udp, 1514, 1), flow.with_vlan(9).frame(Udp, 1518, 2), flow.frame(Udp, 100, 3)];
    let copies = stage.copies(1, &sent, 3)?;
    assert_eq!(inner(&copies, 50), [&sent[0][..1464], &sent[1][..1464], &sent[2][..]]);
    assert_eq!(stage.counter("shortened")?, 2);
    let truncated = fields(&copies, &["erspan.truncated", "ip.checksum.status"])?;
    assert!(truncated.iter().all(|found| found[1].starts_with('1')), "{truncated:?}");
    assert_eq!(truncated.iter().map(|found| found[0].as_str()).collect::<Vec<_>>(), ["1", "1", "0"]);
    stage.scene.daemon.ctl("s1 set snaplen=64").ok();
    let copies = stage.copies(1, &sent, 3)?;
    let expected = sent.iter().map(|frame| frame[..64].to_vec()).collect::<Vec<_>>();
    assert_frames(&inner(&copies, 50), &expected);
    assert_eq!(stage.counter("shortened")?, 2, "the user cuts");
    Ok(())
}

#[test]
fn a_collector_without_a_route_is_reported_and_found_on_another_interface() -> Result<()> {
    let stage = collecting("address=10.9.1.2")?;
    let flow = stage.scene.flow(1, 2);
    assert_eq!(stage.status()?, "there is no route to 10.9.1.2");
    assert!(stage.copies(1, &[flow.frame(Udp, 60, 1)], 0)?.is_empty());
    assert_eq!(stage.counter("no-way")?, 1);
    for name in ["veth7", "veth8"] {
        let wire = stage.scene.lab.veth(name, stage.wire.peer.namespace(), &format!("to{name}"))?;
        wire.host.add_address("10.9.1.1/24")?;
        wire.peer.add_address("10.9.1.2/24")?;
        let expected = format!("mirroring to 10.9.1.2 by VXLAN, over {name} from 10.9.1.1");
        eventually("a way", || Ok(stage.status()? == expected))?;
        let sent = [flow.frame(Udp, 60, 2)];
        assert_frames(&inner(&stage.copies_at(&wire.peer, (1, &sent), 1)?, 50), &sent);
        wire.host.delete()?;
    }
    eventually("no way", || Ok(stage.status()?.starts_with("there is no route")))
}

#[test]
fn a_collector_that_does_not_answer_is_reported() -> Result<()> {
    let stage = collecting("address=10.9.0.77")?;
    let flow = stage.scene.flow(1, 2);
    let expected = "10.9.0.77 does not answer on veth9: copies are lost there";
    eventually("no answer", || {
        stage.copies(1, &[flow.frame(Udp, 60, 1)], 0)?;
        Ok(stage.status()? == expected)
    })?;
    assert_eq!(stage.state()?["way"]["answers"], false);
    stage.wire.peer.add_address("10.9.0.77/24")?;
    eventually("an answer", || {
        stage.copies(1, &[flow.frame(Udp, 60, 1)], 0)?;
        Ok(stage.status()? == "mirroring to 10.9.0.77 by VXLAN, over veth9 from 10.9.0.1")
    })
}

/// The headers that the kernel keeps may have no room beside the outer ones.
#[test]
fn no_copy_is_longer_than_the_way_takes() -> Result<()> {
    let stage = collecting("address=10.9.0.2")?;
    stage.wire.host.set_mtu(68)?;
    eventually("the MTU", || Ok(stage.state()?["way"]["mtu"] == 68))?;
    let flow = stage.scene.flow(1, 2);
    let sent = [flow.frame(Arp, 60, 1), flow.frame(Udp, 100, 2), flow.frame(Tcp, 1514, 3)];
    let copies = stage.copies(1, &sent, 1)?;
    assert!(copies.iter().all(|copy| copy.len() <= 68 + 14), "{:?}", copies.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(stage.counter("mirrored-packets")?, copies.len() as u64);
    assert_eq!(stage.counter("mirrored-packets")? + stage.counter("failed")?, 3);
    assert!(stage.counter("failed")? > 0, "this is about frames that cannot be cut as short");
    Ok(())
}

/// Segmentation offload: one packet of many segments, of which a tunnel could not make segments.
#[test]
fn a_frame_of_many_segments_passes_whole_and_its_copy_is_cut() -> Result<()> {
    for (settings, outer) in [("address=10.9.0.2", 50), ("address=fd09::2 encapsulation=erspan", 70)] {
        let stage = collecting(settings)?;
        let large = Segments::new(&stage.scene.flow(1, 2), 20_000, 1448, 1);
        let (copies, originals) = (Recorder::start(&stage.wire.peer)?, Recorder::start(stage.scene.peer(2))?);
        Sender::open(stage.scene.peer(1))?.send_segments(std::slice::from_ref(&large))?;
        copies.wait_for(1, PATIENCE)?;
        originals.wait_for(1, PATIENCE)?;
        std::thread::sleep(MOMENT);
        let payload = |seen: &Seen| seen.bytes.len() - 54;
        let received = originals.stop()?.going(Direction::In).iter().map(payload).sum::<usize>();
        assert_eq!(received, 20_000, "the original is whole");
        let copies = copies.stop()?.going(Direction::In);
        let copy = copies.iter().find(|copy| copy.bytes.len() == 1514).expect("a copy of the longest size");
        // Checksums and lengths are those of the whole packet; the addresses and the sequence number are what was sent.
        assert_eq!(copy.bytes[outer + 26..outer + 42], large.frame()[26..42]);
        assert_eq!((stage.counter("mirrored-packets")?, stage.counter("shortened")?), (1, 1));
    }
    Ok(())
}

/// The collector's machine says that nothing listens, which passes the mirror, too.
#[test]
fn complaints_about_copies_are_not_mirrored() -> Result<()> {
    for settings in ["address=10.9.0.2", "address=fd09::2 encapsulation=gre"] {
        let stage = Stage::unmirrored()?.addressed()?;
        stage.scene.daemon.ctl("span add s1").ok();
        stage.scene.daemon.ctl(&format!("s1 collector set {settings}")).ok();
        stage.scene.daemon.ctl("attach s1 veth9").ok();
        ping(stage.wire.peer.namespace(), "10.9.0.1".parse()?)?;
        std::thread::sleep(MOMENT);
        let (mirrored, again) = (stage.counter("mirrored-packets")?, stage.counter("again")?);
        // The ping and its answer, and up to three pairs that find neighbours; each copy passes again, and is complained of.
        assert!((2..=8).contains(&mirrored), "{mirrored} copies");
        assert!(again > mirrored, "{again} copies and complaints about {mirrored}");
    }
    Ok(())
}

/// A router on the way says that it knows no way on, as often as it is asked.
#[test]
fn complaints_of_a_router_about_copies_are_not_mirrored() -> Result<()> {
    let shell = |namespace: &Namespace, line: &str| -> Result<()> {
        let status = namespace.command("sh").args(["-c", line]).status()?;
        anyhow::ensure!(status.success(), "{line}: {status}");
        Ok(())
    };
    for (address, route, forwarding) in [
        ("10.8.0.9", "route add 10.8.0.0/24 via 10.9.0.2", "/proc/sys/net/ipv4/ip_forward"),
        ("fd08::9", "-6 route add fd08::/64 via fd09::2", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ] {
        let stage = Stage::unmirrored()?.addressed()?;
        let router = stage.wire.peer.namespace();
        shell(
            router,
            &format!("echo 1 > {forwarding}; echo 0 | tee /proc/sys/net/ipv[46]*/icmp*/ratelimit > /dev/null"),
        )?;
        shell(stage.scene.lab.host(), &format!("ip {route}"))?;
        stage.scene.daemon.ctl("span add s1").ok();
        stage.scene.daemon.ctl(&format!("s1 collector set address={address}")).ok();
        stage.scene.daemon.ctl("attach s1 veth9").ok();
        ping(router, "10.9.0.1".parse()?)?;
        std::thread::sleep(MOMENT);
        let (mirrored, again) = (stage.counter("mirrored-packets")?, stage.counter("again")?);
        assert!((2..=12).contains(&mirrored), "{address}: {mirrored} copies");
        assert!(again > mirrored, "{address}: {again} copies and complaints about {mirrored}");
    }
    Ok(())
}

/// The copies leave through the netdev that is mirrored.
#[test]
fn the_way_to_a_collector_may_be_mirrored_itself() -> Result<()> {
    let stage = collecting("address=10.9.0.2")?;
    stage.scene.daemon.ctl("span add s2").ok();
    stage.scene.daemon.ctl("s2 collector set address=10.9.0.2 id=2").ok();
    stage.scene.daemon.ctl("attach s2 veth9").ok();
    let sent = stage.scene.flow(1, 2).frames(Udp, 60, 10);
    let copies = stage.copies(1, &sent, 10)?;
    // The second mirror's copies are of the questions for the collector's address.
    let first = copies.iter().filter(|copy| copy[46..49] == [0, 0, 1]).cloned().collect::<Vec<_>>();
    assert_frames(&inner(&first, 50), &sent);
    assert!(stage.scene.get("s2/counters")?["again"].as_u64() >= Some(10));
    let second = inner(&copies, 50).into_iter().filter(|frame| !sent.contains(frame)).collect::<Vec<_>>();
    assert!(second.iter().all(|frame| frame[12..14] == [0x08, 0x06]), "{second:?}");
    Ok(())
}

#[test]
fn settings_that_do_not_go_together_are_refused() -> Result<()> {
    let stage = collecting("address=10.9.0.2")?;
    for (line, why) in [
        ("s1 set target=veth9", "copies go to target=veth9 or to the collector: clear one of them"),
        ("s1 collector set id=16777216", "a VNI of VXLAN is at most 16777215, not 16777216"),
        ("s1 collector set source=fd09::1", "fd09::1 and the collector's 10.9.0.2 are of different families"),
        ("s1 collector set address=224.0.0.1", "224.0.0.1 is not the address of one machine"),
        ("s1 collector set dscp=64", "dscp"),
        ("s1 set snaplen=0", "snaplen"),
        ("s1 set sample=0", "sample"),
    ] {
        let refused = stage.scene.daemon.ctl(line).fails(2);
        assert!(refused.contains(why), "{line}: {refused}");
    }
    stage.scene.daemon.ctl("s1 collector set source=10.9.0.3").ok();
    assert_eq!(stage.status()?, "the source 10.9.0.3 is not an address of this machine");
    Ok(())
}
