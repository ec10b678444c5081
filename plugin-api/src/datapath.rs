//! What a plugin asks the host to load.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// Which way a packet goes: into the cube (or the host's stack), or out of it.
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
/// Its ELF object has the program in a `classifier` section and a map `next`, a `PROG_ARRAY` of one slot, through
/// which it ends with a tail call. A standard cube names one ingress program with `point` 0, and the host fills its
/// map `ports` (`ARRAY` of `u32`, port id to ifindex).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Id of the [`Point`](crate::Point) that it is for.
    pub point: u32,
    /// The hook.
    pub direction: Direction,
    /// Index into [`Datapath::objects`].
    pub object: usize,
    /// Name of the program in the object.
    pub entry: String,
    /// Read-only globals to set before the verifier sees the program: name and bytes, in the machine's order.
    pub constants: Vec<(String, Vec<u8>)>,
}

/// How many entries a map has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// As the object says.
    Declared,
    /// One for each CPU that the machine can have.
    PerCpu,
    /// This many.
    Entries(u32),
}

/// A map that belongs to the cube: its programs share it, it outlives each of them, and the plugin gets a descriptor.
///
/// It lives as long as it stands in the description with the same sizes. The objects declare its type and flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSpec {
    /// Name in the objects.
    pub name: String,
    /// Number of entries.
    pub count: Count,
    /// Bytes of a value; `None` for what the object declares.
    pub value_size: Option<u32>,
}

impl MapSpec {
    /// A map with the sizes that the object declares.
    pub fn declared(name: &str) -> Self {
        Self { name: name.to_owned(), count: Count::Declared, value_size: None }
    }
}

/// Programs and maps for one configuration. The default is nothing at all: packets pass by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// Programs: at most one for each point and direction.
    pub programs: Vec<Program>,
    /// Maps of the cube.
    pub maps: Vec<MapSpec>,
    /// ELF objects that the programs are in.
    #[serde(skip)]
    pub objects: Vec<Cow<'static, [u8]>>,
}

/// A read-only global's name and bytes, for [`Program::constants`].
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

/// The maps of a cube.
#[derive(Debug, Default)]
pub struct Maps(pub Vec<Map>);

impl Maps {
    /// Takes the map called `name` out.
    pub fn take(&mut self, name: &str) -> Option<Map> {
        let at = self.0.iter().position(|map| map.name == name)?;
        Some(self.0.swap_remove(at))
    }
}
