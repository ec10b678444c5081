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

/// What a frame carries above Ethernet. Whether IPv4 or IPv6, the flow's addresses say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request for the receiver's address. Asks for an IPv4 address whatever the flow's family.
    Arp,
    /// A UDP datagram.
    Udp,
    /// A TCP segment with PSH and ACK, of no connection.
    Tcp,
    /// An ICMP or ICMPv6 echo request.
    Icmp,
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
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
    pub from: End,
    /// The receiving end.
    pub to: End,
    /// The 802.1Q tag, written into the frame, by VLAN id.
    pub vlan: Option<u16>,
}

impl Flow {
    /// UDP port 4000 to 5000 over IPv4, to the receiver's hardware address but to IP addresses that nobody has: the
    /// receiver's kernel drops the packets without an answer, so a capture holds nothing else.
    #[must_use]
    pub fn between(from: &Interface, to: &Interface) -> Self {
        let end = |interface: &Interface, last, port| End {
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

    /// The way back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, vlan: self.vlan }
    }

    /// Shortest frame of a kind that has room for its sequence number.
    #[must_use]
    pub fn shortest(&self, kind: Kind) -> usize {
        self.header_len(kind) + SEQUENCE_LEN
    }

    /// A frame of exactly `len` bytes, Ethernet header and tag included, checksum of the wire not. The payload is
    /// `sequence` followed by bytes that depend on it.
    ///
    /// # Panics
    /// Panics when `len` is below [`Flow::shortest`] or above what the headers can say.
    #[must_use]
    #[track_caller]
    pub fn frame(&self, kind: Kind, len: usize, sequence: u32) -> Vec<u8> {
        let shortest = self.shortest(kind);
        assert!(len >= shortest, "{kind:?} needs {shortest} bytes with its sequence number, {len} are given");
        let payload = payload(len - self.header_len(kind), sequence);
        let mut frame = self.link_headers(kind);
        match (kind, self.from.ip, self.to.ip) {
            (Kind::Arp, ..) => frame.extend_from_slice(&self.arp().to_bytes()),
            (_, IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(self.ipv4(kind, from.octets(), to.octets(), &payload, sequence));
            }
            (_, IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(self.ipv6(kind, from.octets(), to.octets(), &payload, sequence));
            }
            (_, from, to) => panic!("a flow has one address family, not {from} and {to}"),
        }
        frame.extend_from_slice(&payload);
        assert_eq!(frame.len(), len, "the kit's own arithmetic for {kind:?}");
        frame
    }

    /// `count` frames of one size, numbered from 0.
    #[must_use]
    #[track_caller]
    pub fn frames(&self, kind: Kind, len: usize, count: u32) -> Vec<Vec<u8>> {
        (0..count).map(|sequence| self.frame(kind, len, sequence)).collect()
    }

    pub(super) fn header_len(&self, kind: Kind) -> usize {
        let link = Ethernet2Header::LEN + if self.vlan.is_some() { VLAN_TAG_LEN } else { 0 };
        let network = match self.to.ip {
            _ if kind == Kind::Arp => 28,
            IpAddr::V4(_) => Ipv4Header::MIN_LEN,
            IpAddr::V6(_) => Ipv6Header::LEN,
        };
        let transport = match kind {
            Kind::Arp => 0,
            Kind::Udp | Kind::Icmp => UdpHeader::LEN,
            Kind::Tcp => TcpHeader::MIN_LEN,
        };
        link + network + transport
    }

    pub(super) fn link_headers(&self, kind: Kind) -> Vec<u8> {
        let inner = match self.to.ip {
            _ if kind == Kind::Arp => EtherType::ARP,
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        };
        let ethernet = |ether_type| {
            // An ARP request asks everybody.
            let destination = if kind == Kind::Arp { [0xff; 6] } else { self.to.mac };
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
    fn ipv4(&self, kind: Kind, from: [u8; 4], to: [u8; 4], payload: &[u8], sequence: u32) -> Vec<u8> {
        let (protocol, transport_len) = transport_of(kind, IpNumber::ICMP);
        let length = u16::try_from(transport_len + payload.len()).expect("an IPv4 packet has at most 65535 bytes");
        let mut ip = Ipv4Header::new(length, TTL, protocol, from, to).expect("length fits");
        ip.header_checksum = ip.calc_header_checksum();
        let mut headers = ip.to_bytes().to_vec();
        match kind {
            Kind::Udp => {
                let udp = UdpHeader::with_ipv4_checksum(self.from.port, self.to.port, &ip, payload);
                headers.extend_from_slice(&udp.expect("length fits").to_bytes());
            }
            Kind::Tcp => {
                let mut tcp = self.tcp(sequence);
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).expect("length fits");
                headers.extend_from_slice(&tcp.to_bytes());
            }
            Kind::Icmp => {
                let icmp = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo(sequence)), payload);
                headers.extend_from_slice(&icmp.to_bytes());
            }
            Kind::Arp => unreachable!("ARP has no IP header"),
        }
        headers
    }

