//! A whole configuration as one change: a document says what is wanted, and the model is brought there.
//!
//! A cube in the document is described completely: a setting that is not mentioned has its default. What the document
//! does not mention at all (other cubes, further ports, other cubes in a chain) stays unless it is to be removed. What is
//! already as it should be is not touched, so applying a document again changes nothing, and a port keeps its id, UUID
//! and peer, whatever happens around it.
//!
//! The document is read first (`document`), and everything that is wrong with its form is collected. Then the draft is
//! brought there in an order in which no step stands in another's way: what goes, cubes with their settings and ports,
//! peers that are given up, peers, chains. `report` says what that changed.

mod document;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use self::document::{Chain, Described, Document};
use super::body::{Form, Peer, Split};
use super::change::{Change, Draft};
use super::configuration::{Apply, Others};
use super::cube::{both, level};
use super::export::{from_wire, in_order};
use super::{Facts, Model};
use crate::problem::{Problem, Problems};
use crate::topology::{Cube, CubeName, Point, Role};

/// The path that problems with a document are below.
const CONFIG: &str = "config";

/// What a change that was made, from one model to the other, answers; null for most.
pub(crate) fn answer(before: &Model, after: &Model, change: &Change, facts: &Facts) -> Value {
    match change {
        Change::Apply(apply) => report::report(before, after, apply, facts),
        _ => Value::Null,
    }
}

