use std::time::Duration;

use etherparse::PacketBuilder;

use super::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let of = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(of(1), of(2), 64)
}

fn frame(write: impl FnOnce(&mut Vec<u8>) -> Result<(), etherparse::err::packet::BuildWriteError>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    bytes
}

fn line(packet: &Packet<'_>) -> String {
    Lines { clock: Clock::Utc, is_dated: false, colours: false }.line(packet, "")
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let time = Duration::from_micros(1_700_000_000_123_456);
    let packet = Packet { time, length: 1_500, bytes, is_raw_ip: false, direction: None };
    assert_eq!(line(&packet), format!("22:13:20.123456 {expected}, 1500 bytes"));
}

#[test]
fn each_packet_is_a_line() {
    check(&frame(|out| v4().tcp(1, 80, 0, 0).syn().ack(7).write(out, b"")), "10.0.0.1:1 > 10.0.0.2:80 TCP [S.]");
    check(&frame(|out| v4().udp(5, 53).write(out, b"x")), "10.0.0.1:5 > 10.0.0.2:53 UDP");
    check(&frame(|out| v6().udp(5, 53).write(out, b"x")), "[2001:db8::1]:5 > [2001:db8::2]:53 UDP");
    check(&frame(|out| v4().icmpv4_echo_request(1, 1).write(out, b"")), "10.0.0.1 > 10.0.0.2 ICMP echo request");
    check(&frame(|out| v4().icmpv4_raw(3, 3, [0; 4]).write(out, b"")), "10.0.0.1 > 10.0.0.2 ICMP unreachable (code 3)");
    check(
        &frame(|out| v6().icmpv6_raw(135, 0, [0; 4]).write(out, b"")),
        "2001:db8::1 > 2001:db8::2 ICMPv6 neighbour solicitation",
    );
    check(&frame(|out| v4().write(out, etherparse::IpNumber(250), b"")), "10.0.0.1 > 10.0.0.2 protocol 250");
}

#[test]
fn what_surrounds_ip_is_shown() {
    let vlan = |id: u16| id.try_into().unwrap();
    let tagged =
        PacketBuilder::ethernet2(MACS.0, MACS.1).double_vlan(vlan(5), vlan(6)).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    check(&frame(|out| tagged.udp(5, 53).write(out, b"")), "vlan 5 vlan 6 10.0.0.1:5 > 10.0.0.2:53 UDP");
    let arp = |operation: u8| {
        [
            [0xff; 6].as_slice(),
            &MACS.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
            &MACS.0,
            &[10, 0, 0, 1],
            &[0; 6],
            &[10, 0, 0, 2],
        ]
        .concat()
    };
    check(&arp(1), "ARP who has 10.0.0.2, tell 10.0.0.1");
    check(&arp(2), "ARP 10.0.0.1 is at 02:00:00:00:00:01");
    let lldp = [[1, 0x80, 0xc2, 0, 0, 0xe].as_slice(), &MACS.0, &[0x88, 0xcc, 0, 0]].concat();
    check(&lldp, "02:00:00:00:00:01 > 01:80:c2:00:00:0e LLDP");
}

#[test]
fn cut_packets_are_shown_as_far_as_they_go() {
    let tcp = frame(|out| v4().tcp(1, 80, 0, 0).syn().write(out, b""));
    check(&tcp[..48], "10.0.0.1:1 > 10.0.0.2:80 TCP [S]");
    check(&tcp[..40], "10.0.0.1:1 > 10.0.0.2:80 TCP");
    check(&tcp[..36], "10.0.0.1 > 10.0.0.2 TCP");
    check(&tcp[..20], "02:00:00:00:00:01 > 02:00:00:00:00:02 frame cut in its header");
    check(&tcp[..3], "frame cut in its header");
    for length in 0..tcp.len() {
        summary::of(&tcp[..length]);
    }
}

#[test]
fn a_later_fragment_has_no_ports() {
    let mut bytes = frame(|out| v4().udp(5, 53).write(out, b"0123456789"));
    bytes[14 + 7] = 100;
    check(&bytes, "10.0.0.1 > 10.0.0.2 UDP fragment at 800");
}

#[test]
fn the_direction_follows_the_time() {
    let bytes = frame(|out| v4().udp(5, 53).write(out, b""));
    let of = |direction| {
        let (time, bytes) = (Duration::ZERO, &bytes[..]);
        line(&Packet { time, length: 42, bytes, is_raw_ip: false, direction: Some(direction) })
    };
    assert_eq!(of(Direction::In), "00:00:00.000000 in  10.0.0.1:5 > 10.0.0.2:53 UDP, 42 bytes");
    assert_eq!(of(Direction::Out), "00:00:00.000000 out 10.0.0.1:5 > 10.0.0.2:53 UDP, 42 bytes");
}

#[test]
fn on_a_terminal_times_recede() {
    let lines = Lines { clock: Clock::Utc, is_dated: false, colours: true };
    let bytes = frame(|out| v4().udp(1, 2).write(out, &[]));
    let line = lines
        .line(&Packet { time: Duration::ZERO, length: 42, bytes: &bytes, direction: None, is_raw_ip: false }, "veth1");
    assert_eq!(line, "\u{1b}[2m00:00:00.000000\u{1b}[0m veth1 10.0.0.1:1 > 10.0.0.2:2 UDP, 42 bytes");
}

#[test]
fn packets_of_any_day_have_a_date() {
    let lines = Lines { clock: Clock::Utc, is_dated: false, colours: false }.dated();
    let (time, bytes) = (Duration::from_secs(1_784_156_400), frame(|out| v4().udp(1, 2).write(out, &[])));
    let line = lines.line(&Packet { time, length: 42, bytes: &bytes, direction: None, is_raw_ip: false }, "");
    assert_eq!(line, "2026-07-15 23:00:00.000000 10.0.0.1:1 > 10.0.0.2:2 UDP, 42 bytes");
}
