//! What requests are answered from.

use std::sync::Arc;

use crate::engine::{Handle, View};
use crate::problem::Problem;
use crate::sys::netlink::Netlink;

/// What the API as a whole works with.
#[derive(Clone)]
pub struct Api {
    pub engine: Handle,
    pub netlink: Netlink,
}

/// What one request is answered from: the model as it was when the request arrived, whatever happens meanwhile.
#[derive(Clone)]
pub struct Context {
    pub engine: Handle,
    pub netlink: Netlink,
    pub view: Arc<View>,
}

impl Context {
    pub fn new(api: Api) -> Self {
        Self { view: api.engine.view(), engine: api.engine, netlink: api.netlink }
    }

    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.view.registry.services().map(|(name, _)| name)
    }

    pub fn cubes(&self) -> impl Iterator<Item = &str> {
        self.view.topology.cubes().map(|(name, _)| name.as_str())
    }
}

/// Runs what calls a plugin away from the threads that serve connections.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(Problem::failed("", format!("the request was not finished: {error}"))))
}
