//! Addresses, neighbours and routes, kept up to date by the kernel's own events.
//!
//! The kernel does not report everything: with a netdev that goes down, or an address that goes, IPv4 routes go silently
//! (`fib_sync_down_dev()` in net/ipv4/fib_semantics.c). So these events have the routes read again. So does a queue that
//! overflows, with everything else.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use polycube_plugin_api::{Address, Hop, Neighbour, NeighbourState, Route, Topic};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::environment::{NeighbourKey, RouteKey, Table};

/// Room for events that have not been read.
const QUEUE: usize = 4 << 20;

/// The largest message that the kernel sends (`NLMSG_GOODSIZE` in include/linux/netlink.h, and room to spare).
const LARGEST: usize = 64 << 10;

/// What is looked at, of the daemon's network namespace.
pub(crate) struct Observer {
    events: Socket,
    topics: BTreeSet<Topic>,
    table: Table,
    buffer: Vec<u8>,
    /// What has to be read as a whole.
    stale: BTreeSet<Topic>,
}

impl Observer {
    /// Begins to look at these topics, and at nothing else.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(topics: BTreeSet<Topic>) -> io::Result<Self> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        // The daemon has CAP_NET_ADMIN; without it, the queue is as long as rmem_max lets it be.
        if let Err(error) = events.set_rx_buf_sz(QUEUE) {
            tracing::debug!(%error, "setting the length of the queue of events about the environment");
        }
        events.bind(&SocketAddr::new(0, 0))?;
        for group in topics.iter().flat_map(|topic| groups(*topic)) {
            events.add_membership(*group as u32)?;
        }
        events.set_non_blocking(true)?;
        let stale = topics.clone();
        Ok(Self { events, topics, table: Table::default(), buffer: Vec::with_capacity(LARGEST), stale })
    }

    pub(crate) fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// It is readable when something has happened.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.events.as_raw_fd()) }
    }

    /// Takes in what has happened, and answers with what there is.
    ///
    /// # Errors
    /// What the kernel says. What could not be read is read the next time.
    pub(crate) fn refresh(&mut self) -> io::Result<&Table> {
        loop {
            self.buffer.clear();
            match self.events.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    let (table, stale) = (&mut self.table, &mut self.stale);
                    each(&self.buffer, |message| take_in(message, table, stale));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.stale.clone_from(&self.topics),
                Err(error) => return Err(error),
            }
        }
        while let Some(topic) = self.stale.first().copied() {
            if self.topics.contains(&topic) {
                self.read(topic)?;
            }
            self.stale.remove(&topic);
        }
        Ok(&self.table)
    }

    /// Reads everything of a topic. What is as it was keeps its place in the table, so that the difference is what changed.
    fn read(&mut self, topic: Topic) -> io::Result<()> {
        let mut there = Table::default();
        for request in requests(topic) {
            let mut ignored = BTreeSet::new();
            dump(request, |message| take_in(message, &mut there, &mut ignored))?;
        }
        match topic {
            Topic::Addresses => adopt(&mut self.table.addresses, there.addresses),
            Topic::Neighbours => adopt(&mut self.table.neighbours, there.neighbours),
            Topic::Routes => adopt(&mut self.table.routes, there.routes),
            Topic::Other => {}
        }
        Ok(())
    }
}

/// Makes one table the other, entry by entry.
fn adopt<K: Ord + Clone, V: PartialEq + Clone>(table: &mut imbl::OrdMap<K, V>, there: imbl::OrdMap<K, V>) {
    let gone: Vec<K> = table.keys().filter(|key| !there.contains_key(*key)).cloned().collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, value) in there {
        if table.get(&key) != Some(&value) {
            table.insert(key, value);
        }
    }
}

fn groups(topic: Topic) -> &'static [MulticastGroup] {
    match topic {
        Topic::Addresses => &[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr],
        Topic::Neighbours => &[MulticastGroup::Neigh],
        Topic::Routes => &[
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            // These take IPv4 routes along.
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
        ],
        Topic::Other => &[],
    }
}

fn requests(topic: Topic) -> Vec<RouteNetlinkMessage> {
    let families = [AddressFamily::Inet, AddressFamily::Inet6];
    let of = |family: AddressFamily| match topic {
        Topic::Addresses => {
            let mut message = AddressMessage::default();
            message.header.family = family;
            RouteNetlinkMessage::GetAddress(message)
        }
        Topic::Neighbours => {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            RouteNetlinkMessage::GetNeighbour(message)
        }
        Topic::Routes | Topic::Other => {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            RouteNetlinkMessage::GetRoute(message)
        }
    };
    if topic == Topic::Other { Vec::new() } else { families.map(of).into() }
}

