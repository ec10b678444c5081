//! The few netlink requests a lab needs; nothing outside this file knows rtnetlink, whose interface changes often.

use std::future::Future;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, new_connection};

use super::Namespace;

fn request<F>(namespace: &Namespace, work: impl FnOnce(Handle) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<(), rtnetlink::Error>>,
{
    namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection()?;
            let connection = tokio::spawn(connection);
            let answer = work(handle).await;
            connection.abort();
            answer.map_err(Into::into)
        })
    })
}

/// One end of a veth pair to be created.
#[derive(Debug, Clone, Copy)]
pub(super) struct VethEnd<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
    pub(super) index: u32,
}

pub(super) fn add_veth(left: VethEnd<'_>, right: VethEnd<'_>) -> Result<()> {
    let mut peer = LinkUnspec::new_with_name(right.name).index(right.index).address(right.mac.to_vec()).build();
    peer.attributes.push(LinkAttribute::NetNsFd(right.namespace.as_fd().as_raw_fd()));
    let pair = LinkVeth::new(left.name, right.name)
        .index(left.index)
        .address(left.mac.to_vec())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    request(left.namespace, |handle| async move { handle.link().add(pair).execute().await }).with_context(|| {
        format!("cannot join {}/{} to {}/{}", left.namespace.name(), left.name, right.namespace.name(), right.name)
    })
}

pub(super) fn add_bridge(namespace: &Namespace, name: &str) -> Result<()> {
    let bridge = LinkBridge::new(name).build();
    request(namespace, |handle| async move { handle.link().add(bridge).execute().await })
        .with_context(|| format!("cannot create bridge {name}"))
}

/// What can be changed about an interface.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    Up,
    Down,
    Mtu(u32),
    /// The index of the bridge that it becomes a port of.
    Bridge(u32),
}

pub(super) fn set(namespace: &Namespace, index: u32, setting: Setting) -> Result<()> {
    let link = LinkUnspec::new_with_index(index);
    let link = match setting {
        Setting::Up => link.up(),
        Setting::Down => link.down(),
        Setting::Mtu(mtu) => link.mtu(mtu),
        Setting::Bridge(bridge) => link.controller(bridge),
    };
    let change = link.build();
    request(namespace, |handle| async move { handle.link().change(change).execute().await })
}

pub(super) fn set_loopback_up(namespace: &Namespace) -> Result<()> {
    let change = LinkUnspec::new_with_name("lo").up().build();
    request(namespace, |handle| async move { handle.link().change(change).execute().await })
        .context("cannot bring loopback up")
}

pub(super) fn delete(namespace: &Namespace, index: u32) -> Result<()> {
    request(namespace, |handle| async move { handle.link().del(index).execute().await })
}

pub(super) fn add_address(namespace: &Namespace, index: u32, address: IpAddr, prefix: u8) -> Result<()> {
    request(namespace, |handle| async move {
        let mut request = handle.address().add(index, address, prefix);
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await
    })
}
