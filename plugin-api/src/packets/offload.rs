//! What the kernel has to be told of a frame that it gets back: a checksum that is still to be computed, and segments that
//! the frame is still to be cut into.
//!
//! Programs see frames before the netdev finishes them. The kernel does not say so, but the frame does: a checksum that is
//! left to the netdev has the sum of the pseudo-header in its place (`skb->ip_summed == CHECKSUM_PARTIAL`,
//! Documentation/networking/checksum-offloads.rst). A finished frame has that value by chance once in 65,536 times, and its
//! checksum then comes out as it was.

use super::Gso;

/// `struct virtio_net_hdr` (include/uapi/linux/virtio_net.h), in the machine's byte order.
pub(super) type Header = [u8; 10];

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`, `_TCPV6` and `_UDP_L4`.
const TCP_IPV4: u8 = 1;
const TCP_IPV6: u8 = 4;
const UDP: u8 = 5;

const TCP_PROTOCOL: u8 = 6;
const UDP_PROTOCOL: u8 = 17;

/// Where TCP or UDP begins in a frame.
struct Transport {
    at: usize,
    protocol: u8,
    is_ipv4: bool,
    /// The sum of the pseudo-header of RFC 9293, section 3.1, and RFC 8200, section 8.1, not inverted.
    pseudo: u16,
}

/// What to write before `frame`, to which `shift` bytes are added in front of its payload.
pub(super) fn header(frame: &[u8], gso: Option<Gso>, shift: usize) -> Header {
    let mut header = Header::default();
    let Some(transport) = transport(frame) else { return header };
    let field = if transport.protocol == TCP_PROTOCOL { 16 } else { 6 };
    let checksum = word(frame, transport.at + field);
    if gso.is_none() && checksum != Some(transport.pseudo) {
        return header;
    }
    let (start, offset) = ((transport.at + shift) as u16, field as u16);
    header[0] = NEEDS_CHECKSUM;
    header[6..8].copy_from_slice(&start.to_ne_bytes());
    header[8..10].copy_from_slice(&offset.to_ne_bytes());
    if let Some(Gso { size }) = gso {
        header[1] = match (transport.protocol, transport.is_ipv4) {
            (TCP_PROTOCOL, true) => TCP_IPV4,
            (TCP_PROTOCOL, false) => TCP_IPV6,
            _ => UDP,
        };
        let options = if transport.protocol == TCP_PROTOCOL {
            usize::from(frame.get(transport.at + 12).copied().unwrap_or(0x50) >> 4) * 4
        } else {
            8
        };
        header[2..4].copy_from_slice(&((transport.at + shift + options) as u16).to_ne_bytes());
        header[4..6].copy_from_slice(&size.to_ne_bytes());
    }
    header
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

/// Finds TCP or UDP after Ethernet, VLAN tags and IP. A fragment has no checksum that could be left.
fn transport(frame: &[u8]) -> Option<Transport> {
    let mut at = 12;
    // IEEE 802.1Q and 802.1ad.
    while matches!(word(frame, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let (network, end) = (at + 2, frame.len());
    match word(frame, at)? {
        0x0800 => {
            let (length, words) = (usize::from(word(frame, network + 2)?), usize::from(frame.get(network)? & 15));
            let is_fragment = word(frame, network + 6)? & 0x3fff != 0;
            let protocol = *frame.get(network + 9)?;
            let payload = length.checked_sub(words * 4)?;
            let at = network + words * 4;
            found(frame, (network + 12, 8), (at, protocol, payload), true).filter(|_| !is_fragment)
        }
        0x86dd => {
            let (protocol, at) = (*frame.get(network + 6)?, network + 40);
            // Extension headers are rare, and what follows them is left as it is. A jumbogram has no length.
            let length = match usize::from(word(frame, network + 4)?) {
                0 => end.checked_sub(at)?,
                length => length,
            };
            found(frame, (network + 8, 32), (at, protocol, length), false)
        }
        _ => None,
    }
}

fn found(
    frame: &[u8],
    (addresses, size): (usize, usize),
    (at, protocol, length): (usize, u8, usize),
    is_ipv4: bool,
) -> Option<Transport> {
    if !matches!(protocol, TCP_PROTOCOL | UDP_PROTOCOL) {
        return None;
    }
    let addresses = frame.get(addresses..addresses + size)?;
    let words = addresses.as_chunks().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + (length >> 16) as u32 + (length & 0xffff) as u32;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    Some(Transport { at, protocol, is_ipv4, pseudo: sum as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of UDP over IPv4, after these bytes instead of the type, with this checksum.
    fn udp(tags: &[u8], checksum: u16) -> Vec<u8> {
        let mut ip = [0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2].to_vec();
        ip.extend([0, 7, 0, 7, 0, 12]);
        ip.extend(checksum.to_be_bytes());
        ip.extend([1, 2, 3, 4]);
        [&[0; 12][..], tags, &[8, 0], &ip].concat()
    }

    /// The sum of the pseudo-header of [`udp`]: 0a00 + 0001 + 0a00 + 0002 + 17 + 12.
    const PSEUDO: u16 = 0x1420;

    /// Start and place of the checksum, type and size of the segments, and bytes of headers.
    fn read(header: Header) -> (u8, u16, u16, u8, u16, u16) {
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        (header[0], number(6), number(8), header[1], number(4), number(2))
    }

    #[test]
    fn a_checksum_that_is_left_to_the_netdev_is_recognised() {
        assert_eq!(read(header(&udp(&[], PSEUDO), None, 8)), (1, 42, 6, 0, 0, 0));
        assert_eq!(read(header(&udp(&[0x81, 0, 0, 5], PSEUDO), None, 8)), (1, 46, 6, 0, 0, 0));
        let mut fragment = udp(&[], PSEUDO);
        fragment[20] = 0x20;
        for finished in
            [udp(&[], 0x1421), udp(&[], 0), fragment, vec![0; 60], vec![0; 3], udp(&[], PSEUDO)[..30].to_vec()]
        {
            assert_eq!(header(&finished, None, 8), Header::default());
        }
    }

    #[test]
    fn segments_are_cut_after_the_headers() {
        assert_eq!(read(header(&udp(&[], 0), Some(Gso { size: 2 }), 8)), (1, 42, 6, UDP, 2, 50));
        let mut tcp = udp(&[], 0);
        tcp[23] = TCP_PROTOCOL;
        tcp.resize(74, 0);
        tcp[46] = 0x80;
        assert_eq!(read(header(&tcp, Some(Gso { size: 1448 }), 8)), (1, 42, 16, TCP_IPV4, 1448, 74));
        let mut ipv6 = [&[0; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64], &[0; 52]].concat();
        ipv6[66] = 0x50;
        assert_eq!(read(header(&ipv6, Some(Gso { size: 1428 }), 8)), (1, 62, 16, TCP_IPV6, 1428, 82));
    }
}
