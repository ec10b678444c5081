//! The clsact queueing discipline and the filters that hang on it, over rtnetlink. Nothing here must be called in a tokio
//! runtime.

use std::pin::pin;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
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

/// Removes a netdev's filters that run one of these programs, by the kernel's ids.
///
/// # Errors
/// What the kernel says.
pub(crate) fn remove_filters(ifindex: u32, programs: &[u32]) -> Result<(), NetlinkError> {
    with_handle(async |handle| {
        for filter in filters(handle, ifindex).await? {
            if program(&filter).is_some_and(|id| programs.contains(&id)) {
                let mut message = TcMessage::default();
                message.header = filter.header;
                let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelTrafficFilter(message));
                request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
                let mut answers = handle.request(request)?;
                while let Some(answer) = answers.next().await {
                    if let NetlinkPayload::Error(error) = answer.payload {
                        return Err(rtnetlink::Error::NetlinkError(error).into());
                    }
                }
            }
        }
        Ok(())
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
