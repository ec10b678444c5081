//! simplebridge: its forwarding database and counters.

/// Map, `HASH`, [`FdbKey`] to [`FdbEntry`]: where each address was last seen.
pub const FDB: &str = "fdb";
/// Map, `PERCPU_ARRAY`, port id to [`PortCounters`].
pub const COUNTERS: &str = "counters";
/// Map, `ARRAY` of `u32`, port id to the flags of the port: [`NO_LEARNING`], [`NO_FLOOD`], [`ISOLATED`], [`DOWN`].
pub const FLAGS: &str = "flags";
/// Global, `u32`: the flags that ports have, except [`DOWN`], which may come and go at any time.
pub const ANY_FLAGS: &str = "ANY_FLAGS";
/// Nothing is learned from what comes in.
pub const NO_LEARNING: u32 = 1;
/// Frames to single stations go out only if the station is known to be there.
pub const NO_FLOOD: u32 = 1 << 1;
/// Nothing is forwarded between two ports with this flag.
pub const ISOLATED: u32 = 1 << 2;
/// The link is down: nothing is flooded there.
pub const DOWN: u32 = 1 << 3;
/// Global, `u32`: not 0 if spanning trees' frames (01:80:c2:00:00:00) are forwarded.
pub const FORWARD_BPDU: &str = "FORWARD_BPDU";

/// Global, `u64`, nanoseconds: how long an entry lives after its address was last seen; 0 means for ever.
pub const AGING: &str = "AGING";

/// Global, `u32`: all port ids are lower; a multiple of [`PORT_STEP`].
pub const PORT_LIMIT: &str = "PORT_LIMIT";
/// Ports that a flood visits between two checks of the limit.
pub const PORT_STEP: u32 = 4;

/// Addresses that the bridge remembers; frames to others are flooded.
pub const FDB_SIZE: u32 = 16_384;

/// A MAC address, padded to a word so that the kernel hashes whole words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct FdbKey {
    pub mac: [u8; 6],
    pub zero: [u8; 2],
}

/// The port that leads to an address, and when the address was last seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct FdbEntry {
    /// `CLOCK_MONOTONIC` (coarse) nanoseconds of the last frame from the address; an entry with
    /// [`STATIC`] never ages and never moves.
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
    /// Frames that entered here and were not forwarded: the destination is on this very port or is reserved (IEEE
    /// 802.1Q table 8-1), the source is not a station's address, or no other port has a peer.
    pub filtered: u64,
    /// Addresses that could not be learned because the forwarding database was full.
    pub fdb_full: u64,
    pub zero: u64,
}
