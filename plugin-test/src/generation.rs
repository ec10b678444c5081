//! What one configuration of a cube has in the kernel, loaded by the daemon's own code.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::{Arc, OnceLock};

use polycube_layout::chain::PORTS;
use polycube_loader::bpf::{self, MapShape, trial};
use polycube_loader::chain::{self, Slots};
use polycube_loader::object::{self, Entry, Loaded, Rodata, Standing};
use polycube_loader::{CubeMap, LoadError};
use polycube_plugin_api::{Code, MapSpec, Port, Program, ServiceKind};

use crate::{Failure, Place};

/// Ifindexes of ports: this and their id. No netdev has one, so a copy that a program sends goes nowhere.
pub(crate) const FIRST_IFINDEX: u32 = 0x4000_0000;

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
    pub objects: &'a [Arc<[u8]>],
    pub ports: &'a [Port],
}

impl Generation {
    /// Loads what is wanted and is not in `previous`. Nothing leads to it yet.
    pub(crate) fn load(wanted: &Wanted<'_>, previous: &Self) -> Result<Self, Failure> {
        let Wanted { what, kind, programs, maps, objects, ports } = *wanted;
        let mut made = Self::default();
        for spec in chain::maps_of(kind, programs, maps).into_iter().filter(|spec| !spec.late) {
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
        let mut programs: Vec<&Program> = programs.iter().collect();
        programs.sort_by_key(|program| (program.point, program.direction, program.stage));
        for program in &programs {
            let object = &objects[program.object];
            let place = |program: &Program| (program.point, program.direction);
            let is_after = |other: &&Program| place(other) == place(program) && other.stage > program.stage;
            let standing = if programs.iter().any(is_after) { Standing::Followed } else { Standing::Last };
            let is_alike =
                |node: &&Arc<Node>| node.program == **program && node.object == *object && node.standing == standing;
            let is_unchanged = |node: &&Arc<Node>| is_alike(node) && made.shares_maps(previous);
            let node = match previous.nodes.iter().find(is_unchanged) {
                Some(node) => Arc::clone(node),
                None => {
                    check_permission()?;
                    trial::observe().map_err(|source| Failure::Kernel { what: "observe programs", source })?;
                    let loaded = made.load_program(what, program, object, standing)?;
                    Arc::new(Node { program: (*program).clone(), object: Arc::clone(object), standing, loaded })
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

    fn load_program(&self, what: &str, program: &Program, elf: &[u8], standing: Standing) -> Result<Loaded, LoadError> {
        let shared: HashMap<&str, _> =
            self.maps.iter().map(|(name, found)| (name.as_str(), found.map.fd.as_raw_fd())).collect();
        match &program.code {
            Code::Elf { entry, constants } => {
                let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
                object::load(what, Entry { elf, name: entry, constants, standing }, &shared, Rodata::Constant)
            }
            Code::Instructions { maps } => object::load_instructions(what, elf, maps, &shared),
        }
    }

    /// Points each program's slots to what follows it in the cube; what follows the cube is nothing.
    pub(crate) fn link(&self) -> Result<(), Failure> {
        let is_beside = |one: &Arc<Node>, other: &Arc<Node>| place_of(one) == place_of(other);
        for (node, Slots { accept, .. }) in self.nodes.iter().zip(chain::slots(&self.nodes, is_beside)) {
            if let (Some(slot), Some(stage)) = (&node.loaded.accept, accept) {
                point(slot.as_fd(), Some(&self.nodes[stage]))?;
            }
        }
        Ok(())
    }

    /// Points the cube's `next` slots at one place to what comes first in another cube, or to nothing.
    pub(crate) fn link_to(&self, place: Place, next: Option<(&Self, Place)>) -> Result<(), Failure> {
        let target = next.and_then(|(generation, place)| generation.stages(place).next());
        self.stages(place).try_for_each(|node| point(node.loaded.next.as_fd(), target))
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
