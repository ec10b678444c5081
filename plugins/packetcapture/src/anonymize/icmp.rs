//! ICMP and ICMPv6: the packets that errors quote, and the addresses in messages.

use super::checksum::{Change, sum};
use super::{Anonymizer, part, word};

/// Offset of the body, and of the packet that an error quotes.
const BODY: usize = 8;
const CHECKSUM: usize = 2;

impl Anonymizer {
    /// RFC 792: the checksum covers only the message.
    pub(super) fn icmp(&mut self, bytes: &mut [u8], nested: u8) {
        let Some(&kind) = bytes.first() else { return };
        let has_addresses = matches!(kind, 3 | 4 | 5 | 9 | 11 | 12);
        if !has_addresses {
            return;
        }
        let before = sum(bytes);
        match kind {
            // RFC 1256, routers: an address and its preference each.
            9 => (BODY..bytes.len()).step_by(8).for_each(|at| self.v4(bytes, at)),
            // A redirect contains the better router.
            5 => {
                self.v4(bytes, 4);
                self.ipv4(part(bytes, BODY, usize::MAX), nested + 1);
            }
            _ => self.ipv4(part(bytes, BODY, usize::MAX), nested + 1),
        }
        Change::between(before, sum(bytes)).mend(bytes, CHECKSUM);
    }

    /// RFC 4443: the checksum covers the pseudo-header as well.
    pub(super) fn icmpv6(&mut self, bytes: &mut [u8], pseudo_header: Change, nested: u8) {
        let Some(&kind) = bytes.first() else { return };
        let before = sum(bytes);
        match kind {
            // Errors.
            1..=4 => self.ipv6(part(bytes, BODY, usize::MAX), nested + 1),
            // Multicast listeners (RFC 2710, RFC 9777).
            130..=132 => self.listeners(bytes),
            143 => self.reports(bytes),
            // Neighbour discovery (RFC 4861): solicitation of routers, their advertisements, then of neighbours.
            133 => self.options(part(bytes, BODY, usize::MAX), nested),
            134 => self.options(part(bytes, 16, usize::MAX), nested),
            135 | 136 => {
                self.v6(bytes, BODY);
                self.options(part(bytes, 24, usize::MAX), nested);
            }
            // Redirects: target and destination.
            137 => {
                self.v6(bytes, BODY);
                self.v6(bytes, 24);
                self.options(part(bytes, 40, usize::MAX), nested);
            }
            _ => {}
        }
        pseudo_header.and(Change::between(before, sum(bytes))).mend(bytes, CHECKSUM);
    }

    /// Options of neighbour discovery: type, length in units of 8 bytes, value.
    fn options(&mut self, mut options: &mut [u8], nested: u8) {
        while let Some((&[kind, units], _)) = options.split_first_chunk::<2>() {
            let length = usize::from(units) * 8;
            if length == 0 {
                return;
            }
            let (option, rest) = options.split_at_mut(length.min(options.len()));
            match kind {
                // Link-layer addresses of source and target. Those of other links are longer.
                1 | 2 if units == 1 => self.mac(option, 2),
                // Prefixes on the link, and routes (RFC 4191): the third byte is their length in bits.
                3 => self.prefix_option(option, 16),
                24 => self.prefix_option(option, 8),
                // A redirected packet.
                4 => self.ipv6(part(option, 8, usize::MAX), nested + 1),
                // Name servers (RFC 8106).
                25 => (8..option.len()).step_by(16).for_each(|at| self.v6(option, at)),
                _ => {}
            }
            options = rest;
        }
    }

    fn prefix_option(&mut self, option: &mut [u8], at: usize) {
        let length = option.get(2).map_or(0, |length| u32::from(*length));
        self.v6_prefix(option, at, length.min(128));
    }

    /// A query or a report of one group; a query of version 2 lists sources.
    fn listeners(&mut self, bytes: &mut [u8]) {
        self.v6(bytes, BODY);
        (28..bytes.len()).step_by(16).for_each(|at| self.v6(bytes, at));
    }

    /// A report of version 2: records of a group, its sources and auxiliary data.
    fn reports(&mut self, bytes: &mut [u8]) {
        let mut at = BODY;
        while let (Some(&more), Some(sources)) = (bytes.get(at + 1), word(bytes, at + 2)) {
            let end = at + 20 + usize::from(sources) * 16;
            for at in (at + 4..end.min(bytes.len())).step_by(16) {
                self.v6(bytes, at);
            }
            at = end + usize::from(more) * 4;
        }
    }
}
