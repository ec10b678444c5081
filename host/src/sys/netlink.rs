//! Netdevs, over rtnetlink.

use std::io;
use std::pin::pin;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::tc::TcHandle;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};

/// A netdev as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    /// `02:00:…`; empty where it has none.
    pub mac: String,
    pub mtu: u32,
    pub up: bool,
}

/// What happened to a netdev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was deleted, or moved into another network namespace.
    Gone(Link),
    /// It came, or something about it changed.
    Seen(Link),
}

/// A netlink socket in the network namespace of whoever opened it.
#[derive(Clone)]
pub struct Netlink(Handle);

impl Netlink {
    /// Opens a socket. Has to be called in a tokio runtime, which then serves it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// All netdevs, by ifindex.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn links(&self) -> Result<Vec<Link>, rtnetlink::Error> {
        self.0.link().get().execute().map_ok(|message| link(&message)).try_collect().await
    }
}

/// Removes a netdev's clsact queueing discipline unless a filter hangs on it; tells whether it did. Must not be called in
/// a tokio runtime.
///
/// # Errors
/// What the kernel says.
pub fn remove_idle_clsact(ifindex: u32) -> Result<bool, ClsactError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        let index = ifindex.cast_signed();
        let mut filters = handle.traffic_filter(index);
        for request in [filters.get().ingress(), filters.get().egress()] {
            if pin!(request.execute()).try_next().await?.is_some() {
                return Ok(false);
            }
        }
        let mut request = handle.qdisc().del(index);
        let header = &mut request.message_mut().header;
        header.parent = TcHandle::CLSACT;
        header.handle = TcHandle { minor: 0, ..TcHandle::CLSACT };
        request.execute().await?;
        Ok(true)
    })
}

/// Why a queueing discipline is still there.
#[derive(Debug, thiserror::Error)]
pub enum ClsactError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] io::Error),
    #[error(transparent)]
    Kernel(#[from] rtnetlink::Error),
}

/// Calls `report` for every event from now on. Has to be called in a tokio runtime.
///
/// # Errors
/// What the kernel says.
pub fn watch(report: impl Fn(Event) + Send + 'static) -> io::Result<()> {
    let (connection, handle, mut messages) = new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::spawn(connection);
    tokio::spawn(async move {
        // The connection ends with its last handle.
        let _handle = handle;
        while let Some((message, _)) = messages.next().await {
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) if is_netdev(&message) => {
                    report(Event::Gone(link(&message)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) if is_netdev(&message) => {
                    report(Event::Seen(link(&message)));
                }
                _ => {}
            }
        }
    });
    Ok(())
}

/// Whether a message is about a netdev itself. One of another family is about its place in something else: the kernel's
/// bridge calls a netdev deleted that only leaves the bridge (`del_nbp()` in net/bridge/br_if.c).
fn is_netdev(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        mac: String::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                link.mac = bytes.join(":");
            }
            _ => {}
        }
    }
    link
}
