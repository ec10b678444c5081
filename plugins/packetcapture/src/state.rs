//! What the user reads.

#![forbid(unsafe_code)]

use std::path::Path;

use polycube_plugin_api::Point;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Capture;
use crate::format::Format;
use crate::format::pcap::{ETHERNET, MAJOR, MICROS, MINOR};
use crate::memory::Usage;
pub use crate::outcome::FileStatus;
use crate::outcome::{FileState, Outcome};
use crate::over_ip::PortState;
use crate::sink::{QueuedPacket, ReaderState, timestamp};

/// State of a packet capture.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Where the capture file is
    pub dump: String,
    /// Path of the capture file
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-minor" = true, "x-summary" = "file"))]
    pub path: Option<String>,
    /// What the capture is doing, or what prevents it
    #[schemars(extend("x-summary" = "status"))]
    pub status: String,
    /// What keeps packets from coming, such as `off` or `attached nowhere`, or from where they do not come though `any`
    /// stands for it; left out if nothing does
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// The filter in force
    pub program: Option<ProgramState>,
    /// Packets since the cube was created
    pub counters: Counters,
    /// Memory in bytes
    pub memory: MemoryState,
    /// The disk of the capture's files
    #[schemars(extend("x-minor" = true))]
    pub disk: DiskState,
    /// Header of the capture's pcap file
    #[schemars(extend("x-minor" = true))]
    pub globalheader: GlobalHeader,
    /// TLS keys that files and streams of pcapng get: the last MiB of those that were given with `keys`
    #[schemars(extend("x-minor" = true))]
    pub tls_keys: usize,
    /// The packet that a client of network mode gets next; GET `packet` removes it from the queue
    #[schemars(extend("x-minor" = true))]
    pub packet: PacketHead,
    /// The queue of network mode
    pub queue: QueueState,
    /// Capture files, the oldest first; files of other daemons are not listed
    #[schemars(extend("x-list-key" = "name"))]
    pub files: Vec<File>,
    /// Clients that read packets live
    #[schemars(extend("x-list-key" = "id"))]
    pub streams: Vec<Reader>,
    /// The port of PCAP-over-IP; left out if there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
}

/// A port at which readers get packets as soon as they connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Listener {
    /// Address and port
    pub address: String,
    /// Format of the stream
    pub format: Format,
    /// listening, or why readers cannot connect
    pub status: String,
    /// Clients that are connected; `streams` has what each got of this capture
    pub readers: usize,
}

impl From<PortState> for Listener {
    fn from(PortState { at, status, readers }: PortState) -> Self {
        Self { address: at.address.to_string(), format: at.format, status, readers }
    }
}

/// The memory of a capture, and of all captures of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MemoryState {
    /// What rings may take up while the capture is on and attached; most of it is made when it is first needed
    #[schemars(extend("x-unit" = "bytes", "x-metric" = { "name": "packetcapture_ring_bytes", "type": "gauge", "total": "polycube_ring_bytes" }))]
    pub rings: u64,
    /// Packets that wait for the disk
    #[schemars(extend("x-unit" = "bytes", "x-metric" = { "name": "packetcapture_backlog_bytes", "type": "gauge" }))]
    pub backlog: u64,
    /// Rings and backlogs of all captures
    #[schemars(extend("x-unit" = "bytes"))]
    pub total: u64,
    /// What all captures may use: polycubed's `--capture-memory`
    #[schemars(extend("x-unit" = "bytes", "x-metric" = { "name": "packetcapture_memory_limit_bytes", "type": "gauge" }))]
    pub limit: u64,
}

impl From<Usage> for MemoryState {
    fn from(Usage { rings, backlog, total, limit }: Usage) -> Self {
        Self { rings, backlog, total, limit }
    }
}

/// The disk that a capture writes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DiskState {
    /// Bytes per second that it took of the last writes; left out before there were any
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-metric" = { "name": "packetcapture_disk_bytes_per_second", "type": "gauge" }))]
    pub rate: Option<u64>,
    /// Whether it is slower than the packets: more than it takes in half a second waits in memory
    pub is_limit: bool,
}

