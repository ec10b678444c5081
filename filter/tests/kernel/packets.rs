//! Packets of all kinds that Ethernet carries, whole and truncated.

use super::random::Random;

/// Addresses and ports that expressions ask for, among others that they do not.
const MACS: [[u8; 6]; 5] =
    [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0xff; 6], [1, 0, 0x5e, 0, 0, 5], [0x33, 0x33, 0, 0, 0, 1]];
const IPV4: [[u8; 4]; 9] = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 1, 2, 3],
    [192, 168, 1, 7],
    [224, 0, 0, 5],
    [255, 255, 255, 255],
    [172, 16, 5, 4],
    [10, 0, 0, 255],
    [192, 168, 1, 0],
];
const IPV6: [[u8; 16]; 5] = [
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0; 16],
];
const PORTS: [u16; 8] = [80, 53, 80, 90, 443, 22, 4789, 65535];
const TRANSPORTS: [u8; 18] = [1, 58, 6, 17, 1, 2, 9, 33, 47, 50, 51, 58, 89, 103, 112, 132, 136, 255];

/// Maximum lengths of packets: `BPF_PROG_TEST_RUN` accepts one page.
const LONGEST: usize = 1514;

/// At least 1,000 packets, the same in every run with the same seed.
pub(crate) fn packets(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut packets = Vec::new();
    for _ in 0..1000 {
        packets.push(packet(&mut random));
    }
    // Each at every length from an Ethernet header on.
    for kind in 0..KINDS {
        let whole = ethernet(&mut random, kind);
        packets.extend((14..=whole.len().min(70)).map(|length| whole[..length].to_vec()));
    }
    packets
}

/// One packet of any kind and length.
pub(crate) fn packet(random: &mut Random) -> Vec<u8> {
    // Most expressions are about IP.
    let kind = if random.once_in(2) { random.below(10) } else { random.below(KINDS) };
    let mut packet = ethernet(random, kind);
    match random.below(8) {
        0 => packet.truncate(14 + random.below(packet.len() - 13)),
        1 => packet.resize(packet.len().max(60), 0),
        2 => packet.resize(LONGEST, 0xa5),
        // Damaged.
        3 => {
            let at = random.below(packet.len());
            packet[at] = random.number() as u8;
        }
        _ => {}
    }
    packet
}

/// UDP after this many extension headers of IPv6, each of 8 bytes: hop-by-hop, destination, routing and fragment.
pub(crate) fn extended(headers: usize) -> Vec<u8> {
    let kinds = [0_u8, 60, 43, 44].into_iter().cycle().take(headers).chain([17]).collect::<Vec<_>>();
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, kinds[0], 64]);
    frame.extend([IPV6[0], IPV6[1]].concat());
    for next in &kinds[1..] {
        frame.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
    }
    frame.extend([0, 53, 0, 53, 0, 8, 0, 0]);
    frame
}

/// UDP after this many authentication headers of IPv4, as libpcap follows them: from the start of the IP header, as far
/// as the length says (`gen_protochain()` in gencode.c).
pub(crate) fn authenticated(headers: usize) -> Vec<u8> {
    let next = |is_last| if is_last { 17 } else { 51 };
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, next(headers == 0), 0, 0]);
    frame.extend([IPV4[0], IPV4[1]].concat());
    for number in 1..=headers {
        // The next word, less the two that the length does not count.
        frame.extend([next(number == headers), 5 + number as u8 - 2, 0, 0]);
    }
    frame.extend([0, 53, 0, 53, 0, 8, 0, 0]);
    frame
}

const KINDS: usize = 24;

fn ethernet(random: &mut Random, kind: usize) -> Vec<u8> {
    let mut frame = [*random.of(&MACS.each_ref()), *random.of(&MACS.each_ref())].concat();
    frame.extend(payload(random, kind));
    frame
}

