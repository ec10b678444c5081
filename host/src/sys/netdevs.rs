//! The table of netdevs, kept up to date by the kernel's own events.
//!
//! The kernel queues an event for our socket before the call that caused it returns (`rtnetlink_event()` in
//! net/core/rtnetlink.c). So a client that makes a netdev and then names it in a request finds it in the table, if the
//! queue is read first. Reading it costs as much as has happened, not as much as there is. When the queue overflows, the
//! kernel says so, and the whole table is read again.

use std::collections::BTreeSet;
use std::io;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use tokio::runtime;

use super::netlink::{Netlink, NetlinkError, is_netdev, link};
use crate::netdev::{Changed, Link, Table};

/// Room for events that have not been read: a message is about 2 KiB.
const QUEUE: usize = 4 << 20;

/// The largest message that the kernel sends (`NLMSG_GOODSIZE` in include/linux/netlink.h, and room to spare).
const LARGEST: usize = 64 << 10;

/// All netdevs of the daemon's network namespace.
pub(crate) struct Netdevs {
    events: Socket,
    netlink: Netlink,
    runtime: runtime::Handle,
    table: Table,
    buffer: Vec<u8>,
    /// What has changed since the last answer.
    news: News,
    /// Whether events were lost, so that the table has to be read again.
    is_stale: bool,
}

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Names that may stand for another netdev now, or for none.
    pub(crate) names: BTreeSet<String>,
    /// Netdevs that went, by ifindex. One of the same ifindex may be back already.
    pub(crate) gone: BTreeSet<u32>,
    /// Netdevs that went down or came up, by ifindex.
    pub(crate) states: BTreeSet<u32>,
}

impl News {
    /// Whether each name still stands for the same netdev.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.gone.is_empty()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.names.extend(more.names);
        self.gone.extend(more.gone);
        self.states.extend(more.states);
    }

    fn set(&mut self, table: &mut Table, link: Link) {
        let ifindex = link.ifindex;
        let Changed { names, is_state } = table.set(link);
        self.names.extend(names);
        if is_state {
            self.states.insert(ifindex);
        }
    }
}

impl Netdevs {
    /// Reads the table. Must not be called from the runtime's own threads.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(netlink: Netlink, runtime: runtime::Handle) -> Result<Self, NetlinkError> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        // The daemon has CAP_NET_ADMIN; without it, the queue is as long as rmem_max lets it be.
        if let Err(error) = events.set_rx_buf_sz(QUEUE) {
            tracing::debug!(%error, "setting the length of the queue of netdev events");
        }
        events.bind(&SocketAddr::new(0, 0))?;
        events.add_membership(MulticastGroup::Link as u32)?;
        events.set_non_blocking(true)?;
        let buffer = Vec::with_capacity(LARGEST);
        let (table, news) = (Table::default(), News::default());
        let mut netdevs = Self { events, netlink, runtime, table, buffer, news, is_stale: true };
        netdevs.refresh()?;
        Ok(netdevs)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Takes in what has happened. Answers with what has changed since the last answer.
    ///
    /// # Errors
    /// What the kernel says. What was taken in until then comes with the next answer.
    pub(crate) fn refresh(&mut self) -> Result<News, NetlinkError> {
        loop {
            self.buffer.clear();
            match self.events.recv(&mut self.buffer, 0) {
                Ok(_) => take_in(&self.buffer, &mut self.table, &mut self.news),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.is_stale = true,
                Err(error) => return Err(error.into()),
            }
        }
        if self.is_stale {
            self.read_all()?;
            self.is_stale = false;
        }
        Ok(std::mem::take(&mut self.news))
    }

    /// Reads the whole table again: the kernel says nothing when a netdev that is down gets another name
    /// (`netdev_state_change()` in net/core/dev.c).
    ///
    /// # Errors
    /// As [`Netdevs::refresh`].
    pub(crate) fn reread(&mut self) -> Result<News, NetlinkError> {
        self.is_stale = true;
        self.refresh()
    }

    fn read_all(&mut self) -> Result<(), NetlinkError> {
        let links = self.runtime.block_on(self.netlink.links())?;
        let there: BTreeSet<u32> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<u32> =
            self.table.links().map(|link| link.ifindex).filter(|ifindex| !there.contains(ifindex)).collect();
        for ifindex in gone {
            self.news.names.extend(self.table.remove(ifindex));
            self.news.gone.insert(ifindex);
        }
        for link in links {
            self.news.set(&mut self.table, link);
        }
        Ok(())
    }
}

