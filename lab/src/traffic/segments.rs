//! A packet larger than any MTU, with the virtio-net header that says how to segment it.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader};

use super::flow::payload;
use super::{Flow, Protocol};

/// `struct virtio_net_hdr` (virtio 1.2, section 5.1.6), little endian here as on every host that runs these tests.
const VNET_HEADER_LEN: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// The checksum's offset in a TCP header.
const TCP_CHECKSUM_OFFSET: u16 = 16;

/// One TCP super-packet, as TCP's segmentation offload makes them: a program on the path sees it whole.
#[derive(Debug, Clone)]
pub struct Segments {
    wire: Vec<u8>,
}

impl Segments {
    /// `payload_len` bytes of TCP payload in one packet, to be cut into segments of `segment_len`.
    ///
    /// # Panics
    /// Panics when the packet would be longer than 65,535 bytes, or not longer than one segment.
    #[must_use]
    #[track_caller]
    pub fn new(flow: &Flow, payload_len: usize, segment_len: u16, sequence: u32) -> Self {
        assert!(payload_len > usize::from(segment_len), "{payload_len} bytes need no segmentation");
        let tcp_len = u16::try_from(TcpHeader::MIN_LEN + payload_len).expect("an IP packet has at most 65535 bytes");
        let mut frame = flow.link_headers(Protocol::Tcp);
        let (gso_type, pseudo_header) = match (flow.from.ip, flow.to.ip) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ip = Ipv4Header::new(tcp_len, 64, IpNumber::TCP, from.octets(), to.octets());
                let mut ip = ip.expect("an IPv4 packet has at most 65535 bytes");
                ip.header_checksum = ip.calc_header_checksum();
                frame.extend_from_slice(&ip.to_bytes());
                (GSO_TCPV4, sum(&from.octets()) + sum(&to.octets()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: tcp_len,
                    next_header: IpNumber::TCP,
                    hop_limit: 64,
                    source: from.octets(),
                    destination: to.octets(),
                };
                frame.extend_from_slice(&ip.to_bytes());
                (GSO_TCPV6, sum(&from.octets()) + sum(&to.octets()))
            }
            (from, to) => panic!("a flow has one address family, not {from} and {to}"),
        };
        let checksum_start = frame.len() as u16;
        let mut tcp = flow.tcp(sequence);
        // With NEEDS_CSUM the field has the pseudo header's sum; segmentation completes it.
        tcp.checksum = fold(pseudo_header + u32::from(IpNumber::TCP.0) + u32::from(tcp_len));
        frame.extend_from_slice(&tcp.to_bytes());
        let header_len = frame.len() as u16;
        frame.extend_from_slice(&payload(payload_len, sequence));

        let mut wire = Vec::with_capacity(VNET_HEADER_LEN + frame.len());
        wire.extend_from_slice(&[NEEDS_CSUM, gso_type]);
        for field in [header_len, segment_len, checksum_start, TCP_CHECKSUM_OFFSET] {
            wire.extend_from_slice(&field.to_ne_bytes());
        }
        wire.extend_from_slice(&frame);
        Self { wire }
    }

    /// The frame as a capture before the segmentation shows it.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.wire[VNET_HEADER_LEN..]
    }

    pub(super) fn with_vnet_header(&self) -> &[u8] {
        &self.wire
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.as_chunks().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
