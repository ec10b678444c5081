//! What an earlier daemon left in the kernel, until this one takes it over or removes it.
//!
//! A daemon that starts carries out the plan from nothing to what is wanted, as ever. But where a step would make what is
//! already there, the step takes it over instead: a map of the same shape, with what it holds; a program of the same
//! digest, in the chain that it stands in; a root, with its place among other programs on its hook. So packets pass all
//! the while, and a slot is written only where it leads elsewhere. What no step has asked for is removed afterwards.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use aya::programs::tc::{SchedClassifierLink, TcHandle};
use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_plugin_api::Direction;

use super::hook::Attachment;
use super::marks;
use super::object::{self, Loaded};
use super::pins::{self, CUBES, LINK, MAPS, MapPin, PROGRAM, Pins, RODATA, ROOTS};
use super::{CubeMap, Pinned, Root};
use crate::sys::bpf::{self, MapShape};
use crate::sys::clsact;
use crate::topology::CubeName;
use crate::wiring::{Hook, MapDescription, MapId, NodeId, NodeKey};

/// A program of a cube, whatever its revision. The cube is as pins have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mark {
    cube: String,
    point: u32,
    direction: Direction,
    stage: u32,
    digest: String,
}

/// A map that was found.
struct FoundMap {
    is: MapPin,
    shape: MapShape,
    map: Pinned<CubeMap>,
}

/// A program of a cube that was found.
struct FoundNode {
    /// The kernel's id of it.
    id: u32,
    node: Pinned<Loaded>,
}

/// A root that was found on its hook.
pub(super) struct FoundRoot {
    /// `None` for one that an earlier version pinned, or whose maps are not all its own.
    pub digest: Option<String>,
    pub root: Root,
}

/// What a plan has taken over, until it is carried out to its end.
#[derive(Default)]
pub(super) struct Taken {
    pub maps: HashSet<MapId>,
    pub nodes: HashSet<NodeId>,
    pub roots: HashSet<Hook>,
}

/// What was found and has not been taken over.
#[derive(Default)]
pub(super) struct Found {
    /// By cube and name, as pins have them; in the order of their revisions.
    maps: HashMap<(String, String), Vec<FoundMap>>,
    nodes: HashMap<Mark, FoundNode>,
    /// By ifindex and direction.
    roots: HashMap<(u32, Direction), FoundRoot>,
    /// Pins that nothing can be done with: what was half made or half removed.
    rest: Vec<PathBuf>,
    /// The highest revision.
    revision: u64,
}

