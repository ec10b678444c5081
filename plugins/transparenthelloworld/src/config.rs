//! What the user sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of a transparenthelloworld cube.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of packets towards the parent: PASS lets them pass, DROP drops them, SLOWPATH takes them through user space, where they are logged and counted, and go on
    pub ingress_action: Action,
    /// What becomes of packets from the parent, likewise
    pub egress_action: Action,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Action {
    Drop,
    #[default]
    Pass,
    Slowpath,
}

impl Action {
    /// As the program numbers it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Pass => 0,
            Self::Drop => 1,
            Self::Slowpath => 2,
        }
    }
}
