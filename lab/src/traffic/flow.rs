//! Frames between two ends, of an exact size, each carrying a sequence number.

use std::net::IpAddr;

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header,
    Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, LaxPacketHeaders, LaxPayloadSlice, SingleVlanHeader,
    TcpHeader, UdpHeader, VlanId,
};

use crate::lab::Interface;

/// Bytes an 802.1Q tag adds to a frame.
pub const VLAN_TAG_LEN: usize = SingleVlanHeader::LEN;

const SEQUENCE_LEN: usize = size_of::<u32>();
const TTL: u8 = 64;
const TCP_WINDOW: u16 = 65535;
const PING_ID: u16 = 0x7063;

/// What a frame carries above Ethernet. The flow's addresses decide between IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A request for the receiver's address. Asks for an IPv4 address whatever the flow's family.
    Arp,
    /// A UDP datagram.
    Udp,
    /// A TCP segment with PSH and ACK that belongs to no connection.
    Tcp,
    /// An ICMP or ICMPv6 echo request.
    Icmp,
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Hardware address.
    pub mac: [u8; 6],
    /// IP address.
    pub ip: IpAddr,
    /// UDP or TCP port.
    pub port: u16,
}

/// Where frames come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The sending end.
    pub from: Endpoint,
    /// The receiving end.
    pub to: Endpoint,
    /// The VLAN id of an 802.1Q tag, which is written into the frame.
    pub vlan: Option<u16>,
}

impl Flow {
    /// UDP port 4000 to 5000 over IPv4, to the receiver's hardware address but between unassigned IP addresses: the
    /// receiver's kernel drops the packets without an answer, so that a capture contains nothing else.
    #[must_use]
    pub fn between(from: &Interface, to: &Interface) -> Self {
        let end = |interface: &Interface, last, port| Endpoint {
            mac: interface.mac(),
            ip: IpAddr::from([198, 18, 0, last]),
            port,
        };
        Self { from: end(from, 1, 4000), to: end(to, 2, 5000), vlan: None }
    }

    /// The same hardware addresses and ports, other IP addresses.
    ///
    /// # Panics
    /// Panics when an address does not parse.
    #[must_use]
    pub fn with_ips(mut self, from: &str, to: &str) -> Self {
        self.from.ip = from.parse().expect("sender is an IP address");
        self.to.ip = to.parse().expect("receiver is an IP address");
        self
    }

