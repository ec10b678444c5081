//! The capture ring: one element per CPU of a memory-mapped array, written by the capture program on that CPU,
//! read by one consumer.
//!
//! A CPU has two *lanes*. Records go to the small lane, which goes round in the CPU's cache; what it has no room for,
//! because the consumer is late, goes to the large one. So memory outside of the cache is written only while it is
//! needed, and nothing is lost that the large lane alone would have held.
//!
//! An element of the array is a page of two headers and the small lane. The large lanes are in a map of their own, which
//! comes into the slot [`LANES`] when small lanes fill for the first time: zeroing it takes the kernel milliseconds, and
//! most captures never need it. Until then, what the small lane has no room for is lost, and counted in `early`.
//!
//! The order is kept without a look at the records. A program that has gone over to the large lane stays there until
//! the small lane is *empty*, and only then returns; it stores in `turn` how far the large lane went until then. So
//! while the small lane has a record, `turn` does not change: what the large lane has before it is older than all of
//! the small lane, and the rest is newer.
//!
//! A lane is one or several *segments*, each of `size` bytes and then [`SLACK`]. Positions (`head`, `tail`, `wrap`,
//! `turn`) count bytes since the start and never go back; `position & (size - 1)` is the place in a segment, and the bits
//! above it say in which. A record that would cross the segment's end continues into the slack, so that every record is
//! contiguous: the producer stores where it ended in the segment's `wrap` and moves `head` to the next multiple of
//! `size`. It does the same where a record ends exactly there, so that each pass over the end leaves its own `wrap`. The
//! slack does not count as fill: whatever the segment's size, a record of any length fits an empty lane.
//!
//! The segments are there because the kernel wants an example of a map before it makes a slot for such maps: one of a
//! single segment is as good as one of all.

/// Map, `ARRAY` with `BPF_F_MMAPABLE`, CPU number to element.
pub const RINGS: &str = "RINGS";
/// Map, `ARRAY_OF_MAPS` of one slot, for [`LARGE`].
pub const LANES: &str = "LANES";
/// Map, `ARRAY` with [`LARGE_FLAGS`]: the segments of all large lanes, [`segments`] for each CPU.
pub const LARGE: &str = "LARGE";
/// Map, `RINGBUF`, [`BELL_SIZE`] bytes: one record wakes the consumer; its content has no meaning.
pub const BELL: &str = "BELL";
/// Global, `u64`: bytes of the large lane, less one.
pub const MASK: &str = "MASK";
/// Global, `u64`: bytes of the small lane, less one; see [`small_size`].
pub const SMALL_MASK: &str = "SMALL_MASK";
/// Global, `u32`: the binary logarithm of a large lane's [`segment_size`].
pub const SEGMENT_BITS: &str = "SEGMENT_BITS";
/// Global, `u32`: 1 where other CPUs may see a CPU's stores in another order than it makes them, as on aarch64.
pub const WEAK_ORDER: &str = "WEAK_ORDER";
/// Global, `u32`: the maximum number of bytes of a packet that are recorded, 1 to [`MAX_SNAPLEN`].
pub const SNAPLEN: &str = "SNAPLEN";
/// Global, `u32`: [`FORMAT_PCAP_MICROS`], [`FORMAT_PCAP_NANOS`] or [`FORMAT_PCAPNG`].
pub const FORMAT: &str = "FORMAT";
/// Global, `u32`: id of the interface that pcapng blocks name.
pub const INTERFACE: &str = "INTERFACE";
/// Global, `u32`: the `epb_flags` option of pcapng blocks, [`INBOUND`] or [`OUTBOUND`].
pub const FLAGS: &str = "FLAGS";

/// Global, `u32`: how much of a packet is recorded, [`WHOLE`], [`HEADERS`] or [`HEADERS_AND_DNS`].
pub const EXTENT: &str = "EXTENT";
/// Global, `u32`: not 0 where packets begin with the IP header. Only headers are looked for.
pub const RAW_IP: &str = "RAW_IP";

/// Global, `u32`: the bit of `struct sk_buff` at which `ip_summed` begins, 0 if it is not known. Only pcapng needs it.
pub const IP_SUMMED: &str = "IP_SUMMED";

/// Up to [`SNAPLEN`] bytes, whatever they are.
pub const WHOLE: u32 = 0;
/// Up to the end of the last header that is known.
pub const HEADERS: u32 = 1;
/// The same, but packets from and to port 53 of TCP and UDP whole.
pub const HEADERS_AND_DNS: u32 = 2;

