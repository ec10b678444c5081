use etherparse::{
    Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, PacketBuilder, TcpHeaderSlice, UdpHeaderSlice,
};
use proptest::prelude::*;

use super::*;

const SRC_MAC: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
const DST_MAC: [u8; 6] = [0x02, 0x66, 0x77, 0x88, 0x99, 0xaa];
const V4: ([u8; 4], [u8; 4]) = ([10, 1, 2, 3], [192, 168, 7, 9]);
const V6: ([u8; 16], [u8; 16]) = (
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0xab, 0xcd],
);
const ETHERNET: usize = 14;
const PAYLOAD: &[u8] = b"an odd payload!";

fn hidden(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    Anonymizer::new([42; 32]).frame(&mut bytes);
    bytes
}

fn write(builder: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    builder(&mut frame);
    frame
}

/// One frame of each kind, with correct checksums.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let v4 = || PacketBuilder::ethernet2(SRC_MAC, DST_MAC).ipv4(V4.0, V4.1, 64);
    let v6 = || PacketBuilder::ethernet2(SRC_MAC, DST_MAC).ipv6(V6.0, V6.1, 64);
    let quoted_v4 = hidden_from_nothing(&write(|out| v4().udp(1, 53).write(out, PAYLOAD).unwrap()));
    let quoted_v6 = hidden_from_nothing(&write(|out| v6().tcp(1, 80, 7, 8).write(out, PAYLOAD).unwrap()));
    vec![
        ("tcp", write(|out| v4().tcp(1, 80, 7, 8).write(out, PAYLOAD).unwrap())),
        ("udp", write(|out| v4().udp(1, 53).write(out, PAYLOAD).unwrap())),
        ("echo", write(|out| v4().icmpv4_echo_request(1, 2).write(out, PAYLOAD).unwrap())),
        ("error", write(|out| v4().icmpv4_raw(3, 3, [0; 4]).write(out, &quoted_v4).unwrap())),
        ("redirect", write(|out| v4().icmpv4_raw(5, 1, [10, 1, 2, 254]).write(out, &quoted_v4).unwrap())),
        ("tcp6", write(|out| v6().tcp(1, 80, 7, 8).write(out, PAYLOAD).unwrap())),
        ("udp6", write(|out| v6().udp(1, 53).write(out, PAYLOAD).unwrap())),
        ("error6", write(|out| v6().icmpv6_raw(1, 4, [0; 4]).write(out, &quoted_v6).unwrap())),
        ("solicitation", write(|out| v6().icmpv6_raw(135, 0, [0; 4]).write(out, &solicitation()).unwrap())),
        ("redirect6", write(|out| v6().icmpv6_raw(137, 0, [0; 4]).write(out, &redirect(&quoted_v6)).unwrap())),
        ("report6", write(|out| v6().icmpv6_raw(143, 0, [0, 0, 0, 1]).write(out, &report()).unwrap())),
        (
            "qinq",
            write(|out| {
                let builder = PacketBuilder::ethernet2(SRC_MAC, DST_MAC);
                let outer = 5.try_into().unwrap();
                builder.double_vlan(outer, outer).ipv4(V4.0, V4.1, 64).udp(1, 53).write(out, PAYLOAD).unwrap();
            }),
        ),
    ]
}

/// The packet after the Ethernet header, to be quoted.
fn hidden_from_nothing(frame: &[u8]) -> Vec<u8> {
    frame[ETHERNET..].to_vec()
}

fn solicitation() -> Vec<u8> {
    [V6.1.as_slice(), &[1, 1], &SRC_MAC].concat()
}

fn redirect(quoted: &[u8]) -> Vec<u8> {
    let mut quoted = quoted.to_vec();
    quoted.resize(quoted.len().next_multiple_of(8), 0);
    let units = (8 + quoted.len()) / 8;
    [V6.0.as_slice(), &V6.1, &[2, 1], &DST_MAC, &[4, units as u8, 0, 0, 0, 0, 0, 0], &quoted].concat()
}

fn report() -> Vec<u8> {
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0xab, 0xcd];
    [&[3, 0, 0, 1], group.as_slice(), &V6.0].concat()
}

/// Asserts that an independent implementation finds every checksum of a frame correct.
#[track_caller]
fn check_sums(name: &str, frame: &[u8]) {
    let at = if name == "qinq" { ETHERNET + 8 } else { ETHERNET };
    check_packet_sums(name, &frame[at..]);
}

