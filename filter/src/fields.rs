//! Five fields, all of which must match, as a pcap expression.
//!
//! libpcap decides what they match, within up to two VLAN tags; two details are worth knowing. Addresses are those of IP
//! packets, so ARP never matches a prefix. And of IPv6's extension headers libpcap follows only the fragment header, and
//! only for the protocol: ports are expected right after the fixed header. (In an expression, `protochain` follows the
//! others.) Fragments after the first have no ports and match none.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// What a packet must have; unset fields match anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Source prefix. Host bits are ignored.
    pub src: Option<IpNet>,
    /// Destination prefix.
    pub dst: Option<IpNet>,
    /// Source port, of a protocol that has ports: see [`Fields::expression`].
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// Protocol over IP.
    pub l4proto: Option<Protocol>,
}

/// A protocol over IP, by its number (IANA, "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

/// Protocols with names.
const NAMES: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("sctp", 132)];
/// Protocols with ports that libpcap's `port` knows.
const WITH_PORTS: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];
/// Protocols with ports at the same offset that it does not know: DCCP (RFC 4340, section 5.1), UDP-Lite (RFC 3828,
/// section 3.1).
const WITH_PORTS_TOO: [u8; 2] = [33, 136];

/// Fields that no packet can match together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// Prefixes of different families.
    #[error("src={src} and dst={dst} are of different families, and no packet belongs to both: clear one of them")]
    Families {
        /// The source.
        src: IpNet,
        /// The destination.
        dst: IpNet,
    },
    /// ICMP of the other family.
    #[error("l4proto={protocol} is not carried by the family of {prefix}: clear one of them")]
    Family {
        /// The protocol.
        protocol: Protocol,
        /// A prefix of the wrong family.
        prefix: IpNet,
    },
    /// Ports with a protocol that has none.
    #[error("l4proto={0} has no ports: clear sport and dport, or l4proto")]
    NoPorts(Protocol),
}

/// A text that is not a protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a protocol: give tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255")]
pub struct ProtocolError(String);

/// A text that is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a prefix: give an address and its length, such as 10.10.10.0/24")]
pub struct PrefixError(String);

/// Parses a prefix, or an address as the prefix of full length.
///
/// # Errors
/// It is neither.
pub fn prefix(text: &str) -> Result<IpNet, PrefixError> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| PrefixError(text.to_owned()))
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let named = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        // `u8::from_str` would accept a sign.
        let number = || text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()));
        named.or_else(number).map(Self).ok_or_else(|| ProtocolError(text.to_owned()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Fields {
    /// The equivalent expression for a packet without a VLAN tag; `None` if no field is set.
    ///
    /// Ports are those of TCP, UDP, SCTP, DCCP and UDP-Lite.
    ///
    /// # Errors
    /// Fields that no packet can match together.
    pub fn expression(&self) -> Result<Option<String>, FieldsError> {
        self.check()?;
        let mut terms = Vec::new();
        for (direction, prefix) in [("src", self.src), ("dst", self.dst)] {
            terms.extend(prefix.map(|prefix| net(direction, prefix)));
        }
        let ports = [("src", 0, self.sport), ("dst", 2, self.dport)];
        let has_ports = ports.iter().any(|(_, _, port)| port.is_some());
        match self.l4proto {
            Some(protocol) if has_ports => terms.push(with_ports(protocol, &ports)),
            Some(protocol) => terms.push(carries(protocol)),
            None if has_ports => terms.push(any_with_ports(&ports)),
            None => {}
        }
        Ok((!terms.is_empty()).then(|| terms.join(" and ")))
    }

    fn check(&self) -> Result<(), FieldsError> {
        if let (Some(src), Some(dst)) = (self.src, self.dst)
            && src.addr().is_ipv4() != dst.addr().is_ipv4()
        {
            return Err(FieldsError::Families { src, dst });
        }
        let Some(protocol) = self.l4proto else { return Ok(()) };
        let is_foreign = |prefix: &IpNet| match protocol.0 {
            1 => prefix.addr().is_ipv6(),
            58 => prefix.addr().is_ipv4(),
            _ => false,
        };
        if let Some(prefix) = self.src.iter().chain(&self.dst).find(|prefix| is_foreign(prefix)) {
            return Err(FieldsError::Family { protocol, prefix: *prefix });
        }
        let mut known = WITH_PORTS.iter().map(|(_, number)| *number).chain(WITH_PORTS_TOO);
        if self.sport.or(self.dport).is_some() && !known.any(|number| number == protocol.0) {
            return Err(FieldsError::NoPorts(protocol));
        }
        Ok(())
    }
}

fn net(direction: &str, prefix: IpNet) -> String {
    let family = if prefix.addr().is_ipv4() { "ip" } else { "ip6" };
    format!("{family} {direction} net {}", prefix.trunc())
}

fn carries(protocol: Protocol) -> String {
    match protocol.0 {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        // Each ICMP belongs to one family.
        1 => "icmp".to_owned(),
        58 => "icmp6".to_owned(),
        number => format!("(ip proto {number} or ip6 proto {number})"),
    }
}

/// Offset of a port in IP's payload.
type Ports<'a> = [(&'a str, u32, Option<u16>)];

