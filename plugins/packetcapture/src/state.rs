//! What the user reads.

#![forbid(unsafe_code)]

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

/// State of a packet capture.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Where the capture file is
    pub dump: String,
    /// The filter in force
    pub program: Option<ProgramState>,
    /// Packets since the cube was made
    pub counters: Counters,
}

/// The filter in force, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProgramState {
    /// Fields and expression together, in tcpdump's language
    pub expression: String,
    /// Instructions that libpcap makes of it
    pub classic: usize,
    /// Instructions that the kernel runs
    pub instructions: usize,
}

/// Counters of a packet capture. `seen` is `matched` and `rejected`; `matched` is `captured` and all that is dropped.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Packets that passed, in the directions that are captured
    #[schemars(extend("x-metric" = { "name": "packetcapture_seen_packets_total", "type": "counter" }))]
    pub seen: u64,
    /// Packets that fitted the filter, or for which there was none
    #[schemars(extend("x-metric" = { "name": "packetcapture_matched_packets_total", "type": "counter" }))]
    pub matched: u64,
    /// Packets that did not fit the filter
    #[schemars(extend("x-metric" = { "name": "packetcapture_rejected_packets_total", "type": "counter" }))]
    pub rejected: u64,
    /// Packets that were recorded; those of the last 100 ms may be on their way to the file
    #[schemars(extend("x-metric" = { "name": "packetcapture_captured_packets_total", "type": "counter" }))]
    pub captured: u64,
    /// Bytes of these packets that were recorded
    #[schemars(extend("x-metric" = { "name": "packetcapture_captured_bytes_total", "type": "counter" }))]
    pub bytes: u64,
    /// Packets that were not recorded because the ring was full
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_ring_full_packets_total", "type": "counter" }))]
    pub dropped_ring_full: u64,
    /// Packets that were not recorded because they interrupted the recording of another packet
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_nested_packets_total", "type": "counter" }))]
    pub dropped_nested: u64,
    /// Packets that were not recorded because the kernel could not copy them
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_fault_packets_total", "type": "counter" }))]
    pub dropped_fault: u64,
    /// Packets that were recorded and could not be written to the file
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_disk_packets_total", "type": "counter" }))]
    pub dropped_disk: u64,
}

/// The sentence that stands in [`State::dump`]. Scripts cut the path out of it.
pub(crate) fn dump(path: Option<&Path>) -> String {
    path.map_or_else(|| String::from("no packets captured"), |path| format!("capture dump in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_is_a_sentence_that_scripts_know() {
        assert_eq!(dump(None), "no packets captured");
        assert_eq!(dump(Some(Path::new("/var/sniffer.pcap"))), "capture dump in /var/sniffer.pcap");
    }
}
