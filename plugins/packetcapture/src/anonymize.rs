//! Hides who communicates with whom in recorded frames.
//!
//! Addresses are replaced one for one, under a key: IPv4 and IPv6 addresses so that prefixes are preserved (see
//! `address`), MAC addresses so that the vendor is (see `mac`). They are replaced in Ethernet headers; after VLAN, MPLS
//! and PPPoE tags; in ARP; in IP headers, with their options and extension headers; in IP within IP; in ICMP errors and
//! the packets that they quote; in neighbour discovery and multicast listener reports. Checksums are updated, not
//! recomputed. A frame may be truncated anywhere.
//!
//! **Not hidden** are times, lengths, ports, the other header fields (IP identifiers, TTLs, TCP sequence numbers and
//! timestamps distinguish systems), the vendor's half of MAC addresses, multicast groups, and all application data:
//! names in DNS, addresses in DHCP, SIP or FTP, in LLDP and spanning trees, in routing protocols, packets inside GRE,
//! VXLAN or Geneve tunnels, the address lists of SCTP and IGMPv3, Mobile IPv6's home address. A small snap length omits
//! most of that. An attacker who can send packets past the capture and read it afterwards learns how the prefixes that
//! he sent are mapped: no scheme that preserves prefixes can prevent this.

mod address;
mod cache;
mod checksum;
mod icmp;
mod ip;
mod link;
mod mac;

use self::address::Addresses;
use self::mac::Macs;

/// Maximum depth of packets within packets, such as those that an ICMP error quotes; anything deeper is treated as
/// payload. Real traffic has three.
const MOST_NESTED: u8 = 8;
/// Prefix of an IPv6 solicited-node group, and the offset of the part that is the end of an address (RFC 4291 section
/// 2.7.1).
const SOLICITED_NODE: (&[u8], usize) = (&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff], 13);

/// Replaces the addresses in frames. Under one key the mapping is always the same.
pub struct Anonymizer {
    addresses: Addresses,
    macs: Macs,
}

impl Anonymizer {
    /// The first half of `key` is the cipher's key, the second produces the padding, as in the published
    /// implementation.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { addresses: Addresses::new(key), macs: Macs::new(key) }
    }

    /// Replaces the addresses in an Ethernet frame; `bytes` may be only its start.
    pub fn frame(&mut self, bytes: &mut [u8]) {
        self.ethernet(bytes);
    }

    /// Replaces the addresses in a packet that begins with the IP header; `bytes` may be only its start.
    pub fn packet(&mut self, bytes: &mut [u8]) {
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) => self.ipv4(bytes, 0),
            Some(6) => self.ipv6(bytes, 0),
            _ => {}
        }
    }

    fn mac(&mut self, bytes: &mut [u8], at: usize) {
        self.macs.hide(part(bytes, at, mac::LENGTH));
    }

    fn v4(&mut self, bytes: &mut [u8], at: usize) {
        let field = part(bytes, at, 4);
        let mut whole = [0; 4];
        whole[..field.len()].copy_from_slice(field);
        let hidden = self.addresses.v4(u32::from_be_bytes(whole)).to_be_bytes();
        field.copy_from_slice(&hidden[..field.len()]);
    }

    fn v6(&mut self, bytes: &mut [u8], at: usize) {
        self.v6_prefix(bytes, at, 128);
    }

    /// Hides an IPv6 prefix of `length` bits: zeros after it stay; anything else there belongs to an address.
    fn v6_prefix(&mut self, bytes: &mut [u8], at: usize, length: u32) {
        let field = part(bytes, at, 16);
        if field.starts_with(SOLICITED_NODE.0) {
            self.macs.hide_solicited(&mut field[SOLICITED_NODE.1..]);
            return;
        }
        let mut whole = [0; 16];
        whole[..field.len()].copy_from_slice(field);
        let whole = u128::from_be_bytes(whole);
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let kept = if whole & host == 0 { host } else { 0 };
        let hidden = (self.addresses.v6(whole) & !kept).to_be_bytes();
        field.copy_from_slice(&hidden[..field.len()]);
    }
}

/// The part of a field that was recorded.
fn part(bytes: &mut [u8], at: usize, length: usize) -> &mut [u8] {
    let end = bytes.len().min(at.saturating_add(length));
    bytes.get_mut(at..end).unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
