//! Does a compiled filter decide as libpcap does? Both are asked about every packet and every expression.
//!
//! Needs root, because the filter runs in the kernel.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]
#![allow(unreachable_pub, reason = "its modules say `pub` for `pub(crate)` so far")]

mod expressions;
mod hooks;
mod judge;
mod kernel;
mod packets;
mod programs;
mod random;

use std::time::{Duration, Instant};

use judge::Judge;
use kernel::{Kernel, TAGS, translated};
use polycube_filter::{Fields, FilterError, Hook, Link, Netmask, Protocol, Raw, compile};
use random::Random;

/// The network of most packets' addresses.
fn link() -> Link {
    "24".parse::<Netmask>().unwrap().into()
}

fn raw(expression: &str) -> Result<Vec<Raw>, FilterError> {
    polycube_filter::raw(expression, link())
}

/// The packet as in a record: with its tag.
fn restored(packet: &[u8], tag: Option<usize>) -> Vec<u8> {
    let Some(tag) = tag.map(|tag| TAGS[tag]) else { return packet.to_vec() };
    let (addresses, rest) = packet.split_at(12);
    [addresses, &tag.protocol.to_be_bytes(), &tag.control.to_be_bytes(), rest].concat()
}

/// The verdicts of two sides on many packets.
#[derive(Debug, Default)]
struct Tally {
    matched: usize,
    rejected: u64,
    disagreements: Vec<String>,
}

fn hex(packet: &[u8]) -> String {
    packet.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tries a filter on all packets, with and without a tag, in all modes, and in the general mode only, as sockets have
/// it.
fn try_filter(kernel: &Kernel, judge: &Judge, expression: &str, raw: &[Raw], packets: &[Vec<u8>]) -> Tally {
    let mut tally = Tally::default();
    let judged = judge::defined(raw);
    for hook in [Hook::Tc, Hook::SocketFilter] {
        let compiled = translated(raw, expression, hook);
        kernel.load(&compiled);
        for (number, packet) in packets.iter().enumerate() {
            for tag in [None, Some(number % TAGS.len())] {
                let whole = restored(packet, tag);
                let expected = judge.matches(&judged, &whole);
                let found = kernel.matches(tag, packet);
                tally.matched += usize::from(expected);
                tally.rejected += u64::from(!expected);
                if found != expected {
                    let hex = hex(&whole);
                    let what = format!("{expression}: libpcap says {expected}; {hook:?}, {tag:?}, packet {hex}");
                    tally.disagreements.push(what);
                }
            }
        }
    }
    tally
}

#[test]
fn every_expression_matches_what_libpcap_matches() {
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let packets = packets::packets(1);
    assert!(packets.len() >= 1000, "{} packets", packets.len());
    let (mut expressions, mut matching, mut disagreements) = (0, 0, Vec::new());
    let mut rejected = 0;
    for expression in expressions::table() {
        let raw = raw(expression).unwrap_or_else(|reason| panic!("{expression}: {reason}"));
        let tally = try_filter(&kernel, &judge, expression, &raw, &packets);
        expressions += 1;
        matching += usize::from(tally.matched > 0);
        rejected += tally.rejected;
        disagreements.extend(tally.disagreements.into_iter().take(3));
    }
    println!("{expressions} expressions, {matching} of which match some of {} packets", packets.len());
    assert!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), disagreements.join("\n"));
    assert_eq!(kernel.rejected(), rejected, "rejected packets are counted");
    assert!(expressions >= 200, "{expressions} expressions");
    assert!(matching * 10 >= expressions * 9, "only {matching} of {expressions} expressions match anything");
}