impl DiskState {
    /// Of a disk to which `backlog` bytes are to be written.
    pub(crate) fn new(rate: Option<u64>, backlog: u64) -> Self {
        Self { rate, is_limit: rate.is_some_and(|rate| backlog > rate / 2) }
    }

    /// What a user should know about it, for the status.
    pub(crate) fn remark(&self, backlog: u64) -> Option<String> {
        let rate = self.rate.filter(|_| self.is_limit)? / 1_000_000;
        Some(format!("the disk is the limit: it takes {rate} MB/s, and {} MiB wait in memory", backlog >> 20))
    }
}

/// The header of a classic pcap file, as the original client expects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GlobalHeader {
    /// Magic number: byte order and resolution
    pub magic: u32,
    /// Version of the format
    pub version_major: u16,
    /// Minor version of the format
    pub version_minor: u16,
    /// Seconds between UTC and the times in the file
    pub thiszone: i32,
    /// Accuracy of the times
    pub sigfigs: u32,
    /// Maximum recorded bytes of a packet
    #[schemars(extend("x-unit" = "bytes"))]
    pub snaplen: u32,
    /// Link type: 1 is Ethernet
    pub linktype: u32,
}

impl GlobalHeader {
    pub(crate) fn new(snaplen: u32) -> Self {
        let (magic, version_major, version_minor, linktype) = (MICROS, MAJOR, MINOR, ETHERNET);
        Self { magic, version_major, version_minor, thiszone: 0, sigfigs: 0, snaplen, linktype }
    }
}

/// Metadata of a packet in network mode. All fields are zero if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PacketHead {
    /// Bytes of the packet that were recorded
    pub capturelen: u32,
    /// Bytes of the packet on the wire
    pub packetlen: u32,
    /// Timestamp: seconds since 1970
    pub timestamp_seconds: u64,
    /// Timestamp: microseconds of that second
    pub timestamp_microseconds: u64,
}

impl From<&QueuedPacket> for PacketHead {
    fn from(QueuedPacket { record, .. }: &QueuedPacket) -> Self {
        Self {
            capturelen: record.captured,
            packetlen: record.length,
            timestamp_seconds: record.stamp.seconds(),
            timestamp_microseconds: record.stamp.nanos() / 1_000,
        }
    }
}

/// A packet as a client of network mode receives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Packet {
    #[serde(flatten)]
    head: PacketHead,
    /// Its bytes as the characters U+0000 to U+00FF; empty if there is no packet.
    rawdata: String,
}

impl Packet {
    pub(crate) fn new(packet: Option<&QueuedPacket>) -> Self {
        let rawdata = packet.iter().flat_map(|packet| packet.bytes.iter()).map(|byte| char::from(*byte)).collect();
        Self { head: packet.map(PacketHead::from).unwrap_or_default(), rawdata }
    }
}

/// The queue of network mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct QueueState {
    /// Packets that wait for a client
    #[schemars(extend("x-metric" = { "name": "packetcapture_queue_packets", "type": "gauge" }))]
    pub waiting: usize,
}

/// A capture file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct File {
    /// Name to download it by
    pub name: String,
    /// Path
    pub path: String,
    /// Bytes
    #[schemars(extend("x-unit" = "bytes"))]
    pub size: u64,
    /// Packets
    pub packets: u64,
    /// Time of the first packet, in UTC
    pub first: String,
    /// Time of the last packet, in UTC
    pub last: String,
    /// open (being written), closed (complete), compressed (complete and compressed), or, if another program interfered
    /// while it was being written, removed or truncated
    pub state: FileStatus,
}

impl From<FileState> for File {
    fn from(FileState { stored, tally, size, status, .. }: FileState) -> Self {
        let path = stored.path();
        Self {
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            path: path.display().to_string(),
            size,
            packets: tally.packets,
            first: timestamp(tally.first),
            last: timestamp(tally.last),
            state: status,
        }
    }
}

