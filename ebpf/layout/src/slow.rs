//! Packets on their way to user space, and from there: records, the host's table of exits, and how a packet says where it
//! is to go.
//!
//! A program hands a packet over in a record of the cube's ring [`PACKETS`]. User space writes frames to a tap device of
//! the host's, on whose ingress stands the program `inject`. Two or four VLAN tags before the frame say where it is to go:
//! the kernel moves the first into the packet's metadata, and `inject` takes them off one by one, which works for
//! frames of every size and protocol. The first is the cube's number, the second a [`way`](WAY_SHIFT) and an id; if
//! [`HAS_MARK`] is set in it, the third and fourth are the halves of the packet's mark.

/// Map, `RINGBUF`, of a cube: its [`PacketRecord`]s, each with a frame.
pub const PACKETS: &str = "packets";
/// Map, `PERCPU_ARRAY` of one [`PacketCounts`], of a cube.
pub const PACKET_COUNTS: &str = "packet_counts";
/// Global, `u32`, of a program: the id of the point that it stands at.
pub const POINT: &str = "PCN_POINT";
/// Global, `u32`, of a program: 0 for ingress, 1 for egress.
pub const DIRECTION: &str = "PCN_DIRECTION";

/// Bytes of the ring, unless the plugin asks for another size: 2,400 frames of 1,500 bytes, or 16,000 small ones.
pub const RING_SIZE: u32 = 4 << 20;

/// Bytes for a frame in records of different sizes: the verifier wants each size to be a constant.
pub const ROOMS: [u32; 4] = [192, 1_600, 9_216, 65_600];

/// What a program says of a packet that it hands over. The frame follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct PacketRecord {
    /// Port id in a standard cube, id of the point in a transparent one.
    pub at: u32,
    /// 0 for ingress, 1 for egress.
    pub direction: u16,
    /// The program's own number for why.
    pub reason: u16,
    /// Whatever else the program says.
    pub metadata: [u32; 4],
    /// Bytes of the frame, without a tag that the kernel keeps beside it.
    pub length: u32,
    /// Bytes of the frame in the record.
    pub captured: u32,
    pub mark: u32,
    pub hash: u32,
    /// Bytes of payload in each segment that the frame is to be cut into; 0 for a frame that is whole.
    pub gso_size: u32,
    /// Whether the kernel keeps the outermost VLAN tag beside the frame.
    pub has_tag: u16,
    pub tag_tci: u16,
    /// As on the wire.
    pub tag_protocol: u16,
    pub zero: u16,
    /// When it was handed over: [`TIME_SHIFT`]. 0 if the program does not say.
    pub time: u32,
}

/// A record's time is that of the kernel's coarse monotonic clock in nanoseconds, shifted by this: units of 17 ms, which repeat
/// after two years.
pub const TIME_SHIFT: u32 = 24;

/// What one CPU handed over.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct PacketCounts {
    /// Packets in the ring.
    pub queued: u64,
    /// Packets that found no room there.
    pub lost: u64,
}

/// Map, `HASH`, of the host: exit ([`exit_key`]) to [`Exit`].
pub const EXITS: &str = "exits";
/// Map, `PERCPU_HASH`, of the host: a cube's number to [`Outcomes`].
pub const OUTCOMES: &str = "outcomes";
/// Map, `PROG_ARRAY`, of the host: a slot for each place where packets go on in a chain.
pub const RESUME: &str = "resume";
/// Map, `ARRAY` of one [`u64`], of the host: proves that a packet comes from `inject`, because nobody else can read it.
pub const KEY: &str = "key";

/// Slots of [`RESUME`].
pub const RESUME_SLOTS: u32 = 4_096;
/// Most entries of [`EXITS`].
pub const MAX_EXITS: u32 = 65_536;

/// Out of a port of a standard cube, as if its program had sent the packet there.
pub const OUT: u32 = 0;
/// Into a port of a standard cube, as if the packet came in there.
pub const IN: u32 = 1;
/// On in the ingress chain at a point of a transparent cube, after the cube.
pub const ON_INGRESS: u32 = 2;
/// The same in the egress chain.
pub const ON_EGRESS: u32 = 3;

/// Where the second tag has the way.
pub const WAY_SHIFT: u32 = 14;
/// Bit of the second tag: two more tags have the packet's mark.
pub const HAS_MARK: u32 = 1 << 13;
/// The highest id of a port or point that fits into the second tag.
pub const MAX_ID: u32 = HAS_MARK - 1;

/// The key in [`EXITS`] of a way out of a cube, from the first two tags without [`HAS_MARK`].
#[inline(always)]
pub const fn exit_key(cube: u32, way: u32, id: u32) -> u32 {
    cube << 16 | way << WAY_SHIFT | id
}

/// Where an exit leads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Exit {
    pub ifindex: u32,
    /// [`ON_INGRESS`] and [`ON_EGRESS`]: the slot in [`RESUME`].
    pub slot: u32,
}

/// What became of a cube's frames, as one CPU counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Outcomes {
    /// Frames that went where they were to go.
    pub sent: u64,
    /// Frames whose exit, or its netdev, was gone.
    pub unreachable: u64,
    /// Frames that were longer than the netdev takes.
    pub too_long: u64,
}

/// The word of `skb->cb[]` by which a root recognises a packet that is to go on in the middle of a chain: [`RESUMED`].
pub const CB_RESUMED: usize = 1;
/// The two words that hold [`KEY`].
pub const CB_KEY: [usize; 2] = [2, 3];
/// The word that holds the slot.
pub const CB_SLOT: usize = 4;
/// An arbitrary number. What follows it is what proves where the packet comes from.
pub const RESUMED: u32 = 0x5043_4e52;
