//! Which netdevs cubes can work on, and the names that netdevs are known by.

use std::collections::{BTreeMap, BTreeSet};

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::change::Draft;
use super::configuration::Absent;
use super::{Facts, Model};
use crate::netdev::{Framing, Link, Table, is_tap, misnamed};
use crate::problem::{Problem, Problems};
use crate::schema::Node;
use crate::topology::{CubeName, Point};
use crate::wiring::Netdevs;

/// What a netdev is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The peer of a port, which takes its packets.
    Peer,
    /// A place where cubes look at packets that go on.
    Place,
    /// A place whose cubes know packets that begin with the IP header, too.
    IpPlace,
}

/// Why a netdev cannot be used for this, if it cannot. `br_add_if()` in net/bridge/br_if.c refuses the same kinds.
pub(crate) fn unfit(link: &Link, purpose: Use, present: &Table) -> Option<String> {
    let netdev = &link.name;
    match (link.framing, purpose, link.master) {
        (Framing::Other, ..) | (Framing::RawIp, Use::Peer | Use::Place, _) => Some(format!(
            "netdev `{netdev}` has no Ethernet headers, and cubes work on Ethernet frames: name another netdev"
        )),
        (Framing::Loopback, Use::Peer, _) => {
            Some(format!("netdev `{netdev}` is the host's loopback, which a cube would cut off: name another netdev"))
        }
        (Framing::Ethernet, Use::Peer, Some(master)) => {
            let master = present.link(master).map_or_else(|| master.to_string(), |link| link.name.clone());
            Some(format!(
                "netdev `{netdev}` is a port of `{master}`, which would get no more packets: \
                 `ip link set {netdev} nomaster` frees it"
            ))
        }
        (Framing::Ethernet, ..)
        | (Framing::Loopback, Use::Place | Use::IpPlace, _)
        | (Framing::RawIp, Use::IpPlace, _) => None,
    }
}

/// Why a netdev is the daemon's own, if it is: the message that refuses it.
fn own(netdev: &str, wired: &Netdevs) -> Option<String> {
    if let Some((cube, port)) = wired.link_port(netdev) {
        return Some(format!("netdev `{netdev}` is the daemon's own, the link at {cube}:{port}: name the port"));
    }
    is_tap(netdev)
        .then(|| format!("netdev `{netdev}` is the daemon's own, by which plugins send packets: name another netdev"))
}

/// The texts of a configuration that name a netdev or a port of any cube, and their paths, which begin with `path`.
fn places<'a>(node: Node<'_>, value: &'a Value, path: &str, found: &mut Vec<(String, &'a str)>) {
    let below = |word: &str| if path.is_empty() { word.to_owned() } else { format!("{path}/{word}") };
    match (node, value) {
        (Node::Container(_) | Node::Entry(_), Value::Object(members)) => {
            for (name, value) in members {
                if let Some(node) = node.child(name) {
                    places(node, value, &below(name), found);
                }
            }
        }
        (Node::List { key, .. }, Value::Array(entries)) => {
            for entry in entries {
                let words = key.of_entry(entry).unwrap_or_default();
                places(Node::Entry(key.items()), entry, &below(&words.join("/")), found);
            }
        }
        (Node::Leaf(schema), Value::String(text)) if schema[keyword::NAMES] == keyword::PLACES => {
            found.push((path.to_owned(), text));
        }
        _ => {}
    }
}

/// The netdevs in use whose name is another now, old name to new. `changed` are the names to look at.
pub(crate) fn renamed(changed: &BTreeSet<String>, facts: &Facts) -> BTreeMap<String, String> {
    let renamed = |old: &String| {
        let link = facts.present.link(*facts.wired.named().get(old)?)?;
        (link.name != *old).then(|| (old.clone(), link.name.clone()))
    };
    changed.iter().filter_map(renamed).collect()
}

impl Model {
    /// Whether the topology names this netdev.
    pub(crate) fn wants(&self, netdev: &str) -> bool {
        self.topology.peer_owner(netdev).is_some() || !self.topology.chain(&Point::Netdev(netdev.to_owned())).is_empty()
    }

    /// What the topology uses a netdev for.
    pub(crate) fn purpose(&self, netdev: &str) -> Use {
        let there = || self.topology.chain(&Point::Netdev(netdev.to_owned())).iter().map(|attached| &attached.cube);
        if self.topology.peer_owner(netdev).is_some() { Use::Peer } else { self.place(there()) }
    }

