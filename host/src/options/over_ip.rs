//! The value of `--pcap-over-ip`: checked here, so that a start with a wrong one fails, and read by the plugin.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What a reader can get.
const FORMATS: [&str; 3] = ["pcap", "pcap-nanos", "pcapng"];

/// Where captures are served by PCAP-over-IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverIp {
    pub address: SocketAddr,
    /// As it was written.
    pub text: String,
}

/// It does not say where to listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "give a port of 127.0.0.1, such as 57012, or ADDRESS:PORT, and after a slash pcap, pcap-nanos or pcapng, such as \
     57012/pcapng"
)]
pub(crate) struct OverIpError;

impl FromStr for OverIp {
    type Err = OverIpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, format) = text.split_once('/').unwrap_or((text, FORMATS[0]));
        let port = place.strip_prefix(':').unwrap_or(place);
        let address = match port.parse() {
            Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            Err(_) => place.parse().map_err(|_| OverIpError)?,
        };
        if address.port() == 0 || !FORMATS.contains(&format) {
            return Err(OverIpError);
        }
        Ok(Self { address, text: text.to_owned() })
    }
}

impl OverIp {
    /// What an operator should know about it.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { address, .. } = self;
        (!address.ip().is_loopback())
            .then(|| format!("--pcap-over-ip: everybody who reaches {address} reads the packets of all captures"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_this_machine_s() {
        let address = |text: &str| text.parse::<OverIp>().ok().map(|found| found.address.to_string());
        assert_eq!(address("57012").as_deref(), Some("127.0.0.1:57012"));
        assert_eq!(address(":57012/pcapng").as_deref(), Some("127.0.0.1:57012"));
        assert_eq!(address("[::]:1").as_deref(), Some("[::]:1"));
        for text in ["", "0", "none", "localhost:1", "192.0.2.1", "1/erf"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn what_opens_packets_to_others_is_warned_of() {
        let warning = |text: &str| text.parse::<OverIp>().unwrap().warning();
        assert_eq!((warning("57012"), warning("[::1]:57012")), (None, None));
        assert!(warning("0.0.0.0:57012").is_some_and(|line| line.contains("everybody who reaches 0.0.0.0:57012")));
    }
}
