//! What one configuration of a cube has in the kernel, loaded by the daemon's own code.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::{Arc, OnceLock};

use polycube_layout::chain::PORTS;
use polycube_layout::log::{LEVEL, LINES};
use polycube_loader::bpf::{self, MapShape, trial};
use polycube_loader::chain::{self, Slots};
use polycube_loader::described::Checked;
use polycube_loader::lines::Line;
use polycube_loader::object::{self, Entry, JumpTable, JumpTarget, Loaded, Rodata, Standing};
use polycube_loader::{CubeMap, LoadError};
use polycube_plugin_api::maps::Ring;
use polycube_plugin_api::{Code, Jumps, Level, Map, MapSpec, Port, Program, ServiceKind, Target};

use crate::{Failure, Place};

/// Ifindexes of ports: this and their id. No netdev has one, so a copy that a program sends goes nowhere.
pub(crate) const FIRST_IFINDEX: u32 = 0x4000_0000;

/// A test sees all lines that programs write.
const EVERY_LEVEL: u8 = 5;

/// A map, and the description that it was made from.
struct Described {
    spec: MapSpec,
    map: CubeMap,
}

/// A loaded program.
struct Node {
    program: Program,
    object: Arc<[u8]>,
    standing: Standing,
    jumps: Vec<JumpTable>,
    loaded: Loaded,
}

/// Programs and maps of one configuration. What is described as before is shared with the configuration before.
#[derive(Default)]
pub(crate) struct Generation {
    /// By point, direction and stage.
    nodes: Vec<Arc<Node>>,
    maps: BTreeMap<String, Arc<Described>>,
}

/// What a plugin describes, checked.
pub(crate) struct Wanted<'a> {
    pub what: &'a str,
    pub kind: ServiceKind,
    pub programs: &'a [Program],
    pub maps: &'a [MapSpec],
    pub jumps: &'a [Jumps],
    pub objects: &'a [Arc<[u8]>],
    pub checked: &'a Checked,
    pub ports: &'a [Port],
}

impl Wanted<'_> {
    /// The maps through which a program jumps, and what is in them.
    fn tables(&self, program: usize) -> Vec<JumpTable> {
        let target = |Target { index, object, entry, constants }: &Target| {
            let mut constants = constants.clone();
            constants.extend(self.checked.has_level[*object].then(|| (LEVEL.to_owned(), vec![EVERY_LEVEL])));
            JumpTarget { index: *index, object: Arc::clone(&self.objects[*object]), entry: entry.clone(), constants }
        };
        let tables = self.checked.reaches[program].tables.iter().map(|table| &self.jumps[*table]);
        let table = |Jumps { map, targets }: &Jumps| JumpTable {
            map: map.clone(),
            targets: targets.iter().map(target).collect(),
        };
        tables.map(table).collect()
    }
}

impl Generation {
    /// Loads what is wanted and is not in `previous`. Nothing leads to it yet.
    pub(crate) fn load(wanted: &Wanted<'_>, previous: &Self) -> Result<Self, Failure> {
        let Wanted { what, kind, programs, maps, objects, checked, ports, .. } = *wanted;
        let mut made = Self::default();
        for spec in chain::maps_of(kind, programs, maps, checked.logs).into_iter().filter(|spec| !spec.late) {
            check_permission()?;
            let kept = previous.maps.get(&spec.name).filter(|map| map.spec == spec);
            let map = match kept {
                Some(map) => Arc::clone(map),
                None => {
                    let shape = object::shape_of_cube_map(what, &spec, objects)?;
                    let map = object::create_cube_map(what, &spec, shape, objects)?;
                    Arc::new(Described { spec: spec.clone(), map })
                }
            };
            made.maps.insert(spec.name, map);
        }
        if let Some(table) = made.maps.get(PORTS).filter(|_| kind == ServiceKind::Standard) {
            for port in ports {
                set_port(what, &table.map, port)?;
            }
        }
        let mut programs: Vec<(&Program, Vec<JumpTable>)> =
            programs.iter().enumerate().map(|(index, program)| (program, wanted.tables(index))).collect();
        programs.sort_by_key(|(program, _)| (program.point, program.direction, !program.is_ahead(), program.stage));
        for (program, jumps) in &programs {
            let object = &objects[program.object];
            let place = |program: &Program| (program.point, program.direction);
            let is_after = |(other, _): &(&Program, _)| {
                place(other) == place(program) && other.stage > program.stage && !other.is_ahead()
            };
            let standing = if programs.iter().any(is_after) { Standing::Followed } else { Standing::Last };
            let is_alike = |node: &&Arc<Node>| {
                (&node.program, &node.object, node.standing, &node.jumps) == (program, object, standing, jumps)
            };
            let is_unchanged = |node: &&Arc<Node>| is_alike(node) && made.shares_maps(previous);
            let node = match previous.nodes.iter().find(is_unchanged) {
                Some(node) => Arc::clone(node),
                None => {
                    check_permission()?;
                    trial::observe().map_err(|source| Failure::Kernel { what: "observe programs", source })?;
                    let has_level = checked.has_level[program.object];
                    let loaded = made.load_program(what, program, (object, has_level), standing, jumps)?;
                    let (program, object, jumps) = ((*program).clone(), Arc::clone(object), jumps.clone());
                    Arc::new(Node { program, object, standing, jumps, loaded })
                }
            };
            made.nodes.push(node);
        }
        Ok(made)
    }

