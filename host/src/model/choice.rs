//! Which netdevs selectors stand for. Pure: what is known of namespaces is among the facts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::change::Draft;
use super::facts::Look;
use super::netdev::{Use, unfit};
use super::{Change, Facts, Model};
use crate::netdev::{Inside, Link, Table};
use crate::problem::Problem;
use crate::topology::{Choice, Chosen, CubeName, Namespace, Point, Selector};
use crate::wiring::Netdevs;

impl Model {
    /// The namespaces that cubes are attached to.
    pub(crate) fn namespaces(&self) -> BTreeSet<Namespace> {
        let selectors = self.topology.selectors().map(|(selector, _)| selector);
        selectors.filter_map(|selector| namespace(selector).cloned()).collect()
    }

    /// Attaches cubes to what their selectors stand for now, and detaches them from what these stood for before.
    pub(crate) fn choose(&mut self, facts: &Facts) {
        let mut choices: BTreeMap<CubeName, Choice> = BTreeMap::new();
        for (selector, chain) in self.topology.selectors() {
            for attachment in chain {
                let choice = choices.entry(attachment.cube.clone()).or_default();
                let purpose = self.place([&attachment.cube]);
                let stood = || self.topology.stands_for(&attachment.cube, selector);
                for (netdev, chosen) in
                    chosen(selector, facts, purpose, stood, |netdev| self.topology.chosen_at(&attachment.cube, netdev))
                {
                    choice.entry(netdev).or_insert(chosen);
                }
            }
        }
        for (cube, choice) in choices {
            self.topology.choose(&cube, choice);
        }
    }
}

fn namespace(selector: &Selector) -> Option<&Namespace> {
    match selector {
        Selector::Inside(namespace, _) => Some(namespace),
        Selector::Any => None,
    }
}

/// The netdevs that `selector` stands for. As long as it cannot be said, it stands for those that it stood for before, if
/// they are still there.
fn chosen<'a>(
    selector: &Selector,
    facts: &Facts,
    purpose: Use,
    stood: impl Fn() -> Vec<&'a str>,
    before: impl Fn(&Point) -> Option<&'a Chosen>,
) -> Choice {
    let Facts { present, wired, .. } = facts;
    let is_fit = |link: &&Link| unfit(link, purpose, present).is_none() && wired.link_port(&link.name).is_none();
    let links = present.links().map(AsRef::as_ref).filter(is_fit);
    match selector {
        Selector::Any => {
            let chosen = |link: &Link| (link.name.clone(), Chosen { by: selector.clone(), inside: None });
            links.map(chosen).collect()
        }
        Selector::Inside(namespace, netdev) => match facts.looks.get(namespace) {
            Some(Look::Found(inside)) => links
                .filter_map(|link| {
                    let name = end_inside(link, inside)?;
                    let is_meant = netdev.is_none() || *netdev == name;
                    is_meant.then(|| (link.name.clone(), Chosen { by: selector.clone(), inside: name }))
                })
                .collect(),
            Some(Look::Gone(_)) => Choice::new(),
            Some(Look::Unknown(_)) | None => {
                let is_there = |netdev: &&str| present.named(netdev).is_some();
                let stood = stood().into_iter().filter(is_there);
                let kept = stood
                    .filter_map(|netdev| Some((netdev.to_owned(), before(&Point::Netdev(netdev.to_owned()))?.clone())));
                kept.collect()
            }
        },
    }
}

/// The name of a netdev's other end, if that is in this namespace; it may be unknown.
fn end_inside(link: &Link, inside: &Inside) -> Option<Option<String>> {
    let peer = link.peer.filter(|peer| Some(peer.nsid) == inside.nsid)?;
    Some(inside.netdevs.get(&peer.ifindex).cloned())
}

impl Draft<'_> {
    /// Refuses a selector that stands for nothing. What is attached already waits instead.
    pub(super) fn check_selector(&self, selector: &Selector) -> Result<(), Problem> {
        let Selector::Inside(namespace, netdev) = selector else { return Ok(()) };
        let inside = match self.facts.looks.get(namespace) {
            Some(Look::Found(inside)) => inside,
            _ if self.absent == super::Absent::Awaited => return Ok(()),
            Some(Look::Gone(why) | Look::Unknown(why)) => return Err(Problem::bad("", why.clone())),
            None => return Err(Problem::failed("", format!("`{namespace}` was not looked up"))),
        };
        if self.absent == super::Absent::Awaited {
            return Ok(());
        }
        if inside.is_own {
            let message = format!(
                "`{namespace}` is in the daemon's own network namespace: name its netdevs one by one, or `any`"
            );
            return Err(Problem::bad("", message));
        }
        let Facts { present, wired, .. } = self.facts;
        let ends = |present: &Table, wired: &Netdevs| -> BTreeSet<Option<String>> {
            let theirs = present.links().filter(|link| wired.link_port(&link.name).is_none());
            theirs.filter_map(|link| end_inside(link, inside)).collect()
        };
        let ends = ends(present, wired);
        let known = ends.iter().flatten().map(String::as_str);
        let (path, hint) =
            ("", "only one end of a veth pair is seen from here, not a physical device, macvlan or loopback");
        match netdev {
            None if ends.is_empty() => {
                Err(Problem::bad(path, format!("no netdev leads from here into `{namespace}`: {hint}")))
            }
            Some(netdev) if !ends.contains(&Some(netdev.clone())) => {
                let is_there = inside.netdevs.values().any(|name| name == netdev);
                let message = if is_there {
                    format!("netdev `{netdev}` of `{namespace}` has no end here: {hint}")
                } else {
                    format!("netdev `{netdev}` does not exist in `{namespace}`, or has no end here")
                };
                Err(Problem::bad(path, message).knowing(netdev, known))
            }
            _ => Ok(()),
        }
    }
}

impl Change {
    /// The namespaces that the change names.
    pub(crate) fn namespaces(&self) -> BTreeSet<Namespace> {
        let parents = |body: &Value| -> Vec<String> {
            let listed = body["parents"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let one = body["parent"].as_str().into_iter().flat_map(|parent| parent.split(','));
            listed.chain(one).map(str::to_owned).collect()
        };
        let places = match self {
            Self::CreateCube { body, .. } | Self::CreateEphemeral { body, .. } => parents(body),
            Self::CreateCubes { cubes } => cubes.iter().flat_map(parents).collect(),
            Self::Attach { port, .. } => vec![port.clone()],
            Self::Apply(apply) => {
                let chains = apply.document["chains"].as_object().into_iter().flatten();
                chains.map(|(place, _)| place.clone()).collect()
            }
            _ => Vec::new(),
        };
        // What is wrong with a place is said when the change is made.
        let points = places.iter().filter_map(|place| Point::parse(place).ok());
        let selectors = points.filter_map(|point| match point {
            Point::Selector(selector) => namespace(&selector).cloned(),
            Point::Port(..) | Point::Netdev(_) => None,
        });
        selectors.collect()
    }
}
