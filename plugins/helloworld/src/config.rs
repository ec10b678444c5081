//! What the user sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of a helloworld cube.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of packets: DROP drops them, FORWARD sends them out of the other port, SLOWPATH hands them to user space, where they are logged and counted, and go no further
    pub action: Action,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Action {
    #[default]
    Drop,
    Slowpath,
    Forward,
}

impl Action {
    /// As the program numbers it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Slowpath => 1,
            Self::Forward => 2,
        }
    }
}