#[track_caller]
fn check_packet_sums(name: &str, packet: &[u8]) {
    if packet[0] >> 4 == 4 {
        let ip = Ipv4HeaderSlice::from_slice(packet).unwrap().to_header();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{name}: header");
        let payload = &packet[ip.header_len()..];
        match ip.protocol.0 {
            6 => {
                let tcp = TcpHeaderSlice::from_slice(payload).unwrap().to_header();
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, &payload[tcp.header_len()..]).unwrap(), "{name}");
            }
            17 => {
                let udp = UdpHeaderSlice::from_slice(payload).unwrap().to_header();
                assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, &payload[8..]).unwrap(), "{name}");
            }
            _ => {
                let icmp = Icmpv4Slice::from_slice(payload).unwrap();
                assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()), "{name}");
                if !name.starts_with("echo") {
                    check_packet_sums("quoted", icmp.payload());
                }
            }
        }
    } else {
        let ip = Ipv6HeaderSlice::from_slice(packet).unwrap().to_header();
        let payload = &packet[40..];
        match ip.next_header.0 {
            6 => {
                let tcp = TcpHeaderSlice::from_slice(payload).unwrap().to_header();
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, &payload[tcp.header_len()..]).unwrap(), "{name}");
            }
            17 => {
                let udp = UdpHeaderSlice::from_slice(payload).unwrap().to_header();
                assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ip, &payload[8..]).unwrap(), "{name}");
            }
            _ => {
                let icmp = Icmpv6Slice::from_slice(payload).unwrap();
                assert!(icmp.is_checksum_valid(ip.source, ip.destination), "{name}");
                if name == "error6" {
                    check_packet_sums("quoted", icmp.payload());
                }
            }
        }
    }
}