impl Found {
    /// Looks at everything that is pinned.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub(super) fn look(pins: &Pins) -> io::Result<Self> {
        let mut found = Self::default();
        for cube in names(&pins.path(Path::new(CUBES)))? {
            let directory: PathBuf = [CUBES, &cube].iter().collect();
            for name in names(&pins.path(&directory))? {
                if name != MAPS {
                    found.look_at_node(pins, &cube, &directory.join(&name), &name);
                }
            }
            for name in names(&pins.path(&directory.join(MAPS)))? {
                found.look_at_map(pins, &cube, &directory.join(MAPS).join(&name), &name);
            }
        }
        for name in names(&pins.path(Path::new(ROOTS)))? {
            if !marks::Mark::is_name(&name) {
                found.look_at_root(pins, &Path::new(ROOTS).join(&name), &name);
            }
        }
        found.maps.values_mut().for_each(|maps| maps.sort_by_key(|map| map.is.revision));
        Ok(found)
    }

    fn look_at_map(&mut self, pins: &Pins, cube: &str, pin: &Path, name: &str) {
        let Some(is) = MapPin::parse(name) else { return strange(pin) };
        let Ok((map, shape)) = open_map(&pins.path(pin)) else { return self.rest.push(pin.to_owned()) };
        self.revision = self.revision.max(is.revision);
        let map = Pinned { pin: pin.to_owned(), object: map };
        self.maps.entry((cube.to_owned(), is.name.clone())).or_default().push(FoundMap { is, shape, map });
    }

    fn look_at_node(&mut self, pins: &Pins, cube: &str, pin: &Path, name: &str) {
        let parts: Vec<&str> = name.split('-').collect();
        let mut mark = None;
        if let [point, direction, stage, revision, ..] = parts[..] {
            let numbers = (point.parse(), stage.parse(), revision.parse::<u64>(), direction_of(direction));
            if let (Ok(point), Ok(stage), Ok(revision), Some(direction)) = numbers {
                self.revision = self.revision.max(revision);
                let digest = parts.get(4).copied().unwrap_or_default().to_owned();
                mark = Some(Mark { cube: cube.to_owned(), point, direction, stage, digest });
            }
        }
        let Some(mark) = mark else { return strange(pin) };
        let opened = open_program(&pins.path(pin));
        let opened = opened.and_then(|(node, is_whole)| Ok((bpf::program_id(node.program.as_fd())?, node, is_whole)));
        match opened {
            Ok((id, loaded, true)) if !self.nodes.contains_key(&mark) => {
                let node = Pinned { pin: pin.to_owned(), object: loaded };
                self.nodes.insert(mark, FoundNode { id, node });
            }
            _ => self.rest.push(pin.to_owned()),
        }
    }

    fn look_at_root(&mut self, pins: &Pins, pin: &Path, name: &str) {
        let mut parts = name.splitn(3, '-');
        let key = parts.next().and_then(|ifindex| ifindex.parse().ok()).zip(parts.next().and_then(direction_of));
        let digest = parts.next().map(str::to_owned);
        let Some(key) = key else { return strange(pin) };
        match open_root(&pins.path(pin), pin, key) {
            // A root that was to take another's place may not have got it.
            Ok(Some((root, is_whole))) if !self.roots.contains_key(&key) => {
                self.roots.insert(key, FoundRoot { digest: digest.filter(|_| is_whole), root });
            }
            _ => self.rest.push(pin.to_owned()),
        }
    }

    /// The highest revision among the pins.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether a root is on a netdev.
    pub(super) fn has_root_on(&self, ifindex: u32) -> bool {
        self.roots.keys().any(|(other, _)| *other == ifindex)
    }

    /// Whether this map is one of a root's.
    pub(super) fn has_root_with(&self, map: u32) -> bool {
        let has_it = |found: &FoundRoot| bpf::map_ids(found.root.program.program.as_fd());
        self.roots.values().any(|found| has_it(found).is_ok_and(|maps| maps.contains(&map)))
    }

    /// Whether there is any root.
    pub(super) fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Takes a map of this shape, with the contents that the same cube would have there.
    pub(super) fn take_map(
        &mut self,
        id: &MapId,
        shape: MapShape,
        description: &MapDescription,
    ) -> Option<Pinned<CubeMap>> {
        let maps = self.maps.get_mut(&(pins::escape(id.cube.as_str()), pins::escape(&id.name)))?;
        let MapDescription { spec, owner, .. } = description;
        let is_same =
            |found: &FoundMap| found.shape == shape && found.is.is_of(spec.generation, owner, found.map.object.id);
        let index = maps.iter().position(is_same)?;
        Some(maps.remove(index).map)
    }

    /// Whether there is a map of this name, whatever it is.
    pub(super) fn has_map(&self, id: &MapId) -> bool {
        let maps = self.maps.get(&(pins::escape(id.cube.as_str()), pins::escape(&id.name)));
        maps.is_some_and(|maps| !maps.is_empty())
    }

    /// Whether there is any program of a cube.
    pub(super) fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Whether [`Found::take_node`] would find one.
    pub(super) fn has_node(&self, key: &NodeKey, digest: &str, jumps: usize) -> bool {
        self.nodes.get(&mark(key, digest)).is_some_and(|found| found.node.object.jumps.len() == jumps)
    }

    /// Takes a program of this digest that has all of its `jumps` maps: one that nobody held is empty.
    pub(super) fn take_node(&mut self, key: &NodeKey, digest: &str, jumps: usize) -> Option<Pinned<Loaded>> {
        if !self.has_node(key, digest, jumps) {
            return None;
        }
        self.nodes.remove(&mark(key, digest)).map(|found| found.node)
    }

    /// Takes pins out of what will be removed. Answers whether they were there.
    pub(super) fn take_rest(&mut self, pin: &Path) -> bool {
        let count = self.rest.len();
        self.rest.retain(|other| other != pin);
        self.rest.len() < count
    }

    /// Takes the root on a hook.
    pub(super) fn take_root(&mut self, hook: &Hook) -> Option<FoundRoot> {
        self.roots.remove(&(hook.netdev.ifindex, hook.direction))
    }

    /// Puts back what was taken, or what was made meanwhile.
    pub(super) fn put_map(&mut self, id: &MapId, map: Pinned<CubeMap>) {
        let pin = map.pin.file_name().and_then(|name| MapPin::parse(name.to_str()?));
        let (Some(is), Ok((_, shape))) = (pin, bpf::map_info(map.object.fd.as_fd())) else {
            self.rest.push(map.pin);
            return;
        };
        let key = (pins::escape(id.cube.as_str()), pins::escape(&id.name));
        self.maps.entry(key).or_default().push(FoundMap { is, shape, map });
    }

    pub(super) fn put_node(&mut self, id: &NodeId, digest: &str, node: Pinned<Loaded>) {
        let Ok(kernel_id) = bpf::program_id(node.object.program.as_fd()) else {
            self.rest.push(node.pin);
            return;
        };
        if let Some(other) = self.nodes.insert(mark(&id.key, digest), FoundNode { id: kernel_id, node }) {
            self.rest.push(other.node.pin);
        }
    }

    pub(super) fn put_root(&mut self, hook: &Hook, digest: String, root: Root) {
        self.roots.insert((hook.netdev.ifindex, hook.direction), FoundRoot { digest: Some(digest), root });
    }

    /// The program that a slot leads to, if it is still here.
    pub(super) fn target(&self, slot: &OwnedFd) -> Option<&OwnedFd> {
        let id = bpf::lookup(slot.as_fd(), 0).ok().flatten()?;
        self.nodes.values().find(|found| found.id == id).map(|found| &found.node.object.program)
    }

    /// Separates what can be removed: what belongs to no cube among `kept`, and does not stand at a netdev with one that
    /// does.
    #[must_use]
    pub(super) fn without(&mut self, kept: &BTreeSet<CubeName>) -> Self {
        let kept: BTreeSet<String> = kept.iter().map(|cube| pins::escape(cube.as_str())).collect();
        let mut removed = std::mem::take(self);
        self.revision = removed.revision;
        if kept.is_empty() {
            return removed;
        }
        let by_id = removed.nodes.iter().map(|(mark, found)| (found.id, (mark, &found.node.object))).collect();
        let chains = removed.roots.iter().map(|(key, found)| (*key, cubes_after(&by_id, &found.root.program)));
        let chains: Vec<_> = chains.collect();
        let used = chains.iter().filter(|(_, cubes)| cubes.iter().any(|cube| kept.contains(cube)));
        // With the other direction of a netdev, where only cubes may stand that are attached to one of these.
        let netdevs: BTreeSet<u32> = used.map(|((ifindex, _), _)| *ifindex).collect();
        let mut stays: BTreeSet<String> = kept.clone();
        let mut roots = Vec::new();
        for (key, cubes) in chains.into_iter().filter(|((ifindex, _), _)| netdevs.contains(ifindex)) {
            stays.extend(cubes);
            roots.push(key);
        }
        self.roots = roots.into_iter().filter_map(|key| Some((key, removed.roots.remove(&key)?))).collect();
        (self.nodes, removed.nodes) = removed.nodes.into_iter().partition(|(mark, _)| stays.contains(&mark.cube));
        (self.maps, removed.maps) = removed.maps.into_iter().partition(|((cube, _), _)| stays.contains(cube));
        let is_of = |pin: &PathBuf| pin.iter().nth(1).is_some_and(|cube| stays.contains(&*cube.to_string_lossy()));
        (self.rest, removed.rest) = removed.rest.into_iter().partition(is_of);
        removed
    }

    /// The roots, by ifindex and direction.
    pub(super) fn take_roots(&mut self) -> Vec<((u32, Direction), Root)> {
        self.roots.drain().map(|(key, found)| (key, found.root)).collect()
    }

    /// Everything else, by its pins.
    pub(super) fn pins(&self) -> impl Iterator<Item = &Path> {
        let maps = self.maps.values().flatten().map(|map| map.map.pin.as_path());
        let nodes = self.nodes.values().map(|found| found.node.pin.as_path());
        nodes.chain(maps).chain(self.rest.iter().map(PathBuf::as_path))
    }

    /// Everything, by its pins.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        self.roots.values().map(|found| found.root.pin.as_path()).chain(self.pins())
    }
}

