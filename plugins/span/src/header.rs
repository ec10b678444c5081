//! The outer header of copies, but for what depends on each of them. Pure.

use std::net::IpAddr;

use polycube_layout::span::{ETHERNET, HEADER_ROOM, kind};

use crate::config::{Collector, Encapsulation};

const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: u8 = 17;
const GRE: u8 = 47;
/// `GRE_KEY` and `GRE_SEQ` of RFC 2890.
const KEY_PRESENT: u16 = 0x2000;
const SEQUENCE_PRESENT: u16 = 0x1000;
/// Transparent Ethernet bridging, and ERSPAN type II.
const ETHERNET_IN_GRE: u16 = 0x6558;
const ERSPAN: u16 = 0x88be;
/// `Don't fragment`: a copy that is too long is cut before.
const DONT_FRAGMENT: u16 = 0x4000;
const NO_ID: u32 = 1;

/// The kind of a collector's copies (see [`kind`]).
pub(crate) fn kind_of(collector: &Collector) -> u32 {
    match (collector.encapsulation, collector.id) {
        (Encapsulation::Vxlan, _) => kind::VXLAN,
        (Encapsulation::Gre, None) => kind::GRE,
        (Encapsulation::Gre, Some(_)) => kind::GRE_WITH_KEY,
        (Encapsulation::Erspan, _) => kind::ERSPAN,
    }
}

/// An outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) bytes: [u8; HEADER_ROOM],
    pub(crate) length: usize,
    /// Sum of the IPv4 header's words; 0 for IPv6.
    pub(crate) sum: u32,
}

impl Header {
    /// The header of copies to `address` from `source`, which are of one family.
    pub(crate) fn new(collector: &Collector, address: IpAddr, source: IpAddr) -> Self {
        let mut bytes = vec![0; ETHERNET];
        let protocol = if collector.encapsulation == Encapsulation::Vxlan { UDP } else { GRE };
        let class = collector.dscp << 2;
        match (source, address) {
            (IpAddr::V4(source), IpAddr::V4(address)) => {
                bytes[ETHERNET - 2..].copy_from_slice(&[0x08, 0x00]);
                bytes.extend([0x45, class, 0, 0, 0, 0]);
                bytes.extend(DONT_FRAGMENT.to_be_bytes());
                bytes.extend([collector.ttl, protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(address.octets());
            }
            (source, address) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                bytes[ETHERNET - 2..].copy_from_slice(&[0x86, 0xdd]);
                bytes.extend([0x60 | class >> 4, class << 4, 0, 0, 0, 0, protocol, collector.ttl]);
                bytes.extend(octets(source));
                bytes.extend(octets(address));
            }
        }
        let is_v4 = address.is_ipv4();
        let sum = if is_v4 { sum(&bytes[ETHERNET..ETHERNET + IPV4]) } else { 0 };
        debug_assert_eq!(bytes.len(), ETHERNET + if is_v4 { IPV4 } else { IPV6 });
        bytes.extend(inner(collector));
        let length = bytes.len();
        bytes.resize(HEADER_ROOM, 0);
        Self { bytes: std::array::from_fn(|at| bytes[at]), length, sum }
    }
}

/// What follows the IP header.
fn inner(collector: &Collector) -> Vec<u8> {
    let id = collector.id.unwrap_or(NO_ID);
    let mut bytes = Vec::new();
    match collector.encapsulation {
        Encapsulation::Vxlan => {
            // Without a checksum, over IPv6 too (RFC 7348 section 5, RFC 6935).
            bytes.extend([0, 0]);
            bytes.extend(collector.port.to_be_bytes());
            bytes.extend([0, 0, 0, 0]);
            bytes.extend([0x08, 0, 0, 0]);
            bytes.extend((id << 8).to_be_bytes());
        }
        Encapsulation::Gre => {
            bytes.extend(if collector.id.is_some() { KEY_PRESENT } else { 0 }.to_be_bytes());
            bytes.extend(ETHERNET_IN_GRE.to_be_bytes());
            bytes.extend(collector.id.into_iter().flat_map(u32::to_be_bytes));
        }
        Encapsulation::Erspan => {
            bytes.extend(SEQUENCE_PRESENT.to_be_bytes());
            bytes.extend(ERSPAN.to_be_bytes());
            bytes.extend([0; 4]);
            // Version 1 is type II.
            bytes.extend([0x10, 0]);
            bytes.extend((id as u16).to_be_bytes());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

/// Sum of 16-bit words, in network order (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(collector: &Collector, address: &str, source: &str, expected: &str) {
        let header = Header::new(collector, address.parse().unwrap(), source.parse().unwrap());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&header.bytes[ETHERNET..header.length]), expected.replace(' ', ""));
        assert!(header.bytes[header.length..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn vxlan_over_ipv4() {
        let collector = Collector { ttl: 9, dscp: 46, ..Collector::default() };
        let expected = "45b80000 00004000 09110000 c0000201 c0000209 0000 12b5 0000 0000 08000000 01020300";
        check(&Collector { id: Some(0x1_0203), ..collector }, "192.0.2.9", "192.0.2.1", expected);
    }

    #[test]
    fn gre_has_a_key_if_it_has_an_id() {
        let collector = Collector { encapsulation: Encapsulation::Gre, ..Collector::default() };
        let ip = "45000000 00004000 402f0000 c0000201 c0000209";
        check(&collector, "192.0.2.9", "192.0.2.1", &format!("{ip} 0000 6558"));
        let with_key = Collector { id: Some(7), ..collector };
        check(&with_key, "192.0.2.9", "192.0.2.1", &format!("{ip} 2000 6558 00000007"));
    }

    #[test]
    fn erspan_over_ipv6() {
        let collector =
            Collector { encapsulation: Encapsulation::Erspan, id: Some(100), dscp: 46, ..Collector::default() };
        let expected = "6b800000 0000 2f 40 20010db8000000000000000000000001 20010db8000000000000000000000009 \
                        1000 88be 00000000 1000 0064 00000000";
        check(&collector, "2001:db8::9", "2001:db8::1", expected);
    }

    #[test]
    fn the_sum_leaves_out_the_length_and_the_checksum() {
        let header = Header::new(&Collector::default(), "192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert_eq!(header.sum, 0x4500 + 0x4000 + 0x4011 + 2 * 0xc000 + 0x0201 + 0x0209);
    }
}
