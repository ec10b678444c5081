//! What the log says about netdevs and deferred parts.

use std::collections::BTreeSet;

use polycube_plugin_api::Level;

use super::{Attempt, Cubes, Kernel, Reconciler};
use crate::model::{Deferred, Part};
use crate::plugins::LOG_TARGET;
use crate::topology::{Point, Topology};
use crate::wiring::{Netdevs, PortKey};

/// What happened to a netdev.
#[derive(Clone, Copy)]
enum Event {
    Appeared,
    Disappeared,
}

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Logs what was not deferred before for the same reason.
    pub(super) fn report_deferred(&self, now: &Deferred) {
        let before = &self.model.deferred;
        for (part, reason) in now.parts().filter(|(part, reason)| before.reason(part) != Some(reason)) {
            match part {
                Part::Cube(cube) => tracing::error!(%cube, "left as it was before, and tried again: {reason}"),
                Part::Netdev(netdev) => tracing::error!(netdev = netdev.name, "left alone, and tried again: {reason}"),
            }
        }
    }

    /// Logs which of these netdevs appeared or disappeared, for every cube that is there.
    pub(super) fn report_netdevs(&self, topology: &Topology, before: &Netdevs, names: &BTreeSet<String>) {
        let now = &self.netdevs;
        for netdev in names {
            match (before.of_name(netdev), now.of_name(netdev)) {
                // It may merely have another name.
                (Some(was), now)
                    if now.as_ref() != Some(&was)
                        && !self.netdevs.is_named(was.ifindex)
                        && self.model.wants(netdev) =>
                {
                    self.report_netdev(&self.model.topology, netdev, Event::Disappeared);
                }
                (None, Some(_)) => {
                    let was_wanted = topology.peer_owner(netdev).is_some()
                        || !topology.chain(&Point::Netdev(netdev.clone())).is_empty();
                    if was_wanted {
                        self.report_netdev(&self.model.topology, netdev, Event::Appeared);
                    }
                }
                _ => {}
            }
        }
    }

    fn report_netdev(&self, topology: &Topology, netdev: &str, event: Event) {
        let owner = topology.peer_owner(netdev);
        let points = owner.clone().map(|(cube, port)| Point::Port(cube, port)).into_iter();
        let points = points.chain([Point::Netdev(netdev.to_owned())]);
        let attached = points.flat_map(|point| topology.chain(&point).to_vec()).map(|one| (one.cube, None));
        let owner = owner.map(|(cube, port)| (cube, Some(port.to_string())));
        for (cube, port) in owner.into_iter().chain(attached) {
            let port = port.as_deref();
            match event {
                Event::Disappeared if self.cubes.admits(&cube, Level::Warn) => {
                    let message = "the netdev disappeared: nothing passes until it returns";
                    tracing::warn!(target: LOG_TARGET, %cube, port, netdev, message);
                }
                Event::Appeared if self.cubes.admits(&cube, Level::Info) => {
                    tracing::info!(target: LOG_TARGET, %cube, port, netdev, "the netdev is there");
                }
                _ => {}
            }
        }
    }

    /// Logs that the pair of a link has to be made again, if there was one.
    pub(super) fn report_lost_link(&self, attempt: &Attempt, (cube, port): &PortKey) {
        if let Some(end) = attempt.netdevs.links().get(&(cube.clone(), port.clone()))
            && self.cubes.admits(cube, Level::Warn)
        {
            let message = "the link disappeared: making it again";
            tracing::warn!(target: LOG_TARGET, %cube, %port, netdev = end.name, message);
        }
    }
}