/// A reader of a live stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reader {
    /// Id, as in the header `Polycube-Stream` of the reader's response
    pub id: u64,
    /// Format of the stream
    pub format: Format,
    /// Where a client of PCAP-over-IP connects from
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Packets delivered
    pub packets: u64,
    /// Bytes of these packets
    #[schemars(extend("x-unit" = "bytes"))]
    pub bytes: u64,
    /// Packets dropped because the reader was too slow
    pub dropped: u64,
}

impl From<ReaderState> for Reader {
    fn from(ReaderState { id, format, peer, packets, bytes, dropped }: ReaderState) -> Self {
        Self { id, format, peer: peer.map(|peer| peer.to_string()), packets, bytes, dropped }
    }
}

/// The filter in force, and its compiled size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProgramState {
    /// Fields and expression together, in tcpdump's language
    pub expression: String,
    /// Instructions of libpcap's program
    pub classic: usize,
    /// Instructions that the kernel runs
    pub instructions: usize,
}

/// Counters of a packet capture. `seen` is `matched` + `rejected`; `matched` is `captured` + all the `dropped-`
/// counters.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Packets that passed in the captured directions
    #[schemars(extend("x-metric" = { "name": "packetcapture_seen_packets_total", "type": "counter" }))]
    pub seen: u64,
    /// Packets that matched the filter, or all if there is none
    #[schemars(extend("x-metric" = { "name": "packetcapture_matched_packets_total", "type": "counter" }))]
    pub matched: u64,
    /// Packets that did not match the filter
    #[schemars(extend("x-metric" = { "name": "packetcapture_rejected_packets_total", "type": "counter" }))]
    pub rejected: u64,
    /// Packets recorded; those of the last 100 ms may not be in the file yet
    #[schemars(extend("x-summary" = "packets", "x-metric" = { "name": "packetcapture_captured_packets_total", "type": "counter" }))]
    pub captured: u64,
    /// Recorded bytes of these packets
    #[schemars(extend("x-unit" = "bytes", "x-summary" = "bytes", "x-metric" = { "name": "packetcapture_captured_bytes_total", "type": "counter" }))]
    pub bytes: u64,
    /// Packets lost: the sum of all `dropped-…` counters but `dropped-limit`
    #[schemars(extend("x-summary" = "drops"))]
    pub dropped: u64,
    /// Packets not recorded because the ring was full
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_ring_full_packets_total", "type": "counter" }))]
    pub dropped_ring_full: u64,
    /// Packets not recorded because they interrupted the recording of another packet
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_nested_packets_total", "type": "counter" }))]
    pub dropped_nested: u64,
    /// Packets not recorded because the kernel could not copy them
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_fault_packets_total", "type": "counter" }))]
    pub dropped_fault: u64,
    /// Packets recorded but not written to the file
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_disk_packets_total", "type": "counter" }))]
    pub dropped_disk: u64,
    /// Packets recorded but not written to the file, because its disk has no more space than captures leave to others
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_floor_packets_total", "type": "counter" }))]
    pub dropped_floor: u64,
    /// Packets discarded from network mode's full queue, the oldest first
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_queue_packets_total", "type": "counter" }))]
    pub dropped_queue: u64,
    /// Packets in files that another program removed or truncated while they were being written; `captured` includes
    /// them
    #[schemars(extend("x-metric" = { "name": "packetcapture_removed_packets_total", "type": "counter" }))]
    pub removed: u64,
    /// Packets that came after the limit that `stop-after` sets
    #[schemars(extend("x-metric" = { "name": "packetcapture_dropped_limit_packets_total", "type": "counter" }))]
    pub dropped_limit: u64,
}

