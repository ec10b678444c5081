//! What requests are answered from.

use std::sync::Arc;
use std::time::Duration;

use super::statistics::Statistics;
use crate::engine::{Handle, Pulse, View};
use crate::plugins::{self, CaptureDirs};
use crate::problem::Problem;
use crate::sys::netlink::Netlink;
use crate::topology::CubeName;

/// What the API as a whole works with.
#[derive(Clone)]
pub(crate) struct Api {
    pub engine: Handle,
    pub netlink: Netlink,
    pub pulse: Pulse,
    pub statistics: Arc<Statistics>,
    pub capture_dirs: Arc<CaptureDirs>,
}

/// What one request is answered from: the model as it was when the request arrived, whatever happens meanwhile.
#[derive(Clone)]
pub(super) struct Context {
    pub engine: Handle,
    pub netlink: Netlink,
    pub pulse: Pulse,
    pub statistics: Arc<Statistics>,
    pub capture_dirs: Arc<CaptureDirs>,
    pub view: Arc<View>,
}

impl Context {
    pub(super) fn new(api: Api) -> Self {
        let Api { engine, netlink, pulse, statistics, capture_dirs } = api;
        Self { view: engine.view(), engine, netlink, pulse, statistics, capture_dirs }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.view.registry.services().map(|(name, _)| name)
    }

    pub(super) fn cubes(&self) -> impl Iterator<Item = &str> {
        let running = self.view.topology.cubes().map(|(name, _)| name);
        running.chain(self.view.unrestored.keys()).map(CubeName::as_str)
    }
}

/// How long a reader waits for a plugin: until the cube counts as stuck.
const PATIENCE: Duration = plugins::PATIENCE.saturating_add(Duration::from_millis(100));

/// Runs what calls a plugin away from the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Problem::failed("", format!("the request was not finished: {error}"))),
        // From now on its cube counts as stuck and is answered for without its plugin.
        Err(_) => {
            Err(Problem::failed("", format!("a plugin has not returned for {} s: try again", PATIENCE.as_secs())))
        }
    }
}
