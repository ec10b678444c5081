//! Why there is no answer.

use std::io;

use super::tls::TlsError;
use crate::address::{Address, Transport};

/// The daemon was not reached, or what it sent is not an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no daemon answers at {address} ({source}): start it with: sudo polycubed{}", options(*.tcp))]
    Unreachable { address: String, tcp: bool, source: io::Error },
    #[error("permission denied on {address}: run as root, or join group polycube")]
    Denied { address: String, source: io::Error },
    #[error("{address}: {source}")]
    Tls { address: String, source: TlsError },
    #[error("cannot ask for '{target}…': {source}")]
    Request { target: String, source: hyper::http::Error },
    #[error("{address} does not answer as polycubed does: {source}")]
    Broken { address: String, source: hyper::Error },
    #[error("{address} closed the connection before its answer was complete: polycubed has ended or was restarted")]
    Closed { address: String },
    #[error("{address} did not answer within {seconds} s")]
    Silent { address: String, seconds: u64 },
    #[error("the answer of {address} is longer than {most} MiB")]
    TooLong { address: String, most: usize },
    #[error("this is a stream of {media:?}, which cannot be shown: use NAME dump to write it, NAME watch to see it")]
    Stream { media: String },
    #[error("{address} redirects more than {most} times")]
    Redirects { address: String, most: usize },
    #[error("{address} redirects to {location:?}, which is another server")]
    RedirectElsewhere { address: String, location: String },
}

impl ClientError {
    pub(super) fn connect(address: &Address, source: io::Error) -> Self {
        let tcp = matches!(address.transport, Transport::Tcp { .. });
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::PermissionDenied if !tcp => Self::Denied { address, source },
            _ => Self::Unreachable { address, tcp, source },
        }
    }
}

/// TCP is not the daemon's default.
fn options(tcp: bool) -> &'static str {
    if tcp { " --addr A --port P" } else { "" }
}
