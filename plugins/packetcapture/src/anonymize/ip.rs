//! IP headers, their payload, and the checksums over both.

use super::checksum::{Change, sum};
use super::{Anonymizer, MOST_NESTED, part, word};

/// Assigned Internet protocol numbers (IANA).
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const UDP_LITE: u8 = 136;
}

const V4_HEADER: usize = 20;
const V4_CHECKSUM: usize = 10;
const V4_ADDRESSES: usize = 12;
const V6_HEADER: usize = 40;
const V6_ADDRESSES: usize = 8;
/// Offset of a routing header's addresses (RFC 5095 for type 0, RFC 6275 for 2, RFC 8754 for 4).
const ROUTE: usize = 8;

impl Anonymizer {
    /// A packet that starts with an IPv4 header (RFC 791), at depth `nested`.
    pub(super) fn ipv4(&mut self, bytes: &mut [u8], nested: u8) {
        let Some(&first) = bytes.first() else { return };
        let header = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header < V4_HEADER || nested > MOST_NESTED {
            return;
        }
        let length = word(bytes, 2).map_or(0, usize::from);
        // 0 in segments that the kernel has not split yet, if they are longer than the field can express.
        let bytes = if length < header { bytes } else { part(bytes, 0, length) };
        let has_ports = word(bytes, 6).is_some_and(|fragment| fragment & 0x1fff == 0);
        let (head, payload) = bytes.split_at_mut(header.min(bytes.len()));
        let before = sum(part(head, V4_ADDRESSES, usize::MAX));
        let source_and_target = sum(part(head, V4_ADDRESSES, 8));
        let next_hop = sum(part(head, V4_ADDRESSES + 4, 4));
        self.v4(head, V4_ADDRESSES);
        self.v4(head, V4_ADDRESSES + 4);
        let mut pseudo_header = Change::between(source_and_target, sum(part(head, V4_ADDRESSES, 8)));
        let hop = Change::between(next_hop, sum(part(head, V4_ADDRESSES + 4, 4)));
        if let Some(end) = self.v4_options(part(head, V4_HEADER, usize::MAX)) {
            pseudo_header = pseudo_header.and(hop.reversed()).and(end);
        }
        Change::between(before, sum(part(head, V4_ADDRESSES, usize::MAX))).mend(head, V4_CHECKSUM);
        if let (true, Some(&protocol)) = (has_ports, head.get(9)) {
            self.transport(protocol, payload, pseudo_header, nested);
        }
    }

    /// Hides the addresses in options. A pending source route ends at an address of its own, which is part of the
    /// pseudo-header: its change is returned.
    fn v4_options(&mut self, mut options: &mut [u8]) -> Option<Change> {
        let mut end = None;
        while let Some(&kind) = options.first() {
            // End of list and no operation: the only options without a length.
            let length = match kind {
                0 => break,
                1 => 1,
                _ => options.get(1).map_or(0, |length| usize::from(*length)),
            };
            if length == 0 || (kind != 1 && length < 2) {
                break;
            }
            let (option, rest) = options.split_at_mut(length.min(options.len()));
            match kind {
                // Record route, loose and strict source route: a pointer, then addresses.
                7 | 131 | 137 => {
                    let last = length.saturating_sub(4).max(3);
                    let is_to_go = kind != 7 && option.get(2).is_some_and(|pointer| usize::from(*pointer) <= length);
                    let before = sum(part(option, last, 4));
                    for at in (3..option.len()).step_by(4) {
                        self.v4(option, at);
                    }
                    if is_to_go && option.len() > last {
                        end = Some(Change::between(before, sum(part(option, last, 4))));
                    }
                }
                // Timestamps: preceded by addresses if the flag says so.
                68 if option.get(3).is_some_and(|flag| matches!(flag & 0xf, 1 | 3)) => {
                    for at in (4..option.len()).step_by(8) {
                        self.v4(option, at);
                    }
                }
                _ => {}
            }
            options = rest;
        }
        end
    }

    /// A packet that starts with an IPv6 header (RFC 8200), at depth `nested`.
    pub(super) fn ipv6(&mut self, bytes: &mut [u8], nested: u8) {
        if bytes.first().is_none_or(|first| first >> 4 != 6) || nested > MOST_NESTED {
            return;
        }
        let length = word(bytes, 4).map_or(0, usize::from);
        // 0 in jumbograms, and in segments that the kernel has not split yet.
        let bytes = if length == 0 { bytes } else { part(bytes, 0, V6_HEADER + length) };
        let (head, mut payload) = bytes.split_at_mut(V6_HEADER.min(bytes.len()));
        let from = sum(part(head, V6_ADDRESSES, 16));
        let to = sum(part(head, V6_ADDRESSES + 16, 16));
        self.v6(head, V6_ADDRESSES);
        self.v6(head, V6_ADDRESSES + 16);
        let from = Change::between(from, sum(part(head, V6_ADDRESSES, 16)));
        let mut to = Change::between(to, sum(part(head, V6_ADDRESSES + 16, 16)));
        let Some(&(mut next)) = head.get(6) else { return };
        loop {
            let units = payload.get(1).map_or(0, |units| usize::from(*units));
            let header = match next {
                protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::ROUTING | protocol::MOBILITY => {
                    (units + 1) * 8
                }
                protocol::FRAGMENT => 8,
                protocol::AUTHENTICATION => (units + 2) * 4,
                _ => return self.transport(next, payload, from.and(to), nested),
            };
            let (extension, rest) = payload.split_at_mut(header.min(payload.len()));
            let Some(&after) = extension.first() else { return };
            match next {
                protocol::ROUTING => to = self.route(extension).unwrap_or(to),
                // Only the first fragment has a transport header.
                protocol::FRAGMENT if word(extension, 2).is_none_or(|offset| offset >> 3 != 0) => return,
                _ => {}
            }
            (next, payload) = (after, rest);
        }
    }

    /// Hides the addresses in a routing header. Returns the change of the last hop's address, which is part of the
    /// pseudo-header until it is reached.
    fn route(&mut self, extension: &mut [u8]) -> Option<Change> {
        let &[_, units, kind, to_go, ..] = &*extension else { return None };
        let count = match kind {
            0 | 2 => usize::from(units) / 2,
            // Options may follow the segments; the list's last index says where they start.
            4 => (usize::from(units) / 2).min(extension.get(4).map_or(0, |last| usize::from(*last) + 1)),
            _ => return None,
        };
        // Segment routing lists them from the last to the first.
        let last = ROUTE + if kind == 4 { 0 } else { count.saturating_sub(1) * 16 };
        let before = sum(part(extension, last, 16));
        for segment in 0..count {
            self.v6(extension, ROUTE + segment * 16);
        }
        let change = Change::between(before, sum(part(extension, last, 16)));
        (to_go > 0 && count > 0).then_some(change)
    }

    fn transport(&mut self, protocol: u8, bytes: &mut [u8], pseudo_header: Change, nested: u8) {
        match protocol {
            protocol::TCP => pseudo_header.mend(bytes, 16),
            protocol::UDP => pseudo_header.mend_udp(bytes, 6),
            protocol::UDP_LITE | protocol::DCCP => pseudo_header.mend(bytes, 6),
            protocol::ICMP => self.icmp(bytes, nested),
            protocol::ICMPV6 => self.icmpv6(bytes, pseudo_header, nested),
            protocol::IPV4 => self.ipv4(bytes, nested + 1),
            protocol::IPV6 => self.ipv6(bytes, nested + 1),
            _ => {}
        }
    }
}
