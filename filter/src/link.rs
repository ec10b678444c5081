//! What the packets look like: how they begin, and the network that they are on.

#![forbid(unsafe_code)]

use std::ffi::c_int;

use super::netmask::Netmask;

/// What a packet begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// The IP header: on tunnels without a link layer, such as tun and WireGuard.
    RawIp,
}

/// The link on which packets are filtered; by default, Ethernet with an unknown netmask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What a packet begins with.
    pub link_type: LinkType,
    /// On which `ip broadcast` depends.
    pub netmask: Netmask,
}

impl From<Netmask> for Link {
    /// Ethernet.
    fn from(netmask: Netmask) -> Self {
        Self { link_type: LinkType::Ethernet, netmask }
    }
}

impl From<LinkType> for Link {
    /// Without a netmask.
    fn from(link_type: LinkType) -> Self {
        Self { link_type, netmask: Netmask::default() }
    }
}

impl LinkType {
    /// libpcap's number (`DLT_*` in pcap/dlt.h).
    pub(crate) fn number(self) -> c_int {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 12,
        }
    }
}