/// An EtherType and what follows it.
fn payload(random: &mut Random, kind: usize) -> Vec<u8> {
    let typed = |ethertype: u16, payload: Vec<u8>| [&ethertype.to_be_bytes()[..], &payload].concat();
    match kind {
        0..=5 => typed(0x0800, ipv4(random)),
        6..=9 => typed(0x86dd, ipv6(random)),
        10 | 11 => tagged(random, 0x8100),
        12 => tagged(random, 0x88a8),
        13 => tagged(random, 0x9100),
        14 => typed(0x8847, mpls(random)),
        15 => typed(0x8848, mpls(random)),
        16 => typed(0x8864, pppoe(random)),
        17 => typed(0x8863, [&[0x11, 9, 0, 0, 0, 4][..], &[1, 1, 0, 0]].concat()),
        18 => typed(0x0806, arp(random)),
        19 => typed(0x8035, arp(random)),
        20 => typed(0x88cc, vec![2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 3, 5, 49, 6, 2, 0, 120, 0, 0]),
        21 => llc(random),
        22 => {
            let types = [
                0x0600, 0x6000, 0x6001, 0x6002, 0x6003, 0x6004, 0x6005, 0x6007, 0x809b, 0x80f3, 0x8137, 0x9000, 0x888e,
            ];
            let ethertype = types[random.below(types.len())];
            typed(ethertype, random.bytes::<40>().to_vec())
        }
        _ => random.bytes::<60>().to_vec(),
    }
}

fn tagged(random: &mut Random, protocol: u16) -> Vec<u8> {
    let control = [5_u16, 100, 0x6064, 0, 4095][random.below(5)];
    // Often with another tag inside.
    let inner = random.below(KINDS);
    [&protocol.to_be_bytes()[..], &control.to_be_bytes(), &payload(random, inner)].concat()
}

fn mpls(random: &mut Random) -> Vec<u8> {
    let mut stack = Vec::new();
    let depth = 1 + random.below(3);
    for level in 1..=depth {
        let label = [16_u32, 1000, 3, 100_000][random.below(4)];
        let entry = label << 12 | u32::from(level == depth) << 8 | 64;
        stack.extend(entry.to_be_bytes());
    }
    stack.extend(if random.once_in(3) { ipv6(random) } else { ipv4(random) });
    stack
}

fn pppoe(random: &mut Random) -> Vec<u8> {
    let session = [1_u16, 7, 1000][random.below(3)];
    let (protocol, payload) = match random.below(4) {
        0 => (0x57_u16, ipv6(random)),
        1 => (0xc021, vec![1, 1, 0, 4]),
        _ => (0x21, ipv4(random)),
    };
    let length = payload.len() as u16 + 2;
    [&[0x11, 0][..], &session.to_be_bytes(), &length.to_be_bytes(), &protocol.to_be_bytes(), &payload].concat()
}

fn arp(random: &mut Random) -> Vec<u8> {
    let (sender, target) = (random.of(&IPV4.each_ref()), random.of(&IPV4.each_ref()));
    let hardware = [random.of(&MACS.each_ref()), random.of(&MACS.each_ref())];
    let operation = 1 + random.below(4) as u8;
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], hardware[0], sender, hardware[1], target].concat()
}

/// IEEE 802.3: a length instead of a type.
fn llc(random: &mut Random) -> Vec<u8> {
    let headers: [&[u8]; 12] = [
        &[0xfe, 0xfe, 3, 0x81],
        &[0xfe, 0xfe, 3, 0x82],
        &[0x08, 0x08, 0xaf],
        &[0x42, 0x42, 3],
        &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
        &[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b],
        &[0xaa, 0xaa, 3, 0, 0, 0xf8, 0x80, 0xf3],
        &[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37],
        &[0xe0, 0xe0, 3],
        &[0xf0, 0xf0, 0x7f],
        &[0xfe, 0xfe, 3, 0x83],
        &[0xff, 0xff, 0, 30],
    ];
    let mut body = random.of(&headers).to_vec();
    body.extend(if random.once_in(2) { ipv4(random) } else { random.bytes::<32>().to_vec() });
    [&(body.len() as u16).to_be_bytes()[..], &body].concat()
}

