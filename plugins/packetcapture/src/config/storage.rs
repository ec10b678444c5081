//! How packets are kept: files, their end, and what waits in network mode.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the next file begins. What is unset is no reason to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Rotate {
    /// MiB that a file has at most
    #[schemars(range(min = 1))]
    pub size: Option<u32>,
    /// Seconds from a file's first packet to its last at most
    #[schemars(range(min = 1))]
    pub seconds: Option<u32>,
    /// Files of the capture that are kept: the oldest are deleted
    #[schemars(range(min = 1, max = 100_000))]
    pub files: Option<u32>,
}

/// When a capture ends by itself, whichever comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct StopAfter {
    /// Packets
    #[schemars(range(min = 1))]
    pub packets: Option<u64>,
    /// Bytes of records
    #[schemars(range(min = 1))]
    pub bytes: Option<u64>,
    /// Seconds
    #[schemars(range(min = 1))]
    pub seconds: Option<u32>,
}

/// How files are written and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Storage {
    /// When data is forced to the disk: never (the system decides), each second (interval), or with each file (rotate)
    pub fsync: Fsync,
    /// Whether a file that an earlier capture wrote is replaced; else, and for other files, the next free name is taken
    pub overwrite: bool,
    /// Whether closed files are compressed with zstd
    pub compress: bool,
    /// MiB of files in the directory at most: then the oldest go, where `rotate files` is set, or the capture waits
    #[schemars(range(min = 1))]
    pub ceiling: Option<u32>,
    /// Whether files are written past the page cache: less work for the CPU, and the last MiB follows within a second
    pub direct: bool,
    /// MiB of memory that packets wait in while the disk is slow
    #[schemars(range(max = 65_536))]
    pub memory: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self { fsync: Fsync::Never, overwrite: false, compress: false, ceiling: None, direct: false, memory: 512 }
    }
}

/// When data is forced to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Fsync {
    #[default]
    Never,
    Interval,
    Rotate,
}

/// What waits in network mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Queue {
    /// Packets
    #[schemars(range(min = 1))]
    pub packets: u32,
    /// MiB
    #[schemars(range(min = 1, max = 65_536))]
    pub size: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { packets: 100_000, size: 64 }
    }
}
