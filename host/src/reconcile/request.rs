//! What plugins are asked with.

use std::sync::Arc;

use polycube_plugin_api::{Point as PluginPoint, Port as PluginPort, Wanted};

use crate::registry::Registry;
use crate::topology::{Chosen, Cube, CubeName, Point, Topology};
use crate::wiring::Netdevs;

/// Index of the loopback in every network namespace (`LOOPBACK_IFINDEX` in the kernel's include/net/flow.h).
const LOOPBACK: u32 = 1;

/// What a plugin is asked with: the JSON text of a [`Wanted`].
pub(super) fn request(
    name: &CubeName,
    cube: &Cube,
    (topology, netdevs): (&Topology, &Netdevs),
    registry: &Registry,
) -> Arc<str> {
    let ports = cube.ports().map(|(port_name, port)| PluginPort {
        id: port.id,
        name: port_name.to_string(),
        netdev: netdevs.of_port(name, port_name, port).map(|netdev| netdev.name),
    });
    let (places, points): (Vec<_>, Vec<_>) =
        topology.points(name.as_str()).into_iter().partition(|(_, point)| matches!(point, Point::Selector(_)));
    let places = places.into_iter().map(|(_, place)| place.to_string()).collect();
    let points = points.into_iter().map(|(id, point)| {
        let netdev = netdevs.of_point(topology, point);
        let chosen = topology.chosen_at(name, point);
        let inside = chosen.and_then(Chosen::name);
        PluginPoint {
            id,
            is_reversed: inside.is_some(),
            is_chosen: chosen.is_some(),
            name: inside.unwrap_or_else(|| point.to_string()),
            is_loopback: netdev.as_ref().is_some_and(|netdev| netdev.ifindex == LOOPBACK),
            is_raw_ip: netdev.as_ref().is_some_and(|netdev| netdevs.is_raw_ip(netdev.ifindex)),
            peer: topology.peer_at(point).map(ToString::to_string),
            netdev: netdev.map(|netdev| netdev.name),
        }
    });
    // In tests, the service may not be loaded.
    let service = registry.service(&cube.service).ok().filter(|service| service.model.has_port_settings);
    let settings = || cube.ports().map(|(name, port)| (name.as_str(), &port.settings));
    let completed = service.map(|service| service.model.with_ports(&cube.config, settings()));
    let config = completed.as_ref().unwrap_or(&cube.config);
    let wanted = Wanted { config, ports: ports.collect(), points: points.collect(), places };
    serde_json::to_string(&wanted).unwrap_or_default().into()
}
