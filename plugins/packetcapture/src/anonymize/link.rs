//! Ethernet, the headers between it and IP, and ARP.

use super::{Anonymizer, mac, part, word};

const HEADER: usize = 2 * mac::LENGTH;
/// IEEE 802.3: a smaller value is a length, and LLC follows.
const SMALLEST_TYPE: u16 = 0x600;
/// LLC and SNAP headers that precede an EtherType (RFC 1042).
const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad, and the EtherType that QinQ used before.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const MPLS: [u16; 2] = [0x8847, 0x8848];
const PPPOE_SESSION: u16 = 0x8864;
/// RFC 2516: the header after the EtherType; PPP's protocol follows.
const PPPOE_HEADER: usize = 6;
/// IANA, PPP protocol numbers.
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
/// RFC 826: Ethernet and IPv4, with addresses of 6 and 4 bytes.
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_SENDER: usize = 8;
const ARP_TARGET: usize = 18;

impl Anonymizer {
    pub(super) fn ethernet(&mut self, bytes: &mut [u8]) {
        self.mac(bytes, 0);
        self.mac(bytes, mac::LENGTH);
        let mut at = HEADER;
        loop {
            let Some(kind) = word(bytes, at) else { return };
            at += 2;
            match kind {
                _ if TAGS.contains(&kind) => at += 2,
                ..SMALLEST_TYPE if part(bytes, at, SNAP.len()) == SNAP => at += SNAP.len(),
                _ => return self.payload(kind, part(bytes, at, usize::MAX)),
            }
        }
    }

    fn payload(&mut self, kind: u16, bytes: &mut [u8]) {
        match kind {
            IPV4 => self.ipv4(bytes, 0),
            IPV6 => self.ipv6(bytes, 0),
            ARP | RARP => self.arp(bytes),
            PPPOE_SESSION => match word(bytes, PPPOE_HEADER) {
                Some(PPP_IPV4) => self.ipv4(&mut bytes[PPPOE_HEADER + 2..], 0),
                Some(PPP_IPV6) => self.ipv6(&mut bytes[PPPOE_HEADER + 2..], 0),
                _ => {}
            },
            _ if MPLS.contains(&kind) => self.mpls(bytes),
            _ => {}
        }
    }

    /// RFC 3032: labels of four bytes, up to the one marked as last; the payload's version identifies it.
    fn mpls(&mut self, bytes: &mut [u8]) {
        let Some(last) = bytes.as_chunks::<4>().0.iter().position(|label| label[2] & 1 != 0) else { return };
        self.packet(&mut bytes[(last + 1) * 4..]);
    }

    fn arp(&mut self, bytes: &mut [u8]) {
        if !bytes.starts_with(&ARP_OF_IPV4) {
            return;
        }
        for at in [ARP_SENDER, ARP_TARGET] {
            self.mac(bytes, at);
            self.v4(bytes, at + mac::LENGTH);
        }
    }
}
