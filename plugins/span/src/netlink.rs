//! Questions to the kernel's routing, by netlink (`include/uapi/linux/rtnetlink.h`): none of them changes anything.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;

const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTAX_MTU: u16 = 2;
const RTA_VIA: u16 = 18;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;

const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
/// `NUD_INCOMPLETE` and `NUD_FAILED` (`include/uapi/linux/neighbour.h`): while packets are sent, the kernel asks again and
/// again.
const UNKNOWN: u16 = 0x01 | 0x20;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NESTED: u16 = 1 << 15;

/// A route to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ifindex: u32,
    pub(crate) source: Option<IpAddr>,
    pub(crate) gateway: Option<IpAddr>,
    /// If it differs from the netdev's.
    pub(crate) mtu: Option<u32>,
}

/// A netdev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) is_up: bool,
}

/// A socket to the kernel's routing.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// The route to `address`, from `source` if that is given.
    ///
    /// # Errors
    /// The kernel has none, in its words.
    pub(crate) fn route(&self, address: IpAddr, source: Option<IpAddr>) -> io::Result<Route> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut body = vec![family(address), bits, source.map_or(0, |_| bits), 0, 0, 0, 0, 0, 0, 0, 0, 0];
        push(&mut body, RTA_DST, &octets(address));
        if let Some(source) = source {
            push(&mut body, RTA_SRC, &octets(source));
        }
        let answer = self.ask(RTM_GETROUTE, &body, RTM_NEWROUTE)?;
        route_of(&answer).ok_or_else(|| io::Error::from_raw_os_error(rustix::io::Errno::NETUNREACH.raw_os_error()))
    }

    /// The netdev with this index.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn link(&self, ifindex: u32) -> io::Result<Link> {
        let mut body = vec![0; IFINFOMSG];
        body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        let answer = self.ask(RTM_GETLINK, &body, RTM_NEWLINK)?;
        let name = attribute(&answer, IFINFOMSG, IFLA_IFNAME).unwrap_or_default();
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let mtu = attribute(&answer, IFINFOMSG, IFLA_MTU).and_then(number).unwrap_or_default();
        let is_up = answer.get(8).is_some_and(|flags| flags & 1 != 0);
        Ok(Link { name, mtu, is_up })
    }

    /// Whether the neighbour `address` has been asked for its MAC address and has not answered.
    pub(crate) fn has_failed(&self, ifindex: u32, address: IpAddr) -> bool {
        let mut body = vec![0; NDMSG];
        body[0] = family(address);
        body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        push(&mut body, NDA_DST, &octets(address));
        // Without an entry, nothing has been sent there.
        let Ok(answer) = self.ask(RTM_GETNEIGH, &body, RTM_NEWNEIGH) else { return false };
        answer.get(8..10).is_some_and(|state| u16::from_ne_bytes([state[0], state[1]]) & UNKNOWN != 0)
    }

    /// Sends a request, and returns the body of the answer.
    fn ask(&self, kind: u16, body: &[u8], expected: u16) -> io::Result<Vec<u8>> {
        let length = (HEADER + body.len()) as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answer = vec![0; 16 << 10];
        // The kernel has answered before `send` returns.
        let (_, length) = recv(&self.0, &mut answer[..], RecvFlags::DONTWAIT)?;
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not a netlink message");
        let answer = answer.get(..length).filter(|answer| answer.len() >= HEADER + 4).ok_or_else(malformed)?;
        match u16::from_ne_bytes([answer[4], answer[5]]) {
            NLMSG_ERROR => {
                let number = answer[HEADER..].first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                Err(io::Error::from_raw_os_error(-number))
            }
            found if found == expected => Ok(answer[HEADER..].to_vec()),
            _ => Err(malformed()),
        }
    }
}

fn route_of(answer: &[u8]) -> Option<Route> {
    let kind = *answer.get(7)?;
    if kind != RTN_UNICAST && kind != RTN_LOCAL {
        return None;
    }
    let find = |kind| attribute(answer, RTMSG, kind);
    let metrics = find(RTA_METRICS);
    // `struct rtvia` has the family before the address.
    let via = find(RTA_VIA).and_then(|via| address(via.get(2..)?));
    Some(Route {
        ifindex: find(RTA_OIF).and_then(number)?,
        source: find(RTA_PREFSRC).and_then(address),
        gateway: find(RTA_GATEWAY).and_then(address).or(via),
        mtu: metrics.and_then(|metrics| number(attribute(metrics, 0, RTAX_MTU)?)),
    })
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(((4 + value.len()) as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// The attribute `kind` among those from `start` on.
fn attribute(message: &[u8], start: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(start..)?;
    while let [low, high, first, second, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([first, second]) & !NESTED == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_malformed_ones_end_the_search() {
        let mut message = vec![9; 3];
        message.push(9);
        push(&mut message, 7, b"abc");
        push(&mut message, 8 | NESTED, b"defg");
        assert_eq!(attribute(&message, 4, 7), Some(&b"abc"[..]));
        assert_eq!(attribute(&message, 4, 8), Some(&b"defg"[..]));
        assert_eq!(attribute(&message, 4, 9), None);
        assert_eq!(attribute(&message[..13], 4, 8), None);
        assert_eq!(attribute(&[0, 0, 0, 0, 1], 0, 1), None);
        assert_eq!(attribute(&[], 4, 1), None);
    }

    #[test]
    fn every_machine_has_a_route_to_itself_while_its_loopback_is_up() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.link(1).unwrap();
        assert_eq!(lo.name, "lo");
        assert_eq!(netlink.link(u32::MAX >> 1).unwrap_err().raw_os_error(), Some(19), "ENODEV");
        if lo.is_up {
            let route = netlink.route("127.0.0.1".parse().unwrap(), None).unwrap();
            assert_eq!((route.ifindex, route.source, route.gateway), (1, "127.0.0.1".parse().ok(), None));
        }
        assert!(!netlink.has_failed(1, "127.0.0.1".parse().unwrap()));
    }
}
