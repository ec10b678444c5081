//! What cubes hear of the netdevs at their ports and points.
//!
//! It costs no new wiring: the programs stay, and the plugin decides what the news means. The call is made by the thread
//! that calls ticks.

use std::collections::BTreeSet;

use polycube_plugin_api::{Netdev, Netdevs as Report};

use super::{Engine, View};
use crate::topology::{CubeName, Point};
use crate::wiring::{Netdev as Wired, Touched};

impl Engine {
    /// Publishes that netdevs went down or came up, and has the cubes there hear it.
    pub(super) fn announce_states(&mut self, ifindexes: &BTreeSet<u32>) {
        let (topology, wired) = (&self.reconciler.model().topology, self.reconciler.netdevs());
        let mut cubes = BTreeSet::new();
        for link in ifindexes.iter().filter_map(|ifindex| self.present.table().link(*ifindex)) {
            let netdev = Wired { ifindex: link.ifindex, name: link.name.clone() };
            let port = wired.owner(&netdev, topology);
            let at_port = port.clone().map(|(cube, port)| Point::Port(cube, port));
            let points = [Some(Point::Netdev(netdev.name)), at_port];
            let attached = points.iter().flatten().flat_map(|point| topology.chain(point));
            cubes.extend(attached.map(|attached| attached.cube.clone()).chain(port.map(|(cube, _)| cube)));
        }
        if !cubes.is_empty() {
            self.publish();
            self.announce(&self.view(), &cubes);
        }
    }

    /// Has the cubes that `after` wires differently hear of their netdevs.
    pub(super) fn announce_difference(&self, before: &View, after: &View) {
        let place = |view: &View| (view.topology.clone(), view.netdevs.clone());
        let (before, now) = (place(before), place(after));
        let touched = Touched::between((&before.0, &before.1), (&now.0, &now.1), []);
        self.announce(after, &touched.cubes);
    }

    fn announce(&self, view: &View, cubes: &BTreeSet<CubeName>) {
        for (name, instance) in cubes.iter().filter_map(|name| view.instances.get_key_value(name)) {
            if instance.report(&report(view, name)) {
                // The thread that calls ticks ends with the daemon.
                let _ = self.urgent.send(std::sync::Arc::clone(instance));
            }
        }
    }
}

/// The JSON text of what a cube hears.
fn report(view: &View, cube: &CubeName) -> String {
    let netdev = |at: u32, wired: Option<Wired>| {
        let link = view.present.link(wired?.ifindex)?;
        Some(Netdev { at, name: link.name.clone(), state: link.state(), epoch: link.epoch })
    };
    let ports = view.topology.get(cube.as_str()).into_iter().flat_map(|(name, found)| {
        found.ports().filter_map(move |(port_name, port)| netdev(port.id, view.netdevs.of_port(name, port_name, port)))
    });
    let points = view.topology.points(cube.as_str());
    let points = points.into_iter().filter_map(|(at, point)| netdev(at, view.netdevs.of_point(&view.topology, point)));
    let report = Report { ports: ports.collect(), points: points.collect() };
    // Numbers and texts always have a JSON form.
    serde_json::to_string(&report).unwrap_or_default()
}