/// Random expressions on random packets, for `FUZZ_SECONDS`; `./x fuzz-filter` sets it.
#[test]
fn random_expressions_match_what_libpcap_matches() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(3, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let seed = std::env::var("FUZZ_SEED").map_or(1, |text| text.parse().expect("FUZZ_SEED is a number"));
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let mut random = Random::new(seed);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut expressions, mut refused, mut matching) = (0, 0, 0);
    while Instant::now() < deadline {
        let depth = random.below(5);
        let expression = expressions::expression(&mut random, depth);
        let Ok(raw) = raw(&expression) else {
            refused += 1;
            continue;
        };
        let packets = (0..60).map(|_| packets::packet(&mut random)).collect::<Vec<_>>();
        let tally = try_filter(&kernel, &judge, &expression, &raw, &packets);
        expressions += 1;
        matching += usize::from(tally.matched > 0);
        assert!(tally.disagreements.is_empty(), "seed {seed}:\n{}", tally.disagreements.join("\n"));
        match compile(&Fields::default(), &expression, link(), &kernel::stage(Hook::Tc)) {
            Ok(None) => assert_eq!(tally.rejected, 0, "seed {seed}: {expression} was taken for always true"),
            Err(FilterError::Expression(_)) => {
                assert_eq!(tally.matched, 0, "seed {seed}: {expression} was taken for never true");
            }
            _ => {}
        }
    }
    println!("{expressions} expressions, {matching} match something; libpcap refused {refused} more");
}

#[test]
fn random_programs_match_what_libpcap_matches() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(3, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let seed = std::env::var("FUZZ_SEED").map_or(1, |text| text.parse().expect("FUZZ_SEED is a number"));
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let mut random = Random::new(seed);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut programs, mut matching) = (0, 0);
    while Instant::now() < deadline {
        let most = if random.once_in(10) { 400 } else { 30 };
        let length = 2 + random.below(most);
        let raw = programs::program(&mut random, length);
        let packets = (0..40).map(|_| packets::packet(&mut random)).collect::<Vec<_>>();
        let title = format!("{raw:?}");
        let tally = try_filter(&kernel, &judge, &title, &raw, &packets);
        programs += 1;
        matching += usize::from(tally.matched > 0);
        assert!(tally.disagreements.is_empty(), "seed {seed}:\n{}", tally.disagreements.join("\n"));
    }
    println!("{programs} programs, {matching} match something");
}

#[test]
fn the_longest_programs_load_and_match() {
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let packets = &packets::packets(1)[..100];
    // Words, halves and bytes, at constants and at X.
    for load in [0x20, 0x28, 0x30, 0x40, 0x48, 0x50] {
        let raw = programs::longest(load);
        assert_eq!(raw.len(), 4096);
        let start = Instant::now();
        let tally = try_filter(&kernel, &judge, &format!("{load:#x}"), &raw, packets);
        println!("{load:#x}: {:?}, {} matched", start.elapsed(), tally.matched);
        assert!(tally.disagreements.is_empty(), "{}", tally.disagreements.join("\n"));
    }
}

/// A filter that stopped after 64 headers missed what libpcap selects.
#[test]
fn chains_of_headers_are_followed_to_the_end_of_the_frame() {
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let lengths = [0, 1, 2, 63, 64, 65, 66, 100, 180, 181];
    let packets = |chain: fn(usize) -> Vec<u8>| lengths.map(chain).to_vec();
    let (v4, v6) = (packets(packets::authenticated), packets(packets::extended));
    // Untagged and tagged, each in two modes.
    for (expression, packets, ends) in [
        ("protochain 17", &v4, lengths.len()),
        ("protochain 17", &v6, lengths.len()),
        ("ip protochain 17", &v4, lengths.len()),
        ("ip protochain 17", &vec![packets::authenticated(250)], 1),
        ("ip6 protochain 17", &v6, lengths.len()),
        ("ip6 protochain 17 and udp", &v6, 1),
        ("ip6 protochain 6", &v6, 0),
        ("vlan and protochain 17", &v4, lengths.len()),
        ("vlan and ip6 protochain 17", &v6, lengths.len()),
    ] {
        let tally = try_filter(&kernel, &judge, expression, &raw(expression).unwrap(), packets);
        assert!(tally.disagreements.is_empty(), "{}", tally.disagreements.join("\n"));
        assert_eq!(tally.matched, 2 * ends, "{expression}");
    }
}