    /// The IP header and the transport header before `payload`.
    fn ipv6(&self, kind: Kind, from: [u8; 16], to: [u8; 16], payload: &[u8], sequence: u32) -> Vec<u8> {
        let (protocol, transport_len) = transport_of(kind, IpNumber::IPV6_ICMP);
        let ip = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: u16::try_from(transport_len + payload.len())
                .expect("an IPv6 payload has 16 bits of length"),
            next_header: protocol,
            hop_limit: TTL,
            source: from,
            destination: to,
        };
        let mut headers = ip.to_bytes().to_vec();
        match kind {
            Kind::Udp => {
                let udp = UdpHeader::with_ipv6_checksum(self.from.port, self.to.port, &ip, payload);
                headers.extend_from_slice(&udp.expect("length fits").to_bytes());
            }
            Kind::Tcp => {
                let mut tcp = self.tcp(sequence);
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).expect("length fits");
                headers.extend_from_slice(&tcp.to_bytes());
            }
            Kind::Icmp => {
                let icmp = Icmpv6Header::with_checksum(Icmpv6Type::EchoRequest(echo(sequence)), from, to, payload);
                headers.extend_from_slice(&icmp.expect("length fits").to_bytes());
            }
            Kind::Arp => unreachable!("ARP has no IP header"),
        }
        headers
    }
}

fn transport_of(kind: Kind, icmp: IpNumber) -> (IpNumber, usize) {
    match kind {
        Kind::Udp => (IpNumber::UDP, UdpHeader::LEN),
        Kind::Tcp => (IpNumber::TCP, TcpHeader::MIN_LEN),
        Kind::Icmp => (icmp, Icmpv4Header::MIN_LEN),
        Kind::Arp => unreachable!("ARP has no transport"),
    }
}

fn echo(sequence: u32) -> IcmpEchoHeader {
    IcmpEchoHeader { id: PING_ID, seq: sequence as u16 }
}

/// The sequence number, big endian, then bytes that count up from its last one.
pub(super) fn payload(len: usize, sequence: u32) -> Vec<u8> {
    let marker = sequence.to_be_bytes();
    let filler = (0..len.saturating_sub(SEQUENCE_LEN)).map(|place| (sequence as usize).wrapping_add(place) as u8);
    marker.into_iter().chain(filler).collect()
}

/// The sequence number of a captured frame, if it is one of ours and not truncated before it.
#[must_use]
pub fn sequence_of(frame: &[u8]) -> Option<u32> {
    let packet = LaxPacketHeaders::from_ethernet(frame).ok()?;
    let payload = match packet.payload {
        LaxPayloadSlice::Udp { payload, .. }
        | LaxPayloadSlice::Tcp { payload, .. }
        | LaxPayloadSlice::Icmpv4 { payload, .. }
        | LaxPayloadSlice::Icmpv6 { payload, .. } => payload,
        // ARP has no length of its own: what follows its 28 bytes is ours.
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
        let end = |mac, ip: &str| End { mac: [2, 0, 0, 0, 0, mac], ip: ip.parse().unwrap(), port: 7 };
        Flow { from: end(1, from), to: end(2, to), vlan: None }
    }

    #[test]
    fn every_kind_has_the_size_asked_for_and_its_number() {
        for base in [flow("10.0.0.1", "10.0.0.2"), flow("fd00::1", "fd00::2")] {
            for flow in [base, base.with_vlan(100)] {
                for kind in [Kind::Arp, Kind::Udp, Kind::Tcp, Kind::Icmp] {
                    for len in [flow.shortest(kind), 128, 1500, 9000, 65_000] {
                        let frame = flow.frame(kind, len, 0xdead_beef);
                        assert_eq!(frame.len(), len);
                        assert_eq!(sequence_of(&frame), Some(0xdead_beef), "{kind:?} of {len} bytes");
                    }
                }
            }
        }
    }
}
