//! What does the bridge's program do with each address, in the real kernel and one frame at a time
//! (`BPF_PROG_TEST_RUN`)?

use std::collections::BTreeSet;

use pcn_simplebridge::SimpleBridge;
use polycube_plugin_api::{Netdev, NetdevState, Netdevs};
use polycube_plugin_test::{Cube, Exit, Failure, Place, Setup, Verdict};
use serde_json::{Value, json};

/// The port through which frames come in.
const IN: Place = Place::Port(1);

type Result<T> = std::result::Result<T, Failure>;

const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 1, 2];
const ZERO: [u8; 6] = [0; 6];

fn bridge() -> Result<Cube<SimpleBridge>> {
    Cube::create(json!({}))
}

/// What becomes of a frame, and whether its source is known afterwards. Nothing is known before.
#[track_caller]
fn check(
    bridge: &Cube<SimpleBridge>,
    source: [u8; 6],
    destination: [u8; 6],
    (verdict, is_known): (Verdict, bool),
) -> Result<()> {
    let frame = [&destination[..], &source, &[0x88, 0xb5], &[0; 50]].concat();
    let answer = bridge.check(IN, &frame, verdict);
    let expected = (verdict == Verdict::Redirect).then_some(Exit::Port(2));
    assert_eq!((answer.to, answer.copies), (expected, Vec::new()), "from {source:02x?} to {destination:02x?}");
    let state = bridge.state()?;
    let known = state["fdb"]["entry"].as_array().into_iter().flatten().filter(|entry| entry["type"] == "dynamic");
    let expected: Vec<String> = if is_known { vec![text(source)] } else { Vec::new() };
    let known: Vec<&str> = known.filter_map(|entry| entry["address"].as_str()).collect();
    assert_eq!(known, expected, "from {source:02x?} to {destination:02x?}");
    bridge.action("fdb/flush", Value::Null).map(drop)
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn frames_to_the_neighbour_alone_are_neither_forwarded_nor_learned_from() -> Result<()> {
    let bridge = bridge()?;
    for last in 0x01..=0x0f {
        check(&bridge, STATION, [0x01, 0x80, 0xc2, 0, 0, last], (Verdict::Drop, false))?;
    }
    let strict: Cube<SimpleBridge> = Cube::create(json!({ "bpdu": "drop" }))?;
    for last in 0x00..=0x0f {
        check(&strict, STATION, [0x01, 0x80, 0xc2, 0, 0, last], (Verdict::Drop, false))?;
    }
    check(&strict, STATION, [0x01, 0x80, 0xc2, 0, 0, 0x10], (Verdict::Redirect, true))
}

#[test]
fn frames_to_every_other_address_are_forwarded_and_learned_from() -> Result<()> {
    let others = [
        // Spanning trees of others pass a bridge that has none.
        [0x01, 0x80, 0xc2, 0, 0, 0x00],
        // The first after the reserved ones, and GVRP (IEEE 802.1D-2004 table 12-1).
        [0x01, 0x80, 0xc2, 0, 0, 0x10],
        [0x01, 0x80, 0xc2, 0, 0, 0x21],
        // Each differs from LLDP's in one octet, the last in a single bit.
        [0x03, 0x80, 0xc2, 0, 0, 0x0e],
        [0x01, 0x81, 0xc2, 0, 0, 0x0e],
        [0x01, 0x80, 0xc3, 0, 0, 0x0e],
        [0x01, 0x80, 0xc2, 1, 0, 0x0e],
        [0x01, 0x80, 0xc2, 0, 1, 0x0e],
        [0x01, 0x80, 0xc2, 0, 0, 0x8e],
        [0xff; 6],
        [0x01, 0x00, 0x5e, 0, 0, 0x05],
        STRANGER,
        ZERO,
    ];
    let bridge = bridge()?;
    for destination in others {
        check(&bridge, STATION, destination, (Verdict::Redirect, true))?;
    }
    Ok(())
}

#[test]
fn frames_from_no_station_are_neither_forwarded_nor_learned_from() -> Result<()> {
    let bridge = bridge()?;
    for source in [ZERO, [0xff; 6], [0x01, 0x00, 0x5e, 0, 0, 0x05], [0x03, 0, 0, 0, 0, 1]] {
        for destination in [STRANGER, [0xff; 6]] {
            check(&bridge, source, destination, (Verdict::Drop, false))?;
        }
    }
    Ok(())
}

/// The station at a port.
fn station(port: u32) -> [u8; 6] {
    let [.., high, low] = port.to_be_bytes();
    [0x02, 0, 0, 0, high, low]
}

/// Asserts where a frame goes that the station at a port sends.
#[track_caller]
fn goes(bridge: &Cube<SimpleBridge>, from: u32, destination: [u8; 6], to: &[u32]) -> Result<()> {
    let frame = [&destination[..], &station(from), &[0x88, 0xb5], &[0; 50]].concat();
    let answer = bridge.run(Place::Port(from), &frame)?;
    let port = |exit: Exit| if let Exit::Port(port) = exit { port } else { u32::MAX };
    let exits: BTreeSet<u32> = answer.copies.into_iter().chain(answer.to).map(port).collect();
    assert_eq!(exits, to.iter().copied().collect(), "from {from} to {destination:02x?}");
    Ok(())
}

#[test]
fn a_port_learns_floods_and_is_isolated_as_it_is_set() -> Result<()> {
    let setup = Setup::default()
        .ports(4)
        .port("port2", json!({ "isolated": "on" }))
        .port("port3", json!({ "isolated": "on", "learning": "off" }))
        .port("port4", json!({ "flood": "off" }));
    let bridge: Cube<SimpleBridge> = Cube::create_in(setup, json!({}))?;
    let broadcast = [0xff; 6];
    goes(&bridge, 3, broadcast, &[1, 4])?;
    let known =
        |bridge: &Cube<SimpleBridge>| Ok::<_, Failure>(bridge.state()?["fdb"]["entry"].as_array().map(Vec::len));
    assert_eq!(known(&bridge)?, Some(0), "it does not learn");
    goes(&bridge, 2, broadcast, &[1, 4])?;
    assert_eq!(known(&bridge)?, Some(1));
    goes(&bridge, 1, broadcast, &[2, 3, 4])?;
    goes(&bridge, 1, STRANGER, &[2, 3])?;
    goes(&bridge, 2, STRANGER, &[1])?;
    // What is isolated does not reach the station at port 2.
    goes(&bridge, 3, station(2), &[])?;
    goes(&bridge, 4, station(2), &[2])?;
    bridge.reconfigure_port("port3", json!({ "isolated": "off" }))?;
    goes(&bridge, 3, station(2), &[2])?;
    let port3 = json!({ "learning": "off", "flood": "on", "isolated": "off" });
    let shown = &bridge.state()?["ports"][2];
    assert_eq!(shown["name"], "port3");
    for (name, value) in port3.as_object().into_iter().flatten() {
        assert_eq!(shown[name], *value, "{shown}");
    }
    Ok(())
}

#[test]
fn nothing_is_flooded_to_a_port_whose_link_is_down() -> Result<()> {
    let bridge: Cube<SimpleBridge> = Cube::create_in(Setup::default().ports(3), json!({}))?;
    let report = |down: &[u32]| {
        let netdev = |at: u32| {
            let state = if down.contains(&at) { NetdevState::NoCarrier } else { NetdevState::Up };
            Netdev { at, name: format!("veth{at}"), state, epoch: 1, ..Netdev::default() }
        };
        bridge.report(&Netdevs { ports: (1..=3).map(netdev).collect(), points: Vec::new() })
    };
    let broadcast = [0xff; 6];
    goes(&bridge, 1, broadcast, &[2, 3])?;
    report(&[3])?;
    goes(&bridge, 1, broadcast, &[2])?;
    bridge.reconfigure(json!({ "fdb": { "aging-time": 5 } }))?;
    goes(&bridge, 1, broadcast, &[2])?;
    // Other flags are in another map.
    bridge.reconfigure_port("port2", json!({ "learning": "off" }))?;
    goes(&bridge, 1, broadcast, &[2])?;
    report(&[2, 3])?;
    goes(&bridge, 1, broadcast, &[])?;
    report(&[])?;
    goes(&bridge, 1, broadcast, &[2, 3])
}

#[test]
fn a_flood_reaches_every_one_of_1023_ports() -> Result<()> {
    let bridge: Cube<SimpleBridge> = Cube::create_in(Setup::default().ports(1023), json!({}))?;
    goes(&bridge, 1023, [0xff; 6], &(1..1023).collect::<Vec<_>>())?;
    goes(&bridge, 1, station(1023), &[1023])
}
