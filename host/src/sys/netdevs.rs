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
use crate::netdev::Table;

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
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.gone.is_empty()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.names.extend(more.names);
        self.gone.extend(more.gone);
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
                Ok(_) => self.take_in(),
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

    fn take_in(&mut self) {
        let mut rest = self.buffer.as_slice();
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
                    self.news.names.extend(self.table.set(link(&message)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) if is_netdev(&message) => {
                    self.news.names.extend(self.table.remove(message.header.index));
                    self.news.gone.insert(message.header.index);
                }
                _ => {}
            }
        }
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
            self.news.names.extend(self.table.set(link));
        }
        Ok(())
    }
}