/// Has the kernel list something, on a socket of its own: see `Netlink::for_a_list`.
fn dump(request: RouteNetlinkMessage, mut take: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = Vec::with_capacity(LARGEST);
    let mut end = None;
    while end.is_none() {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for_each(&buffer, |message| match message.payload {
            NetlinkPayload::InnerMessage(message) => take(message),
            NetlinkPayload::Done(_) => end = Some(Ok(())),
            NetlinkPayload::Error(error) => end = Some(Err(error.to_io())),
            _ => {}
        });
    }
    end.unwrap_or(Ok(()))
}

fn each(datagram: &[u8], mut take: impl FnMut(RouteNetlinkMessage)) {
    for_each(datagram, |message| {
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            take(message);
        }
    });
}

/// The messages of one datagram. One that cannot be read is left out.
fn for_each(datagram: &[u8], mut take: impl FnMut(NetlinkMessage<RouteNetlinkMessage>)) {
    let mut rest = datagram;
    while let Ok(header) = NetlinkBuffer::new_checked(rest) {
        // Messages are aligned to 4 bytes (NLMSG_ALIGN in include/uapi/linux/netlink.h).
        let length = (header.length() as usize).next_multiple_of(4).clamp(4, rest.len());
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            Ok(message) => take(message),
            Err(error) => tracing::debug!(%error, "a message about the environment that cannot be read"),
        }
        rest = &rest[length..];
    }
}

fn take_in(message: RouteNetlinkMessage, table: &mut Table, stale: &mut BTreeSet<Topic>) {
    match message {
        RouteNetlinkMessage::NewAddress(message) => {
            if let Some(address) = address(&message) {
                table.addresses.insert(address, ());
            }
        }
        RouteNetlinkMessage::DelAddress(message) => {
            if let Some(address) = address(&message) {
                table.addresses.remove(&address);
            }
            stale.insert(Topic::Routes);
        }
        RouteNetlinkMessage::NewNeighbour(message) => match neighbour(&message) {
            Some((key, Some(neighbour))) => drop(table.neighbours.insert(key, neighbour)),
            Some((key, None)) => drop(table.neighbours.remove(&key)),
            None => {}
        },
        RouteNetlinkMessage::DelNeighbour(message) => {
            if let Some((key, _)) = neighbour(&message) {
                table.neighbours.remove(&key);
            }
        }
        RouteNetlinkMessage::NewRoute(message) => {
            if let Some((key, route)) = route(&message) {
                table.routes.insert(key, route);
            }
        }
        RouteNetlinkMessage::DelRoute(message) => {
            if let Some((key, gone)) = route(&message) {
                remove_route(table, &key, &gone);
            }
        }
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => {
            stale.insert(Topic::Routes);
        }
        _ => {}
    }
}

/// Of a multipath route of IPv6, one way may go alone.
fn remove_route(table: &mut Table, key: &RouteKey, gone: &Route) {
    let Some(route) = table.routes.get_mut(key) else { return };
    route.hops.retain(|hop| !gone.hops.contains(hop));
    if route.hops.is_empty() || gone.hops.is_empty() {
        table.routes.remove(key);
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let own = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    // Beside an own one it is the prefix, or the other end of a point-to-point link.
    let general = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    };
    let address = own.or_else(general)?;
    Some(Address { ifindex: message.header.index, address, prefix: message.header.prefix_len })
}

/// A neighbour, and `None` in the place of one that is nothing to be known of, such as a group's address.
fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Option<Neighbour>)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(IpAddr::V4(*found)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => address = Some(IpAddr::V6(*found)),
            NeighbourAttribute::LinkLayerAddress(bytes) if bytes.len() == 6 => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                mac = Some(bytes.join(":"));
            }
            _ => {}
        }
    }
    let state = match message.header.state {
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Incomplete | Nud::Delay | Nud::Probe => NeighbourState::Asked,
        Nud::Failed => NeighbourState::Failed,
        Nud::Permanent => NeighbourState::Permanent,
        _ => NeighbourState::Other,
    };
    let (ifindex, address) = (message.header.ifindex, address?);
    let is_known = !matches!(message.header.state, Nud::Noarp | Nud::None);
    Some(((ifindex, address), is_known.then_some(Neighbour { ifindex, address, mac, state })))
}

/// A route of the table `main` that leads somewhere.
fn route(message: &RouteMessage) -> Option<(RouteKey, Route)> {
    let RouteMessage { header, attributes, .. } = message;
    let mut table = u32::from(header.table);
    let mut network = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut hops) = (0, Vec::new());
    for attribute in attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => network = ip(address)?,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::MultiPath(ways) => {
                hops.extend(
                    ways.iter().map(|way| Hop { ifindex: way.interface_index, gateway: gateway(&way.attributes) }),
                );
            }
            RouteAttribute::Oif(ifindex) => {
                hops.push(Hop { ifindex: *ifindex, gateway: gateway(attributes) });
            }
            _ => {}
        }
    }
    let is_wanted = table == u32::from(RouteHeader::RT_TABLE_MAIN) && header.kind == RouteType::Unicast;
    let prefix = header.destination_prefix_length;
    is_wanted.then_some(((network, prefix, metric), Route { network, prefix, metric, hops }))
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
