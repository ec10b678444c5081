//! What a plugin asks the host to load.

use std::borrow::Cow;
use std::os::fd::{FromRawFd as _, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::abi::MapHandle;
use crate::refusal::Refusal;

/// The direction of a packet: into the cube (or the host's stack), or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the netdev.
    Ingress,
    /// To the netdev.
    Egress,
}

/// One program to load and chain.
///
/// It ends with a tail call through its map `next`, a `PROG_ARRAY` of one slot, which holds the next cube's first
/// program. The host wraps a program whose object has no such map: its verdict then says whether the packet goes on. A
/// cube that needs several programs at one hook numbers them by `stage`; each but the last has a second such map, `accept`,
/// which holds its cube's next stage.
///
/// A standard cube names its programs with `point` 0, which is all of its ports, and the host fills its map `ports` (`ARRAY`
/// of `u32`, port id to ifindex). Its ingress program gets what comes in from a port. An egress program, if it has one, gets
/// whatever leaves through a port, before the cubes that are attached there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Id of the [`Point`](crate::Point) that it is attached to.
    pub point: u32,
    /// The hook.
    pub direction: Direction,
    /// Position among the cube's programs at this point and hook, or [`AHEAD`](Self::AHEAD).
    #[serde(default)]
    pub stage: u32,
    /// Index into [`Datapath::objects`].
    pub object: usize,
    /// The kind of object.
    pub code: Code,
}

impl Program {
    /// The [`stage`](Self::stage) of a program that stands before the programs of all cubes at its hook, so that packets which
    /// its cube sends there itself meet it first. It has no map `accept`: all other packets go on through `next`.
    pub const AHEAD: u32 = u32::MAX;

    /// Whether it stands before the programs of all cubes.
    pub fn is_ahead(&self) -> bool {
        self.stage == Self::AHEAD
    }
}

/// The two forms of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// An ELF object with the program in a `classifier` section.
    Elf {
        /// Name of the program in the object.
        entry: String,
        /// Read-only globals to set before the verifier sees the program: name and bytes, in native byte order.
        constants: Vec<(String, Vec<u8>)>,
    },
    /// Instructions of 8 bytes each, in native byte order, of a program that may call GPL-only helpers.
    Instructions {
        /// Where the code refers to maps: the index of a two-slot load (`BPF_LD | BPF_IMM | BPF_DW`), and the map's
        /// name. `next` and `accept` are the program's own; all others belong to the cube.
        maps: Vec<(usize, String)>,
    },
}

/// The number of entries of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// As the object declares.
    Declared,
    /// One for each possible CPU of the machine.
    PerCpu,
    /// This many.
    Entries(u32),
}

/// A map that belongs to the cube: its programs share it, it outlives each of them, and the plugin gets a descriptor.
///
/// It lives as long as the description contains it unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSpec {
    /// Name in the objects.
    pub name: String,
    /// Number of entries.
    pub count: Count,
    /// Bytes of a value; `None` for the size that the object declares.
    pub value_size: Option<u32>,
    /// Type and flags; `None` for those that the first ELF object with a map of this name declares.
    #[serde(default)]
    pub kind: Option<MapKind>,
    /// A different number means a new map even if name and sizes are the same, because the contents mean something
    /// else.
    #[serde(default)]
    pub generation: u64,
    /// For a map of maps: what the maps in it are. An array takes arrays with another number of entries if they have the
    /// flag `BPF_F_INNER_MAP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<InnerMap>,
    /// Whether the map is made when the plugin asks with [`Cube::make_map`](crate::Cube::make_map), and not before. One that
    /// an earlier daemon made is there from the beginning. Programs cannot refer to it, but to a map of maps that the plugin
    /// puts it in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// Maps that a map of maps can hold. The kernel wants an example of them when it makes that map, which the host makes with one
/// entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InnerMap {
    /// Type and flags.
    #[serde(flatten)]
    pub kind: MapKind,
    /// Bytes of a value.
    pub value_size: u32,
}

/// Type and flags of a map that no ELF object declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapKind {
    /// `enum bpf_map_type` of the kernel's include/uapi/linux/bpf.h.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// `BPF_F_…` flags.
    pub flags: u32,
}

impl MapSpec {
    /// A map with the sizes that the object declares.
    pub fn declared(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            count: Count::Declared,
            value_size: None,
            kind: None,
            generation: 0,
            inner: None,
            late: false,
        }
    }
}

/// Programs that others of the cube jump to by index, through a map of theirs: a `PROG_ARRAY` that an object declares and
/// [`Datapath::maps`] does not describe.
///
/// The host fills such a map for each program that jumps, before a packet passes it. A target ends as the program that jumped
/// does, with the same `next` and `accept`, and may jump on, also through the same map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jumps {
    /// Name of the map in the objects.
    pub map: String,
    /// What its slots hold. A jump to an index that is not here fails, and the program goes on after it.
    pub targets: Vec<Target>,
}