fn holds(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

#[test]
fn no_address_is_left_and_every_checksum_is_right() {
    for (name, frame) in frames() {
        check_sums(name, &frame);
        let hidden = hidden(&frame);
        for part in [
            &SRC_MAC[3..],
            &DST_MAC[3..],
            &V4.0,
            &V4.1,
            &[10, 1, 2, 254],
            &V6.0[4..],
            &V6.1[4..],
            &[0xff, 0, 0xab, 0xcd],
        ] {
            assert!(!holds(&hidden, part), "{name}: {part:02x?} is left in {hidden:02x?}");
        }
        check_sums(name, &hidden);
    }
}

#[test]
fn what_is_not_an_address_is_left() {
    for (name, frame) in frames() {
        if matches!(name, "tcp" | "udp" | "tcp6" | "udp6" | "echo") {
            let hidden = hidden(&frame);
            assert!(hidden.ends_with(PAYLOAD), "{name}");
            let ports = if name.ends_with('6') { ETHERNET + 40 } else { ETHERNET + 20 };
            assert_eq!(hidden[ports..ports + 4], frame[ports..ports + 4], "{name}");
        }
    }
}

#[test]
fn quoted_packets_and_addresses_in_messages_agree_with_the_headers() {
    let frames = frames();
    let of = |wanted| &frames.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let error = hidden(of("error"));
    assert_eq!(error[26..34], error[ETHERNET + 20 + 8 + 12..][..8], "the quoted packet has the same addresses");
    let solicitation = hidden(of("solicitation"));
    assert_eq!(solicitation[38..54], solicitation[62..78], "the target is the destination");
    assert_eq!(solicitation[80..86], solicitation[6..12], "the option has the sender's address");
    let report = hidden(of("report6"));
    assert_eq!(report[66..78], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "a group stays a group");
    assert_eq!(report[82..98], report[22..38], "the source is the sender");
}

#[test]
fn arp_has_the_addresses_of_the_packets_that_it_is_for() {
    let arp =
        [[0xff; 6].as_slice(), &SRC_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &SRC_MAC, &V4.0, &[0; 6], &V4.1].concat();
    let arp = hidden(&arp);
    let (_, tcp) = &frames()[0];
    let tcp = hidden(tcp);
    assert_eq!(arp[..6], [0xff; 6]);
    assert_eq!(arp[6..12], tcp[6..12]);
    assert_eq!(arp[22..28], tcp[6..12]);
    assert_eq!(arp[28..32], tcp[26..30]);
    assert_eq!(arp[32..38], [0; 6]);
    assert_eq!(arp[38..42], tcp[30..34]);
}

#[test]
fn addresses_after_mpls_pppoe_and_snap_are_found() {
    let packet = &frames()[1].1[ETHERNET..];
    let length = (packet.len() + 8) as u16;
    for (name, between) in [
        ("mpls", &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64][..]),
        ("pppoe", &[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0, 0x21]),
        ("snap", &[(length >> 8) as u8, length as u8, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
    ] {
        let frame = [&DST_MAC, &SRC_MAC, between, packet].concat();
        let hidden = hidden(&frame);
        assert!(!holds(&hidden, &V4.0) && !holds(&hidden, &V4.1), "{name}: {hidden:02x?}");
        check_packet_sums(name, &hidden[12 + between.len()..]);
    }
}

#[test]
fn packets_within_packets_are_found() {
    let inner = &frames()[0].1[ETHERNET..];
    let outer = write(|out| {
        let builder = PacketBuilder::ethernet2(SRC_MAC, DST_MAC).ipv4(V4.0, V4.1, 64);
        builder.write(out, etherparse::IpNumber(4), inner).unwrap();
    });
    let hidden = hidden(&outer);
    check_packet_sums("inner", &hidden[ETHERNET + 20..]);
    assert_eq!(hidden[26..34], hidden[46..54]);
}

#[test]
fn a_source_route_that_is_to_go_ends_in_the_pseudo_header() {
    let end = [172, 16, 9, 9];
    for (pointer, is_to_go) in [(4, true), (8, false)] {
        let pseudo_target = if is_to_go { end } else { V4.1 };
        let udp = etherparse::UdpHeader::with_ipv4_checksum(
            1,
            2,
            &etherparse::Ipv4Header::new(8 + PAYLOAD.len() as u16, 64, etherparse::IpNumber(17), V4.0, pseudo_target)
                .unwrap(),
            PAYLOAD,
        )
        .unwrap();
        let mut ip =
            etherparse::Ipv4Header::new(8 + PAYLOAD.len() as u16, 64, etherparse::IpNumber(17), V4.0, V4.1).unwrap();
        ip.options = [131, 7, pointer, end[0], end[1], end[2], end[3], 0].into();
        ip.header_checksum = ip.calc_header_checksum();
        let packet = write(|out| {
            ip.write(out).unwrap();
            udp.write(out).unwrap();
            out.extend(PAYLOAD);
        });
        let hidden = hidden(&[&DST_MAC, &SRC_MAC, &[8, 0][..], &packet].concat());
        let ip = Ipv4HeaderSlice::from_slice(&hidden[ETHERNET..]).unwrap().to_header();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let option = &hidden[ETHERNET + 20 + 3..][..4];
        assert_ne!(option, end);
        let target = if is_to_go { option.try_into().unwrap() } else { ip.destination };
        let pseudo = etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber(17), ip.source, target).unwrap();
        let udp = UdpHeaderSlice::from_slice(&hidden[ETHERNET + 28..]).unwrap().to_header();
        assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&pseudo, PAYLOAD).unwrap(), "{is_to_go}");
    }
}

#[test]
fn a_segment_route_that_is_to_go_ends_in_the_pseudo_header() {
    let end = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9, 0, 9];
    for (kind, to_go, first, second) in [(0, 1, V6.0, end), (4, 1, end, V6.0), (4, 0, end, V6.0)] {
        let pseudo_target = if to_go > 0 { end } else { V6.1 };
        let udp = etherparse::UdpHeader::with_ipv6_checksum(1, 2, &ipv6_header(V6.0, pseudo_target), PAYLOAD).unwrap();
        let last = if kind == 4 { 1 } else { 0 };
        let route = [[17, 4, kind, to_go, last, 0, 0, 0].as_slice(), &first, &second].concat();
        let mut ip = ipv6_header(V6.0, V6.1);
        ip.next_header = etherparse::IpNumber(43);
        ip.payload_length = (route.len() + 8 + PAYLOAD.len()) as u16;
        let packet = write(|out| {
            ip.write(out).unwrap();
            out.extend(&route);
            udp.write(out).unwrap();
            out.extend(PAYLOAD);
        });
        let hidden = hidden(&[&DST_MAC, &SRC_MAC, &[0x86, 0xdd][..], &packet].concat());
        let segment = ETHERNET + 48 + if kind == 4 { 0 } else { 16 };
        let target: [u8; 16] = hidden[if to_go > 0 { segment } else { ETHERNET + 24 }..][..16].try_into().unwrap();
        let source: [u8; 16] = hidden[ETHERNET + 8..][..16].try_into().unwrap();
        assert!(target != end && target != V6.1);
        let udp = UdpHeaderSlice::from_slice(&hidden[ETHERNET + 80..]).unwrap().to_header();
        assert_eq!(
            udp.checksum,
            udp.calc_checksum_ipv6(&ipv6_header(source, target), PAYLOAD).unwrap(),
            "{kind} {to_go}"
        );
    }
}

