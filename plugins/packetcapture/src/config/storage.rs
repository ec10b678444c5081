//! How packets are kept: files, their end, and what waits in network mode.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::limits::Mebibytes;

/// When the next file begins. Unset limits do not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Rotate {
    /// Maximum size of a file, in MiB
    #[schemars(range(min = 0.0625))]
    pub size: Option<Mebibytes>,
    /// Maximum time from a file's first packet to its last, in seconds
    #[schemars(range(min = 1), extend("x-unit" = "seconds"))]
    pub seconds: Option<u32>,
    /// Number of files that the capture keeps: the oldest are deleted
    #[schemars(range(min = 1, max = 100_000))]
    pub files: Option<u32>,
}

/// When a capture stops by itself: at the first limit that it reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct StopAfter {
    /// Packets
    #[schemars(range(min = 1))]
    pub packets: Option<u64>,
    /// Bytes of records
    #[schemars(range(min = 1), extend("x-unit" = "bytes"))]
    pub bytes: Option<u64>,
    /// Seconds
    #[schemars(range(min = 1), extend("x-unit" = "seconds"))]
    pub seconds: Option<u32>,
}

/// How files are written and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Storage {
    /// When data is forced to the disk: never (the system decides), every second (interval), or with each file (rotate)
    pub fsync: Fsync,
    /// Whether to replace files that earlier captures wrote; all other files are kept, and the next free name is used
    pub overwrite: bool,
    /// Whether closed files are compressed with zstd
    pub compress: bool,
    /// Maximum MiB of the directory's files: then the oldest are deleted, if `rotate files` is set, or the capture waits
    #[schemars(range(min = 0.0625))]
    pub ceiling: Option<Mebibytes>,
    /// Whether to write past the page cache: less work for the CPU, and the last MiB follows within a second; auto does so
    /// while packets come fast and the disk keeps up
    pub direct: Direct,
    /// MiB of memory that buffers packets while the disk is slow
    #[schemars(range(min = 0, max = 65_536))]
    pub memory: Mebibytes,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            fsync: Fsync::Never,
            overwrite: false,
            compress: false,
            ceiling: None,
            direct: Direct::Never,
            memory: Mebibytes::whole(512),
        }
    }
}

/// Whether files are written past the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "DirectValue", into = "DirectValue")]
pub enum Direct {
    #[default]
    Never,
    Always,
    /// While packets come fast and the disk keeps up.
    Auto,
}

/// What stands in documents for [`Direct`]: a truth value, or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum DirectValue {
    Certain(bool),
    Chosen(DirectWord),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DirectWord {
    Auto,
}

impl JsonSchema for Direct {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Direct".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string"], "enum": [false, true, "auto"] })
    }
}

impl From<DirectValue> for Direct {
    fn from(value: DirectValue) -> Self {
        match value {
            DirectValue::Certain(false) => Self::Never,
            DirectValue::Certain(true) => Self::Always,
            DirectValue::Chosen(DirectWord::Auto) => Self::Auto,
        }
    }
}

impl From<Direct> for DirectValue {
    fn from(direct: Direct) -> Self {
        match direct {
            Direct::Never => Self::Certain(false),
            Direct::Always => Self::Certain(true),
            Direct::Auto => Self::Chosen(DirectWord::Auto),
        }
    }
}

/// Where packets are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Store {
    #[default]
    Files,
    None,
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

/// Limits of network mode's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Queue {
    /// Packets
    #[schemars(range(min = 1))]
    pub packets: u32,
    /// MiB
    #[schemars(range(min = 0.0625, max = 65_536))]
    pub size: Mebibytes,
}

impl Default for Queue {
    fn default() -> Self {
        Self { packets: 100_000, size: Mebibytes::whole(64) }
    }
}