/// Ports in libpcap's terms.
fn with_ports(protocol: Protocol, ports: &Ports<'_>) -> String {
    match WITH_PORTS.iter().find(|(_, number)| *number == protocol.0) {
        Some((name, _)) => known(&format!("{name} "), ports),
        None => unknown(&[protocol.0], ports),
    }
}

fn any_with_ports(ports: &Ports<'_>) -> String {
    format!("({} or {})", known("", ports), unknown(&WITH_PORTS_TOO, ports))
}

fn known(protocol: &str, ports: &Ports<'_>) -> String {
    let terms =
        ports.iter().filter_map(|(direction, _, port)| Some(format!("{protocol}{direction} port {}", (*port)?)));
    format!("({})", terms.collect::<Vec<_>>().join(" and "))
}

/// The equivalent of libpcap's `port` for protocols that it does not cover.
fn unknown(protocols: &[u8], ports: &Ports<'_>) -> String {
    let any =
        |field: &str| protocols.iter().map(|number| format!("{field} = {number}")).collect::<Vec<_>>().join(" or ");
    let all = |place: &dyn Fn(u32) -> String| {
        let terms = ports.iter().filter_map(|(_, at, port)| Some(format!("{} = {}", place(*at), (*port)?)));
        terms.collect::<Vec<_>>().join(" and ")
    };
    let in_ip = all(&|at| format!("ip[((ip[0] & 0xf) << 2) + {at} : 2]"));
    let in_ip6 = all(&|at| format!("ip6[{} : 2]", 40 + at));
    // In this language `and` does not bind tighter than `or`.
    let in_ip = format!("(({}) and ip[6 : 2] & 0x1fff = 0 and {in_ip})", any("ip[9]"));
    let in_ip6 = format!("(({}) and {in_ip6})", any("ip6[6]"));
    format!("({in_ip} or {in_ip6})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Link, raw};

    /// Sets fields as the command line does.
    fn fields(text: &str) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in text.split_whitespace().filter_map(|field| field.split_once('=')) {
            match name {
                "src" => fields.src = Some(value.parse().unwrap()),
                "dst" => fields.dst = Some(value.parse().unwrap()),
                "sport" => fields.sport = Some(value.parse().unwrap()),
                "dport" => fields.dport = Some(value.parse().unwrap()),
                _ => fields.l4proto = Some(value.parse().unwrap()),
            }
        }
        fields
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expression = fields(text).expression().unwrap().unwrap();
        assert_eq!(expression, expected);
        raw(&expression, Link::default()).unwrap();
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(fields(text).expression().unwrap_err().to_string(), expected);
    }

    #[test]
    fn prefixes_lose_their_host_bits() {
        check("src=10.10.10.10/24", "ip src net 10.10.10.0/24");
        check("src=0.0.0.0/0 dst=10.10.10.10/32", "ip src net 0.0.0.0/0 and ip dst net 10.10.10.10/32");
        check("dst=2001:db8::1/33 src=::/0", "ip6 src net ::/0 and ip6 dst net 2001:db8::/33");
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        check("l4proto=tcp", "tcp");
        check("l4proto=6", "tcp");
        check("l4proto=icmpv6", "icmp6");
        check("l4proto=0", "(ip proto 0 or ip6 proto 0)");
        check("src=10.0.0.0/8 l4proto=89", "ip src net 10.0.0.0/8 and (ip proto 89 or ip6 proto 89)");
        for wrong in ["256", "-1", "+6", "TCP", "", "icmp6"] {
            assert_eq!(wrong.parse::<Protocol>(), Err(ProtocolError(wrong.to_owned())));
        }
    }

    #[test]
    fn ports_are_those_of_every_protocol_that_has_them() {
        check("l4proto=udp sport=53 dport=1024", "(udp src port 53 and udp dst port 1024)");
        check(
            "dport=80",
            "((dst port 80) or (((ip[9] = 33 or ip[9] = 136) and ip[6 : 2] & 0x1fff = 0 and \
             ip[((ip[0] & 0xf) << 2) + 2 : 2] = 80) or ((ip6[6] = 33 or ip6[6] = 136) and ip6[42 : 2] = 80)))",
        );
        check(
            "l4proto=136 sport=80 src=::1/128",
            "ip6 src net ::1/128 and (((ip[9] = 136) and ip[6 : 2] & 0x1fff = 0 and \
             ip[((ip[0] & 0xf) << 2) + 0 : 2] = 80) or ((ip6[6] = 136) and ip6[40 : 2] = 80))",
        );
    }

    #[test]
    fn nothing_set_gives_no_expression() {
        assert_eq!(Fields::default().expression(), Ok(None));
    }

    #[test]
    fn what_no_packet_has_together_is_refused() {
        check_refused(
            "src=10.0.0.0/8 dst=::1/128",
            "src=10.0.0.0/8 and dst=::1/128 are of different families, and no packet belongs to both: clear one of them",
        );
        check_refused(
            "dst=10.0.0.0/8 l4proto=icmpv6",
            "l4proto=icmpv6 is not carried by the family of 10.0.0.0/8: clear one of them",
        );
        check_refused("sport=80 l4proto=icmp", "l4proto=icmp has no ports: clear sport and dport, or l4proto");
    }
}
