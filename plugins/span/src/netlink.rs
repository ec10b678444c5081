//! Questions to the kernel's routing, by netlink (`include/uapi/linux/rtnetlink.h`): none of them changes anything.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use polycube_plugin_api::NetdevState;
use rustix::io::Errno;
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
/// The types of routes, from 1 on, as iproute2 calls them (`RTN_UNICAST` and others).
const TYPES: [&str; 11] = [
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
    "xresolve",
];

const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
/// Any name of a netdev, alternative ones too.
const IFLA_ALT_IFNAME: u16 = 53;
/// `IFF_UP` and `IFF_LOWER_UP` (`include/uapi/linux/if.h`): set up, and with carrier.
const UP: u32 = 1;
const LOWER_UP: u32 = 1 << 16;

const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
/// `NUD_INCOMPLETE` and `NUD_FAILED` (`include/uapi/linux/neighbour.h`): while packets are sent, the kernel asks again and
/// again.
const SILENT: u16 = 0x01 | 0x20;
/// `NUD_REACHABLE`, `NUD_STALE`, `NUD_DELAY`, `NUD_PROBE` and `NUD_PERMANENT`: it has a MAC address.
const KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

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
    /// Whether it leads to this machine.
    pub(crate) is_local: bool,
}

/// Why the kernel finds no route.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("the kernel has no route")]
    None,
    #[error("the route is of the type `{0}`")]
    Barred(&'static str),
    #[error("the kernel does not say the route: {0}")]
    Kernel(#[from] io::Error),
}

/// A netdev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) state: NetdevState,
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
    /// There is none that packets take.
    pub(crate) fn route(&self, address: IpAddr, source: Option<IpAddr>) -> Result<Route, RouteError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut body = vec![family(address), bits, source.map_or(0, |_| bits), 0, 0, 0, 0, 0, 0, 0, 0, 0];
        push(&mut body, RTA_DST, &octets(address));
        if let Some(source) = source {
            push(&mut body, RTA_SRC, &octets(source));
        }
        // `fib_props` in net/ipv4/fib_semantics.c, and `ip6_rt_type_to_error()` in net/ipv6/route.c.
        let answer =
            self.ask(RTM_GETROUTE, &body, RTM_NEWROUTE).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NETUNREACH | Errno::AGAIN | Errno::SRCH) => RouteError::None,
                Some(Errno::INVAL) => RouteError::Barred("blackhole"),
                Some(Errno::HOSTUNREACH) => RouteError::Barred("unreachable"),
                Some(Errno::ACCESS) => RouteError::Barred("prohibit"),
                _ => RouteError::Kernel(error),
            })?;
        route_of(&answer)
    }

    /// The netdev with this index.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn link(&self, ifindex: u32) -> io::Result<Link> {
        let mut body = vec![0; IFINFOMSG];
        body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        Ok(link_of(&self.ask(RTM_GETLINK, &body, RTM_NEWLINK)?))
    }

    /// The netdev with this name, or alternative name; `None` if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn named(&self, name: &str) -> io::Result<Option<Link>> {
        let mut body = vec![0; IFINFOMSG];
        push(&mut body, IFLA_ALT_IFNAME, &[name.as_bytes(), &[0]].concat());
        match self.ask(RTM_GETLINK, &body, RTM_NEWLINK) {
            Ok(answer) => Ok(Some(link_of(&answer))),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the neighbour `address` answers the questions for its MAC address; `None` if nothing has been sent there, or
    /// nothing is asked on such a netdev.
    pub(crate) fn answers(&self, ifindex: u32, address: IpAddr) -> Option<bool> {
        let mut body = vec![0; NDMSG];
        body[0] = family(address);
        body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        push(&mut body, NDA_DST, &octets(address));
        let answer = self.ask(RTM_GETNEIGH, &body, RTM_NEWNEIGH).ok()?;
        let state = u16::from_ne_bytes(*answer.get(8..)?.first_chunk()?);
        if state & SILENT != 0 { Some(false) } else { (state & KNOWN != 0).then_some(true) }
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

fn route_of(answer: &[u8]) -> Result<Route, RouteError> {
    let kind = answer.get(7).copied().unwrap_or_default();
    if kind != RTN_UNICAST && kind != RTN_LOCAL {
        return Err(TYPES
            .get(usize::from(kind).wrapping_sub(1))
            .map_or(RouteError::None, |kind| RouteError::Barred(kind)));
    }
    let find = |kind| attribute(answer, RTMSG, kind);
    let metrics = find(RTA_METRICS);
    // `struct rtvia` has the family before the address.
    let via = find(RTA_VIA).and_then(|via| address(via.get(2..)?));
    Ok(Route {
        ifindex: find(RTA_OIF).and_then(number).ok_or(RouteError::None)?,
        source: find(RTA_PREFSRC).and_then(address),
        gateway: find(RTA_GATEWAY).and_then(address).or(via),
        mtu: metrics.and_then(|metrics| number(attribute(metrics, 0, RTAX_MTU)?)),
        is_local: kind == RTN_LOCAL,
    })
}

fn link_of(answer: &[u8]) -> Link {
    let word = |at: usize| answer.get(at..at + 4).and_then(number).unwrap_or_default();
    let name = attribute(answer, IFINFOMSG, IFLA_IFNAME).unwrap_or_default();
    let flags = word(8);
    Link {
        ifindex: word(4),
        name: String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
        mtu: attribute(answer, IFINFOMSG, IFLA_MTU).and_then(number).unwrap_or_default(),
        state: match (flags & UP != 0, flags & LOWER_UP != 0) {
            (false, _) => NetdevState::Down,
            (true, false) => NetdevState::NoCarrier,
            (true, true) => NetdevState::Up,
        },
    }
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
        assert_eq!((lo.name.as_str(), lo.ifindex), ("lo", 1));
        assert_eq!(netlink.named("lo").unwrap(), Some(lo.clone()));
        assert_eq!(netlink.named("absent0").unwrap(), None);
        assert_eq!(netlink.link(u32::MAX >> 1).unwrap_err().raw_os_error(), Some(19), "ENODEV");
        if lo.state == NetdevState::Up {
            let route = netlink.route("127.0.0.1".parse().unwrap(), None).unwrap();
            assert_eq!((route.ifindex, route.source, route.gateway), (1, "127.0.0.1".parse().ok(), None));
            assert!(route.is_local);
        }
        assert_eq!(netlink.answers(1, "127.0.0.1".parse().unwrap()), None, "nobody asks on the loopback");
    }

    #[test]
    fn a_netdev_is_up_if_it_is_set_up_and_has_carrier() {
        let state = |flags: u32| {
            let mut answer = vec![0; IFINFOMSG];
            answer[8..12].copy_from_slice(&flags.to_ne_bytes());
            link_of(&answer).state
        };
        assert_eq!(state(UP | LOWER_UP), NetdevState::Up);
        assert_eq!(state(UP), NetdevState::NoCarrier);
        assert_eq!((state(LOWER_UP), state(0)), (NetdevState::Down, NetdevState::Down));
    }

    #[test]
    fn a_route_that_no_packet_takes_says_its_type() {
        let route = |kind: u8| {
            let mut answer = vec![0; RTMSG];
            answer[7] = kind;
            push(&mut answer, RTA_OIF, &7_u32.to_ne_bytes());
            route_of(&answer).map(|route| (route.ifindex, route.is_local)).map_err(|error| error.to_string())
        };
        assert_eq!((route(RTN_UNICAST), route(RTN_LOCAL)), (Ok((7, false)), Ok((7, true))));
        assert_eq!(route(3), Err("the route is of the type `broadcast`".to_owned()));
        assert_eq!(
            (route(0), route(99)),
            (Err("the kernel has no route".to_owned()), Err("the kernel has no route".to_owned()))
        );
    }
}
