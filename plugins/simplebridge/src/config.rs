//! What the user sets.

use polycube_layout::bridge::{FDB_SIZE, ISOLATED, NO_FLOOD, NO_LEARNING};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// Configuration of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// Forwarding database
    pub fdb: FdbConfig,
    /// What becomes of frames between spanning trees (01:80:c2:00:00:00): forward, as a Linux bridge without a spanning tree
    /// does, lets others find loops through the bridge; drop is the rule of IEEE 802.1D
    pub bpdu: Bpdu,
    /// Ports of the bridge
    #[schemars(extend("x-list-key" = "name"))]
    pub ports: Vec<PortConfig>,
}

/// What becomes of spanning trees' frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Bpdu {
    #[default]
    Forward,
    Drop,
}

/// Configuration of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PortConfig {
    /// Name of the port
    pub name: String,
    /// Whether addresses are learned from frames that come in
    #[serde(default = "Switch::on")]
    pub learning: Switch,
    /// Whether frames to stations that are not known go out here as well; broadcast and multicast always do
    #[serde(default = "Switch::on")]
    pub flood: Switch,
    /// Whether nothing is forwarded between this port and others that are isolated
    #[serde(default)]
    pub isolated: Switch,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Switch {
    On,
    #[default]
    Off,
}

impl Switch {
    const fn on() -> Self {
        Self::On
    }
}

impl PortConfig {
    /// What is set, as the program expects it.
    pub(crate) fn flags(&self) -> u32 {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        flag(self.learning == Switch::Off, NO_LEARNING)
            | flag(self.flood == Switch::Off, NO_FLOOD)
            | flag(self.isolated == Switch::On, ISOLATED)
    }
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
