//! What of a model outlives the daemon, as plain data. `store` writes it.
//!
//! The forms below are those of the files that earlier versions wrote: a member may be added, with a default, and none may
//! change its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Model;
use crate::file_type::FileType;
use crate::topology::{Attachment, Chosen, Cube, CubeName, LogLevel, Point, Role, keys};

/// A cube.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedCube {
    pub uuid: String,
    pub service: String,
    pub loglevel: LogLevel,
    pub config: Value,
    /// `None` for a transparent cube.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<BTreeMap<String, SavedPort>>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPort {
    pub id: u32,
    pub uuid: String,
    /// `CUBE:PORT`, or a netdev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What the service lets one set. Earlier versions wrote none.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

/// A transparent cube in the chain of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedAttachment {
    pub cube: String,
    pub id: u32,
    /// Set if a selector chose the point. Earlier versions know no selectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<SavedChoice>,
}

/// Why a cube is attached to a netdev that no user named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedChoice {
    /// The selector.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
}

impl SavedAttachment {
    fn of(Attachment { cube, id, chosen }: Attachment) -> Self {
        let chosen = chosen.map(|chosen| SavedChoice { by: chosen.by.to_string(), inside: chosen.inside.clone() });
        Self { cube: cube.to_string(), id, chosen }
    }

    /// `None` if it is not one that any version has stored.
    pub(super) fn read(&self) -> Option<Attachment> {
        let chosen = match &self.chosen {
            None => None,
            Some(SavedChoice { by, inside }) => match Point::parse(by).ok()? {
                Point::Selector(by) => Some(Arc::new(Chosen { by, inside: inside.clone() })),
                Point::Port(..) | Point::Netdev(_) => return None,
            },
        };
        Some(Attachment { cube: CubeName::parse(&self.cube).ok()?, id: self.id, chosen })
    }
}

/// A service that was added or removed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedService {
    /// Its file; `None` for one that was removed.
    pub uri: Option<PathBuf>,
    /// What the file is. Earlier versions wrote none, for a library.
    #[serde(default, rename = "type")]
    pub file_type: FileType,
}

/// A cube whose row this version cannot read: it stays in the store as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadableCube {
    /// What can be read of it.
    pub cube: SavedCube,
    pub why: String,
}

impl UnreadableCube {
    /// From the text of a row.
    pub(crate) fn of(row: &[u8], why: &serde_json::Error) -> Self {
        let row: Value = serde_json::from_slice(row).unwrap_or_default();
        let text = |member: &str| row[member].as_str().unwrap_or_default().to_owned();
        let loglevel = serde_json::from_value(row["loglevel"].clone()).unwrap_or(LogLevel::Info);
        let cube = SavedCube {
            uuid: text("uuid"),
            service: text("service"),
            loglevel,
            config: Value::Object(Map::new()),
            ports: None,
        };
        Self { cube, why: format!("what is stored of it cannot be read ({why})") }
    }
}

/// Everything that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub services: BTreeMap<String, SavedService>,
    pub cubes: BTreeMap<String, SavedCube>,
    pub unreadable: BTreeMap<String, UnreadableCube>,
    /// By point, in the order of [`crate::topology::Topology::chain`].
    pub chains: BTreeMap<String, Vec<SavedAttachment>>,
}

/// One thing to store; `None` removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Service(String, Option<SavedService>),
    Cube(String, Option<SavedCube>),
    Chain(String, Option<Vec<SavedAttachment>>),
}

/// What to write when `before` is stored and `after` is to be. `loaded` are the services that are loaded at each start.
pub(crate) fn rows(before: &Model, after: &Model, loaded: &BTreeSet<String>) -> Vec<Row> {
    let mut difference = before.topology.difference(&after.topology);
    for name in keys(before.unrestored.diff(&after.unrestored)) {
        difference.cubes.insert(name.clone());
        for unrestored in [before, after].into_iter().filter_map(|model| model.unrestored.get(name)) {
            difference.points.extend(unrestored.points().cloned());
        }
    }
    let mut rows = services(before, after, loaded);
    let is_unreadable = |name: &CubeName| after.unrestored.get(name).is_some_and(|waiting| waiting.is_unreadable);
    let cubes = difference.cubes.iter().filter(|name| !is_unreadable(name));
    // What was never stored need not be removed.
    let is_ephemeral = |name: &CubeName| {
        let is = |model: &Model| model.topology.is_ephemeral(name.as_str());
        let is_there = |model: &Model| cube(model, name).is_some();
        (is(before) || is(after)) && !is_there(before) && !is_there(after)
    };
    let cubes = cubes.filter(|name| !is_ephemeral(name));
    rows.extend(cubes.map(|name| Row::Cube(name.to_string(), cube(after, name))));
    let points = difference.points.iter().map(|point| (point, chain(before, point), chain(after, point)));
    let points = points.filter(|(_, before, after)| before != after);
    rows.extend(points.map(|(point, _, after)| Row::Chain(point.to_string(), after)));
    rows
}

