//! The maps of an object, and which of them can be what. Pure.

use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_layout::log;
use polycube_loader::object::DeclaredMap;

use super::btf::Types;
use super::fit::Declared;

/// Types of maps, of `enum bpf_map_type` of the kernel's include/uapi/linux/bpf.h, with the names that people give them.
const KINDS: [&str; 34] = [
    "map without a type",
    "HASH",
    "ARRAY",
    "PROG_ARRAY",
    "PERF_EVENT_ARRAY",
    "PERCPU_HASH",
    "PERCPU_ARRAY",
    "STACK_TRACE",
    "CGROUP_ARRAY",
    "LRU_HASH",
    "LRU_PERCPU_HASH",
    "LPM_TRIE",
    "ARRAY_OF_MAPS",
    "HASH_OF_MAPS",
    "DEVMAP",
    "SOCKMAP",
    "CPUMAP",
    "XSKMAP",
    "SOCKHASH",
    "CGROUP_STORAGE",
    "REUSEPORT_SOCKARRAY",
    "PERCPU_CGROUP_STORAGE",
    "QUEUE",
    "STACK",
    "SK_STORAGE",
    "DEVMAP_HASH",
    "STRUCT_OPS",
    "RINGBUF",
    "INODE_STORAGE",
    "TASK_STORAGE",
    "BLOOM_FILTER",
    "USER_RINGBUF",
    "CGRP_STORAGE",
    "ARENA",
];

/// What the daemon does with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Entries come and go with the user's configuration.
    Entries,
    /// It can be read only: the kernel removes entries, or each CPU has its own.
    Reading,
    /// Programs, for tail calls.
    Calls,
    /// The programs have it to themselves.
    Private,
    /// Nothing: it would be of no use without a process of its own.
    None,
}

/// A map of the object, as far as values are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapShape {
    pub name: String,
    pub key_size: usize,
    pub value_size: usize,
    pub max_entries: u32,
    pub is_array: bool,
    /// Whether each CPU has values of its own.
    pub is_per_cpu: bool,
}

/// A declared map, as this daemon sees it.
pub(super) trait ObjectMap {
    fn purpose(&self) -> Use;
    /// Its type, as people write it.
    fn kind(&self) -> &'static str;
    /// Whether each program has a map of this name for itself.
    fn is_of_chain(&self) -> bool;
    /// Whether it is for lines to the cube's log.
    fn is_of_log(&self) -> bool;
    fn is_trie(&self) -> bool;
    fn shape(&self) -> MapShape;
    /// What the object says of its keys.
    fn key<'a>(&self, types: Option<&'a Types>) -> Declared<'a>;
    /// What the object says of its values.
    fn value<'a>(&self, types: Option<&'a Types>) -> Declared<'a>;
}

impl ObjectMap for DeclaredMap {
    fn purpose(&self) -> Use {
        match self.kind() {
            "HASH" | "ARRAY" | "LPM_TRIE" => Use::Entries,
            "PERCPU_HASH" | "PERCPU_ARRAY" | "LRU_HASH" | "LRU_PERCPU_HASH" => Use::Reading,
            "PROG_ARRAY" => Use::Calls,
            "QUEUE" | "STACK" | "BLOOM_FILTER" | "SK_STORAGE" => Use::Private,
            _ => Use::None,
        }
    }

    fn kind(&self) -> &'static str {
        KINDS.get(self.map_type as usize).copied().unwrap_or("map of a type that this daemon does not know")
    }

    fn is_of_chain(&self) -> bool {
        self.name == NEXT || self.name == ACCEPT
    }

    fn is_of_log(&self) -> bool {
        self.name == log::LINES || self.name == log::STATE
    }

    fn is_trie(&self) -> bool {
        self.kind() == "LPM_TRIE"
    }

    fn shape(&self) -> MapShape {
        MapShape {
            name: self.name.clone(),
            key_size: self.key_size as usize,
            value_size: self.value_size as usize,
            max_entries: self.max_entries,
            is_array: self.kind().ends_with("ARRAY"),
            is_per_cpu: self.kind().contains("PERCPU"),
        }
    }

    fn key<'a>(&self, types: Option<&'a Types>) -> Declared<'a> {
        declared(types, self.key_type, self.key_size)
    }

    fn value<'a>(&self, types: Option<&'a Types>) -> Declared<'a> {
        declared(types, self.value_type, self.value_size)
    }
}

fn declared(types: Option<&Types>, id: u32, size: u32) -> Declared<'_> {
    match types {
        // An object may say sizes only, with types for all else.
        Some(types) if types.size(id) == Some(size as usize) => Declared::Typed(types, id),
        _ => Declared::Bytes(size as usize),
    }
}