    /// The same flow with an 802.1Q tag.
    #[must_use]
    pub fn with_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// The opposite direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, vlan: self.vlan }
    }

    /// The shortest frame of a protocol with room for its sequence number.
    #[must_use]
    pub fn shortest(&self, protocol: Protocol) -> usize {
        self.header_len(protocol) + SEQUENCE_LEN
    }

    /// A frame of exactly `len` bytes, including Ethernet header and tag, but not the wire's checksum. The payload is
    /// `sequence` followed by bytes that depend on it.
    ///
    /// # Panics
    /// Panics when `len` is less than [`Flow::shortest`] or more than the headers can express.
    #[must_use]
    #[track_caller]
    pub fn frame(&self, protocol: Protocol, len: usize, sequence: u32) -> Vec<u8> {
        let shortest = self.shortest(protocol);
        assert!(len >= shortest, "{protocol:?} needs {shortest} bytes with its sequence number, not {len}");
        let payload = payload(len - self.header_len(protocol), sequence);
        let mut frame = self.link_headers(protocol);
        match (protocol, self.from.ip, self.to.ip) {
            (Protocol::Arp, ..) => frame.extend_from_slice(&self.arp().to_bytes()),
            (_, IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(self.ipv4(protocol, from.octets(), to.octets(), &payload, sequence));
            }
            (_, IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(self.ipv6(protocol, from.octets(), to.octets(), &payload, sequence));
            }
            (_, from, to) => panic!("a flow has one address family, not {from} and {to}"),
        }
        frame.extend_from_slice(&payload);
        assert_eq!(frame.len(), len, "the length of {protocol:?}");
        frame
    }

    /// `count` frames of one size, numbered from 0.
    #[must_use]
    #[track_caller]
    pub fn frames(&self, protocol: Protocol, len: usize, count: u32) -> Vec<Vec<u8>> {
        (0..count).map(|sequence| self.frame(protocol, len, sequence)).collect()
    }

    pub(super) fn header_len(&self, protocol: Protocol) -> usize {
        let link = Ethernet2Header::LEN + if self.vlan.is_some() { VLAN_TAG_LEN } else { 0 };
        let network = match self.to.ip {
            _ if protocol == Protocol::Arp => 28,
            IpAddr::V4(_) => Ipv4Header::MIN_LEN,
            IpAddr::V6(_) => Ipv6Header::LEN,
        };
        let transport = match protocol {
            Protocol::Arp => 0,
            Protocol::Udp | Protocol::Icmp => UdpHeader::LEN,
            Protocol::Tcp => TcpHeader::MIN_LEN,
        };
        link + network + transport
    }

    pub(super) fn link_headers(&self, protocol: Protocol) -> Vec<u8> {
        let inner = match self.to.ip {
            _ if protocol == Protocol::Arp => EtherType::ARP,
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        };
        let ethernet = |ether_type| {
            // An ARP request is a broadcast.
            let destination = if protocol == Protocol::Arp { [0xff; 6] } else { self.to.mac };
            Ethernet2Header { source: self.from.mac, destination, ether_type }.to_bytes().to_vec()
        };
        let Some(id) = self.vlan else { return ethernet(inner) };
        let mut headers = ethernet(EtherType::VLAN_TAGGED_FRAME);
        let tag = SingleVlanHeader {
            vlan_id: VlanId::try_new(id).expect("a VLAN id has 12 bits"),
            ether_type: inner,
            ..SingleVlanHeader::default()
        };
        headers.extend_from_slice(&tag.to_bytes());
        headers
    }

    fn arp(&self) -> ArpEthIpv4Packet {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [198, 18, 0, 6],
        };
        ArpEthIpv4Packet {
            operation: ArpOperation::REQUEST,
            sender_mac: self.from.mac,
            sender_ipv4: octets(self.from.ip),
            target_mac: [0; 6],
            target_ipv4: octets(self.to.ip),
        }
    }

    pub(super) fn tcp(&self, sequence: u32) -> TcpHeader {
        let mut tcp = TcpHeader::new(self.from.port, self.to.port, sequence, TCP_WINDOW);
        tcp.psh = true;
        tcp.ack = true;
        tcp
    }

    /// The IP header and the transport header before `payload`.
    fn ipv4(&self, protocol: Protocol, from: [u8; 4], to: [u8; 4], payload: &[u8], sequence: u32) -> Vec<u8> {
        let (number, transport_len) = transport_of(protocol, IpNumber::ICMP);
        let length = u16::try_from(transport_len + payload.len()).expect("an IPv4 packet has at most 65535 bytes");
        let mut ip = Ipv4Header::new(length, TTL, number, from, to).expect("length fits");
        ip.header_checksum = ip.calc_header_checksum();
        let mut headers = ip.to_bytes().to_vec();
        match protocol {
            Protocol::Udp => {
                let udp = UdpHeader::with_ipv4_checksum(self.from.port, self.to.port, &ip, payload);
                headers.extend_from_slice(&udp.expect("length fits").to_bytes());
            }
            Protocol::Tcp => {
                let mut tcp = self.tcp(sequence);
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).expect("length fits");
                headers.extend_from_slice(&tcp.to_bytes());
            }
            Protocol::Icmp => {
                let icmp = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo(sequence)), payload);
                headers.extend_from_slice(&icmp.to_bytes());
            }
            Protocol::Arp => unreachable!("ARP has no IP header"),
        }
        headers
    }

    /// The IP header and the transport header before `payload`.
    fn ipv6(&self, protocol: Protocol, from: [u8; 16], to: [u8; 16], payload: &[u8], sequence: u32) -> Vec<u8> {
        let (number, transport_len) = transport_of(protocol, IpNumber::IPV6_ICMP);
        let ip = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: u16::try_from(transport_len + payload.len())
                .expect("an IPv6 payload has 16 bits of length"),
            next_header: number,
            hop_limit: TTL,
            source: from,
            destination: to,
        };
        let mut headers = ip.to_bytes().to_vec();
        match protocol {
            Protocol::Udp => {
                let udp = UdpHeader::with_ipv6_checksum(self.from.port, self.to.port, &ip, payload);
                headers.extend_from_slice(&udp.expect("length fits").to_bytes());
            }
            Protocol::Tcp => {
                let mut tcp = self.tcp(sequence);
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).expect("length fits");
                headers.extend_from_slice(&tcp.to_bytes());
            }
            Protocol::Icmp => {
                let icmp = Icmpv6Header::with_checksum(Icmpv6Type::EchoRequest(echo(sequence)), from, to, payload);
                headers.extend_from_slice(&icmp.expect("length fits").to_bytes());
            }
            Protocol::Arp => unreachable!("ARP has no IP header"),
        }
        headers
    }
}

