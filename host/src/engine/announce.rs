//! What cubes hear of the netdevs at their ports and points.
//!
//! It costs no new wiring: the programs stay, and the plugin decides what the news means. The call is made by the thread
//! that calls ticks.

use std::collections::BTreeSet;
use std::sync::Arc;

use polycube_plugin_api::{Netdev, Netdevs as Report};

use super::{Engine, View};
use crate::topology::{CubeName, Point};
use crate::wiring::{Netdev as Wired, Touched};

impl Engine {
    /// Publishes that netdevs went down or came up, and has the cubes there hear it.
    pub(super) fn announce_states(&mut self, ifindexes: &BTreeSet<u32>) {
        let view = self.view();
        let cubes = at(&view, ifindexes);
        if !cubes.is_empty() {
            self.publish();
            self.announce(&view, &cubes);
        }
    }

    /// Has the cubes that `after` wires differently hear of their netdevs.
    pub(super) fn announce_difference(&self, before: &View, after: &View) {
        // Code that has come in another's place has heard of nothing yet.
        let is_other = |(name, now): &(&CubeName, &Arc<_>)| {
            before.instances.get(*name).is_some_and(|before| !Arc::ptr_eq(before, now))
        };
        let is_reloaded = before.registry.replaced(&after.registry).next().is_some();
        let renewed = after.instances.iter().filter(|_| is_reloaded).filter(is_other).map(|(name, _)| name.clone());
        let touched = Touched::between((&before.topology, &before.netdevs), (&after.topology, &after.netdevs), renewed);
        self.announce(after, &touched.cubes);
    }

    fn announce(&self, view: &View, cubes: &BTreeSet<CubeName>) {
        for (name, instance) in cubes.iter().filter_map(|name| view.instances.get_key_value(name)) {
            if instance.report(&report(view, name)) {
                // The thread that calls ticks ends with the daemon.
                let _ = self.urgent.send(Arc::clone(instance));
            }
        }
    }
}

/// The cubes at netdevs: those whose ports they are, and those that are attached there.
fn at(view: &View, ifindexes: &BTreeSet<u32>) -> BTreeSet<CubeName> {
    let mut cubes = BTreeSet::new();
    for link in ifindexes.iter().filter_map(|ifindex| view.present.link(*ifindex)) {
        let netdev = Wired { ifindex: link.ifindex, name: link.name.clone() };
        let port = view.netdevs.owner(&netdev, &view.topology);
        let at_port = port.clone().map(|(cube, port)| Point::Port(cube, port));
        let points = [Some(Point::Netdev(netdev.name)), at_port];
        let attached = points.iter().flatten().flat_map(|point| view.topology.chain(point));
        cubes.extend(attached.map(|attached| attached.cube.clone()).chain(port.map(|(cube, _)| cube)));
    }
    cubes
}

/// The JSON text of what a cube hears.
fn report(view: &View, cube: &CubeName) -> String {
    let netdev = |at: u32, wired: Option<Wired>| {
        let link = view.present.link(wired?.ifindex)?;
        Some(Netdev {
            at,
            name: link.name.clone(),
            state: link.state(),
            epoch: link.epoch,
            ifindex: link.ifindex,
            mac: link.mac.clone(),
            mtu: link.mtu,
        })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use polycube_plugin_api::NetdevState;

    use super::*;
    use crate::model::{Facts, Model};
    use crate::netdev::{Link, Table, ethernet};
    use crate::registry::Registry;
    use crate::wiring::fixture;

    /// `br1` with a tap at its port `p`, another at the netdev there, and a port whose netdev does not exist; a tap at
    /// `veth2`. `veth1` has no carrier.
    fn view() -> View {
        let lab = fixture::Model::new().bridge("br1", &[("q", "veth9"), ("p", "veth1")]).tap("inner", "br1:p");
        let lab = lab.tap("outer", "veth1").tap("far", "veth2");
        let mut present = Table::default();
        present.set(ethernet(12, "veth2"));
        present.set(Link { running: false, ..ethernet(11, "veth1") });
        present.set(ethernet(13, "veth3"));
        let model = Model { topology: lab.topology, ..Model::new(Registry::new().unwrap()) };
        View::of(
            model,
            &Facts { present, wired: lab.netdevs, looks: BTreeMap::new(), failed: BTreeMap::new(), seed: [1; 16] },
        )
    }

    #[test]
    fn the_cubes_at_a_netdev_are_those_whose_packets_pass_it() {
        let names =
            |ifindex| at(&view(), &[ifindex].into()).into_iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(11), ["br1", "inner", "outer"]);
        assert_eq!(names(12), ["far"]);
        assert_eq!(names(13), [""; 0], "no cube uses it");
        assert_eq!(names(99), [""; 0], "it is gone again");
    }

    #[test]
    fn a_cube_hears_of_the_netdevs_that_exist() {
        let view = view();
        let id = |port: &str| view.topology.port("br1", port).unwrap().id;
        let heard =
            |cube: &str| serde_json::from_str::<Report>(&report(&view, &CubeName::parse(cube).unwrap())).unwrap();
        let netdev = |at, name: &str, state, epoch| Netdev {
            ifindex: if name == "veth1" { 11 } else { 12 },
            mtu: 1500,
            ..Netdev { at, name: name.to_owned(), state, epoch, ..Netdev::default() }
        };
        let veth1 = |at| netdev(at, "veth1", NetdevState::NoCarrier, 2);
        assert_eq!(heard("br1"), Report { ports: vec![veth1(id("p"))], points: vec![] });
        assert_eq!(heard("inner"), Report { ports: vec![], points: vec![veth1(0)] });
        assert_eq!(heard("far"), Report { ports: vec![], points: vec![netdev(0, "veth2", NetdevState::Up, 1)] });
    }
}
