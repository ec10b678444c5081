//! What does the bridge's program do with each address, in the real kernel and one frame at a time
//! (`BPF_PROG_TEST_RUN`)?

use pcn_simplebridge::SimpleBridge;
use polycube_plugin_test::{Cube, Exit, Failure, Place, Verdict};
use serde_json::{Value, json};

/// The port through which frames come in.
const IN: Place = Place::Port(1);

type Result<T> = std::result::Result<T, Failure>;

const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
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
    Ok(())
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
