//! Does the bridge send each frame where it belongs, whole, once, and nowhere else?

use std::time::Duration;

use anyhow::{Context, Result};
use polycube_tests::capture::{Direction, Recorder, Seen};
use polycube_tests::comparison::evidence;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Endpoint, Protocol, Segments, Sender, Steady, sequence_of};
use serde_json::{Value, json};

const BROADCAST: [u8; 6] = [0xff; 6];
const MULTICAST: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x05];
/// An address of those that begin with 01:80:c2:00:00, by its last octet.
const fn reserved(last: u8) -> [u8; 6] {
    [0x01, 0x80, 0xc2, 0x00, 0x00, last]
}
const SPANNING_TREE: [u8; 6] = reserved(0x00);
/// Pause frames, LACP, EAPOL (802.1X) and LLDP: for the neighbour alone (IEEE 802.1Q table 8-1).
const NEIGHBOUR: [[u8; 6]; 4] = [reserved(0x01), reserved(0x02), reserved(0x03), reserved(0x0e)];
/// An address of no station.
const STRANGER: [u8; 6] = [0x02, 0xaa, 0, 0, 0, 0x01];
/// How long a frame may take after another one, sent later, has arrived.
const LATE: Duration = Duration::from_millis(200);

/// A bridge with four ports, and assertions about what arrives at the peers.
struct Bridge {
    scene: Scene,
}

impl Bridge {
    #[track_caller]
    fn new() -> Result<Self> {
        Ok(Self { scene: Scene::bridge(4)? })
    }

    #[track_caller]
    fn ctl(&self, line: &str) -> String {
        self.scene.daemon.ctl(line).ok()
    }

    /// A frame from a peer to any address, from any address.
    fn frame(&self, source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
        let mut flow = self.scene.flow(1, 2);
        flow.from = Endpoint { mac: source, ..flow.from };
        flow.to = Endpoint { mac: destination, ..flow.to };
        flow.frame(Protocol::Udp, 100, 0)
    }

    fn mac(&self, peer: usize) -> [u8; 6] {
        self.scene.peer(peer).mac()
    }

    /// Sends frames from one peer and asserts which peers get them, each frame whole, in order and once, and that the
    /// others get nothing.
    #[track_caller]
    fn check(&self, from: usize, frames: &[Vec<u8>], to: &[usize]) -> Result<()> {
        let others: Vec<usize> = (1..=4).collect();
        let recorders: Vec<Recorder> =
            others.iter().map(|peer| Recorder::start(self.scene.peer(*peer))).collect::<Result<_>>()?;
        Sender::open(self.scene.peer(from))?.send(frames)?;
        for (peer, recorder) in others.iter().zip(&recorders) {
            let expected = if to.contains(peer) || *peer == from { frames.len() } else { 0 };
            recorder.wait_for(expected, PATIENCE).with_context(|| format!("at peer {peer}"))?;
        }
        if to.is_empty() {
            // No arrival shows that the frames have been handled.
            std::thread::sleep(LATE);
        }
        for (peer, recorder) in others.into_iter().zip(recorders) {
            let expected = if to.contains(&peer) { frames } else { &[] };
            assert_arrived(peer, &recorder.stop()?.going(Direction::In), expected);
        }
        Ok(())
    }

    /// Lets the bridge learn the address of each peer.
    fn introduce(&self) -> Result<()> {
        let recorder = Recorder::start(self.scene.peer(1))?;
        for peer in 1..=4 {
            Sender::open(self.scene.peer(peer))?.send(&[self.frame(self.mac(peer), BROADCAST)])?;
        }
        recorder.wait_for(4, PATIENCE)
    }

    /// Address, port and type of each entry.
    fn fdb(&self) -> Result<Vec<(String, String, String)>> {
        let fdb = self.scene.get("br1/fdb")?;
        let entries = fdb["entry"].as_array().with_context(|| format!("no entries in {fdb}"))?;
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> =
            entries.iter().map(|entry| (text(entry, "address"), text(entry, "port"), text(entry, "type"))).collect();
        found.sort();
        Ok(found)
    }

    fn port_of(&self, mac: [u8; 6]) -> Result<Option<String>> {
        Ok(self.fdb()?.into_iter().find(|(address, ..)| *address == text(mac)).map(|(_, port, _)| port))
    }