    /// The use of a netdev as a place of these cubes.
    pub(super) fn place<'a>(&self, cubes: impl IntoIterator<Item = &'a CubeName>) -> Use {
        let takes_raw_ip = |cube: &CubeName| {
            let found =
                self.topology.get(cube.as_str()).and_then(|(_, cube)| self.registry.service(&cube.service).ok());
            found.is_some_and(|service| service.model.service.takes_raw_ip)
        };
        if cubes.into_iter().all(takes_raw_ip) { Use::IpPlace } else { Use::Place }
    }
}

impl Draft<'_> {
    /// The same point; a netdev that is called by an alternative name gets its own. Otherwise one netdev could become
    /// two ports.
    pub(super) fn primary(&self, point: Point) -> Point {
        match point {
            Point::Netdev(name) => {
                let found = self.facts.present.named(&name).map(|link| link.name.clone());
                Point::Netdev(found.unwrap_or(name))
            }
            other @ (Point::Port(..) | Point::Selector(_)) => other,
        }
    }

    /// Refuses a netdev that does not exist, unless it is awaited, or whose packets are not for cubes, and our own ends of links. The caller
    /// knows the path of the problem.
    pub(super) fn check_netdev(&self, netdev: &str, purpose: Use) -> Result<(), Problem> {
        let Facts { present, wired, .. } = self.facts;
        let why = match present.named(netdev) {
            Some(link) => match own(&link.name, wired).or_else(|| unfit(link, purpose, present)) {
                Some(why) => why,
                None => return Ok(()),
            },
            None if self.model.topology.get(netdev).is_some() => is_a_cube(netdev),
            None if self.absent == Absent::Awaited => return Ok(()),
            None => {
                let theirs = present.links().filter(|link| own(&link.name, wired).is_none());
                let message = format!("netdev `{netdev}` does not exist in the daemon's network namespace");
                return Err(Problem::bad("", message).knowing(netdev, theirs.map(|link| link.name.as_str())));
            }
        };
        Err(Problem::bad("", why))
    }

    /// Refuses what a configuration says is a netdev or a port of a cube, and can be neither, unless it said so before. What does
    /// not exist may come later.
    pub(super) fn check_places(&self, schema: &Value, before: &Value, after: &Value) -> Result<(), Problems> {
        let [mut old, mut new] = [Vec::new(), Vec::new()];
        places(Node::of(schema), before, "", &mut old);
        places(Node::of(schema), after, "", &mut new);
        let old: BTreeSet<_> = old.into_iter().collect();
        let added = new.into_iter().filter(|place| !place.1.is_empty() && !old.contains(place));
        let problems = added.filter_map(|(path, text)| Some(self.misplaced(text)?.at(path))).collect::<Vec<_>>();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Why a text cannot name a netdev or a port of a cube.
    fn misplaced(&self, text: &str) -> Option<Problem> {
        let name = match Point::parse(text) {
            Ok(Point::Netdev(name)) => name,
            Ok(Point::Port(..)) => return None,
            Ok(Point::Selector(_)) => {
                let message = format!("`{text}` chooses netdevs: name one netdev, or a port as CUBE:PORT");
                return Some(Problem::bad("", message));
            }
            Err(problem) => return Some(problem),
        };
        let Facts { present, wired, .. } = self.facts;
        let why = match present.named(&name) {
            Some(link) => own(&link.name, wired),
            None if self.model.topology.get(&name).is_some() => Some(is_a_cube(&name)),
            None => own(&name, wired).or_else(|| misnamed(&name)),
        };
        Some(Problem::bad("", why?))
    }
}

fn is_a_cube(name: &str) -> String {
    format!("`{name}` is a cube: name one of its ports, {name}:PORT")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_found_wherever_a_configuration_names_them() {
        let place = json!({ "type": ["string", "null"], "x-names": "peers" });
        let schema = json!({ "properties": {
            "target": place,
            "word": { "type": "string" },
            "deep": { "properties": { "at": place } },
            "ways": {
                "type": "array",
                "x-list-key": ["id", "side"],
                "items": { "properties": { "id": { "type": "integer" }, "side": { "type": "string" }, "via": place } },
            },
        } });
        let config = json!({
            "target": "veth9",
            "word": "br1",
            "deep": { "at": null },
            "ways": [{ "id": 7, "side": "in", "via": "br1:p" }, { "id": 8, "side": "out" }],
        });
        let mut found = Vec::new();
        places(Node::of(&schema), &config, "", &mut found);
        let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(found, [("target", "veth9"), ("ways/7/in/via", "br1:p")]);
    }
}
