//! Single packets, in the kernel without a daemon. Needs root.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use pcn_span::Span;
use polycube_plugin_test::{Cube, Place, Verdict};
use serde_json::{Value, json};

/// IPv4 and UDP to port 53.
fn query() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 53]);
    frame.extend([0x9c, 0x40, 0, 53, 0, 26, 0, 0]);
    frame.extend([7; 18]);
    frame
}

/// The original goes on as it came, whatever becomes of its copy.
#[track_caller]
fn check(config: &Value, place: Place, counter: &str) {
    let cube = Cube::<Span>::create(config.clone()).unwrap();
    let before = cube.state().unwrap()["counters"].clone();
    for _ in 0..3 {
        let answer = cube.check(place, &query(), Verdict::Next);
        assert_eq!(answer.frame, query(), "{config}");
    }
    let after = cube.state().unwrap()["counters"].clone();
    let differs = |(name, value): (&String, &Value)| {
        let more = value.as_u64().unwrap() - before[name].as_u64().unwrap();
        (more > 0 && !name.ends_with("bytes")).then(|| (name.clone(), more))
    };
    let found = after.as_object().unwrap().iter().filter_map(differs).collect::<Vec<_>>();
    assert_eq!(found, [(counter.to_owned(), 3)], "{config}");
}

#[test]
fn every_packet_is_counted_once_and_goes_on() {
    for place in [Place::Ingress(1), Place::Egress(1)] {
        check(&json!({ "target": "lo" }), place, "mirrored-packets");
        check(&json!({ "target": "absent0" }), place, "no-way");
        check(&json!({ "target": "lo", "filter": "tcp" }), place, "filtered");
        check(&json!({ "target": "lo", "filter": "udp port 53" }), place, "mirrored-packets");
        check(&json!({ "target": "lo", "sample": 4_000_000_000_u32 }), place, "sampled-out");
    }
}
