//! Describes packets, one line each, for a machine without tcpdump.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use polycube_tests::pcap::Record;

/// Time of day in UTC, and what the packet is.
pub(super) fn line(record: &Record) -> String {
    let Record { time_ns, bytes, orig_len, .. } = record;
    let micros = time_ns / 1_000 % 86_400_000_000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {}, {orig_len} bytes", describe(bytes))
}

fn describe(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return String::from("not an Ethernet frame") };
    let (source, destination): (IpAddr, IpAddr) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        Some(LaxNetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        Some(LaxNetSlice::Arp(arp)) => {
            return format!(
                "ARP, {} asks or answers {}",
                address(arp.sender_protocol_addr()),
                address(arp.target_protocol_addr())
            );
        }
        None => return String::from("neither IP nor ARP"),
    };
    let ports = |from: u16, to: u16| format!("{source}.{from} > {destination}.{to}");
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            format!("{} TCP {}", ports(tcp.source_port(), tcp.destination_port()), flags(tcp))
        }
        Some(TransportSlice::Udp(udp)) => format!("{} UDP", ports(udp.source_port(), udp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => {
            let what = match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(_) => "echo request",
                Icmpv4Type::EchoReply(_) => "echo reply",
                _ => "message",
            };
            format!("{source} > {destination} ICMP {what}")
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let what = match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(_) => "echo request",
                Icmpv6Type::EchoReply(_) => "echo reply",
                _ => "message",
            };
            format!("{source} > {destination} ICMPv6 {what}")
        }
        _ => format!("{source} > {destination} IP"),
    }
}

fn address(bytes: &[u8]) -> String {
    <[u8; 4]>::try_from(bytes).map_or_else(|_| String::from("?"), |bytes| Ipv4Addr::from(bytes).to_string())
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let set = [(tcp.syn(), "SYN"), (tcp.fin(), "FIN"), (tcp.rst(), "RST"), (tcp.psh(), "PSH"), (tcp.ack(), "ACK")];
    let mut text = set.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
    if !tcp.payload().is_empty() {
        let _ = write!(text, ", {} bytes of data", tcp.payload().len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[track_caller]
    fn check(frame: &[u8], expected: &str) {
        let record = Record {
            time_ns: 1_795_416_639_954_890_123,
            bytes: frame.to_vec(),
            orig_len: 98,
            direction: None,
            interface: None,
        };
        assert_eq!(line(&record), format!("06:50:39.954890 {expected}, 98 bytes"));
    }

    #[test]
    fn each_kind_of_packet_is_described() {
        let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let v4 = || ethernet().ipv4([10, 10, 10, 1], [10, 10, 10, 2], 64);
        let v6 = || ethernet().ipv6([1; 16], [2; 16], 64);
        let mut frame = Vec::new();
        v4().icmpv4_echo_request(7, 1).write(&mut frame, &[0; 56]).unwrap();
        check(&frame, "10.10.10.1 > 10.10.10.2 ICMP echo request");
        // Cut off by a short snap length.
        check(&frame[..38], "10.10.10.1 > 10.10.10.2 IP");
        check(&frame[..10], "not an Ethernet frame");
        frame.clear();
        v6().icmpv6_echo_reply(7, 1).write(&mut frame, &[0; 56]).unwrap();
        check(&frame, "101:101:101:101:101:101:101:101 > 202:202:202:202:202:202:202:202 ICMPv6 echo reply");
        frame.clear();
        v4().tcp(80, 4000, 1, 100).syn().ack(2).write(&mut frame, &[]).unwrap();
        check(&frame, "10.10.10.1.80 > 10.10.10.2.4000 TCP SYN ACK");
        frame.clear();
        v4().tcp(80, 4000, 1, 100).ack(2).write(&mut frame, b"data").unwrap();
        check(&frame, "10.10.10.1.80 > 10.10.10.2.4000 TCP ACK, 4 bytes of data");
    }
}
