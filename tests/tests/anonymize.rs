//! Do addresses never leave the daemon, and is everything else unchanged?

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use etherparse::{Ipv4Header, NetHeaders, PacketHeaders, TransportHeader};
use polycube_tests::pcap::{self, Record};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender, sequence_of};
use serde_json::json;

/// Addresses that share long prefixes, short ones, and none.
const V4: [&str; 6] = ["10.1.2.3", "10.1.2.4", "10.1.200.4", "10.77.2.3", "192.168.1.1", "8.8.8.8"];
const V6: [&str; 4] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:7::1", "fd00::1"];

/// Packets from each address to each other one of its family, with every protocol whose checksum covers addresses.
fn flows(base: Flow) -> Vec<Flow> {
    let pairs = |addresses: &'static [&'static str]| {
        addresses.iter().flat_map(move |from| addresses.iter().map(move |to| base.with_ips(from, to)))
    };
    pairs(&V4).chain(pairs(&V6)).filter(|flow| flow.from.ip != flow.to.ip).collect()
}

fn addresses(frame: &[u8]) -> Result<[IpAddr; 2]> {
    match PacketHeaders::from_ethernet_slice(frame)?.net.context("an IP packet")? {
        NetHeaders::Ipv4(ip, _) => Ok([ip.source, ip.destination].map(|ip| Ipv4Addr::from(ip).into())),
        NetHeaders::Ipv6(ip, _) => Ok([ip.source, ip.destination].map(|ip| Ipv6Addr::from(ip).into())),
        NetHeaders::Arp(_) => anyhow::bail!("an ARP packet"),
    }
}

/// The length of the common prefix of two addresses in bits; `None` for two families.
fn common_prefix(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        _ => None,
    }
}

/// Asserts that each checksum is correct for the packet as it is now.
fn check_checksums(frame: &[u8]) -> Result<()> {
    let packet = PacketHeaders::from_ethernet_slice(frame)?;
    let (net, transport) = (packet.net.context("an IP packet")?, packet.transport.context("a transport header")?);
    let payload = packet.payload.slice();
    match net {
        NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            check_transport_v4(&ip, &transport, payload)
        }
        NetHeaders::Ipv6(ip, _) => {
            let (stored, computed) = match &transport {
                TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv6(&ip, payload)?),
                TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload)?),
                TransportHeader::Icmpv6(icmp) => {
                    (icmp.checksum, icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload)?)
                }
                _ => anyhow::bail!("not over IPv6: {transport:?}"),
            };
            assert_eq!(stored, computed, "{transport:?}");
            Ok(())
        }
        NetHeaders::Arp(_) => anyhow::bail!("an ARP packet"),
    }
}

fn check_transport_v4(ip: &Ipv4Header, transport: &TransportHeader, payload: &[u8]) -> Result<()> {
    let (stored, computed) = match transport {
        TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv4(ip, payload)?),
        TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload)?),
        TransportHeader::Icmpv4(icmp) => (icmp.checksum, icmp.icmp_type.calc_checksum(payload)),
        _ => anyhow::bail!("not over IPv4: {transport:?}"),
    };
    assert_eq!(stored, computed, "{transport:?}");
    Ok(())
}

/// What each address was replaced by; asserts that it is the same in every packet.
fn replacements(sent: &[Vec<u8>], records: &[Record]) -> Result<BTreeMap<IpAddr, IpAddr>> {
    let mut replaced = BTreeMap::new();
    for (sent, record) in sent.iter().zip(records) {
        for (before, after) in addresses(sent)?.into_iter().zip(addresses(&record.bytes)?) {
            let first = *replaced.entry(before).or_insert(after);
            assert_eq!(first, after, "{before} is not always replaced by the same address");
        }
    }
    Ok(replaced)
}

#[test]
fn addresses_are_gone_and_prefixes_are_kept() -> Result<()> {
    for (setting, format) in [("anonimize", "pcap"), ("anonymize", "pcapng")] {
        let scene = Scene::bridge(2)?;
        scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", setting: true, "format": format }))?;
        assert_eq!(scene.get("sniffer/anonimize")?, true);
        let kinds = [Protocol::Udp, Protocol::Tcp, Protocol::Icmp];
        let flows = flows(scene.flow(1, 2)).into_iter().flat_map(|flow| kinds.map(|kind| (flow, kind)));
        let sent: Vec<_> =
            flows.enumerate().map(|(number, (flow, kind))| flow.frame(kind, 200, number as u32)).collect();
        let stream = scene.open("stream?format=pcap-nanos")?;
        Sender::open(scene.peer(1))?.send(&sent)?;
        eventually("the packets", || Ok(scene.readers()?[0].packets == sent.len() as u64))?;
        let file = scene.captured()?;
        scene.daemon.ctl("sniffer del").ok();
        let mut bytes = Vec::new();
        let mut body = stream.body;
        std::io::Read::read_to_end(&mut body, &mut bytes)?;
        let streamed = pcap::parse(&bytes)?;
        let bodies = |records: &[Record]| records.iter().map(|record| record.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&streamed.records), bodies(&file.records), "file and stream differ");

        let replaced = replacements(&sent, &file.records)?;
        assert_eq!(replaced.len(), V4.len() + V6.len());
        for (before, after) in &replaced {
            assert_ne!(before, after);
            for (other_before, other_after) in &replaced {
                let prefixes =
                    [(before, other_before), (after, other_after)].map(|(one, other)| common_prefix(*one, *other));
                assert_eq!(prefixes[0], prefixes[1], "{before} and {other_before}");
            }
        }
        for (number, (sent, record)) in sent.iter().zip(&file.records).enumerate() {
            assert_eq!((record.bytes.len(), sequence_of(&record.bytes)), (200, Some(number as u32)));
            check_checksums(&record.bytes).with_context(|| format!("packet {number}"))?;
            // The vendor stays, the device is scrambled; after the headers nothing has changed.
            for mac in [0..6, 6..12] {
                let (before, after) = (&sent[mac.clone()], &record.bytes[mac]);
                assert!(before[..3] == after[..3] && before[3..] != after[3..], "{before:x?} is {after:x?}");
            }
            assert_eq!(sent[80..], record.bytes[80..], "packet {number}");
        }
    }
    Ok(())
}

#[test]
fn each_cube_has_its_own_key_and_a_queue_is_anonymous_too() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let settings = json!({ "capture": "ingress", "anonimize": true, "networkmode": true });
    scene.sniff_at("br1:toveth1", &settings)?;
    let _ = scene.daemon.http("POST", "/polycube/v1/packetcapture/other/", Some(&settings))?.ok();
    scene.daemon.ctl("attach other br1:toveth1").ok();
    let frame = scene.flow(1, 2).with_ips(V4[0], V4[5]).frame(Protocol::Udp, 100, 0);
    Sender::open(scene.peer(1))?.send(std::slice::from_ref(&frame))?;
    let mut found = Vec::new();
    for cube in ["sniffer", "other"] {
        eventually("a packet", || Ok(scene.get(&format!("{cube}/queue"))?["waiting"] == 1))?;
        let packet = scene.get(&format!("{cube}/packet"))?;
        let text = packet["rawdata"].as_str().context("rawdata")?;
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>()?;
        found.push(addresses(&bytes)?);
        check_checksums(&bytes)?;
    }
    assert!(found[0] != found[1] && !found.contains(&addresses(&frame)?), "{found:?}");
    Ok(())
}
