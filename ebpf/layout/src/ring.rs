//! The capture ring: one element per CPU of a memory-mapped array, written by the capture program on that CPU,
//! read by one consumer.
//!
//! An element is a page of two headers and then two *lanes*. Records go to the small lane, which goes round in a CPU's
//! cache; what it has no room for, because the consumer is late, goes to the large one. So memory outside of the cache
//! is written only while it is needed, and nothing is lost that the large lane alone would have held.
//!
//! The order is kept without a look at the records. A program that has gone over to the large lane stays there until
//! the small lane is *empty*, and only then returns; it stores in `turn` how far the large lane went until then. So
//! while the small lane has a record, `turn` does not change: what the large lane has before it is older than all of
//! the small lane, and the rest is newer.
//!
//! A lane is `size` bytes and then [`SLACK`]. Positions (`head`, `tail`, `wrap`, `turn`) count bytes since the start and
//! never go back; `position & (size - 1)` is the place in the lane. A record that would cross the lane's end continues
//! into the slack, so that every record is contiguous: the producer stores where it ended in `wrap` and moves `head` to
//! the next multiple of `size`. It does the same where a record ends exactly there, so that each pass over the end
//! leaves its own `wrap`. The slack does not count as fill: whatever the lane's size, a record of any length fits an
//! empty lane.

/// Map, `ARRAY` with `BPF_F_MMAPABLE`, CPU number to element.
pub const RINGS: &str = "RINGS";
/// Map, `RINGBUF`, [`BELL_SIZE`] bytes: one record wakes the consumer; its content has no meaning.
pub const BELL: &str = "BELL";
/// Global, `u64`: bytes of the large lane, less one.
pub const MASK: &str = "MASK";
/// Global, `u64`: bytes of the small lane, less one; see [`small_size`].
pub const SMALL_MASK: &str = "SMALL_MASK";
/// Global, `u32`: the maximum number of bytes of a packet that are recorded, 1 to [`MAX_SNAPLEN`].
pub const SNAPLEN: &str = "SNAPLEN";
/// Global, `u32`: [`FORMAT_PCAP_MICROS`], [`FORMAT_PCAP_NANOS`] or [`FORMAT_PCAPNG`].
pub const FORMAT: &str = "FORMAT";
/// Global, `u32`: id of the interface that pcapng blocks name.
pub const INTERFACE: &str = "INTERFACE";
/// Global, `u32`: the `epb_flags` option of pcapng blocks, [`INBOUND`] or [`OUTBOUND`].
pub const FLAGS: &str = "FLAGS";

/// Classic pcap, seconds and microseconds (magic 0xa1b2c3d4).
pub const FORMAT_PCAP_MICROS: u32 = 0;
/// Classic pcap, seconds and nanoseconds (magic 0xa1b23c4d).
pub const FORMAT_PCAP_NANOS: u32 = 1;
/// pcapng: Enhanced Packet Blocks in nanoseconds, each with its direction (draft-ietf-opsawg-pcapng, section 4.3).
pub const FORMAT_PCAPNG: u32 = 2;

/// Section 4.3.1, the flags word's direction.
pub const INBOUND: u32 = 1;
pub const OUTBOUND: u32 = 2;

/// Bytes of a page, of the doorbell and of the headers before the lanes.
pub const BELL_SIZE: u32 = 4096;
pub const DATA: usize = 4096;
/// libpcap's `MAXIMUM_SNAPLEN`, and tcpdump's default.
pub const MAX_SNAPLEN: u32 = 262_144;
/// Bytes of a classic pcap record header.
pub const RECORD_HEADER: usize = 16;
/// `block_type` of an Enhanced Packet Block.
pub const PACKET_BLOCK: u32 = 6;
/// Bytes of such a block before the packet.
pub const BLOCK_HEADER: usize = 28;
/// Bytes of it after the packet and its padding: the flags option (8), the end of options (4), the length again (4).
pub const BLOCK_TRAILER: usize = 16;
/// Room after a lane for the record that crosses its end.
pub const SLACK: usize = MAX_SNAPLEN as usize + 4096;

/// How far the program has written a lane.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneEnd {
    /// End of the last finished record. Stored last, so that everything before it is complete.
    pub head: u64,
    /// End of the last record that reached the lane's end or ran into the slack. Stored before `head`.
    pub wrap: u64,
}

/// Written by the program, read by the consumer. At offset 0 of the element.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Producer {
    pub small: LaneEnd,
    /// Records written.
    pub written: u64,
    /// Bytes of packets in them, headers not counted.
    pub bytes: u64,
    /// Packets that were not recorded because both lanes were full.
    pub drops: u64,
    /// 1 while the program is between taking a packet's time and storing `head`. Every CPU can see it before the time
    /// is taken.
    pub busy: u32,
    /// 1 from a record in the large lane to the next in the small one. The consumer does not need it.
    pub is_late: u32,
    pub large: LaneEnd,
    /// `head` of the large lane when the small lane got the first of the records that it has. Stored before that
    /// record's `head`.
    pub turn: u64,
    /// Times the doorbell was rung.
    pub bells: u64,
    /// Packets that could not be copied (`bpf_skb_load_bytes` refused).
    pub faults: u64,
    /// Packets that were not recorded because they interrupted the recording of another on the same CPU.
    pub nested: u32,
    pub zero: u32,
}

/// Written by the consumer, read by the program. At offset [`CONSUMER`] of the element.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Consumer {
    /// Positions up to which the consumer has taken everything from the small and the large lane. Always at the end of
    /// a record.
    pub tails: [u64; 2],
    /// Bytes in the small lane above which a sleeping consumer is woken; 0 wakes it for any packet. A record in the
    /// large lane always does.
    pub mark: u64,
    /// Nanoseconds to add to `CLOCK_TAI` to get UTC.
    pub utc_offset: i64,
    /// 1 while the consumer sleeps and wants the doorbell; the program resets it when it rings.
    pub sleeping: u32,
    pub zero: u32,
}

/// Offset of [`Consumer`], two cache lines from [`Producer`], which the adjacent-line prefetcher would share.
pub const CONSUMER: usize = 128;

/// Written by the filter program, if there is one. At offset [`FILTER`] of the element.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Packets that did not match.
    pub rejected: u64,
}

/// Offset of [`Filter`].
pub const FILTER: usize = 256;

/// Bytes of a small lane beside a large one of 4 MiB and more. Measured on CPUs with 512 KiB and 2 MiB of L2 cache per
/// core: less makes a record hardly cheaper, twice as much makes it up to a quarter more expensive.
const SMALL: usize = 1 << 20;

/// Bytes of the small lane beside a large one of `large` bytes: a power of two.
pub const fn small_size(large: usize) -> usize {
    if large / 4 < SMALL { large / 4 } else { SMALL }
}

/// Offset of the large lane in an element whose small lane has `small` bytes. The small lane is at [`DATA`].
pub const fn large_at(small: usize) -> usize {
    DATA + small + SLACK
}

/// Bytes of one CPU's element with a large lane of `large` bytes (a power of two, at least a page).
pub const fn element_size(large: usize) -> usize {
    large_at(small_size(large)) + large + SLACK
}