/// The cubes whose programs a packet can pass after `first`.
fn cubes_after(by_id: &HashMap<u32, (&Mark, &Loaded)>, first: &Loaded) -> BTreeSet<String> {
    let mut cubes = BTreeSet::new();
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![first]);
    while let Some(program) = waiting.pop() {
        for slot in [Some(&program.next), program.accept.as_ref()].into_iter().flatten() {
            let Ok(Some(id)) = bpf::lookup(slot.as_fd(), 0) else { continue };
            let Some((mark, loaded)) = by_id.get(&id).filter(|_| seen.insert(id)) else { continue };
            cubes.insert(mark.cube.clone());
            waiting.push(loaded);
        }
    }
    cubes
}

fn mark(key: &NodeKey, digest: &str) -> Mark {
    let NodeKey { cube, point, direction, stage } = key;
    Mark {
        cube: pins::escape(cube.as_str()),
        point: *point,
        direction: *direction,
        stage: *stage,
        digest: digest.to_owned(),
    }
}

/// Says that there is something that no daemon made.
fn strange(pin: &Path) {
    tracing::warn!(pin = %pin.display(), "is not polycubed's, and is left alone");
}

fn direction_of(word: &str) -> Option<Direction> {
    [Direction::Ingress, Direction::Egress].into_iter().find(|direction| pins::word(*direction) == word)
}

