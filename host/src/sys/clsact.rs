//! The clsact queueing discipline and the filters that hang on it, over rtnetlink. Nothing here must be called in a tokio
//! runtime.

use std::io;
use std::pin::pin;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use rtnetlink::{Handle, new_connection};

/// Why a queueing discipline or a filter is still there.
#[derive(Debug, thiserror::Error)]
pub enum ClsactError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] io::Error),
    #[error(transparent)]
    Kernel(#[from] rtnetlink::Error),
}

/// Removes a netdev's clsact queueing discipline unless a filter hangs on it; tells whether it did.
///
/// # Errors
/// What the kernel says.
pub fn remove_idle(ifindex: u32) -> Result<bool, ClsactError> {
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

/// Removes a netdev's filters that run one of these programs, by the kernel's ids.
///
/// # Errors
/// What the kernel says.
pub fn remove_filters(ifindex: u32, programs: &[u32]) -> Result<(), ClsactError> {
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

fn with_handle<T>(work: impl AsyncFnOnce(&mut Handle) -> Result<T, ClsactError>) -> Result<T, ClsactError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, mut handle, _) = new_connection()?;
        tokio::spawn(connection);
        work(&mut handle).await
    })
}

/// The filters of both hooks. Each program's filter comes after one of its priority alone, which has no handle.
async fn filters(handle: &Handle, ifindex: u32) -> Result<Vec<TcMessage>, ClsactError> {
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