    /// The counters of a port by name.
    fn counters(&self, port: &str) -> Result<Value> {
        let bridge = self.scene.get("br1")?;
        let all = bridge["port-counters"].as_array().with_context(|| format!("no counters in {bridge}"))?;
        let mut counters = all.iter().find(|counters| counters["port"] == port).context("no such port")?.clone();
        counters.as_object_mut().context("the counters are not an object")?.remove("port");
        Ok(counters)
    }
}

#[track_caller]
fn assert_arrived(peer: usize, arrived: &[Seen], expected: &[Vec<u8>]) {
    let is_so = arrived.iter().map(|seen| &seen.bytes).eq(expected);
    let (got, wanted) = (arrived.len(), expected.len());
    assert!(is_so, "peer {peer} got {got} frames where {wanted} were expected; {}", evidence(arrived));
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn an_unknown_address_is_flooded_and_a_known_one_is_not() -> Result<()> {
    let bridge = Bridge::new()?;
    let (one, two) = (bridge.mac(1), bridge.mac(2));
    bridge.check(1, &[bridge.frame(one, two)], &[2, 3, 4])?;
    bridge.check(2, &[bridge.frame(two, one)], &[1])?;
    bridge.check(1, &[bridge.frame(one, two)], &[2])?;
    bridge.check(3, &[bridge.frame(bridge.mac(3), one)], &[1])?;
    bridge.check(4, &[bridge.frame(bridge.mac(4), STRANGER)], &[1, 2, 3])
}

#[test]
fn broadcast_and_multicast_go_everywhere_but_back() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    for from in 1..=4 {
        let others: Vec<usize> = (1..=4).filter(|peer| *peer != from).collect();
        let frames = [BROADCAST, MULTICAST, BROADCAST].map(|to| bridge.frame(bridge.mac(from), to));
        bridge.check(from, &frames, &others)?;
    }
    Ok(())
}

#[test]
fn frames_for_the_neighbour_alone_do_not_pass_and_those_of_spanning_trees_do() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    let before = bridge.counters("toveth1")?["filtered"].as_u64();
    let frames = NEIGHBOUR.map(|to| bridge.frame(STRANGER, to));
    bridge.check(1, &frames, &[])?;
    assert_eq!(bridge.port_of(STRANGER)?, None, "nothing is learned from them");
    assert_eq!(bridge.counters("toveth1")?["filtered"].as_u64(), before.map(|before| before + 4));
    bridge.check(1, &[bridge.frame(bridge.mac(1), SPANNING_TREE)], &[2, 3, 4])
}

#[test]
fn frames_from_addresses_that_no_station_has_go_nowhere() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    for source in [MULTICAST, BROADCAST, [0; 6]] {
        bridge.check(1, &[bridge.frame(source, bridge.mac(2)), bridge.frame(source, BROADCAST)], &[])?;
        assert_eq!(bridge.port_of(source)?, None);
    }
    Ok(())
}

#[test]
fn a_frame_for_its_own_port_goes_nowhere() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    // A second station behind port 1.
    bridge.check(1, &[bridge.frame(STRANGER, bridge.mac(2))], &[2])?;
    let before = bridge.counters("toveth1")?["filtered"].as_u64();
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER), bridge.frame(STRANGER, bridge.mac(1))], &[])?;
    assert_eq!(bridge.counters("toveth1")?["filtered"].as_u64(), before.map(|before| before + 2));
    Ok(())
}

#[test]
fn what_is_learned_is_shown_and_what_is_flushed_is_forgotten() -> Result<()> {
    let bridge = Bridge::new()?;
    assert_eq!(bridge.fdb()?, []);
    bridge.introduce()?;
    bridge.ctl("br1 fdb entry add 02:AA:00:00:00:01 port=toveth3");
    let entry = |mac, port: &str, kind: &str| (text(mac), port.to_owned(), kind.to_owned());
    let learned: Vec<_> = (1..=4).map(|peer| entry(bridge.mac(peer), &format!("toveth{peer}"), "dynamic")).collect();
    let bound = entry(STRANGER, "toveth3", "static");
    let mut expected = [&learned[..], std::slice::from_ref(&bound)].concat();
    expected.sort();
    assert_eq!(bridge.fdb()?, expected);
    let shown = bridge.ctl("br1 fdb show");
    for (address, port, kind) in &expected {
        let line = |line: &&str| [address, port, kind].iter().all(|word| line.contains(word.as_str()));
        assert_eq!(shown.lines().filter(line).count(), 1, "{address} {port} {kind} in\n{shown}");
    }
    assert_eq!(bridge.scene.get("br1/counters")?["entries"], 5);

    bridge.ctl("br1 fdb flush");
    assert_eq!(bridge.fdb()?, [bound]);
    bridge.check(1, &[bridge.frame(bridge.mac(1), bridge.mac(2))], &[2, 3, 4])
}

