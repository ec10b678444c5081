//! What a frame is, and its source and destination.

use std::fmt::{self, Display, Write};
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{ArpOperation, ArpPacketSlice, EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, LinkSlice};

/// TCP's flags, from the lowest bit of its fourteenth byte, as tcpdump writes them (RFC 9293, RFC 3168).
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];

pub(super) fn of(bytes: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return "frame cut in its header".to_owned() };
    summary(&packet)
}

/// Of a packet that begins with the IP header.
pub(super) fn of_ip(bytes: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ip(bytes) else { return "packet without an IP header".to_owned() };
    summary(&packet)
}

fn summary(packet: &LaxSlicedPacket<'_>) -> String {
    let mut text = String::new();
    for id in packet.vlan_ids() {
        let _ = write!(text, "vlan {} ", id.value());
    }
    match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let (header, payload) = (ip.header(), ip.payload());
            let ends = (header.source_addr().into(), header.destination_addr().into());
            text.push_str(&datagram(ends, payload.ip_number, header.fragments_offset().value(), payload.payload));
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let (header, payload) = (ip.header(), ip.payload());
            let ends = (header.source_addr().into(), header.destination_addr().into());
            // The header of a later fragment names a protocol whose header is not there.
            let offset = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                etherparse::Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.fragment_offset().value()),
                _ => None,
            });
            text.push_str(&datagram(ends, payload.ip_number, offset.unwrap_or(0), payload.payload));
        }
        Some(LaxNetSlice::Arp(arp)) => text.push_str(&resolution(arp)),
        None => text.push_str(&link(packet)),
    }
    text
}

/// An IP datagram, or a part of one that begins at `offset`, in units of eight bytes.
fn datagram((source, destination): (IpAddr, IpAddr), protocol: IpNumber, offset: u16, payload: &[u8]) -> String {
    let ports = ports(protocol, payload).filter(|_| offset == 0);
    let (from, to) = ports.map_or((None, None), |(from, to)| (Some(from), Some(to)));
    let what = match offset {
        0 => details(protocol, payload),
        _ => format!("{} fragment at {}", Protocol(protocol), u32::from(offset) * 8),
    };
    format!("{} > {} {what}", Socket(source, from), Socket(destination, to))
}

/// An address, with its port where there is one.
struct Socket(IpAddr, Option<u16>);

impl Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
            Self(address, Some(port)) => write!(f, "{address}:{port}"),
            Self(address, None) => write!(f, "{address}"),
        }
    }
}

/// All of these begin with their ports.
fn ports(protocol: IpNumber, payload: &[u8]) -> Option<(u16, u16)> {
    let has_ports = [IpNumber::TCP, IpNumber::UDP, IpNumber::SCTP, IpNumber::DCCP, IpNumber::UDP_LITE];
    let [a, b, c, d] = *payload.first_chunk()?;
    has_ports.contains(&protocol).then_some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn details(protocol: IpNumber, payload: &[u8]) -> String {
    match (protocol, payload) {
        (IpNumber::TCP, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..]) => {
            let set = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0);
            format!("TCP [{}]", set.map(|(_, flag)| flag).collect::<String>())
        }
        (IpNumber::ICMP, &[kind, code, ..]) => format!("ICMP {}", icmp(kind, code)),
        (IpNumber::IPV6_ICMP, &[kind, code, ..]) => format!("ICMPv6 {}", icmpv6(kind, code)),
        _ => Protocol(protocol).to_string(),
    }
}

/// A protocol's name, or its number.
struct Protocol(IpNumber);

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.keyword_str() {
            Some(name) => f.write_str(name),
            None => write!(f, "protocol {}", self.0.0),
        }
    }
}

/// IANA, ICMP types: what networks carry today.
fn icmp(kind: u8, code: u8) -> String {
    let name = match kind {
        0 => "echo reply",
        3 => "unreachable",
        5 => "redirect",
        8 => "echo request",
        9 => "router advertisement",
        10 => "router solicitation",
        11 => "time exceeded",
        12 => "parameter problem",
        _ => return format!("type {kind} code {code}"),
    };
    with_code(name, code)
}

/// IANA, ICMPv6 types.
fn icmpv6(kind: u8, code: u8) -> String {
    let name = match kind {
        1 => "unreachable",
        2 => "packet too big",
        3 => "time exceeded",
        4 => "parameter problem",
        128 => "echo request",
        129 => "echo reply",
        130 => "multicast listener query",
        131 | 143 => "multicast listener report",
        132 => "multicast listener done",
        133 => "router solicitation",
        134 => "router advertisement",
        135 => "neighbour solicitation",
        136 => "neighbour advertisement",
        137 => "redirect",
        _ => return format!("type {kind} code {code}"),
    };
    with_code(name, code)
}

fn with_code(name: &str, code: u8) -> String {
    if code == 0 { name.to_owned() } else { format!("{name} (code {code})") }
}

fn resolution(arp: &ArpPacketSlice<'_>) -> String {
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(bytes) => Ipv4Addr::from(bytes).to_string(),
        Err(_) => "?".to_owned(),
    };
    let (sender, target) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
    match arp.operation() {
        ArpOperation::REQUEST => format!("ARP who has {target}, tell {sender}"),
        ArpOperation::REPLY => format!("ARP {sender} is at {}", Mac(arp.sender_hw_addr())),
        ArpOperation(other) => format!("ARP operation {other} from {sender} to {target}"),
    }
}

fn link(packet: &LaxSlicedPacket<'_>) -> String {
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else { return "no Ethernet".to_owned() };
    let kind = packet.ether_payload().map_or(ethernet.ether_type(), |payload| payload.ether_type);
    let (source, destination) = (ethernet.source(), ethernet.destination());
    let name = match kind {
        EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP => "frame cut in its header".to_owned(),
        // IEEE 802.3: less is a length, and LLC follows.
        EtherType(length @ ..0x600) => format!("LLC {length}"),
        EtherType(0x88cc) => "LLDP".to_owned(),
        EtherType(other) => format!("type {other:#06x}"),
    };
    format!("{} > {} {name}", Mac(&source), Mac(&destination))
}

struct Mac<'a>(&'a [u8]);

impl Display for Mac<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        f.write_str(&bytes.join(":"))
    }
}