impl Counters {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let (counted, lost) = (outcome.counters(), [&outcome.disk, &outcome.floor, &outcome.queue, &outcome.limit]);
        let matched = counted.written + counted.full + counted.nested + counted.faults;
        let packets = lost.iter().map(|losses| losses.packets()).sum::<u64>();
        let bytes = lost.iter().map(|losses| losses.bytes()).sum::<u64>();
        Self {
            seen: matched + counted.rejected,
            matched,
            rejected: counted.rejected,
            captured: counted.written.saturating_sub(packets),
            bytes: counted.bytes.saturating_sub(bytes),
            dropped: counted.full
                + counted.nested
                + counted.faults
                + outcome.disk.packets()
                + outcome.floor.packets()
                + outcome.queue.packets(),
            dropped_ring_full: counted.full,
            dropped_nested: counted.nested,
            dropped_fault: counted.faults,
            dropped_disk: outcome.disk.packets(),
            dropped_floor: outcome.floor.packets(),
            dropped_queue: outcome.queue.packets(),
            removed: outcome.removed.packets(),
            dropped_limit: outcome.limit.packets(),
        }
    }
}

/// What keeps packets from coming with this configuration, to be said of the cube: `attached nowhere`.
pub(crate) fn idle(capture: Capture, points: &[Point], places: &[String]) -> Option<String> {
    let names = || points.iter().map(|point| point.name.as_str()).collect::<Vec<_>>().join(", ");
    match (capture, points) {
        (Capture::Off, _) => Some(String::from("off")),
        (_, []) if !places.is_empty() => Some(format!("waiting for {}", places.join(", "))),
        (_, []) => Some(String::from("attached nowhere")),
        _ if points.iter().all(|point| point.netdev.is_none()) => Some(format!("waiting for a netdev at {}", names())),
        _ => None,
    }
}

/// The sentence in [`State::dump`]. Scripts extract the path from it.
pub(crate) fn dump(network: bool, path: Option<&Path>) -> String {
    if network {
        return String::from("the service is running in network mode");
    }
    path.map_or_else(|| String::from("no packets captured"), |path| format!("capture dump in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_without_packets_says_why() {
        let point = |netdev: Option<&str>| Point {
            id: 0,
            name: "br1:p".to_owned(),
            netdev: netdev.map(str::to_owned),
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        let (away, there) = (point(None), point(Some("veth1")));
        let idle = |capture, points: &[Point]| idle(capture, points, &[]);
        assert_eq!(idle(Capture::Off, std::slice::from_ref(&there)).as_deref(), Some("off"));
        assert_eq!(idle(Capture::Ingress, &[]).as_deref(), Some("attached nowhere"));
        let place = String::from("netns:web");
        assert_eq!(super::idle(Capture::Ingress, &[], &[place]).as_deref(), Some("waiting for netns:web"));
        assert_eq!(
            idle(Capture::Ingress, std::slice::from_ref(&away)).as_deref(),
            Some("waiting for a netdev at br1:p")
        );
        assert_eq!(idle(Capture::Ingress, &[away, there]), None);
    }

    #[test]
    fn a_disk_that_is_slower_than_the_packets_is_named() {
        let check = |rate, backlog: u64, expected: Option<&str>| {
            let disk = DiskState::new(rate, backlog);
            assert_eq!(disk.remark(backlog).as_deref(), expected);
            assert_eq!(disk.is_limit, expected.is_some());
        };
        check(None, 1 << 30, None);
        check(Some(200_000_000), 0, None);
        check(Some(200_000_000), 100_000_000, None);
        check(
            Some(200_000_000),
            150 << 20,
            Some("the disk is the limit: it takes 200 MB/s, and 150 MiB wait in memory"),
        );
    }

    #[test]
    fn the_dump_is_a_sentence_that_scripts_know() {
        let path = Path::new("/var/sniffer.pcap");
        assert_eq!(dump(false, None), "no packets captured");
        assert_eq!(dump(false, Some(path)), "capture dump in /var/sniffer.pcap");
        assert_eq!(dump(true, Some(path)), "the service is running in network mode");
    }
}