/// The verifier follows every round of every loop.
#[test]
fn a_filter_may_have_many_loops() {
    let kernel = Kernel::new();
    let chains = ["17", "6", "58", "132", "1", "2", "50", "33"].map(|protocol| format!("protochain {protocol}"));
    for count in 1..=chains.len() {
        let expression = chains[..count].join(" or ");
        let start = Instant::now();
        kernel.load(&translated(&raw(&expression).unwrap(), &expression, Hook::Tc));
        println!("{count}: {:?}", start.elapsed());
        // As long as each loop has its least number of rounds.
        assert!([0, 1, 63, 64].into_iter().all(|headers| kernel.matches(None, &packets::extended(headers))));
    }
}

/// An authentication header whose length leads back to itself has no end, and libpcap never returns.
#[test]
fn a_chain_without_an_end_does_not_match() {
    let kernel = Kernel::new();
    let mut endless = packets::authenticated(3);
    endless[14 + 24 + 1] = 4;
    for expression in ["protochain 17", "ip protochain 17"] {
        kernel.load(&translated(&raw(expression).unwrap(), expression, Hook::Tc));
        assert!(!kernel.matches(None, &endless));
        assert!(kernel.matches(None, &packets::authenticated(3)));
    }
}

/// The packet without its first tags: none, one, two, as far as it has so many.
fn within_tags(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let untagged = |packet: &Vec<u8>| {
        let is_tagged = matches!(packet.get(12..14), Some([0x81 | 0x91, 0] | [0x88, 0xa8]));
        (is_tagged && packet.len() >= 16).then(|| [&packet[..12], &packet[16..]].concat())
    };
    std::iter::successors(Some(packet.to_vec()), untagged).take(3)
}

/// Fields did not match a packet with a tag, and were refused beside an expression about tags.
#[test]
fn fields_match_within_two_tags_whatever_the_expression_says_of_them() {
    let (kernel, judge) = (Kernel::new(), Judge::new());
    let mut packets = packets::packets(1);
    let tagged = packets.iter().flat_map(|packet| {
        let once = [&packet[..12], &[0x81, 0, 0, 5], &packet[12..]].concat();
        let twice = [&packet[..12], &[0x88, 0xa8, 0x60, 0x64], &once[12..]].concat();
        let thrice = [&packet[..12], &[0x91, 0, 0, 9], &twice[12..]].concat();
        [once, twice, thrice]
    });
    packets = packets.iter().cloned().chain(tagged).step_by(2).collect();
    let fields = [
        Fields { dport: Some(80), ..Fields::default() },
        Fields { src: "10.0.0.0/8".parse().ok(), l4proto: Some(Protocol(17)), ..Fields::default() },
        Fields { dst: "2001:db8::/32".parse().ok(), ..Fields::default() },
        Fields { l4proto: Some(Protocol(132)), ..Fields::default() },
    ];
    for (fields, expression) in fields.iter().flat_map(|fields| {
        ["", "vlan", "vlan 5", "ip or vlan 5", "not vlan", "vlan and vlan", "less 1000", "ip or ip6", "ip or mpls"]
            .map(|expression| (fields, expression))
    }) {
        let plain = judge::defined(&raw(&fields.expression().unwrap().unwrap()).unwrap());
        let own = (!expression.is_empty()).then(|| judge::defined(&raw(expression).unwrap()));
        kernel.load(&compile(fields, expression, link(), &kernel::stage(Hook::Tc)).unwrap().unwrap());
        let mut matched = [0; 3];
        for (number, packet) in packets.iter().enumerate() {
            for tag in [None, Some(number % TAGS.len())] {
                let whole = restored(packet, tag);
                let depth = within_tags(&whole).position(|packet| judge.matches(&plain, &packet));
                let depth = depth.filter(|_| own.as_ref().is_none_or(|own| judge.matches(own, &whole)));
                let found = kernel.matches(tag, packet);
                assert_eq!(found, depth.is_some(), "{fields:?}, {expression}, {tag:?}, {}", hex(&whole));
                matched[depth.unwrap_or_default()] += usize::from(depth.is_some());
            }
        }
        assert!(!expression.is_empty() || !matched.contains(&0), "{fields:?}: {matched:?} at each depth");
    }
}
