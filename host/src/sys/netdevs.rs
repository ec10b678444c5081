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
        let mut netdevs = Self { events, netlink, runtime, table: Table::default(), buffer };
        netdevs.read_all()?;
        Ok(netdevs)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Takes in what has happened. Answers with the names that may stand for another netdev, or for none, since the last
    /// time.
    ///
    /// # Errors
    /// What the kernel says. What was taken in until then is in the table.
    pub(crate) fn refresh(&mut self) -> Result<BTreeSet<String>, NetlinkError> {
        let mut changed = BTreeSet::new();
        let mut is_complete = true;
        loop {
            self.buffer.clear();
            match self.events.recv(&mut self.buffer, 0) {
                Ok(_) => self.take_in(&mut changed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => is_complete = false,
                Err(error) => return Err(error.into()),
            }
        }
        if !is_complete {
            tracing::debug!("netdev events were lost: reading all netdevs");
            changed.extend(self.read_all()?);
        }
        Ok(changed)
    }

    fn take_in(&mut self, changed: &mut BTreeSet<String>) {
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
                    changed.extend(self.table.set(link(&message)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) if is_netdev(&message) => {
                    changed.extend(self.table.remove(message.header.index));
                }
                _ => {}
            }
        }
    }

    /// Reads the whole table. Answers with the names that changed.
    fn read_all(&mut self) -> Result<BTreeSet<String>, NetlinkError> {
        let links = self.runtime.block_on(self.netlink.links())?;
        let there: BTreeSet<u32> = links.iter().map(|link| link.ifindex).collect();
        let gone: Vec<u32> =
            self.table.links().map(|link| link.ifindex).filter(|ifindex| !there.contains(ifindex)).collect();
        let mut changed: BTreeSet<String> = gone.into_iter().flat_map(|ifindex| self.table.remove(ifindex)).collect();
        for link in links {
            changed.extend(self.table.set(link));
        }
        Ok(changed)
    }
}
