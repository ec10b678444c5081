//! What the kernel's messages say about netdevs. Pure.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Prop};

use crate::netdev::{Framing, Link, Peer};

/// What the kernel counted on a netdev.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

/// Whether a message is about a netdev itself. One of another family is about its place in something else: the kernel's
/// bridge calls a netdev deleted that only leaves the bridge (`del_nbp()` in net/bridge/br_if.c).
pub(in crate::sys) fn is_netdev(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

pub(in crate::sys) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        alt_names: Vec::new(),
        mac: String::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Running),
        carrier_losses: 0,
        epoch: 0,
        framing: match message.header.link_layer_type {
            LinkLayerType::Ether => Framing::Ethernet,
            LinkLayerType::Loopback => Framing::Loopback,
            // As libpcap has it (`map_arphrd_to_dlt()` in pcap-linux.c), and tunnels without headers of their own.
            LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Rawip
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Ipgre
            | LinkLayerType::Ip6gre => Framing::RawIp,
            _ => Framing::Other,
        },
        master: None,
        peer: None,
    };
    link.peer = peer(message);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::CarrierDownCount(count) => link.carrier_losses = *count,
            LinkAttribute::Controller(master) => link.master = Some(*master).filter(|master| *master != 0),
            LinkAttribute::PropList(properties) => {
                link.alt_names = properties
                    .iter()
                    .filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name.clone()),
                        _ => None,
                    })
                    .collect();
            }
            LinkAttribute::Address(bytes) => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                link.mac = bytes.join(":");
            }
            _ => {}
        }
    }
    link
}

/// The other end of a pair, where that is in another namespace. Other netdevs that refer to one of another namespace, such
/// as a macvlan, do not carry its packets.
fn peer(message: &LinkMessage) -> Option<Peer> {
    let (mut nsid, mut ifindex, mut is_pair) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkNetNsId(id) => nsid = Some(*id),
            LinkAttribute::Link(index) => ifindex = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                is_pair = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth | InfoKind::Netkit)));
            }
            _ => {}
        }
    }
    is_pair.then_some(Peer { nsid: nsid?, ifindex: ifindex? })
}

pub(super) fn traffic(message: &LinkMessage) -> Traffic {
    let counted = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(Traffic {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
        }),
        _ => None,
    });
    counted.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::NetdevState;
    use rtnetlink::packet_route::link::Stats64;

    use super::*;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_netdev_is_read_from_its_attributes() {
        let mut told = message(vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Mtu(9000),
            LinkAttribute::CarrierDownCount(5),
            LinkAttribute::Controller(3),
            LinkAttribute::PropList(vec![Prop::AltIfName("uplink".to_owned()), Prop::AltIfName("wan".to_owned())]),
            LinkAttribute::Address(vec![0x02, 0, 0, 0xab, 0x0c, 0xff]),
            LinkAttribute::PermAddress(vec![1; 6]),
        ]);
        told.header.flags = LinkFlags::Up | LinkFlags::Running | LinkFlags::Broadcast;
        let expected = Link {
            ifindex: 7,
            name: "eth0".to_owned(),
            alt_names: vec!["uplink".to_owned(), "wan".to_owned()],
            mac: "02:00:00:ab:0c:ff".to_owned(),
            mtu: 9000,
            up: true,
            running: true,
            carrier_losses: 5,
            epoch: 0,
            framing: Framing::Ethernet,
            master: Some(3),
            peer: None,
        };
        assert_eq!(link(&told), expected);
    }

    #[test]
    fn a_netdev_that_left_its_bridge_has_no_master() {
        assert_eq!(link(&message(vec![LinkAttribute::Controller(0)])).master, None);
        let bare = link(&message(Vec::new()));
        assert_eq!(
            (bare.master, bare.state(), bare.mac.as_str(), bare.alt_names.len()),
            (None, NetdevState::Down, "", 0)
        );
    }

    #[test]
    fn only_a_pair_that_leads_elsewhere_has_a_peer() {
        let of = |kind, attributes: &[LinkAttribute]| {
            let info = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]);
            link(&message([&[info], attributes].concat())).peer
        };
        let elsewhere = [LinkAttribute::Link(5), LinkAttribute::LinkNetNsId(2)];
        assert_eq!(of(InfoKind::Veth, &elsewhere), Some(Peer { nsid: 2, ifindex: 5 }));
        assert_eq!(of(InfoKind::Netkit, &elsewhere), Some(Peer { nsid: 2, ifindex: 5 }));
        assert_eq!(of(InfoKind::MacVlan, &elsewhere), None);
        assert_eq!(of(InfoKind::Veth, &elsewhere[..1]), None, "it leads nowhere else");
    }

    #[test]
    fn framing_is_that_of_the_link_layer() {
        for (layer, framing) in [
            (LinkLayerType::Ether, Framing::Ethernet),
            (LinkLayerType::Loopback, Framing::Loopback),
            (LinkLayerType::None, Framing::RawIp),
            (LinkLayerType::Ppp, Framing::RawIp),
            (LinkLayerType::Ipgre, Framing::RawIp),
            (LinkLayerType::Can, Framing::Other),
        ] {
            let mut message = message(Vec::new());
            message.header.link_layer_type = layer;
            assert_eq!(link(&message).framing, framing, "{layer:?}");
        }
    }

    #[test]
    fn counters_are_those_of_64_bits() {
        let mut stats = Stats64::default();
        (stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.tx_bytes) = (1, 1 << 40, 3, 4);
        let counted = Traffic { rx_packets: 1, rx_bytes: 1 << 40, tx_packets: 3, tx_bytes: 4 };
        assert_eq!(traffic(&message(vec![LinkAttribute::Mtu(1500), LinkAttribute::Stats64(stats)])), counted);
        assert_eq!(traffic(&message(vec![LinkAttribute::Mtu(1500)])), Traffic::default());
    }
}
