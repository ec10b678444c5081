//! simplebridge: its forwarding database and counters.

/// Map, `HASH`, [`FdbKey`] to [`FdbEntry`]: where each address was last seen.
pub const FDB: &str = "fdb";
/// Map, `PERCPU_ARRAY`, port id to [`PortCounters`].
pub const COUNTERS: &str = "counters";
/// Global, `u64`, nanoseconds: how long an entry lives after its address was last seen; 0 is for ever.
pub const AGING: &str = "AGING";

/// Global, `u32`: no port has this id or a higher one; a multiple of [`PORT_STEP`].
pub const PORT_LIMIT: &str = "PORT_LIMIT";
/// Ports that a flood visits between two looks at the limit.
pub const PORT_STEP: u32 = 4;

/// Addresses that the bridge remembers; frames to others are flooded.
pub const FDB_SIZE: u32 = 16_384;

/// A MAC address, padded to a word so that the kernel hashes whole words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbKey {
    pub mac: [u8; 6],
    pub zero: [u8; 2],
}

/// Where an address is, and since when that is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbEntry {
    /// `CLOCK_MONOTONIC` (coarse) nanoseconds of the last frame from the address; [`STATIC`] never ages and never moves.
    pub seen: u64,
    pub port: u32,
    pub zero: u32,
}

/// [`FdbEntry::seen`] of an entry that the user set.
pub const STATIC: u64 = u64::MAX;

/// What one CPU counted on one port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames and bytes that entered the bridge here.
    pub in_packets: u64,
    pub in_bytes: u64,
    /// Frames and bytes that left the bridge here, flooded copies included.
    pub out_packets: u64,
    pub out_bytes: u64,
    /// Frames that entered here and went to every other port.
    pub flooded: u64,
    /// Frames that entered here and went nowhere: the destination is on this very port, or no other port has a peer.
    pub filtered: u64,
    /// Addresses that could not be learned because the forwarding database was full.
    pub fdb_full: u64,
    pub zero: u64,
}