/// Takes in the messages of one datagram.
fn take_in(datagram: &[u8], table: &mut Table, news: &mut News) {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            Ok(message) => message,
            Err(error) => return tracing::debug!(%error, "an event about a netdev that cannot be read"),
        };
        // Messages are aligned to 4 bytes (NLMSG_ALIGN in include/uapi/linux/netlink.h).
        let length = (message.header.length as usize).next_multiple_of(4).clamp(4, rest.len().max(4));
        rest = rest.get(length..).unwrap_or_default();
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) if is_netdev(&message) => {
                news.set(table, link(&message));
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) if is_netdev(&message) => {
                news.names.extend(table.remove(message.header.index));
                news.gone.insert(message.header.index);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::NetlinkHeader;
    use rtnetlink::packet_route::AddressFamily;
    use rtnetlink::packet_route::address::AddressMessage;
    use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn message(ifindex: u32, name: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message
    }

    fn new(ifindex: u32, name: &str) -> Vec<u8> {
        bytes(RouteNetlinkMessage::NewLink(message(ifindex, name)))
    }

    fn gone(ifindex: u32, name: &str) -> Vec<u8> {
        bytes(RouteNetlinkMessage::DelLink(message(ifindex, name)))
    }

    /// The message as the kernel sends it, padded.
    fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
        message.serialize(&mut bytes);
        bytes
    }

    /// Asserts what a datagram changes in a table with `eth0` (3) and `eth1` (4), and what is in it then.
    #[track_caller]
    fn check(datagram: &[u8], changed: &str, netdevs: &str) {
        let (mut table, mut found) = (Table::default(), News::default());
        take_in(&[new(3, "eth0"), new(4, "eth1")].concat(), &mut table, &mut found);
        found = News::default();
        take_in(datagram, &mut table, &mut found);
        assert_eq!(found.names.into_iter().collect::<Vec<_>>().join(" "), changed, "names that changed");
        let there: Vec<String> = table.links().map(|link| format!("{}:{}", link.ifindex, link.name)).collect();
        assert_eq!(there.join(" "), netdevs);
        for link in table.links() {
            assert_eq!(table.named(&link.name).map(|found| found.ifindex), Some(link.ifindex), "{}", link.name);
        }
    }

    #[test]
    fn events_are_taken_in_one_after_the_other() {
        check(&[], "", "3:eth0 4:eth1");
        check(&new(5, "eth2"), "eth2", "3:eth0 4:eth1 5:eth2");
        check(&new(3, "eth0"), "", "3:eth0 4:eth1");
        check(&new(3, "lan0"), "eth0 lan0", "3:lan0 4:eth1");
        check(&gone(3, "eth0"), "eth0", "4:eth1");
        check(&gone(9, "eth9"), "", "3:eth0 4:eth1");
        check(&[new(5, "eth2"), gone(4, "eth1"), new(3, "lan0")].concat(), "eth0 eth1 eth2 lan0", "3:lan0 5:eth2");
        check(&[new(5, "eth2"), gone(5, "eth2")].concat(), "eth2", "3:eth0 4:eth1");
        // Two netdevs swap their names, by way of a third.
        let swap = [new(3, "tmp"), new(4, "eth0"), new(3, "eth1")].concat();
        check(&swap, "eth0 eth1 tmp", "3:eth1 4:eth0");
        // A netdev is made again under the name of one that is gone.
        check(&[gone(3, "eth0"), new(5, "eth0")].concat(), "eth0", "4:eth1 5:eth0");
    }

    #[test]
    fn names_of_every_length_are_read() {
        for length in 1..=15 {
            let name = "n".repeat(length);
            let datagram = [new(5, &name), new(6, "after")].concat();
            check(&datagram, &format!("after {name}"), &format!("3:eth0 4:eth1 5:{name} 6:after"));
        }
    }

    #[test]
    fn events_about_something_else_change_nothing() {
        let mut of_a_bridge = message(3, "eth0");
        of_a_bridge.header.interface_family = AddressFamily::Bridge;
        check(&bytes(RouteNetlinkMessage::DelLink(of_a_bridge.clone())), "", "3:eth0 4:eth1");
        of_a_bridge.attributes = vec![LinkAttribute::IfName("other".to_owned())];
        check(&bytes(RouteNetlinkMessage::NewLink(of_a_bridge)), "", "3:eth0 4:eth1");
        let address = bytes(RouteNetlinkMessage::NewAddress(AddressMessage::default()));
        check(&[address, new(5, "eth2")].concat(), "eth2", "3:eth0 4:eth1 5:eth2");
    }

    #[test]
    fn what_cannot_be_read_ends_a_datagram_and_spoils_nothing() {
        let whole = new(5, "eth2");
        for cut in 1..whole.len() - 4 {
            check(&[&new(3, "lan0"), &whole[..cut]].concat(), "eth0 lan0", "3:lan0 4:eth1");
        }
        check(&[0; 3], "", "3:eth0 4:eth1");
        check(&[0; 64], "", "3:eth0 4:eth1");
        check(&[0xff; 64], "", "3:eth0 4:eth1");
        let mut endless = new(5, "eth2");
        endless[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        check(&endless, "", "3:eth0 4:eth1");
    }

    #[test]
    fn a_netdev_that_went_is_reported_though_one_of_its_index_is_back() {
        let (mut table, mut news) = (Table::default(), News::default());
        take_in(&[new(3, "eth0"), gone(3, "eth0"), new(3, "eth0"), gone(9, "eth9")].concat(), &mut table, &mut news);
        assert_eq!((news.gone, table.links().count()), ([3, 9].into(), 1));
    }
}
