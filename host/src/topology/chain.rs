//! Chains: which transparent cubes stand where, and in what order.

use std::fmt;
use std::sync::Arc;

use super::selector::{Chosen, Selector};
use super::{CubeName, PortName, Role, Topology};
use crate::problem::Problem;

/// Where a transparent cube can stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Port(CubeName, PortName),
    Netdev(String),
    Selector(Selector),
}

impl Point {
    /// `any` and what begins as `netns:` does are selectors, `br1:toveth1` is a port, and anything without a colon a netdev
    /// (`dev_valid_name()` in net/core/dev.c allows none).
    ///
    /// # Errors
    /// A part is not a valid name.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(selector) = Selector::parse(text)? {
            return Ok(Self::Selector(selector));
        }
        match text.split_once(':') {
            Some((cube, port)) => Ok(Self::Port(CubeName::parse(cube)?, PortName::parse(port)?)),
            None if text.is_empty() => Err(Problem::bad("port", "the port is empty: give CUBE:PORT or a netdev")),
            None => Ok(Self::Netdev(text.to_owned())),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(cube, port) => write!(f, "{cube}:{port}"),
            Self::Netdev(name) => f.write_str(name),
            Self::Selector(selector) => selector.fmt(f),
        }
    }
}

/// A transparent cube in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub cube: CubeName,
    /// Names the point to the cube's plugin. Kept while the cube is attached there; a new attachment gets the lowest free one.
    pub id: u32,
    /// Set if no user named the point, and a selector chose it.
    pub chosen: Option<Arc<Chosen>>,
}

/// Where in a chain a newcomer goes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// Outermost: farthest from the cube, next to the wire.
    #[default]
    Auto,
    First,
    Last,
    Before(String),
    After(String),
}

impl Topology {
    /// The chain at `point`.
    pub(crate) fn chain(&self, point: &Point) -> &[Attachment] {
        self.chains.get(point).map_or(&[], |chain| chain.as_slice())
    }

    /// Where `cube` is attached, in the order of the ids.
    pub(crate) fn points(&self, cube: &str) -> Vec<(u32, &Point)> {
        self.attached.get(cube).into_iter().flatten().map(|(id, point)| (*id, point)).collect()
    }

    /// Inserts a transparent cube into the chain at `point`. The caller knows whether a netdev exists.
    ///
    /// # Errors
    /// The cube is not transparent, is already there, or `point` or `place` does not exist.
    pub(crate) fn attach(&mut self, cube: &str, point: Point, place: &Place) -> Result<(), Problem> {
        let (name, found) = self.cube(cube)?;
        let name = name.clone();
        if found.role != Role::Transparent {
            return Err(Problem::bad(
                cube,
                format!("cube `{cube}` (service {}) is not transparent: connect its ports instead", found.service),
            ));
        }
        if let Point::Port(owner, port) = &point {
            if self.owner(owner.as_str())?.1.role == Role::Transparent {
                return Err(Problem::bad(
                    owner.as_str(),
                    format!(
                        "cube `{owner}` is transparent and has no ports: attach to the port of a standard cube, or to a netdev"
                    ),
                ));
            }
            self.port(owner.as_str(), port.as_str())?;
        }
        match self.chain(&point).iter().find(|one| one.cube == name) {
            Some(there) if there.chosen.is_some() => self.remove_at(&name, &point),
            Some(_) => {
                let message =
                    format!("cube `{cube}` is already attached to {point}: detach it first to give it another place");
                return Err(Problem::bad(cube, message));
            }
            None => {}
        }
        let index = self.index(cube, &point, place)?;
        self.insert(&name, point, index, None);
        Ok(())
    }

    /// Inserts a transparent cube at `index` of the chain at `point`, where it is not yet.
    pub(super) fn insert(&mut self, cube: &CubeName, point: Point, index: usize, chosen: Option<Arc<Chosen>>) {
        let id = self.free_id(cube, &point);
        self.attached.entry(cube.clone()).or_default().insert(id, point.clone());
        let chain = Arc::make_mut(self.chains.entry(point).or_default());
        chain.insert(index, Attachment { cube: cube.clone(), id, chosen });
    }

    /// Removes a cube from the chain at `point`, if it is there.
    pub(super) fn remove_at(&mut self, cube: &CubeName, point: &Point) {
        let Some(chain) = self.chains.get_mut(point) else { return };
        let Some(index) = chain.iter().position(|one| one.cube == *cube) else { return };
        let Attachment { id, .. } = Arc::make_mut(chain).remove(index);
        if chain.is_empty() {
            self.chains.remove(point);
        }
        self.forget(cube, id);
    }

