//! What the user reads.

use std::net::IpAddr;

use polycube_layout::span;
use polycube_plugin_api::counters;
use schemars::JsonSchema;
use serde::Serialize;

use crate::way::Way;

/// State of a mirror.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// What it does, or what is missing
    pub status: String,
    /// Where copies go
    pub way: WayState,
    /// Counters since the cube was created
    pub counters: Counters,
    /// The filter in the kernel
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramState>,
}

/// Where copies go.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WayState {
    /// Netdev by which copies leave
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netdev: Option<String>,
    /// Source address of the outer header
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Next machine on the way to the collector
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<IpAddr>,
    /// Whether that machine answers, as far as the kernel knows; left out while it has not been asked
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// Maximum bytes of a copy with its outer IP header; longer ones are cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl From<&Way> for WayState {
    fn from(way: &Way) -> Self {
        Self {
            netdev: way.netdev.clone(),
            source: way.source,
            neighbour: way.neighbour.map(|(address, _)| address),
            answers: way.neighbour.and_then(|(_, answers)| answers),
            mtu: way.source.map(|_| way.destination.mtu),
        }
    }
}

/// The filter in the kernel.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProgramState {
    /// Filters and expression as one
    pub expression: String,
    /// Number of instructions of the eBPF program
    pub instructions: usize,
}

counters! {
    /// What has become of the packets.
    pub struct Counters from span::Counters {
        /// Copies
        mirrored_packets: "span_mirrored_packets_total",
        /// Bytes of the copies, without outer headers
        mirrored_bytes: "span_mirrored_bytes_total",
        /// Copies that were cut to what the way to the collector takes; those that `snaplen` cuts do not count
        shortened: "span_shortened_packets_total",
        /// Packets that the filter left out
        filtered: "span_filtered_packets_total",
        /// Packets that were not sampled
        sampled_out: "span_sampled_out_packets_total",
        /// Copies that passed here again, and ICMP errors about copies, which are not mirrored
        again: "span_again_packets_total",
        /// Packets that were not mirrored because the netdev, or a route to the collector, was missing
        no_way: "span_no_way_packets_total",
        /// Packets of which the kernel made no copy, or sent none
        failed: "span_failed_packets_total",
    }
}