#[test]
fn an_unused_address_is_forgotten() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.ctl("br1 fdb set aging-time=1");
    bridge.ctl(&format!("br1 fdb entry add {} port=toveth3", text(STRANGER)));
    bridge.introduce()?;
    eventually("the addresses to age", || Ok(bridge.fdb()?.len() == 1))?;
    bridge.check(1, &[bridge.frame(bridge.mac(1), bridge.mac(2))], &[2, 3, 4])?;
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[3])?;

    // First without ageing, then with the usual time: nothing is forgotten.
    bridge.ctl("br1 fdb set aging-time=0");
    bridge.introduce()?;
    std::thread::sleep(Duration::from_millis(1200));
    bridge.ctl("br1 fdb set aging-time=300");
    assert_eq!(bridge.fdb()?.len(), 5);
    Ok(())
}

#[test]
fn a_static_entry_holds_when_another_port_sends_from_its_address() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    let stranger = text(STRANGER);
    bridge.ctl(&format!("br1 fdb entry add {stranger} port=toveth3"));
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[3])?;
    bridge.check(2, &[bridge.frame(STRANGER, bridge.mac(4))], &[4])?;
    assert_eq!(bridge.port_of(STRANGER)?.as_deref(), Some("toveth3"), "it was not learned at port 2");
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[3])?;

    bridge.ctl(&format!("br1 fdb entry {stranger} set port=toveth4"));
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[4])?;
    bridge.ctl(&format!("br1 fdb entry del {stranger}"));
    bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[2, 3, 4])?;
    bridge.scene.daemon.ctl(&format!("br1 fdb entry add {stranger} port=nowhere")).fails(2);
    bridge.scene.daemon.ctl("br1 fdb entry add 01:00:5e:00:00:05 port=toveth3").fails(2);
    Ok(())
}

#[test]
fn a_station_that_moves_is_followed_at_once() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    for port in [2, 3, 2, 4] {
        bridge.check(port, &[bridge.frame(STRANGER, bridge.mac(1))], &[1])?;
        assert_eq!(bridge.port_of(STRANGER)?, Some(format!("toveth{port}")));
        bridge.check(1, &[bridge.frame(bridge.mac(1), STRANGER)], &[port])?;
    }
    Ok(())
}

/// Tagged, long and of every protocol, flooded and not: each arrives as it was sent.
#[test]
fn frames_of_every_protocol_cross_unchanged() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.scene.set_mtu(9100)?;
    let v4 = bridge.scene.flow(1, 2);
    let mut frames = Vec::new();
    for flow in [v4, v4.with_ips("2001:db8::1", "2001:db8::2"), v4.with_vlan(100)] {
        for kind in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
            for len in [60, 1514, 9000] {
                frames.push(flow.frame(kind, len.max(flow.shortest(kind)), frames.len() as u32));
            }
        }
    }
    bridge.check(1, &frames, &[2, 3, 4])?;
    bridge.check(2, &[bridge.frame(bridge.mac(2), BROADCAST)], &[1, 3, 4])?;
    bridge.check(1, &frames, &[2])
}

#[test]
fn segments_cross_whole_flooded_and_not() -> Result<()> {
    let bridge = Bridge::new()?;
    let flow = bridge.scene.flow(1, 2);
    let packet = Segments::new(&flow, 40_000, 1400, 5);
    for targets in [&[2, 3, 4][..], &[2]] {
        let recorders: Vec<(usize, Recorder)> =
            (2..=4).map(|peer| Ok((peer, Recorder::start(bridge.scene.peer(peer))?))).collect::<Result<_>>()?;
        Sender::open(bridge.scene.peer(1))?.send_segments(std::slice::from_ref(&packet))?;
        for (peer, recorder) in recorders {
            recorder.wait_for(usize::from(targets.contains(&peer)), PATIENCE)?;
            let expected = if targets.contains(&peer) { vec![packet.frame().to_vec()] } else { Vec::new() };
            assert_arrived(peer, &recorder.stop()?.frames, &expected);
        }
        bridge.introduce()?;
    }
    Ok(())
}

