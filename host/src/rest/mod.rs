//! The REST API, `/polycube/v1/`: paths and methods to the engine's changes and views, and back. Only this room
//! knows HTTP.

mod access;
mod body;
mod chains;
mod dispatch;
mod error;
mod etag;
mod framework;
mod help;
mod kind;
mod listen;
mod metrics;
mod openapi;
mod present;
mod progress;
mod range;
mod resource;
mod stream;
mod tls;

pub use access::Access;
pub use listen::{serve_tcp, serve_unix};
pub use tls::{Files as TlsFiles, acceptor as tls_acceptor};

use std::sync::Arc;

use axum::Router;

use crate::engine::{Handle, View};
use crate::sys::netlink::Netlink;

/// First part of every path.
pub const BASE: &str = "/polycube/v1";

/// What requests are answered from.
#[derive(Clone)]
pub struct Api {
    pub engine: Handle,
    /// What was in force when the request came: all that it reads is of one moment.
    pub view: Arc<View>,
    pub netlink: Netlink,
}

/// The API as a service.
pub fn router(api: Api) -> Router {
    Router::new().fallback(dispatch::dispatch).with_state(api)
}