fn ipv6_header(source: [u8; 16], destination: [u8; 16]) -> etherparse::Ipv6Header {
    etherparse::Ipv6Header {
        source,
        destination,
        next_header: etherparse::IpNumber(17),
        hop_limit: 64,
        ..Default::default()
    }
}

#[test]
fn a_later_fragment_has_no_checksum_to_mend() {
    let (_, mut frame) = frames().swap_remove(0);
    frame[ETHERNET + 6..][..2].copy_from_slice(&[0, 1]);
    let hidden = hidden(&frame);
    assert_eq!(hidden[ETHERNET + 20..], frame[ETHERNET + 20..]);
}

#[test]
fn wrong_checksums_stay_wrong_by_as_much() {
    for (name, mut frame) in frames().into_iter().take(2) {
        let at = ETHERNET + 20 + if name == "tcp" { 16 } else { 6 };
        let right = hidden(&frame);
        let was = word(&frame, at).unwrap();
        frame[at..at + 2].copy_from_slice(&(was ^ 0x0100).to_be_bytes());
        let wrong = hidden(&frame);
        let off = |a: u16, b: u16| (u32::from(a) + 0xffff - u32::from(b)) % 0xffff;
        assert_eq!(off(was ^ 0x0100, was), off(word(&wrong, at).unwrap(), word(&right, at).unwrap()), "{name}");
    }
}

#[test]
fn udp_without_checksum_stays_without() {
    let (_, mut frame) = frames().swap_remove(1);
    frame[ETHERNET + 26..][..2].fill(0);
    assert_eq!(hidden(&frame)[ETHERNET + 26..][..2], [0, 0]);
}

#[test]
fn a_cut_frame_is_the_beginning_of_the_whole() {
    for (name, frame) in frames() {
        let whole = hidden(&frame);
        for length in 0..frame.len() {
            let cut = hidden(&frame[..length]);
            // Half a device's address is zeros, and checksums cannot know of what was truncated: see the modules.
            let same = cut.iter().zip(&whole).filter(|(a, b)| a == b).count();
            assert!(cut.len() - same <= 6, "{name}, {length} bytes: {cut:02x?} of {whole:02x?}");
            for part in [&V4.0, &V4.1].iter().filter(|part| holds(&frame[..length], part.as_slice())) {
                assert!(!holds(&cut, part.as_slice()), "{name}, {length} bytes");
            }
        }
        for (header, checksum) in
            [("tcp", 16), ("udp", 6), ("tcp6", 16), ("udp6", 6)].into_iter().filter(|it| it.0 == name)
        {
            let at = ETHERNET + if header.ends_with('6') { 40 } else { 20 } + checksum;
            assert_eq!(hidden(&frame[..at + 2]), whole[..at + 2], "{name}: all that its checksum depends on is there");
        }
    }
}

#[test]
fn endless_nesting_ends() {
    let mut frame = [&DST_MAC, &SRC_MAC, &[8, 0][..]].concat();
    for _ in 0..13_000 {
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    hidden(&frame);
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(hidden(&bytes).len(), bytes.len());
    }

    #[test]
    fn damaged_frames_are_frames(which in 0..12_usize, at in 12..120_usize, byte: u8, length in 0..200_usize) {
        let (_, mut frame) = frames().swap_remove(which);
        let length = length.min(frame.len());
        if let Some(damaged) = frame.get_mut(at) {
            *damaged = byte;
        }
        prop_assert_eq!(hidden(&frame[..length]).len(), length);
    }
}