/// Global, `u32`: the maximum number of bytes to copy at once, if two such copies suffice; 0 copies every packet at once, and
/// [`MAX_PIECE`] is the most. How fast the kernel copies depends on the CPU: user space chooses.
pub const PIECE: &str = "PIECE";
/// What [`PIECE`] is unless user space sets it: on none of the CPUs that were measured, another is faster.
pub const DEFAULT_PIECE: u32 = 1024;
/// As far as the verifier knows, a record's second piece may have [`MAX_SNAPLEN`] bytes: both and a header fit into the lane's
/// slack.
pub const MAX_PIECE: u32 = 2048;

/// Classic pcap, seconds and microseconds (magic 0xa1b2c3d4).
pub const FORMAT_PCAP_MICROS: u32 = 0;
/// Classic pcap, seconds and nanoseconds (magic 0xa1b23c4d).
pub const FORMAT_PCAP_NANOS: u32 = 1;
/// pcapng: Enhanced Packet Blocks in nanoseconds, each with its direction (draft-ietf-opsawg-pcapng, section 4.3).
pub const FORMAT_PCAPNG: u32 = 2;

/// Section 4.3.1, the flags word's direction.
pub const INBOUND: u32 = 1;
pub const OUTBOUND: u32 = 2;
/// The same word: the checksum is not computed yet, and what was recorded is sent in several segments.
pub const CHECKSUM_NOT_READY: u32 = 1 << 9;
pub const SEGMENTED_LATER: u32 = 1 << 11;

/// Bytes of a page, of the doorbell and of the headers before the lanes.
pub const BELL_SIZE: u32 = 4096;
pub const DATA: usize = 4096;
/// libpcap's `MAXIMUM_SNAPLEN`, and tcpdump's default.
pub const MAX_SNAPLEN: u32 = 262_144;
/// `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP` of include/uapi/linux/bpf.h: the slot takes such a map whatever its number of
/// segments is.
pub const LARGE_FLAGS: u32 = 1 << 10 | 1 << 12;
/// `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
pub const ARRAY: u32 = 2;
pub const ARRAY_OF_MAPS: u32 = 12;
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

/// Written by the program, read by the consumer. At offset 0 of the element.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Producer {
    /// End of the last finished record in the small lane. Stored last, so that everything before it is complete.
    pub small: u64,
    /// Records written.
    pub written: u64,
    /// Bytes of packets in them, headers not counted.
    pub bytes: u64,
    /// Packets that were not recorded because both lanes were full.
    pub drops: u64,
    /// 1 while the program is between taking a packet's time and storing `small` or `large`. Every CPU can see it before
    /// the time is taken.
    pub busy: u32,
    /// 1 from a record in the large lane to the next in the small one. The consumer does not need it.
    pub is_late: u32,
    pub zero: [u64; 3],
    /// As `small`, of the large lane.
    pub large: u64,
    /// `large` when the small lane got the first of the records that it has. Stored before that record's `small`.
    pub turn: u64,
    /// Times the doorbell was rung.
    pub bells: u64,
    /// Packets that could not be copied (`bpf_skb_load_bytes` refused).
    pub faults: u64,
    /// The part of `drops` for which there was no large lane yet.
    pub early: u64,
    /// Packets that were not recorded because they interrupted the recording of another on the same CPU.
    pub nested: u32,
    pub zero_too: u32,
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

/// Bytes of a segment of a large lane: more make an attachment slower, and fewer have more slack.
const SEGMENT: usize = 2 << 20;

/// Bytes of a segment of a large lane of `large` bytes, the slack not counted: a power of two.
pub const fn segment_size(large: usize) -> usize {
    if large < SEGMENT { large } else { SEGMENT }
}

/// Segments of a large lane of `large` bytes: a power of two.
pub const fn segments(large: usize) -> usize {
    large / segment_size(large)
}

/// Bytes of a segment of `size` bytes with its slack.
pub const fn with_slack(size: usize) -> usize {
    size + SLACK
}

/// Offset of `wrap` in a segment of `size` bytes: where the last record ended that reached the segment's end or ran into
/// the slack, a `u64`. It is stored before the lane's head, in the last bytes of the slack, which no record reaches.
pub const fn wrap_at(size: usize) -> usize {
    with_slack(size) - size_of::<u64>()
}

/// Bytes of one CPU's element in [`RINGS`] with a small lane beside a large one of `large` bytes (a power of two, at
/// least a page).
pub const fn element_size(large: usize) -> usize {
    DATA + with_slack(small_size(large))
}
