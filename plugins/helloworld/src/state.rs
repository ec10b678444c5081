//! What the user reads.

use schemars::JsonSchema;
use serde::Serialize;

/// State of a helloworld cube.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Packets on the slow path
    pub slow_path: SlowPath,
}

/// Packets that the program handed to user space.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SlowPath {
    /// Packets that user space has received
    #[schemars(extend("x-metric" = { "name": "helloworld_slow_path_packets_total", "type": "counter" }))]
    pub packets: u64,
    /// Packets that were lost because user space was too slow
    #[schemars(extend("x-metric" = { "name": "helloworld_slow_path_lost_packets_total", "type": "counter" }))]
    pub lost: u64,
    /// Packets that had waited for more than a second when user space began to read, because no daemon ran, and went no further
    #[schemars(extend("x-metric" = { "name": "helloworld_slow_path_expired_packets_total", "type": "counter" }))]
    pub expired: u64,
}
