//! What applying a document changes, for people and programs.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::document::Document;
use crate::model::configuration::Apply;
use crate::model::export::from_wire;
use crate::model::port_config::PortConfig;
use crate::model::{Facts, Model};
use crate::schema;
use crate::topology::{Cube, CubeName, Point, Port, PortName, Topology};

/// What became of a part of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Created,
    Changed,
    Removed,
    /// It is as the document wants it.
    Left,
    /// The document does not mention it.
    Unlisted,
}

/// What a document is about.
struct Listed {
    cubes: BTreeSet<CubeName>,
    points: BTreeSet<Point>,
}

/// What becomes of each cube and each chain on the way from one model to the other.
pub(crate) fn report(before: &Model, after: &Model, apply: &Apply, facts: &Facts) -> Value {
    let (document, _) = Document::read(apply.document.clone());
    let primary = |place: &str| match Point::parse(place).ok()? {
        Point::Netdev(name) => {
            let link = facts.present.named(&name);
            Some(Point::Netdev(link.map_or(name, |link| link.name.clone())))
        }
        other @ (Point::Port(..) | Point::Selector(_)) => Some(other),
    };
    let listed = Listed {
        cubes: document.cubes.into_iter().map(|cube| cube.name).collect(),
        points: document.chains.iter().filter_map(|chain| primary(&chain.place)).collect(),
    };
    json!({ "cubes": cubes(before, after, &listed), "chains": chains(&before.topology, &after.topology, &listed) })
}

fn cubes(before: &Model, after: &Model, listed: &Listed) -> Value {
    let running = [before, after].into_iter().flat_map(|model| model.topology.cubes().map(|(name, _)| name));
    let names: BTreeSet<&CubeName> = running.chain(before.unrestored.keys()).collect();
    let entry = |name: &CubeName| {
        let [old, new] = [before, after].map(|model| model.topology.get(name.as_str()).map(|(_, cube)| cube));
        let waiting = before.unrestored.get(name).map(|unrestored| &unrestored.cube.service);
        let service = new.or(old).map(|cube| &cube.service).or(waiting);
        let mut changes = Vec::new();
        let fate = match (old, new) {
            (None, None) if after.unrestored.contains_key(name) => Fate::Unlisted,
            (None, None) | (Some(_), None) => Fate::Removed,
            (None, Some(_)) => Fate::Created,
            (Some(old), Some(new)) => {
                let port = after.registry.service(&new.service).ok().and_then(|service| service.model.port.as_deref());
                let [old, new] = [(old, new), (new, old)].map(|(cube, other)| described(cube, other, port));
                compare(&old, &new, "", &mut changes);
                fate(!changes.is_empty(), listed.cubes.contains(name))
            }
        };
        let mut entry = json!({ "name": name.as_str(), "service-name": service, "result": fate.as_str() });
        if !changes.is_empty() {
            entry["changes"] = changes.into();
        }
        entry
    };
    names.into_iter().map(entry).collect()
}

fn chains(before: &Topology, after: &Topology, listed: &Listed) -> Value {
    let points: BTreeSet<&Point> = before.chains().chain(after.chains()).map(|(point, _)| point).collect();
    let entry = |point: &Point| {
        let [old, new] = [before, after].map(|topology| from_wire(topology, point));
        let fate = match (old.is_empty(), new.is_empty()) {
            (true, _) => Fate::Created,
            (false, true) => Fate::Removed,
            (false, false) => fate(old != new, listed.points.contains(point)),
        };
        let list = |cubes: Vec<CubeName>| cubes.iter().map(|cube| Value::from(cube.as_str())).collect::<Value>();
        let mut entry = json!({ "name": point.to_string(), "result": fate.as_str() });
        if matches!(fate, Fate::Changed | Fate::Removed) {
            entry["from"] = list(old);
        }
        if fate != Fate::Removed {
            entry["cubes"] = list(new);
        }
        entry
    };
    points.into_iter().map(entry).collect()
}

fn fate(is_changed: bool, is_listed: bool) -> Fate {
    match (is_changed, is_listed) {
        (true, _) => Fate::Changed,
        (false, true) => Fate::Left,
        (false, false) => Fate::Unlisted,
    }
}

impl Fate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Left => "left",
            Self::Unlisted => "unlisted",
        }
    }
}

/// What can be said of a cube in a document, ports by their names. A port that `other` lacks is described without what is as by
/// default.
fn described(cube: &Cube, other: &Cube, model: Option<&schema::Model>) -> Value {
    let others: BTreeSet<&PortName> = other.ports().map(|(name, _)| name).collect();
    let port = |(name, port): (&PortName, &Port)| {
        let whole = PortConfig::of(port).whole();
        let model = model.filter(|_| !others.contains(name));
        (name.to_string(), model.map_or_else(|| whole.clone(), |model| model.sparse(&whole)))
    };
    let ports: Map<String, Value> = cube.ports().map(port).collect();
    let mut all = json!({ "loglevel": cube.loglevel, "ports": ports });
    if let (Some(all), Value::Object(config)) = (all.as_object_mut(), &cube.config) {
        all.extend(config.clone());
    }
    all
}

/// Collects the members that differ, with both values; null where there is none.
fn compare(old: &Value, new: &Value, path: &str, changes: &mut Vec<Value>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                compare(&old[name], &new[name], &path, changes);
            }
        }
        _ if old == new => {}
        _ => changes.push(json!({ "path": path, "from": old, "to": new })),
    }
}
