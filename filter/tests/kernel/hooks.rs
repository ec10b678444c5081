//! The same filters where no TC program runs, and on links without Ethernet.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_map_type, bpf_prog_type};
use polycube_filter::{
    Compiled, Counter, Element, Exit, Fields, Hook, Link, LinkType, Protocol, Target, compile, translate,
};
use polycube_tests::bpf::{self, Shape};

use super::judge::{self, Judge};
use super::{expressions, hex, packets, raw};

/// The kernel tests XDP programs on nothing shorter than an Ethernet header.
const ETHERNET: usize = 14;
/// Two values that no verdict has.
const MATCHED: u32 = 41;
const OTHER: u32 = 42;

fn returning(hook: Hook) -> Target {
    Target::returning(hook, MATCHED.cast_signed(), OTHER.cast_signed())
}

fn load(kind: bpf_prog_type, compiled: &Compiled, maps: &[(&str, &OwnedFd)]) -> OwnedFd {
    let mut instructions = compiled.instructions.iter().map(|insn| insn.to_bytes()).collect::<Vec<_>>();
    for (at, name) in &compiled.maps {
        let (_, map) = maps.iter().find(|(known, _)| known == name).unwrap();
        instructions[*at][4..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
    }
    // The licence of a program that is not free software.
    bpf::load_as(kind, &instructions, c"Proprietary")
        .unwrap_or_else(|log| panic!("refused: {}\n{log}", compiled.listing()))
}

fn run(program: &OwnedFd, packet: &[u8]) -> bool {
    match bpf::test_run(program.as_fd(), packet, &[], &mut [], 1).unwrap().value {
        MATCHED => true,
        OTHER => false,
        other => panic!("the filter returned {other}"),
    }
}

#[test]
fn an_xdp_program_matches_what_libpcap_matches() {
    let judge = Judge::new();
    let packets = packets::packets(2).into_iter().filter(|packet| packet.len() >= ETHERNET).step_by(3);
    let packets = packets.collect::<Vec<_>>();
    let mut matched = 0;
    for expression in expressions::table() {
        let raw = raw(expression).unwrap();
        let compiled = translate(&raw, expression, LinkType::Ethernet, &returning(Hook::Xdp)).unwrap();
        let program = load(bpf_prog_type::BPF_PROG_TYPE_XDP, &compiled, &[]);
        let judged = judge::defined(&raw);
        for packet in &packets {
            let expected = judge.matches(&judged, packet);
            assert_eq!(run(&program, packet), expected, "{expression}, packet {}", hex(packet));
            matched += usize::from(expected);
        }
    }
    assert!(matched > 1000, "only {matched} matches");
}

#[test]
fn a_socket_filter_loads_and_decides() {
    let compiled = |expression| {
        let raw = raw(expression).unwrap();
        translate(&raw, expression, LinkType::Ethernet, &returning(Hook::SocketFilter)).unwrap()
    };
    let mut packet = packets::extended(0);
    packet.resize(100, 0);
    for (expression, expected) in [("ip6", true), ("ip6 and udp", true), ("ip", false), ("vlan 5", false)] {
        let program = load(bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER, &compiled(expression), &[]);
        // The kernel takes the Ethernet header away before it runs a socket filter in a test.
        let within = [&packet[..ETHERNET], &packet[..]].concat();
        assert_eq!(run(&program, &within), expected, "{expression}");
    }
}

/// In `BPF_PROG_TEST_RUN` an XDP program sees any bytes: here those of IP packets.
#[test]
fn without_ethernet_the_packet_begins_with_ip() {
    let link = Link::from(LinkType::RawIp);
    let fields = Fields { l4proto: Some(Protocol(17)), dport: Some(80), ..Fields::default() };
    for (fields, expression, expected) in [
        (Fields::default(), "ip6", true),
        (Fields::default(), "ip", false),
        (Fields::default(), "udp and ip6[6] = 17", true),
        (Fields { l4proto: Some(Protocol(17)), ..Fields::default() }, "", true),
        (fields, "ip6", false),
    ] {
        let compiled = compile(&fields, expression, link, &returning(Hook::Xdp)).unwrap().unwrap();
        let program = load(bpf_prog_type::BPF_PROG_TYPE_XDP, &compiled, &[]);
        assert_eq!(run(&program, &packets::extended(0)[ETHERNET..]), expected, "{fields:?} {expression}");
    }
}

/// Its instructions, after those of a program that calls them.
#[test]
fn a_filter_is_a_function_of_another_program() {
    let compiled = compile(&Fields::default(), "ip6 and udp", Link::default(), &returning(Hook::Tc)).unwrap().unwrap();
    // r0 = filter(context); r0 += 100; exit
    let caller = [[0x85, 0x10, 0, 0, 2, 0, 0, 0], [0x07, 0, 0, 0, 100, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let body = compiled.instructions.iter().map(|insn| insn.to_bytes());
    let program = caller.into_iter().chain(body).collect::<Vec<_>>();
    let program = bpf::load_as(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, &program, c"Proprietary").unwrap();
    let mut packet = packets::extended(0);
    packet.resize(100, 0);
    let value = |packet: &[u8]| bpf::test_run(program.as_fd(), packet, &[], &mut [], 1).unwrap().value;
    assert_eq!(value(&packet), MATCHED + 100);
    packet[12..14].copy_from_slice(&[0x88, 0xcc]);
    assert_eq!(value(&packet), OTHER + 100);
}

/// Both exits count, in an array for each CPU, and each packet once.
#[test]
fn packets_are_counted_at_the_exits() {
    let counter = |offset| Counter { map: "counters", element: Element::At(1), offset };
    let target = Target {
        hook: Hook::Tc,
        on_match: Exit::returning(MATCHED.cast_signed()).counted(counter(8)),
        on_mismatch: Exit::tail_call("programs", 3, OTHER.cast_signed()).counted(counter(0)),
    };
    let map = |map_type: bpf_map_type, value_size| {
        let shape = Shape { map_type: map_type as u32, key_size: 4, value_size, max_entries: 4, flags: 0 };
        bpf::create(shape).unwrap()
    };
    let (counters, programs) =
        (map(bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY, 16), map(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4));
    let compiled = compile(&Fields::default(), "ip6", Link::default(), &target).unwrap().unwrap();
    let maps = [("counters", &counters), ("programs", &programs)];
    let program = load(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, &compiled, &maps);
    let mut packet = packets::extended(0);
    packet.resize(100, 0);
    let mut other = packet.clone();
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    for (packet, times) in [(&packet, 3), (&other, 2)] {
        let matched = (0..times).filter(|_| run(&program, packet)).count();
        assert_eq!(matched, if packet == &other { 0 } else { times });
    }
    let mut elements = [0; 16 * 256];
    bpf::lookup(counters.as_fd(), &1_u32.to_ne_bytes(), &mut elements).unwrap();
    let sum = |offset| -> u64 {
        elements.chunks(16).map(|element| u64::from_ne_bytes(element[offset..offset + 8].try_into().unwrap())).sum()
    };
    assert_eq!((sum(8), sum(0)), (3, 2));
}