fn services(before: &Model, after: &Model, loaded: &BTreeSet<String>) -> Vec<Row> {
    let file = |model: &Model, name: &str| {
        let loaded = model.registry.service(name).ok();
        let loaded = loaded.map(|service| (service.plugin.path.clone(), service.plugin.file_type()));
        loaded.or_else(|| {
            let (_, missing) = model.registry.missing().find(|(other, _)| *other == name)?;
            Some((missing.uri.clone(), missing.file_type))
        })
    };
    let named = |model: &Model| {
        let loaded = model.registry.services().map(|(name, _)| name);
        loaded.chain(model.registry.missing().map(|(name, _)| name)).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let mut rows = Vec::new();
    for name in named(before).union(&named(after)) {
        let now = file(after, name);
        if file(before, name) != now {
            let (uri, file_type) = now.map_or((None, FileType::Lib), |(path, file_type)| (Some(path), file_type));
            let is_given = uri.is_some() != loaded.contains(name) || file_type == FileType::Object;
            rows.push(Row::Service(name.clone(), is_given.then_some(SavedService { uri, file_type })));
        }
    }
    rows
}

fn cube(model: &Model, name: &CubeName) -> Option<SavedCube> {
    let running = model.topology.get(name.as_str()).filter(|(_, cube)| cube.ephemeral.is_none());
    running.map(|(_, cube)| save(cube)).or_else(|| Some(model.unrestored.get(name)?.cube.clone()))
}

/// A cube as it is stored.
pub(super) fn save(cube: &Cube) -> SavedCube {
    let ports = cube.ports().map(|(name, port)| {
        let peer = port.peer.as_ref().map(ToString::to_string);
        let settings = port.settings.as_object().cloned().unwrap_or_default();
        (name.to_string(), SavedPort { id: port.id, uuid: port.uuid.clone(), peer, settings })
    });
    SavedCube {
        uuid: cube.uuid.clone(),
        service: cube.service.clone(),
        loglevel: cube.loglevel,
        config: cube.config.clone(),
        ports: matches!(cube.role, Role::Standard(_)).then(|| ports.collect()),
    }
}

/// The chain at a point as it is stored.
pub(super) fn chain(model: &Model, point: &Point) -> Option<Vec<SavedAttachment>> {
    let chain = whole_chain(model, point).into_iter();
    let chain = chain.filter(|Attachment { cube, .. }| !model.topology.is_ephemeral(cube.as_str()));
    let chain = chain.map(SavedAttachment::of);
    Some(chain.collect()).filter(|chain: &Vec<_>| !chain.is_empty())
}

/// The chain at a point, with the cubes that could not be brought back in their places.
pub(super) fn whole_chain(model: &Model, point: &Point) -> Vec<Attachment> {
    let own = model.unrestored.values().find_map(|unrestored| unrestored.chains.get(point));
    let mut chain = own.map_or_else(|| model.topology.chain(point).to_vec(), Clone::clone);
    let waiting = model.unrestored.iter().flat_map(|(name, unrestored)| {
        let places = unrestored.places.iter().filter(|(place, ..)| place == point);
        places.map(|(_, index, id)| (*index, Attachment { cube: name.clone(), id: *id, chosen: None }))
    });
    let mut waiting: Vec<_> = waiting.collect();
    // The indexes are those in the whole chain.
    waiting.sort_by_key(|(index, _)| *index);
    for (index, attachment) in waiting {
        chain.insert(chain.len().min(index), attachment);
    }
    chain
}
