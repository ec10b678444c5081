//! Network namespaces, seen from the daemon's own.
//!
//! None is entered, and nothing that matters depends on a file of `/proc`: a daemon without CAP_SYS_PTRACE may not open `/proc/PID/ns/net` of a
//! process that has capabilities. `RTM_GETNSID` takes the number of a process and asks for no permission
//! (`rtnl_net_getid()` in net/core/net_namespace.c). The kernel numbers a namespace when a netdev refers to it, so one without a
//! number has no veth pair that leads here.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::fs::{Stat, fstat, stat};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::regular;
use crate::netdev::Inside;

/// Where `ip netns` keeps namespaces (`NETNS_RUN_DIR` in iproute2's include/namespace.h).
const NAMED: &str = "/run/netns";

/// The kernel answers in the call itself; this guards the engine's thread against an answer that was lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The namespace that `ip netns` calls `name`.
///
/// # Errors
/// `NotFound` if there is none, `EINVAL` if the file is something else, or what the kernel says.
pub(crate) fn of_name(name: &str) -> io::Result<Inside> {
    let file = regular::open(&Path::new(NAMED).join(name))?;
    let inside = inside(&NsidAttribute::Fd(descriptor(file.as_raw_fd())))?;
    Ok(Inside { is_own: is_same(fstat(&file), stat("/proc/self/ns/net")), ..inside })
}

/// The namespace of a process.
///
/// # Errors
/// `ESRCH` if there is no such process, or what the kernel says.
pub(crate) fn of_process(pid: u32) -> io::Result<Inside> {
    let inside = inside(&NsidAttribute::Pid(pid))?;
    // Unlike `ns/net`, this file is there for everybody, and each namespace has its own (`proc_net_ns_init()` in
    // fs/proc/proc_net.c).
    Ok(Inside { is_own: is_same(stat(format!("/proc/{pid}/net/dev")), stat("/proc/self/net/dev")), ..inside })
}

/// Whether two files are known to be one.
fn is_same(one: rustix::io::Result<Stat>, other: rustix::io::Result<Stat>) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Descriptors are not negative.
fn descriptor(fd: RawFd) -> u32 {
    u32::try_from(fd).unwrap_or(u32::MAX)
}

fn inside(namespace: &NsidAttribute) -> io::Result<Inside> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut message = NsidMessage::default();
    message.attributes.push(namespace.clone());
    send(&socket, RouteNetlinkMessage::GetNsId(message), 0)?;
    let mut nsid = None;
    receive(
        &socket,
        |message| {
            if let RouteNetlinkMessage::NewNsId(message) = message {
                nsid = message.attributes.into_iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) => Some(id).filter(|id| *id >= 0),
                    _ => None,
                });
            }
        },
        Until::First,
    )?;
    let Some(nsid) = nsid else { return Ok(Inside::default()) };
    let mut links = LinkMessage::default();
    links.attributes.push(LinkAttribute::IfNetnsId(nsid));
    send(&socket, RouteNetlinkMessage::GetLink(links), NLM_F_DUMP)?;
    let mut netdevs = BTreeMap::new();
    let listed = receive(
        &socket,
        |message| {
            if let RouteNetlinkMessage::NewLink(message) = message {
                let name = message.attributes.iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name.clone()),
                    _ => None,
                });
                netdevs.extend(name.map(|name| (message.header.index, name)));
            }
        },
        Until::Done,
    );
    if let Err(error) = listed {
        // Another user namespace may own it. Its veth pairs are known all the same, without the names of their other ends.
        tracing::debug!(nsid, %error, "cannot list the netdevs of a namespace");
    }
    Ok(Inside { nsid: Some(nsid), netdevs, is_own: false })
}

/// When an answer is complete.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    First,
    Done,
}

fn send(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

fn receive(socket: &Socket, mut take: impl FnMut(RouteNetlinkMessage), until: Until) -> io::Result<()> {
    let unreadable =
        |error: &dyn std::fmt::Display| io::Error::other(format!("an answer that cannot be read: {error}"));
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|error| unreadable(&error))?;
            let length = (message.header.length as usize).next_multiple_of(4).clamp(4, rest.len().max(4));
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(message) => {
                    take(message);
                    if until == Until::First {
                        return Ok(());
                    }
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => return Ok(()),
            }
        }
    }
}
