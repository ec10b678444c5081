//! What can go wrong with a map.

use std::fmt;
use std::io;

use crate::Refusal;

/// A map that cannot be opened as what the plugin wants.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cube has no such map, or it has been taken already.
    #[error("the cube has no map `{map}`: describe it in `Datapath::maps`, and open it once")]
    Missing {
        /// The map's name.
        map: String,
    },
    /// The map is of another type.
    #[error("the map `{map}` is {found:#}, not {expected:#}: declare it as {expected}, or open it as what it is")]
    Type {
        /// The map's name.
        map: String,
        /// The type that the plugin opens.
        expected: MapType,
        /// The type that it is of.
        found: MapType,
    },
    /// Keys have another size.
    #[error("keys of the map `{map}` have {found} bytes, but the plugin's type for them has {expected}")]
    KeySize {
        /// The map's name.
        map: String,
        /// Bytes of the plugin's type.
        expected: usize,
        /// Bytes of the map's keys.
        found: usize,
    },
    /// Values have another size.
    #[error("values of the map `{map}` have {found} bytes, but the plugin's type for them has {expected}")]
    ValueSize {
        /// The map's name.
        map: String,
        /// Bytes of the plugin's type.
        expected: usize,
        /// Bytes of the map's values.
        found: usize,
    },
    /// The kernel does not say what the map is, or a ring cannot be mapped.
    #[error("could not open the map `{map}`: {source}")]
    Kernel {
        /// The map's name.
        map: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// An operation on a map that failed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// There is no room for another entry.
    #[error("the map `{map}` is full: it has room for {max_entries} entries")]
    Full {
        /// The map's name.
        map: String,
        /// Entries that it has room for.
        max_entries: u32,
    },
    /// An array has no element with this index.
    #[error("the map `{map}` has no element {index}: it has {max_entries}, and the first is 0")]
    Index {
        /// The map's name.
        map: String,
        /// The index.
        index: u32,
        /// Elements that it has.
        max_entries: u32,
    },
    /// Others changed the map so fast that its entries could not be listed.
    #[error("the map `{map}` changes faster than it can be read: try again")]
    Busy {
        /// The map's name.
        map: String,
    },
    /// The kernel refuses the operation.
    #[error("could not {operation} the map `{map}`: {source}")]
    Kernel {
        /// The map's name.
        map: String,
        /// What was attempted.
        operation: Operation,
        /// What the kernel says.
        source: io::Error,
    },
}

/// What was attempted with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To read a value.
    Read,
    /// To write a value.
    Write,
    /// To remove an entry.
    Remove,
    /// To list all entries.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read from",
            Self::Write => "write to",
            Self::Remove => "remove from",
            Self::List => "list the entries of",
        })
    }
}

/// A type of maps: `enum bpf_map_type` of the kernel's include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapType(pub u32);

impl MapType {
    pub(super) const HASH: Self = Self(1);
    pub(super) const ARRAY: Self = Self(2);
    pub(super) const PERCPU_HASH: Self = Self(5);
    pub(super) const PERCPU_ARRAY: Self = Self(6);
    pub(super) const LRU_HASH: Self = Self(9);
    pub(super) const LRU_PERCPU_HASH: Self = Self(10);
    pub(super) const LPM_TRIE: Self = Self(11);
    pub(super) const ARRAY_OF_MAPS: Self = Self(12);
    pub(super) const RINGBUF: Self = Self(27);

    /// Whether it has a value for each CPU.
    pub(super) fn is_per_cpu(self) -> bool {
        matches!(self, Self::PERCPU_HASH | Self::PERCPU_ARRAY | Self::LRU_PERCPU_HASH)
    }
}

/// The kernel's name; with an article in the alternate form.
impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::HASH => "HASH",
            Self::ARRAY => "ARRAY",
            Self::PERCPU_HASH => "PERCPU_HASH",
            Self::PERCPU_ARRAY => "PERCPU_ARRAY",
            Self::LRU_HASH => "LRU_HASH",
            Self::LRU_PERCPU_HASH => "LRU_PERCPU_HASH",
            Self::LPM_TRIE => "LPM_TRIE",
            Self::ARRAY_OF_MAPS => "ARRAY_OF_MAPS",
            Self::RINGBUF => "RINGBUF",
            Self(3) => "PROG_ARRAY",
            Self(other) if f.alternate() => return write!(f, "of type {other}"),
            Self(other) => return write!(f, "type {other}"),
        };
        if !f.alternate() {
            return f.write_str(name);
        }
        // "an LRU_HASH", as letters are said.
        let article = if name.starts_with(['A', 'L']) { "an" } else { "a" };
        write!(f, "{article} {name}")
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        Self::failed(error.to_string())
    }
}