fn transport_of(protocol: Protocol, icmp: IpNumber) -> (IpNumber, usize) {
    match protocol {
        Protocol::Udp => (IpNumber::UDP, UdpHeader::LEN),
        Protocol::Tcp => (IpNumber::TCP, TcpHeader::MIN_LEN),
        Protocol::Icmp => (icmp, Icmpv4Header::MIN_LEN),
        Protocol::Arp => unreachable!("ARP has no transport"),
    }
}

fn echo(sequence: u32) -> IcmpEchoHeader {
    IcmpEchoHeader { id: PING_ID, seq: sequence as u16 }
}

/// The sequence number, big endian, followed by bytes that count up from its last byte.
pub(super) fn payload(len: usize, sequence: u32) -> Vec<u8> {
    let marker = sequence.to_be_bytes();
    let filler = (0..len.saturating_sub(SEQUENCE_LEN)).map(|place| (sequence as usize).wrapping_add(place) as u8);
    marker.into_iter().chain(filler).collect()
}

/// The sequence number of a captured frame, if it is one of the kit's and long enough to have it.
#[must_use]
pub fn sequence_of(frame: &[u8]) -> Option<u32> {
    let packet = LaxPacketHeaders::from_ethernet(frame).ok()?;
    let payload = match packet.payload {
        LaxPayloadSlice::Udp { payload, .. }
        | LaxPayloadSlice::Tcp { payload, .. }
        | LaxPayloadSlice::Icmpv4 { payload, .. }
        | LaxPayloadSlice::Icmpv6 { payload, .. } => payload,
        // ARP has no length field: what follows its 28 bytes is the kit's.
        _ if packet.net.is_some_and(|net| matches!(net, etherparse::NetHeaders::Arp(_))) => {
            let tags = packet.link_exts.len() * VLAN_TAG_LEN;
            frame.get(Ethernet2Header::LEN + tags + 28..)?
        }
        _ => return None,
    };
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(from: &str, to: &str) -> Flow {
        let end = |mac, ip: &str| Endpoint { mac: [2, 0, 0, 0, 0, mac], ip: ip.parse().unwrap(), port: 7 };
        Flow { from: end(1, from), to: end(2, to), vlan: None }
    }

    #[test]
    fn every_protocol_has_the_requested_size_and_its_number() {
        for base in [flow("10.0.0.1", "10.0.0.2"), flow("fd00::1", "fd00::2")] {
            for flow in [base, base.with_vlan(100)] {
                for protocol in [Protocol::Arp, Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
                    for len in [flow.shortest(protocol), 128, 1500, 9000, 65_000] {
                        let frame = flow.frame(protocol, len, 0xdead_beef);
                        assert_eq!(frame.len(), len);
                        assert_eq!(sequence_of(&frame), Some(0xdead_beef), "{protocol:?} of {len} bytes");
                    }
                }
            }
        }
    }
}
