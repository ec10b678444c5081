//! What the user sets.

use polycube_layout::bridge::FDB_SIZE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// Configuration of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// Forwarding database
    pub fdb: FdbConfig,
}

/// Configuration of the forwarding database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct FdbConfig {
    /// Seconds after which an address that sends nothing is forgotten; 0 keeps it for ever
    #[schemars(extend("x-unit" = "seconds"))]
    pub aging_time: u32,
    /// Addresses bound to a port
    #[schemars(extend("x-list-key" = "address"), length(max = FDB_SIZE))]
    pub entry: Vec<StaticEntry>,
}

impl Default for FdbConfig {
    fn default() -> Self {
        // IEEE 802.1Q-2018 table 8-6 recommends 300 s.
        Self { aging_time: 300, entry: Vec::new() }
    }
}

impl FdbConfig {
    /// [`aging_time`](Self::aging_time) in nanoseconds, as the program expects it.
    pub(crate) fn aging(&self) -> u64 {
        u64::from(self.aging_time) * 1_000_000_000
    }
}

/// An address bound to a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StaticEntry {
    /// MAC address
    pub address: Mac,
    /// Port of this cube that leads to the address
    #[schemars(extend("x-names" = "ports"))]
    pub port: String,
}