/// A program that others jump to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Index in the map.
    pub index: u32,
    /// Index into [`Datapath::objects`], of an ELF object.
    pub object: usize,
    /// Name of the program in the object.
    pub entry: String,
    /// Read-only globals to set, as in [`Code::Elf`].
    #[serde(default)]
    pub constants: Vec<(String, Vec<u8>)>,
}

/// A point that a service leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its [`Point::id`](crate::Point::id).
    pub point: u32,
    /// Why, as a clause: `the format pcap has no place for its packets`.
    pub reason: String,
}

/// Programs and maps for one configuration. The default is none: packets pass by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// Programs: at most one for each point, direction and stage.
    pub programs: Vec<Program>,
    /// Maps of the cube.
    pub maps: Vec<MapSpec>,
    /// Programs that others jump to by index. A host of ABI 1.2 or earlier does not know them, and refuses the map.
    #[serde(default)]
    pub jumps: Vec<Jumps>,
    /// Points that have no programs because the configuration does not fit them, which users are told. A host of ABI 1.2 or
    /// earlier does not know them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// ELF objects and instructions that contain the programs.
    #[serde(skip)]
    pub objects: Vec<Cow<'static, [u8]>>,
}

impl Datapath {
    /// A datapath with one ELF object, and neither programs nor maps.
    pub fn of(object: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { objects: vec![object.into()], ..Self::default() }
    }

    /// The same with the program `entry` of the object for the ports of a standard cube, with `constants`.
    #[must_use]
    pub fn at_ports(mut self, entry: &str, constants: &[(String, Vec<u8>)]) -> Self {
        let code = Code::Elf { entry: entry.to_owned(), constants: constants.to_vec() };
        self.programs.push(Program { point: 0, direction: Direction::Ingress, stage: 0, object: 0, code });
        self
    }

    /// The same with the program `entry` of the object for what leaves through the ports of a standard cube: packets that the
    /// cube forwards, their copies, and what the host itself sends there.
    #[must_use]
    pub fn leaving_ports(mut self, entry: &str, constants: &[(String, Vec<u8>)]) -> Self {
        let code = Code::Elf { entry: entry.to_owned(), constants: constants.to_vec() };
        self.programs.push(Program { point: 0, direction: Direction::Egress, stage: 0, object: 0, code });
        self
    }

    /// The same with the program `entry` of the object at `index` of the map `map`, through which programs jump to it.
    #[must_use]
    pub fn jump(mut self, map: &str, index: u32, entry: &str, constants: &[(String, Vec<u8>)]) -> Self {
        let target = Target { index, object: 0, entry: entry.to_owned(), constants: constants.to_vec() };
        match self.jumps.iter_mut().find(|jumps| jumps.map == map) {
            Some(jumps) => jumps.targets.push(target),
            None => self.jumps.push(Jumps { map: map.to_owned(), targets: vec![target] }),
        }
        self
    }

    /// The same with the map `name` of the object, which becomes the cube's.
    #[must_use]
    pub fn map(mut self, name: &str) -> Self {
        self.maps.push(MapSpec::declared(name));
        self
    }
}

/// A read-only global's name and bytes, for [`Code::Elf`].
pub fn constant<const N: usize>(name: &str, bytes: [u8; N]) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.to_vec())
}

/// A map of the cube that the host has created.
#[derive(Debug)]
pub struct Map {
    /// Name in the objects.
    pub name: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of entries.
    pub max_entries: u32,
    /// The map.
    pub fd: OwnedFd,
}

#[derive(Deserialize)]
struct MapInfo {
    name: String,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

impl Map {
    /// Takes a map over from the host.
    pub(crate) fn adopt(handle: &MapHandle) -> Result<Self, Refusal> {
        // SAFETY: with every handle, the host passes ownership of an open descriptor, once.
        let fd = unsafe { OwnedFd::from_raw_fd(handle.fd) };
        let MapInfo { name, key_size, value_size, max_entries } = serde_json::from_str(&handle.info)?;
        Ok(Self { name, key_size, value_size, max_entries, fd })
    }
}

/// The maps of a cube.
#[derive(Debug, Default)]
pub struct Maps(pub Vec<Map>);

impl Maps {
    /// Removes the map called `name` and returns it.
    pub fn take(&mut self, name: &str) -> Option<Map> {
        let at = self.0.iter().position(|map| map.name == name)?;
        Some(self.0.swap_remove(at))
    }
}