fn ipv4(random: &mut Random) -> Vec<u8> {
    let protocol = TRANSPORTS[if random.once_in(2) { 1 + random.below(3) } else { random.below(TRANSPORTS.len()) }];
    // No valid packet of this kind has a header shorter than five words; filters see it nevertheless.
    let words = if random.once_in(3) { 4 + random.below(12) } else { 5 };
    let fragment = [0_u16, 0, 0, 0x4000, 0x2000, 0x2001, 0x00b9, 0x1fff][random.below(8)];
    let payload = transport(random, protocol);
    let length = (words * 4 + payload.len()) as u16;
    let mut header = vec![0x40 | words as u8, [0, 0x10, 0xb8][random.below(3)]];
    header.extend(length.to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([[1, 64, 255][random.below(3)], protocol, 0, 0]);
    header.extend(random.of(&IPV4.each_ref()));
    header.extend(random.of(&IPV4.each_ref()));
    header.resize(words.max(5) * 4, 1);
    [header, payload].concat()
}

fn ipv6(random: &mut Random) -> Vec<u8> {
    let last = TRANSPORTS[if random.once_in(2) { 1 + random.below(3) } else { random.below(TRANSPORTS.len()) }];
    let mut payload = transport(random, last);
    let mut next = last;
    for _ in 0..[0, 0, 0, 1, 1, 2, 3, 7][random.below(8)] {
        let kind = [0_u8, 43, 44, 51, 60, 135][random.below(6)];
        let mut header = match kind {
            44 => [&[next, 0][..], &[0_u16, 1, 8, 0x05a8][random.below(4)].to_be_bytes(), &[0, 0, 0, 9]].concat(),
            51 => [&[next, 1, 0, 0][..], &[7; 8]].concat(),
            _ if random.once_in(3) => [&[next, 1][..], &[0; 14]].concat(),
            _ => [&[next, 0][..], &[1, 4, 0, 0, 0, 0]].concat(),
        };
        header.extend(payload);
        payload = header;
        next = kind;
    }
    let mut header = vec![0x60, 0, 0, [0, 9][random.below(2)]];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, 64]);
    header.extend(random.of(&IPV6.each_ref()));
    header.extend(random.of(&IPV6.each_ref()));
    [header, payload].concat()
}

fn transport(random: &mut Random, protocol: u8) -> Vec<u8> {
    let ports = [PORTS[random.below(PORTS.len())], PORTS[random.below(PORTS.len())]].map(u16::to_be_bytes).concat();
    let data: &[u8] = random.of(&[&b"GET / HTTP/1.1\r\n"[..], b"", b"\x08\0\0\0\0\0\x05\0", &[0xff; 30]]);
    let header = match protocol {
        6 => {
            let offset = 5 + random.below(11) as u8;
            let flags = [0x02, 0x12, 0x10, 0x11, 0x04, 0x18, 0x3f, 0xc2][random.below(8)];
            let fixed = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 2], &[offset << 4, flags, 0x20, 0, 0, 0, 0, 0]].concat();
            let options = if random.once_in(3) { usize::from(offset - 5) * 4 } else { 0 };
            [fixed, vec![1; options]].concat()
        }
        // GENEVE with IPv4 in Ethernet (RFC 8926, section 3.4).
        17 if random.once_in(8) => {
            let tunnel =
                [&ports[..2], &[0x17, 0xc1, 0, 60, 0, 0], &[0, 0, 0x65, 0x58, 0, 0, 5, 0], &[2; 12], &[8, 0]].concat();
            [tunnel, ipv4_within(random)].concat()
        }
        17 | 136 => [&ports[..], &[0, 8 + data.len() as u8, 0, 0]].concat(),
        33 | 132 => [&ports[..], &[0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]].concat(),
        1 | 58 => vec![[0, 3, 8, 11, 128, 129, 133, 134, 135, 136][random.below(10)], 0, 0, 0, 0, 1, 0, 1],
        47 => [&[0, 0, 8, 0][..], &ipv4_within(random)].concat(),
        51 => [&[6, 4, 0, 0][..], &[9; 20], &ports].concat(),
        103 | 112 => vec![0x20, 0, 0, 0],
        _ => random.bytes::<12>().to_vec(),
    };
    [&header, data].concat()
}

/// An IPv4 header without a payload.
fn ipv4_within(random: &mut Random) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0];
    header.extend(random.of(&IPV4.each_ref()));
    header.extend(random.of(&IPV4.each_ref()));
    header
}
