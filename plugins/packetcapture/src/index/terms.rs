//! The addresses and ports of a packet, wherever an expression of pcap-filter(7) looks for them.

#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr};

use polycube_filter::LinkType;

use super::Term;

/// Ports from this one on are not indexed: clients choose them (`net.ipv4.ip_local_port_range`).
pub(crate) const FIRST_EPHEMERAL: u16 = 32_768;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// ARP and RARP.
const ARP: [u16; 2] = [0x0806, 0x8035];
/// Tags of 802.1Q, 802.1ad and the older QinQ.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Protocols with ports: TCP, UDP and SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// Calls `found` with each term of `packet`.
pub(super) fn terms(link: LinkType, packet: &[u8], mut found: impl FnMut(Term)) {
    // A packet that ends early has no more.
    let _ = match link {
        LinkType::Ethernet => frame(packet, &mut found),
        LinkType::RawIp => match packet.first().map(|byte| byte >> 4) {
            Some(4) => v4(packet, &mut found),
            Some(6) => v6(packet, &mut found),
            _ => None,
        },
    };
}

fn frame(packet: &[u8], found: &mut impl FnMut(Term)) -> Option<()> {
    let mut at = 12;
    while TAGS.contains(&half(packet, at)?) {
        at += 4;
    }
    let rest = packet.get(at + 2..)?;
    match half(packet, at)? {
        IPV4 => v4(rest, found),
        IPV6 => v6(rest, found),
        kind if ARP.contains(&kind) => {
            found(v4_at(rest, 14)?);
            found(v4_at(rest, 24)?);
            Some(())
        }
        _ => None,
    }
}

fn v4(packet: &[u8], found: &mut impl FnMut(Term)) -> Option<()> {
    found(v4_at(packet, 12)?);
    found(v4_at(packet, 16)?);
    let is_first = half(packet, 6)? & 0x1fff == 0;
    if is_first && WITH_PORTS.contains(packet.get(9)?) {
        ports(packet, usize::from(packet[0] & 0xf) * 4, found)?;
    }
    Some(())
}

fn v6(packet: &[u8], found: &mut impl FnMut(Term)) -> Option<()> {
    for at in [8, 24] {
        found(Term::Address(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into()));
    }
    if WITH_PORTS.contains(packet.get(6)?) {
        ports(packet, 40, found)?;
    }
    Some(())
}

fn ports(packet: &[u8], at: usize, found: &mut impl FnMut(Term)) -> Option<()> {
    for port in [half(packet, at)?, half(packet, at + 2)?] {
        if port < FIRST_EPHEMERAL {
            found(Term::Port(port));
        }
    }
    Some(())
}

fn v4_at(packet: &[u8], at: usize) -> Option<Term> {
    Some(Term::Address(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into()))
}

fn half(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[track_caller]
    fn check(link: LinkType, packet: &[u8], expected: &[&str]) {
        let mut found = Vec::new();
        terms(link, packet, |term| {
            found.push(match term {
                Term::Address(address) => address.to_string(),
                Term::Port(port) => port.to_string(),
            });
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn addresses_and_the_ports_of_servers_are_found() {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]);
        builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(40_000, 53).write(&mut packet, b"x").unwrap();
        check(LinkType::Ethernet, &packet, &["10.0.0.1", "10.0.0.2", "53"]);
        check(LinkType::RawIp, &packet[14..], &["10.0.0.1", "10.0.0.2", "53"]);
        let mut tagged = packet[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
        tagged.extend(&packet[12..]);
        check(LinkType::Ethernet, &tagged, &["10.0.0.1", "10.0.0.2", "53"]);
        packet[21] = 1;
        check(LinkType::Ethernet, &packet, &["10.0.0.1", "10.0.0.2"]);
        check(LinkType::Ethernet, &packet[..30], &["10.0.0.1"]);
        let mut packet = Vec::new();
        let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv6(
            etherparse::Ipv6Header { source: [1; 16], destination: [2; 16], ..Default::default() },
            Default::default(),
        ));
        builder.tcp(443, 50_000, 0, 0).write(&mut packet, &[]).unwrap();
        check(LinkType::RawIp, &packet, &["101:101:101:101:101:101:101:101", "202:202:202:202:202:202:202:202", "443"]);
    }

    #[test]
    fn those_who_ask_for_an_address_are_found() {
        let arp = [&[0; 12][..], &[8, 6], &[0; 14], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
        check(LinkType::Ethernet, &arp, &["10.0.0.1", "10.0.0.2"]);
        check(LinkType::Ethernet, &arp[..20], &[]);
    }
}
