//! Where readers of PCAP-over-IP connect.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::format::Format;

/// A TCP port that hands out packets, and their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverIp {
    pub(crate) address: SocketAddr,
    pub(crate) format: Format,
}

/// A text that does not say where to listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a place to listen at: give a port of 127.0.0.1, such as 57012, or ADDRESS:PORT, and after a slash pcap, \
     pcap-nanos or pcapng, such as 57012/pcapng; or give none"
)]
pub(crate) struct OverIpError(String);

impl FromStr for OverIp {
    type Err = OverIpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (place, format) = match text.split_once('/') {
                Some((place, name)) => (place, Format::parse_name(name)?),
                None => (text, Format::Pcap),
            };
            let port = place.strip_prefix(':').unwrap_or(place);
            let address = match port.parse() {
                Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
                Err(_) => place.parse().ok()?,
            };
            (address.port() != 0).then_some(Self { address, format })
        };
        read().ok_or_else(|| OverIpError(text.to_owned()))
    }
}

impl OverIp {
    /// The word for not being served anywhere.
    pub(crate) const NONE: &str = "none";

    /// Matches the packets to readers and from them.
    pub(crate) fn expression(&self) -> String {
        let (address, port) = (self.address.ip().to_canonical(), self.address.port());
        if address.is_unspecified() {
            format!("tcp port {port}")
        } else {
            format!("tcp and host {address} and port {port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Format)>) {
        let found = text.parse::<OverIp>().ok();
        let expected = expected.map(|(address, format)| OverIp { address: address.parse().unwrap(), format });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_port_alone_is_this_machine_s() {
        check("57012", Some(("127.0.0.1:57012", Format::Pcap)));
        check(":57012", Some(("127.0.0.1:57012", Format::Pcap)));
        check("57012/pcapng", Some(("127.0.0.1:57012", Format::Pcapng)));
        check("0.0.0.0:1/pcap-nanos", Some(("0.0.0.0:1", Format::PcapNanos)));
        check("[::1]:57012", Some(("[::1]:57012", Format::Pcap)));
        for text in
            ["", "0", "none", "65536", "localhost:57012", "192.0.2.1", "57012/", "57012/erf", "57012/pcap/", ":::1"]
        {
            check(text, None);
        }
    }

    #[test]
    fn its_own_packets_are_matched() {
        let expression = |text: &str| text.parse::<OverIp>().unwrap().expression();
        assert_eq!(expression("57012"), "tcp and host 127.0.0.1 and port 57012");
        assert_eq!(expression("[::ffff:192.0.2.1]:57012"), "tcp and host 192.0.2.1 and port 57012");
        assert_eq!(expression("0.0.0.0:57012"), "tcp port 57012");
    }
}
