//! Netdevs that come and go.

use super::{Engine, View};
use crate::sys::netlink::Event;
use crate::topology::Point;
use crate::wiring::Hook;

impl Engine {
    pub(super) fn netdev_event(&mut self, event: &Event) {
        let hook_of = |ifindex: u32, other_than: &str| {
            let renamed = |hook: &&Hook| hook.netdev.ifindex == ifindex && hook.netdev.name != other_than;
            self.wiring.hooks.keys().find(renamed).map(|hook| hook.netdev.name.clone())
        };
        match event {
            Event::Gone(link) => {
                // Another may have come by its name, and be in use, before this was heard of.
                let is_other = |hook: &Hook| hook.netdev.name == link.name && hook.netdev.ifindex != link.ifindex;
                if !self.wiring.hooks.keys().any(is_other) {
                    self.netdev_gone(&link.name, "disappeared");
                }
            }
            Event::Seen(link) => {
                if let Some(old) = hook_of(link.ifindex, &link.name) {
                    self.netdev_gone(&old, &format!("is called {} now", link.name));
                }
                let wired = self.wiring.hooks.keys().any(|hook| hook.netdev.name == link.name);
                if !wired && !self.current.topology.chain(&Point::Netdev(link.name.clone())).is_empty() {
                    tracing::info!(netdev = link.name, "is there: what is attached to it sees its traffic");
                    self.rewire(self.current.clone());
                }
            }
        }
    }

    fn netdev_gone(&mut self, netdev: &str, what: &str) {
        let mut wanted = self.current.clone();
        if let Some((cube, port)) = self.current.topology.peer_owner(netdev) {
            tracing::warn!(netdev, "{what}: port {cube}:{port} has no peer now");
            if let Err(problem) = wanted.topology.set_peer(cube.as_str(), port.as_str(), None) {
                tracing::error!(?problem, "cannot take the peer off");
            }
        } else if self.wiring.hooks.keys().any(|hook| hook.netdev.name == netdev) {
            tracing::warn!(netdev, "{what}: what is attached to it sees nothing until it returns");
        } else {
            return;
        }
        self.rewire(wanted);
    }

    fn rewire(&mut self, wanted: View) {
        if let Err(problems) = self.apply(wanted) {
            tracing::error!(?problems, "cannot follow a netdev");
        }
    }
}