#[test]
fn the_counters_are_exact() -> Result<()> {
    let bridge = Bridge::new()?;
    let (one, two) = (bridge.mac(1), bridge.mac(2));
    let many = |frame: Vec<u8>, count: usize| vec![frame; count];
    bridge.check(1, &many(bridge.frame(one, BROADCAST), 3), &[2, 3, 4])?;
    bridge.check(2, &many(bridge.frame(two, one), 20), &[1])?;
    bridge.check(1, &many(bridge.frame(one, two), 7), &[2])?;
    bridge.check(1, &many(bridge.frame(one, one), 2), &[])?;
    let count = |in_packets: u64, out_packets: u64, flooded: u64, filtered: u64| {
        json!({
            "in-packets": in_packets, "in-bytes": in_packets * 100,
            "out-packets": out_packets, "out-bytes": out_packets * 100,
            "flooded": flooded, "filtered": filtered,
        })
    };
    for (port, expected) in [
        ("toveth1", count(12, 20, 3, 2)),
        ("toveth2", count(20, 10, 0, 0)),
        ("toveth3", count(0, 3, 0, 0)),
        ("toveth4", count(0, 3, 0, 0)),
    ] {
        assert_eq!(bridge.counters(port)?, expected, "{port}");
    }
    assert_eq!(bridge.scene.get("br1/counters")?, json!({ "entries": 2, "fdb-full": 0 }));
    Ok(())
}

/// The flow between the remaining ports loses nothing, and the port that returns gets flooded frames again.
#[test]
fn a_port_is_disconnected_and_connected_under_traffic() -> Result<()> {
    let bridge = Bridge::new()?;
    bridge.introduce()?;
    let recorder = Recorder::start(bridge.scene.peer(2))?;
    let steady = Steady::start(bridge.scene.peer(1), bridge.scene.flow(1, 2), 200, 2_000_000)?;
    for _ in 0..10 {
        bridge.ctl("disconnect br1:toveth3 veth3");
        steady.wait_for(64)?;
        bridge.ctl("connect br1:toveth3 veth3");
        steady.wait_for(64)?;
    }
    let sent = steady.stop()?;
    let _ = recorder.wait_for(sent as usize, LATE);
    let arrived = recorder.stop()?.frames;
    let numbers: Vec<_> = arrived.iter().filter_map(|seen| sequence_of(&seen.bytes)).collect();
    let is_whole = numbers.iter().copied().eq(0..sent);
    assert!(is_whole, "{} of {sent} frames arrived, or not in order; {}", numbers.len(), evidence(&arrived));

    bridge.ctl("disconnect br1:toveth3 veth3");
    bridge.check(1, &[bridge.frame(bridge.mac(1), BROADCAST)], &[2, 4])?;
    bridge.check(3, &[bridge.frame(bridge.mac(3), BROADCAST)], &[])?;
    bridge.ctl("connect br1:toveth3 veth3");
    bridge.check(1, &[bridge.frame(bridge.mac(1), BROADCAST)], &[2, 3, 4])?;
    bridge.check(3, &[bridge.frame(bridge.mac(3), bridge.mac(1))], &[1])
}

#[test]
fn a_port_that_a_static_entry_names_is_not_deleted() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.daemon.ctl("br1 fdb entry add 02:00:00:00:00:07 port=toveth1").ok();
    let before = scene.daemon.snapshot()?;
    let refusal = scene.daemon.ctl("br1 ports del toveth1").one_line(2);
    let expected = "br1/fdb/entry/02:00:00:00:00:07: the static entry 02:00:00:00:00:07 names port `toveth1`, which is not \
                    among toveth2: name one of these, or delete the entry";
    assert!(refusal.contains(expected), "{refusal}");
    assert_eq!(scene.daemon.snapshot()?, before);
    scene.daemon.ctl("br1 fdb entry del 02:00:00:00:00:07").ok();
    scene.daemon.ctl("br1 ports del toveth1").ok();
    Ok(())
}
