//! What the engine gives plugins to reach: itself, by messages, and what they may look at without it.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use super::{Ask, Inbox, Message, View, late_maps, send};
use crate::plugins::{Calls, CaptureDirs, Failures, NetdevAt, Request, Surroundings};
use crate::slow_path::SlowPath;
use crate::topology::{CubeName, Point};

/// What is in force, once there is something.
pub(super) type Published = Arc<OnceLock<Weak<RwLock<Arc<View>>>>>;

/// What plugins learn of points. It waits for nothing: a change under way is not published yet.
pub(super) fn netdev_at(published: &Published) -> NetdevAt {
    let published = Arc::clone(published);
    Arc::new(move |point| {
        let view = published.get()?.upgrade()?;
        let view = Arc::clone(&view.read().unwrap_or_else(PoisonError::into_inner));
        let point = Point::parse(point).ok()?;
        let point = match point {
            Point::Selector(name) => view.topology.chosen_as(&name)?,
            point => point,
        };
        Some(view.netdevs.of_point(&view.topology, &point)?.name)
    })
}

/// What plugins reach beside the engine.
pub(super) struct Ways {
    pub netdev_at: NetdevAt,
    pub slow_path: Option<Arc<SlowPath>>,
}

pub(super) fn surroundings(
    inbox: &Inbox,
    (calls, failures): (&Arc<Calls>, &Arc<Failures>),
    capture_dirs: CaptureDirs,
    Ways { netdev_at, slow_path }: Ways,
) -> Surroundings {
    let (for_requests, for_maps, for_turns) = (inbox.clone(), inbox.clone(), inbox.clone());
    let requests = move |cube: &CubeName| -> Request {
        let (inbox, cube) = (for_requests.clone(), cube.clone());
        Box::new(move |patch| send(&inbox, Message::Ask(Ask::Request(cube.clone(), patch))))
    };
    let freed = move || -> Box<dyn Fn() + Send + Sync> {
        let inbox = for_turns.clone();
        Box::new(move || send(&inbox, Message::Freed))
    };
    Surroundings {
        calls: Arc::clone(calls),
        failures: Arc::clone(failures),
        capture_dirs,
        requests: Box::new(requests),
        late_maps: Box::new(move |cube| late_maps::way(&for_maps, cube)),
        netdev_at,
        freed: Box::new(freed),
        slow_path,
    }
}