/// The names in a directory, which may be absent, or something else that others made.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

fn open_map(path: &Path) -> io::Result<(CubeMap, MapShape)> {
    let fd = bpf::open(path)?;
    let (id, shape) = bpf::map_info(fd.as_fd())?;
    Ok((CubeMap::new(fd, id, shape), shape))
}

/// Opens a program with its maps, and says whether they are its own. What another program pinned as one of them is not
/// touched: in the place of its slot there is an empty one.
fn open_program(directory: &Path) -> io::Result<(Loaded, bool)> {
    let optional = |name: &str| match bpf::open(&directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    };
    let table = |(pin, map): (String, String)| Ok((map, bpf::open(&directory.join(pin))?));
    let mut loaded = Loaded {
        jumps: pins::jumps_in(directory)?.into_iter().map(table).collect::<io::Result<_>>()?,
        program: bpf::open(&directory.join(PROGRAM))?,
        next: bpf::open(&directory.join(NEXT))?,
        accept: optional(ACCEPT)?,
        rodata: optional(RODATA)?,
    };
    let foreign = loaded.foreign()?;
    if foreign.is_empty() {
        return Ok((loaded, true));
    }
    let (pin, maps) = (directory.display(), foreign.join(", "));
    tracing::warn!(%pin, maps, "these maps are not of the program that is pinned there: it is loaded again, with maps of its own");
    loaded.next = object::empty_slot()?;
    loaded.accept = None;
    loaded.rodata = None;
    loaded.jumps.clear();
    Ok((loaded, false))
}

/// Opens a root, and says whether its maps are its own; `None` for one that is not on its hook.
fn open_root(directory: &Path, pin: &Path, (ifindex, direction): (u32, Direction)) -> io::Result<Option<(Root, bool)>> {
    let (program, is_whole) = open_program(directory)?;
    let own = bpf::program_id(program.program.as_fd())?;
    let attachment = match bpf::open(&directory.join(LINK)) {
        Ok(link) => {
            let is_there = bpf::link_info(link.as_fd())? == bpf::LinkInfo { ifindex, program: own };
            is_there.then_some(Attachment::Tcx(link))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => filter(ifindex, direction, own)?,
        Err(error) => return Err(error),
    };
    Ok(attachment.map(|attachment| (Root { pin: pin.to_owned(), program, attachment }, is_whole)))
}

/// The clsact filter that runs a program.
fn filter(ifindex: u32, direction: Direction, program: u32) -> io::Result<Option<Attachment>> {
    let found = clsact::find(ifindex, program).map_err(io::Error::other)?;
    let Some(clsact::Filter { netdev, priority, handle }) = found else { return Ok(None) };
    let hook = match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    };
    let link = SchedClassifierLink::attached(&netdev, hook, priority, TcHandle::from(handle), None)?;
    Ok(Some(Attachment::Clsact(link)))
}