    fn shares_maps(&self, other: &Self) -> bool {
        let is_same =
            |(name, map): (&String, &Arc<Described>)| other.maps.get(name).is_some_and(|other| Arc::ptr_eq(map, other));
        self.maps.len() == other.maps.len() && self.maps.iter().all(is_same)
    }

    fn load_program(
        &self,
        what: &str,
        program: &Program,
        (elf, has_level): (&[u8], bool),
        standing: Standing,
        jumps: &[JumpTable],
    ) -> Result<Loaded, LoadError> {
        let shared: HashMap<&str, _> =
            self.maps.iter().map(|(name, found)| (name.as_str(), found.map.fd.as_raw_fd())).collect();
        match &program.code {
            Code::Elf { entry, constants } => {
                let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
                let constants = constants.chain(has_level.then_some((LEVEL, &[EVERY_LEVEL][..]))).collect();
                let entry = Entry { elf, name: entry, constants, standing };
                object::load_jumping(what, entry, &shared, Rodata::Constant, jumps)
            }
            Code::Instructions { maps } => object::load_instructions(what, elf, maps, &shared),
        }
    }

    /// Points each program's slots to what follows it in the cube; what follows the cube is nothing.
    pub(crate) fn link(&self) -> Result<(), Failure> {
        let is_beside = |one: &Arc<Node>, other: &Arc<Node>| {
            place_of(one) == place_of(other) && one.program.is_ahead() == other.program.is_ahead()
        };
        for (node, Slots { accept, next }) in self.nodes.iter().zip(chain::slots(&self.nodes, is_beside)) {
            let following = next.map(|next| &self.nodes[next]).filter(|next| place_of(next) == place_of(node));
            if node.program.is_ahead() {
                point(node.loaded.next.as_fd(), following)?;
            }
            if let (Some(slot), Some(stage)) = (&node.loaded.accept, accept) {
                point(slot.as_fd(), Some(&self.nodes[stage]))?;
            }
        }
        Ok(())
    }

    /// Points the cube's `next` slots at one place to what comes first in another cube, or to nothing.
    pub(crate) fn link_to(&self, place: Place, next: Option<(&Self, Place)>) -> Result<(), Failure> {
        let target = next.and_then(|(generation, place)| generation.stages(place).next());
        let mut stages = self.stages(place).filter(|node| !node.program.is_ahead());
        stages.try_for_each(|node| point(node.loaded.next.as_fd(), target))
    }

    fn stages(&self, place: Place) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().filter(move |node| place_of(node) == place.of_programs())
    }

    /// The program that packets enter first.
    pub(crate) fn entry(&self, place: Place) -> Option<BorrowedFd<'_>> {
        self.stages(place).next().map(|node| node.loaded.program.as_fd())
    }

    /// The cube's maps, for the plugin.
    pub(crate) fn maps(&self) -> Vec<(String, &CubeMap)> {
        self.maps.iter().map(|(name, found)| (name.clone(), &found.map)).collect()
    }

    /// Takes the lines that programs have written since the last time.
    pub(crate) fn lines(&self, mut take: impl FnMut(u8, String)) {
        let copy = |map: &CubeMap| {
            let CubeMap { key_size, value_size, max_entries, .. } = *map;
            Some(Map { name: LINES.to_owned(), key_size, value_size, max_entries, fd: map.fd.try_clone().ok()? })
        };
        let Some(ring) = self.map(LINES).and_then(copy).and_then(|map| Ring::try_from(map).ok()) else { return };
        ring.drain(&mut Vec::new(), |record| match Line::read(record) {
            Some(Line { level, text }) => take(level, text),
            None => take(Level::Error as u8, "a program wrote a line that cannot be read".to_owned()),
        });
    }

    /// The map called `name`.
    pub(crate) fn map(&self, name: &str) -> Option<&CubeMap> {
        self.maps.get(name).map(|found| &found.map)
    }

    /// The kernel's ids of programs and of maps.
    pub(crate) fn ids(&self) -> (Vec<u32>, Vec<u32>) {
        let programs = self.nodes.iter().filter_map(|node| bpf::program_id(node.loaded.program.as_fd()).ok());
        (programs.collect(), self.maps.values().map(|found| found.map.id).collect())
    }
}

fn place_of(node: &Arc<Node>) -> (u32, polycube_plugin_api::Direction) {
    (node.program.point, node.program.direction)
}

fn point(slot: BorrowedFd<'_>, to: Option<&Arc<Node>>) -> Result<(), Failure> {
    let done = match to {
        Some(node) => bpf::map_update(slot, 0, &node.loaded.program.as_raw_fd().to_ne_bytes()),
        None => bpf::map_clear(slot, 0),
    };
    done.map_err(|source| Failure::Kernel { what: "set a slot", source })
}

fn set_port(what: &str, table: &CubeMap, port: &Port) -> Result<(), LoadError> {
    let ifindex = FIRST_IFINDEX + port.id;
    bpf::map_update(table.fd.as_fd(), port.id, &ifindex.to_ne_bytes()).map_err(|source| LoadError::WriteMap {
        what: what.to_owned(),
        name: PORTS.to_owned(),
        source,
    })
}

/// Whether this process may create maps, which the kernel otherwise says in many ways.
fn check_permission() -> Result<(), Failure> {
    static MAY: OnceLock<bool> = OnceLock::new();
    let may = || {
        let shape = MapShape { map_type: 2, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
        bpf::map_create("permission", shape, None)
            .map_or_else(|error| error.kind() != std::io::ErrorKind::PermissionDenied, |_| true)
    };
    if *MAY.get_or_init(may) { Ok(()) } else { Err(Failure::NotPermitted) }
}