impl Draft<'_> {
    pub(super) fn apply(&mut self, apply: Apply) -> Result<(), Problems> {
        self.absent = apply.absent;
        let (document, mut problems) = Document::read(apply.document);
        if apply.others == Others::Go {
            self.remove_others(&document);
        }
        let mut peers = BTreeMap::new();
        for cube in document.cubes {
            let name = cube.name.clone();
            match self.describe(cube, apply.others) {
                Ok(found) => drop(peers.insert(name, found)),
                Err(more) => problems.extend(more.under("cubes").0),
            }
        }
        problems.extend(self.contested(&peers).into_iter().map(|problem| problem.under("cubes")));
        // Where a cube is missing, every reference to it would be one more problem.
        if problems.is_empty() {
            let moved = self.move_peers(peers);
            problems.extend(moved.into_iter().map(|problem| problem.under("cubes")));
            let arranged = self.arrange(document.chains, apply.others);
            problems.extend(arranged.into_iter().map(|problem| problem.under("chains")));
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems).under(CONFIG)) }
    }

    /// Removes the cubes that the document does not mention.
    fn remove_others(&mut self, document: &Document) {
        let described: BTreeSet<&CubeName> = document.cubes.iter().map(|cube| &cube.name).collect();
        let cubes = self.model.topology.cubes().filter(|(_, cube)| cube.ephemeral.is_none()).map(|(name, _)| name);
        let others: Vec<CubeName> = cubes.filter(|name| !described.contains(name)).cloned().collect();
        for name in others {
            // It is there, which is all that could be wrong.
            let _ = self.model.topology.remove_cube(name.as_str());
        }
        let waiting = self.model.unrestored.keys().filter(|name| !described.contains(name));
        for name in waiting.cloned().collect::<Vec<_>>() {
            self.model.forget(name.as_str());
        }
    }

    /// Makes a cube what it is to be, without the peers of its ports, with which it answers.
    fn describe(&mut self, cube: Described, others: Others) -> Result<Vec<Peer>, Problems> {
        let Described { name, service, body } = cube;
        let of_service = format!("{name}/service-name");
        self.model.registry.service(&service).map_err(|problem| problem.at(of_service.as_str()))?;
        let Some((_, there)) = self.model.topology.get(name.as_str()) else {
            return self.create_cube(&service, name.as_str(), body);
        };
        let there = Arc::clone(there);
        if there.ephemeral.is_some() {
            let message = format!("cube `{name}` goes with the stream that it was created for: choose another name");
            return Err(Problem::invalid(name.as_str(), message).into());
        }
        if there.service != service {
            let message = format!(
                "cube `{name}` exists and is of service `{}`: delete it first, or choose another name",
                there.service
            );
            return Err(Problem::invalid(of_service, message).into());
        }
        self.describe_existing(&name, &there, body, others)
    }

    fn describe_existing(
        &mut self,
        name: &CubeName,
        there: &Cube,
        body: Value,
        others: Others,
    ) -> Result<Vec<Peer>, Problems> {
        let registry = self.model.registry.clone();
        let service = registry.service(&there.service)?;
        let Split { source, base, config, ports, problems, .. } =
            self.split(service, name.as_str(), body, Form::Whole(there))?;
        let old = json!({ "type": "TC", "loglevel": there.loglevel });
        let base = registry.cube.describe(&old, source, base);
        let config = service.model.describe(&there.config, source, config);
        let (base, config) = both(problems, base, config).map_err(|problems| problems.under(name.as_str()))?;
        if level(&base) != there.loglevel || config != there.config {
            self.require_working(name.as_str())?;
            let checked = self.check_places(service.model.config(), &there.config, &config);
            checked.map_err(|problems| problems.under(name.as_str()))?;
            let cube = self.model.topology.cube_mut(name.as_str())?;
            cube.loglevel = level(&base);
            cube.config = config;
        }
        let ports = ports.unwrap_or_default();
        if let (Others::Go, Role::Standard(before)) = (others, &there.role) {
            for port in before.keys().filter(|port| ports.iter().all(|kept| kept.name != port.as_str())) {
                self.model.topology.remove_port(name.as_str(), port.as_str())?;
            }
        }
        let mut peers = Vec::new();
        let mut problems = Vec::new();
        for port in ports {
            let before = match &there.role {
                Role::Standard(before) => before.get(port.name.as_str()),
                Role::Transparent => None,
            };
            let Some(before) = before else {
                let working = self.require_working(name.as_str());
                let added = working.and_then(|()| self.add_described(name.as_str(), port, &mut peers));
                problems.extend(added.err());
                continue;
            };
            if peers.iter().any(|(other, _)| *other == port.name) {
                let path = format!("{name}/ports/{}", port.name);
                problems.push(Problem::exists(path, format!("port `{}` is in the list twice", port.name)));
            } else if port.config.settings != before.settings {
                self.require_working(name.as_str())?;
                self.model.topology.set_settings(name.as_str(), &port.name, port.config.settings)?;
            }
            peers.push((port.name, port.config.peer));
        }
        if problems.is_empty() { Ok(peers) } else { Err(Problems(problems)) }
    }

    /// The problems with netdevs that the document gives to several ports.
    fn contested(&self, peers: &BTreeMap<CubeName, Vec<Peer>>) -> Vec<Problem> {
        let mut owners = BTreeMap::new();
        let mut problems = Vec::new();
        for (cube, ports) in peers {
            for (port, peer) in ports {
                let Ok(point @ Point::Netdev(_)) = Point::parse(peer) else { continue };
                if let Some(owner) = owners.insert(self.primary(point), format!("{cube}:{port}")) {
                    let message = format!("netdev `{peer}` is given to {owner} too: it can be the peer of one port");
                    problems.push(Problem::bad(format!("{cube}/ports/{port}/peer"), message));
                }
            }
        }
        problems
    }

    /// Gives ports their peers. All that change are given up first, so that ports can exchange theirs.
    fn move_peers(&mut self, peers: BTreeMap<CubeName, Vec<Peer>>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut moved = Vec::new();
        for (cube, ports) in peers {
            for (port, peer) in ports {
                let topology = &self.model.topology;
                let is = topology.port(cube.as_str(), &port).ok().and_then(|port| port.peer.clone());
                let wanted = Point::parse(&peer).ok().map(|point| self.primary(point));
                if is == wanted {
                    continue;
                }
                problems.extend(self.model.topology.set_peer(cube.as_str(), &port, None).err());
                moved.push((cube.clone(), port, peer));
            }
        }
        for (cube, port, peer) in moved {
            problems.extend(self.set_peer(cube.as_str(), &port, &peer).err());
        }
        problems
    }

    fn arrange(&mut self, chains: Vec<Chain>, others: Others) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut arranged = BTreeSet::new();
        for Chain { place, cubes } in chains {
            match Point::parse(&place).map(|point| self.primary(point)) {
                Ok(point) if arranged.contains(&point) => {
                    problems.push(Problem::bad(place, format!("{point} has a chain in the document already")));
                }
                Ok(point) => {
                    problems.extend(self.arrange_at(&point, &place, cubes, others));
                    arranged.insert(point);
                }
                Err(problem) => problems.push(problem.at(place)),
            }
        }
        if others == Others::Go {
            let points = self.model.topology.chains().map(|(point, _)| point);
            let others: Vec<Point> = points.filter(|point| !arranged.contains(point)).cloned().collect();
            for point in &others {
                let kept = self.beyond_at(point);
                self.model.topology.arrange(point, &in_order(point, kept));
            }
        }
        problems
    }

    /// Makes the chain at a point consist of `cubes`, from the wire, and of those that stay there.
    fn arrange_at(&mut self, point: &Point, place: &str, cubes: Vec<CubeName>, others: Others) -> Vec<Problem> {
        let there = from_wire(&self.model.topology, point);
        let new: Vec<&CubeName> = cubes.iter().filter(|cube| !there.contains(cube)).collect();
        let mut problems = Vec::new();
        match point {
            Point::Port(cube, port) => {
                let found = self.model.topology.port(cube.as_str(), port.as_str());
                problems.extend(found.err().map(|problem| problem.at(place)));
            }
            // What is attached to a netdev that is gone stays so.
            Point::Netdev(netdev) if !new.is_empty() => {
                let purpose = self.model.place(new.iter().copied());
                problems.extend(self.check_netdev(netdev, purpose).err().map(|problem| problem.at(place)));
            }
            Point::Selector(selector) if !new.is_empty() => {
                problems.extend(self.check_selector(selector).err().map(|problem| problem.at(place)));
            }
            Point::Netdev(_) | Point::Selector(_) => {}
        }
        for cube in new {
            let working = self.require_transparent(cube).and_then(|()| self.require_working(cube.as_str()));
            problems.extend(working.err().map(|problem| problem.at(format!("{place}/{cube}"))));
        }
        if problems.is_empty() {
            let stays = |cube: &CubeName| others == Others::Stay || self.is_beyond(cube, point);
            let wanted = with_others(cubes, &there, stays);
            self.model.topology.arrange(point, &in_order(point, wanted));
        }
        problems
    }

    /// The cubes at a point that no document removes from there, from the wire.
    fn beyond_at(&self, point: &Point) -> Vec<CubeName> {
        let there = from_wire(&self.model.topology, point);
        there.into_iter().filter(|cube| self.is_beyond(cube, point)).collect()
    }

    /// Whether a cube is ephemeral, or at a point that a selector chose.
    fn is_beyond(&self, cube: &CubeName, point: &Point) -> bool {
        let topology = &self.model.topology;
        topology.is_ephemeral(cube.as_str()) || topology.chosen_at(cube, point).is_some()
    }

    fn require_transparent(&self, name: &CubeName) -> Result<(), Problem> {
        if let Some(problem) = self.model.still_waits(name.as_str()) {
            return Err(problem);
        }
        let (_, cube) = self.model.topology.cube(name.as_str())?;
        if cube.role == Role::Transparent {
            return Ok(());
        }
        let message = format!("cube `{name}` (service {}) is not transparent: connect its ports instead", cube.service);
        Err(Problem::bad(name.as_str(), message))
    }
}

/// `wanted`, and each of the others that are there and stay after the same neighbour as now.
fn with_others(mut wanted: Vec<CubeName>, there: &[CubeName], stays: impl Fn(&CubeName) -> bool) -> Vec<CubeName> {
    for (at, other) in there.iter().enumerate() {
        if wanted.contains(other) || !stays(other) {
            continue;
        }
        let neighbour = at.checked_sub(1).map(|before| &there[before]);
        let index = neighbour.and_then(|neighbour| wanted.iter().position(|cube| cube == neighbour));
        wanted.insert(index.map_or(0, |index| index + 1), other.clone());
    }
    wanted
}
