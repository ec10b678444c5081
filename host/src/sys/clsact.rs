//! The clsact queueing discipline and the filters that hang on it, over rtnetlink. Nothing here must be called in a tokio
//! runtime.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use rtnetlink::{Handle, new_connection};

use super::netlink::NetlinkError;

/// What stands in the place of a netdev's clsact queueing discipline, by the kernel's name of it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn kind(ifindex: u32) -> Result<Option<String>, NetlinkError> {
    with_handle(async |handle| {
        let mut all = pin!(handle.qdisc().get().execute());
        let mut found = None;
        while let Some(TcMessage { header, attributes, .. }) = all.try_next().await? {
            if header.index == ifindex.cast_signed() && header.parent == TcHandle::CLSACT {
                found = attributes.into_iter().find_map(|attribute| match attribute {
                    TcAttribute::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
        }
        Ok(found)
    })
}

/// Removes a netdev's clsact queueing discipline unless a filter hangs on it; tells whether it did.
///
/// # Errors
/// What the kernel says.
pub(crate) fn remove_idle(ifindex: u32) -> Result<bool, NetlinkError> {
    with_handle(async |handle| {
        if !filters(handle, ifindex).await?.is_empty() {
            return Ok(false);
        }
        let mut request = handle.qdisc().del(ifindex.cast_signed());
        let header = &mut request.message_mut().header;
        header.parent = TcHandle::CLSACT;
        header.handle = TcHandle { minor: 0, ..TcHandle::CLSACT };
        request.execute().await?;
        Ok(true)
    })
}

/// The programs that a netdev's filters run, by the kernel's ids.
///
/// # Errors
/// What the kernel says.
pub(crate) fn programs(ifindex: u32) -> Result<Vec<u32>, NetlinkError> {
    with_handle(async |handle| Ok(filters(handle, ifindex).await?.iter().filter_map(program).collect()))
}

/// A filter on a netdev's hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The netdev's name now.
    pub netdev: String,
    pub priority: u16,
    pub handle: u32,
}

/// The filter of a netdev that runs a program, by the kernel's id.
///
/// # Errors
/// What the kernel says.
pub(crate) fn find(ifindex: u32, id: u32) -> Result<Option<Filter>, NetlinkError> {
    with_handle(async |handle| {
        let filters = match filters(handle, ifindex).await {
            // The netdev is gone, or has no clsact any more.
            Err(NetlinkError::Kernel(rtnetlink::Error::NetlinkError(_))) => return Ok(None),
            filters => filters?,
        };
        let Some(found) = filters.into_iter().find(|filter| program(filter) == Some(id)) else { return Ok(None) };
        let link = handle.link().get().match_index(ifindex).execute().try_next().await?;
        let netdev = link.and_then(|link| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        });
        // The upper half of the word is the priority, the lower one the protocol (`tc_make_handle()` in
        // include/uapi/linux/pkt_sched.h).
        let priority = (found.header.info >> 16) as u16;
        Ok(netdev.map(|netdev| Filter { netdev, priority, handle: u32::from(found.header.handle) }))
    })
}

fn with_handle<T>(work: impl AsyncFnOnce(&mut Handle) -> Result<T, NetlinkError>) -> Result<T, NetlinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, mut handle, _) = new_connection()?;
        tokio::spawn(connection);
        work(&mut handle).await
    })
}

/// The filters of both hooks. Each program's filter comes after one of its priority alone, which has no handle.
async fn filters(handle: &Handle, ifindex: u32) -> Result<Vec<TcMessage>, NetlinkError> {
    let mut filters = handle.traffic_filter(ifindex.cast_signed());
    let mut found = Vec::new();
    for request in [filters.get().ingress(), filters.get().egress()] {
        let mut messages = pin!(request.execute());
        while let Some(message) = messages.try_next().await? {
            found.push(message);
        }
    }
    Ok(found)
}

/// The kernel's id of the program that a filter runs.
fn program(filter: &TcMessage) -> Option<u32> {
    let options = filter.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}
