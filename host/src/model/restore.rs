//! From what is stored to a model.
//!
//! The world may have changed meanwhile: a plugin is gone, or its schema takes less. A cube that cannot be brought back is
//! *set aside*: it stays stored with its place in each chain, is shown with the reason, keeps its name, and is tried
//! again. Whatever does not need it is brought back without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use polycube_plugin_api::ServiceKind;

use super::Model;
use super::port_config::create;
use super::saved::{Saved, SavedAttachment, SavedCube, SavedPort, UnreadableCube, save, whole_chain};
use crate::problem::{Problem, Problems};
use crate::registry::{Registry, Service};
use crate::schema::Source;
use crate::topology::{Attachment, Cube, CubeName, Point, Port, PortName, Role};

/// A cube that could not be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unrestored {
    pub cube: SavedCube,
    pub reason: String,
    /// Whether what is stored of it cannot be read. Then it is not written, either: a later version may read it.
    pub is_unreadable: bool,
    /// The chains at its ports.
    pub chains: BTreeMap<Point, Vec<Attachment>>,
    /// Where it is attached itself: the point, its index in the chain there, and the id of the attachment.
    pub places: Vec<(Point, usize, u32)>,
}

impl Unrestored {
    fn new(cube: &SavedCube, reason: String, is_unreadable: bool) -> Self {
        Self { cube: cube.clone(), reason, is_unreadable, chains: BTreeMap::new(), places: Vec::new() }
    }

    /// What to say to those who want something of it.
    pub(crate) fn refusal(&self, name: &CubeName) -> Problem {
        let when = if self.is_unreadable { "at each start" } else { "every 5 s" };
        let message = format!(
            "cube `{name}` is stored and could not be brought back ({}): it is tried again {when}, and can be deleted",
            self.reason
        );
        Problem::failed(name.as_str(), message)
    }

    /// The points whose stored chains have to do with the cube.
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.chains.keys().chain(self.places.iter().map(|(point, ..)| point))
    }
}

/// Brings back what is stored. Names that no cube can have, which no version has stored, are left alone.
pub(crate) fn restore(saved: &Saved, registry: Registry) -> Model {
    let mut model = Model::new(registry);
    for (name, cube) in &saved.cubes {
        let Ok(name) = CubeName::parse(name) else { continue };
        if let Err(Problem { message: reason, .. }) = model.bring_back(&name, cube) {
            model.unrestored.insert(name, Arc::new(Unrestored::new(cube, reason, false)));
        }
    }
    for (name, UnreadableCube { cube, why }) in &saved.unreadable {
        let Ok(name) = CubeName::parse(name) else { continue };
        model.unrestored.insert(name, Arc::new(Unrestored::new(cube, why.clone(), true)));
    }
    for (point, chain) in &saved.chains {
        let Ok(point) = Point::parse(point) else { continue };
        model.bring_chain_back(&point, chain);
    }
    model
}

/// Tries once more to bring a cube back.
///
/// # Errors
/// Why it still cannot be.
pub(crate) fn restore_again(model: &Model, name: &CubeName) -> Result<Model, Problem> {
    let mut model = model.clone();
    let Some(unrestored) = model.unrestored.remove(name) else { return Ok(model) };
    if unrestored.is_unreadable {
        return Err(Problem::failed(name.as_str(), unrestored.reason.clone()));
    }
    model.bring_back(name, &unrestored.cube)?;
    for (point, chain) in &unrestored.chains {
        model.bring_attachments_back(point, chain);
    }
    for (point, index, id) in &unrestored.places {
        // Those that still wait are counted in the index, and are not in the chain.
        let places = model.unrestored.values().flat_map(|waiting| &waiting.places);
        let before = places.filter(|(place, other, _)| place == point && other < index).count();
        let attachment = Attachment { cube: name.clone(), id: *id, chosen: None };
        model.topology.put_attachment(attachment, point, index - before);
    }
    Ok(model)
}

impl Model {
    /// Renames netdevs, old name to new, for all cubes and for those that wait to be brought back.
    pub(crate) fn rename_netdevs(&mut self, names: &BTreeMap<String, String>) {
        self.topology.rename_netdevs(names.clone());
        if names.is_empty() {
            return;
        }
        let renamed = |name: &str| names.get(name).cloned();
        self.change_waiting(
            |_| true,
            |waiting| {
                for (point, ..) in &mut waiting.places {
                    if let Point::Netdev(name) = point
                        && let Some(new) = renamed(name)
                    {
                        *name = new;
                    }
                }
                for port in waiting.cube.ports.iter_mut().flatten().map(|(_, port)| port) {
                    if let Some(new) = port.peer.as_deref().and_then(renamed) {
                        port.peer = Some(new);
                    }
                }
            },
        );
    }

