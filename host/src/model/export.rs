//! The configuration as a document: what [`apply`](super::apply) takes.
//!
//! It has what a user asked for and nothing else: settings that are not as they would be by default, ports with their
//! peers, and the chains. It has no UUIDs, so it describes the same for another machine. Cubes that could not be brought
//! back are in it too: they are still wanted. Those whose row in the store cannot be read are not: nothing is known of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Model;
use super::port_config::PortConfig;
use super::saved::{SavedCube, SavedPort, save, whole_chain};
use crate::registry::Registry;
use crate::topology::{CubeName, Point, Topology};

/// Everything that is wanted, as a document.
pub(crate) fn export(model: &Model) -> Value {
    let running = model.topology.cubes().filter(|(_, cube)| cube.ephemeral.is_none());
    let running = running.map(|(name, cube)| (name, save(cube)));
    let is_readable = |name: &CubeName| model.unrestored.get(name).is_none_or(|waiting| !waiting.is_unreadable);
    let waiting = model.unrestored.iter().filter(|(name, _)| is_readable(name));
    let waiting = waiting.map(|(name, unrestored)| (name, unrestored.cube.clone()));
    let cubes: BTreeMap<&CubeName, SavedCube> = running.chain(waiting).collect();
    let cubes: Value = cubes.iter().map(|(name, each)| cube(&model.registry, name, each)).collect();
    let waiting = model.unrestored.values().flat_map(|unrestored| unrestored.points());
    let points: BTreeSet<&Point> = model.topology.chains().map(|(point, _)| point).chain(waiting).collect();
    let is_stored = |name: &CubeName| is_readable(name) && !model.topology.is_ephemeral(name.as_str());
    let points = points.into_iter().filter(|point| !matches!(point, Point::Port(owner, _) if !is_readable(owner)));
    let chains = points.filter_map(|point| {
        let asked_for = whole_chain(model, point).into_iter().filter(|attachment| attachment.chosen.is_none());
        let cubes = asked_for.map(|attachment| attachment.cube);
        let cubes: Vec<String> = cubes.filter(|cube| is_stored(cube)).map(|cube| cube.to_string()).collect();
        (!cubes.is_empty()).then(|| (point.to_string(), in_order(point, cubes).into()))
    });
    json!({ "cubes": cubes, "chains": chains.collect::<Map<String, Value>>() })
}

fn cube(registry: &Registry, name: &CubeName, cube: &SavedCube) -> Value {
    let mut json = json!({ "name": name.as_str(), "service-name": cube.service });
    let mut add = |members: Value| {
        if let (Some(json), Value::Object(members)) = (json.as_object_mut(), members) {
            json.extend(members);
        }
    };
    add(registry.cube.sparse(&json!({ "type": "TC", "loglevel": cube.loglevel })));
    let service = registry.service(&cube.service);
    let ports = cube.ports.iter().flatten().map(|(name, SavedPort { peer, settings, .. })| {
        let settings = Value::from(settings.clone());
        let config = PortConfig { peer: peer.clone().unwrap_or_default(), settings: settings.clone() }.whole();
        let members = match service.as_ref().ok().and_then(|service| service.model.port.as_ref()) {
            Some(model) => model.sparse(&config),
            None if peer.is_none() => settings,
            None => config,
        };
        let mut port = Map::from_iter([("name".to_owned(), name.as_str().into())]);
        port.extend(members.as_object().cloned().unwrap_or_default());
        Value::Object(port)
    });
    let ports: Vec<Value> = ports.collect();
    if !ports.is_empty() {
        add(json!({ "ports": ports }));
    }
    add(match service {
        Ok(service) => service.model.sparse(&cube.config),
        // Without its service nothing is known of defaults.
        Err(_) => cube.config.clone(),
    });
    json
}

/// The cubes at a point, in the order in which packets from the wire pass them.
pub(crate) fn from_wire(topology: &Topology, point: &Point) -> Vec<CubeName> {
    in_order(point, topology.chain(point).iter().map(|attachment| attachment.cube.clone()).collect())
}

/// A chain's cubes in the order of the topology, given in the order from the wire, and the other way round: the first cube
/// of a port's chain is next to the port.
pub(super) fn in_order<T>(point: &Point, mut cubes: Vec<T>) -> Vec<T> {
    if matches!(point, Point::Port(..)) {
        cubes.reverse();
    }
    cubes
}
