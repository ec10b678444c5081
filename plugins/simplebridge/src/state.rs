//! What the user reads.

use polycube_layout::bridge::PortCounters;
use polycube_plugin_api::counters;
use schemars::JsonSchema;
use serde::Serialize;

use crate::mac::Mac;

/// State of a bridge.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Forwarding database
    pub fdb: FdbState,
    /// Counters of the whole bridge
    pub counters: Totals,
    /// Counters of each port, since the port was added
    #[schemars(extend("x-list-key" = "port"))]
    pub port_counters: Vec<PortState>,
}

/// State of the forwarding database.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FdbState {
    /// Addresses that the bridge knows, learned and static
    #[schemars(extend("x-list-key" = "address"))]
    pub entry: Vec<EntryState>,
}

/// An address that the bridge knows.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EntryState {
    /// MAC address
    pub address: Mac,
    /// Port that leads to the address
    pub port: String,
    /// Origin: the user (static), or the address's own frames (dynamic)
    pub r#type: Origin,
    /// Seconds since the address last sent a frame; static entries have none
    #[schemars(extend("x-unit" = "seconds"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// The origin of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Static,
    Dynamic,
}

/// Counters of the whole bridge.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Addresses that the bridge knows
    #[schemars(extend("x-metric" = { "name": "simplebridge_fdb_entries", "type": "gauge" }))]
    pub entries: usize,
    /// Frames of all ports whose source was not learned because the forwarding database was full
    #[schemars(extend("x-metric" = { "name": "simplebridge_fdb_full_packets_total", "type": "counter" }))]
    pub fdb_full: u64,
}

/// Counters of a port.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortState {
    /// Name of the port
    pub port: String,
    #[serde(flatten)]
    pub counts: PortCounts,
}

counters! {
    /// What a port has counted.
    pub struct PortCounts from PortCounters {
        /// Frames that entered the bridge
        in_packets: "simplebridge_port_in_packets_total",
        /// Bytes that entered the bridge
        in_bytes: "simplebridge_port_in_bytes_total",
        /// Frames that left the bridge, flooded copies included
        out_packets: "simplebridge_port_out_packets_total",
        /// Bytes that left the bridge, flooded copies included
        out_bytes: "simplebridge_port_out_bytes_total",
        /// Frames that entered here and were sent to all other ports
        flooded: "simplebridge_port_flooded_packets_total",
        /// Frames that entered here and were not forwarded
        filtered: "simplebridge_port_filtered_packets_total",
        /// Part of [`Totals::fdb_full`]
        fdb_full: _,
    }
}
