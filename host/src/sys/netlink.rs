//! Netdevs, over rtnetlink.

use std::io;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, new_connection, new_multicast_connection};

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

    /// Makes a netdev take frames that are not addressed to it, or no longer. A bridge needs them.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn set_promiscuous(&self, ifindex: u32, on: bool) -> Result<(), rtnetlink::Error> {
        let message = LinkUnspec::new_with_index(ifindex).promiscuous(on).build();
        self.0.link().set(message).execute().await
    }
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
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) => {
                    report(Event::Gone(link(&message)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
                    report(Event::Seen(link(&message)));
                }
                _ => {}
            }
        }
    });
    Ok(())
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