    /// Forgets a cube that could not be brought back. Answers whether there was one.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        let was_there = self.unrestored.remove(name).is_some();
        if was_there {
            self.forget_attachments(name);
        }
        was_there
    }

    /// Takes a cube that is deleted, and its ports, out of what waits to be brought back: another cube may get its name.
    pub(super) fn forget_attachments(&mut self, name: &str) {
        let is_of = |point: &Point| matches!(point, Point::Port(owner, _) if owner.as_str() == name);
        self.change_waiting(
            |waiting| {
                waiting.places.iter().any(|(point, ..)| is_of(point))
                    || waiting.chains.values().flatten().any(|attachment| attachment.cube.as_str() == name)
            },
            |waiting| {
                waiting.places.retain(|(point, ..)| !is_of(point));
                waiting.chains.values_mut().for_each(|chain| chain.retain(|one| one.cube.as_str() != name));
            },
        );
    }

    /// Changes those that wait and are touched: what is not, is shared with the model before.
    fn change_waiting(&mut self, is_touched: impl Fn(&Unrestored) -> bool, change: impl Fn(&mut Unrestored)) {
        let touched = self.unrestored.iter().filter(|(_, waiting)| is_touched(waiting));
        for name in touched.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if let Some(waiting) = self.unrestored.get_mut(&name) {
                change(Arc::make_mut(waiting));
            }
        }
    }

    /// Why nothing can be asked of a cube that could not be brought back.
    pub(super) fn still_waits(&self, name: &str) -> Option<Problem> {
        self.unrestored.get_key_value(name).map(|(name, unrestored)| unrestored.refusal(name))
    }

    /// Takes a cube out that cannot be brought back after all, and keeps everything that is stored of it.
    pub(crate) fn set_aside(&mut self, name: &CubeName, reason: &str) {
        let Some((_, cube)) = self.topology.get(name.as_str()) else { return };
        let cube = Arc::clone(cube);
        let ports = cube.ports().map(|(port, _)| Point::Port(name.clone(), port.clone()));
        let chains = ports.filter_map(|point| {
            let chain = whole_chain(self, &point);
            (!chain.is_empty()).then_some((point, chain))
        });
        let chains = chains.collect();
        let places = self.topology.points(name.as_str()).into_iter().filter_map(|(id, point)| {
            let chain = whole_chain(self, point);
            let index = chain.iter().position(|one| one.cube == *name && one.chosen.is_none())?;
            Some((point.clone(), index, id))
        });
        let places = places.collect();
        // The chains of its ports have them now.
        let is_own = |(point, ..): &(Point, usize, u32)| matches!(point, Point::Port(owner, _) if owner == name);
        self.change_waiting(
            |waiting| waiting.places.iter().any(is_own),
            |waiting| waiting.places.retain(|place| !is_own(place)),
        );
        // It is there.
        let _ = self.topology.remove_cube(name.as_str());
        let reason = reason.to_owned();
        let unrestored = Unrestored { cube: save(&cube), reason, is_unreadable: false, chains, places };
        self.unrestored.insert(name.clone(), Arc::new(unrestored));
    }

    /// Adds a stored cube, without what is attached to it.
    ///
    /// # Errors
    /// What keeps it from being as it is stored.
    fn bring_back(&mut self, name: &CubeName, saved: &SavedCube) -> Result<(), Problem> {
        let refused = |message| Problem::bad(name.as_str(), message);
        let service = self.registry.service(&saved.service)?;
        let config = service.model.create(saved.config.clone()).map_err(|problems| {
            let (service, why) = (&saved.service, one_line(&problems));
            refused(format!("service `{service}` does not take its configuration any more: {why}"))
        })?;
        let kind = service.model.service.kind;
        let role = match (kind, &saved.ports) {
            (ServiceKind::Transparent, None) => Role::Transparent,
            (ServiceKind::Standard, Some(ports)) => Role::Standard(bring_ports_back(name, service, ports)?),
            (ServiceKind::Standard, None) => {
                return Err(refused(format!("service `{}` is standard now", saved.service)));
            }
            (ServiceKind::Transparent, Some(_)) => {
                return Err(refused(format!("service `{}` is transparent now", saved.service)));
            }
        };
        let SavedCube { uuid, service, loglevel, .. } = saved.clone();
        let cube = Cube { uuid, service, loglevel, config, role, ephemeral: None };
        self.topology.add_cube(name.clone(), cube)?;
        self.topology.take_peers(name.as_str()).inspect_err(|_| {
            // It was added a line above.
            let _ = self.topology.remove_cube(name.as_str());
        })
    }

    fn bring_chain_back(&mut self, point: &Point, chain: &[SavedAttachment]) {
        let attachments: Vec<Attachment> = chain.iter().filter_map(SavedAttachment::read).collect();
        if let Point::Port(owner, _) = point
            && let Some(unrestored) = self.unrestored.get_mut(owner)
        {
            Arc::make_mut(unrestored).chains.insert(point.clone(), attachments);
            return;
        }
        self.bring_attachments_back(point, &attachments);
    }

    /// Attaches what stands at a point, or has it wait with its cube.
    fn bring_attachments_back(&mut self, point: &Point, chain: &[Attachment]) {
        for (index, attachment) in chain.iter().enumerate() {
            if let Some(waiting) = self.unrestored.get_mut(&attachment.cube) {
                // A choice is made again when the cube is back.
                if attachment.chosen.is_none() {
                    Arc::make_mut(waiting).places.push((point.clone(), index, attachment.id));
                }
            } else {
                let end = self.topology.chain(point).len();
                self.topology.put_attachment(attachment.clone(), point, end);
            }
        }
    }
}

fn bring_ports_back(
    cube: &CubeName,
    service: &Service,
    saved: &BTreeMap<String, SavedPort>,
) -> Result<OrdMap<PortName, Port>, Problem> {
    let mut ports = OrdMap::new();
    for (name, SavedPort { id, uuid, peer, settings }) in saved {
        let peer = peer.as_deref().map(Point::parse).transpose()?;
        let settings = create(service.port()?, Source::Written, settings.clone().into()).map_err(|problems| {
            let (service, why) = (&service.model.service.name, one_line(&problems));
            let message = format!("service `{service}` does not take the settings of port `{name}` any more: {why}");
            Problem::bad(cube.as_str(), message)
        })?;
        let name = PortName::parse(name)?;
        ports.insert(name, Port { id: *id, uuid: uuid.clone(), peer, settings: settings.settings });
    }
    Ok(ports)
}

fn one_line(problems: &Problems) -> String {
    let each = problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