    /// Puts a transparent cube back where it was: at `index`, with the `id` that it had unless that is taken. What does not
    /// exist any more is left out: the cube, the port, or the attachment's place in a chain where the cube already is.
    pub(crate) fn put_attachment(&mut self, attachment: Attachment, point: &Point, index: usize) {
        let Attachment { cube, id, chosen } = attachment;
        let cube = cube.as_str();
        let Some((name, _)) = self.get(cube).filter(|(_, found)| found.role == Role::Transparent) else { return };
        let name = name.clone();
        if let Point::Port(owner, port) = point
            && self.port(owner.as_str(), port.as_str()).is_err()
        {
            return;
        }
        let points = self.points(cube);
        if points.iter().any(|(_, other)| *other == point) {
            return;
        }
        let is_free = |id: &u32| points.iter().all(|(taken, _)| taken != id);
        let id = Some(id).filter(is_free).or_else(|| (Self::first_id(point)..).find(is_free)).unwrap_or_default();
        self.attached.entry(name.clone()).or_default().insert(id, point.clone());
        let chain = Arc::make_mut(self.chains.entry(point.clone()).or_default());
        chain.insert(index.min(chain.len()), Attachment { cube: name, id, chosen });
    }

    /// Makes `cubes`, which are transparent, the chain at `point`. Those that are there already keep their ids, and a chain
    /// that is as it should be is not touched. The caller knows whether the point exists.
    pub(crate) fn arrange(&mut self, point: &Point, cubes: &[CubeName]) {
        let before = self.chains.get(point).cloned().unwrap_or_default();
        if before.iter().map(|one| &one.cube).eq(cubes) {
            return;
        }
        for gone in before.iter().filter(|one| !cubes.contains(&one.cube)) {
            self.forget(&gone.cube, gone.id);
        }
        let mut chain = Vec::new();
        for cube in cubes {
            let there = before.iter().find(|one| one.cube == *cube);
            let id = there.map_or_else(|| self.free_id(cube, point), |one| one.id);
            let chosen = there.and_then(|one| one.chosen.clone());
            self.attached.entry(cube.clone()).or_default().insert(id, point.clone());
            chain.push(Attachment { cube: cube.clone(), id, chosen });
        }
        if chain.is_empty() {
            self.chains.remove(point);
        } else {
            self.chains.insert(point.clone(), Arc::new(chain));
        }
    }

    /// The lowest id that no attachment of the cube has.
    fn free_id(&self, cube: &CubeName, point: &Point) -> u32 {
        let taken = self.attached.get(cube);
        (Self::first_id(point)..).find(|id| taken.is_none_or(|taken| !taken.contains_key(id))).unwrap_or_default()
    }

    /// Where in the chain at `point` a newcomer goes.
    fn index(&self, cube: &str, point: &Point, place: &Place) -> Result<usize, Problem> {
        let chain = self.chain(point);
        let position = |other: &str| {
            chain.iter().position(|attachment| attachment.cube.as_str() == other).ok_or_else(|| {
                let problem = Problem::missing(cube, format!("cube `{other}` is not attached to {point}"));
                problem.knowing(other, chain.iter().map(|attachment| attachment.cube.as_str()))
            })
        };
        Ok(match (place, point) {
            (Place::First, _) | (Place::Auto, Point::Netdev(_) | Point::Selector(_)) => 0,
            (Place::Last, _) | (Place::Auto, Point::Port(..)) => chain.len(),
            (Place::Before(other), _) => position(other)?,
            (Place::After(other), _) => position(other)? + 1,
        })
    }

    /// Removes a cube from the chain at `point`.
    ///
    /// # Errors
    /// It is not there; the message names where it is.
    pub(crate) fn detach(&mut self, cube: &str, point: &Point) -> Result<(), Problem> {
        self.cube(cube)?;
        if let Point::Port(owner, port) = point {
            self.port(owner.as_str(), port.as_str())?;
        }
        let Some(there) = self.chain(point).iter().find(|attachment| attachment.cube.as_str() == cube) else {
            let points = self.points(cube).into_iter().filter(|(_, point)| self.is_named(cube, point));
            let points: Vec<_> = points.map(|(_, point)| point.to_string()).collect();
            let place = if points.is_empty() {
                "anything".to_owned()
            } else {
                format!("{point}, but to {}", points.join(", "))
            };
            return Err(Problem::bad(cube, format!("cube `{cube}` is not attached to {place}")));
        };
        if let Some(chosen) = &there.chosen {
            let message =
                format!("cube `{cube}` is attached to {point} by `{by}`: detach it from {by}", by = chosen.by);
            return Err(Problem::bad(cube, message));
        }
        let name = there.cube.clone();
        self.remove_at(&name, point);
        Ok(())
    }

    /// Whether a user attached `cube` to `point`, where it is.
    pub(crate) fn is_named(&self, cube: &str, point: &Point) -> bool {
        self.chain(point).iter().any(|one| one.cube.as_str() == cube && one.chosen.is_none())
    }

    /// Detaches everything at `point`.
    pub(super) fn clear(&mut self, point: &Point) {
        let chain = self.chains.remove(point).unwrap_or_default();
        for Attachment { cube, id, .. } in chain.iter() {
            self.forget(cube, *id);
        }
    }

    fn forget(&mut self, cube: &CubeName, id: u32) {
        let Some(points) = self.attached.get_mut(cube) else { return };
        let point = points.remove(&id);
        if points.is_empty() {
            self.attached.remove(cube);
        }
        if let Some(Point::Selector(selector)) = point {
            self.forget_chosen(cube, &selector);
        }
    }
}
