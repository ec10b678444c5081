//! span: where copies go, and what has become of the packets.

/// Map, `ARRAY`, one [`Destination`].
pub const DESTINATION: &str = "destination";
/// Map, `PERCPU_ARRAY`, one [`Counters`].
pub const COUNTERS: &str = "counters";
/// Map, `ARRAY`, one `u64`: the number of the next ERSPAN packet.
pub const SEQUENCE: &str = "sequence";

/// Global, `u64`: tells the copies of this cube from those of others, and stays when its programs are exchanged.
pub const ID: &str = "ID";
/// Global, `u32`: one in so many packets is mirrored, at random.
pub const SAMPLE: &str = "SAMPLE";
/// Global, `u32`: bytes of a frame that a copy keeps.
pub const SNAPLEN: &str = "SNAPLEN";
/// Global, `u32`: a [`kind`].
pub const KIND: &str = "KIND";
/// Global, `u32`: whether the outer header is IPv6.
pub const IS_V6: &str = "IS_V6";
/// Global, `u32`: flags of `bpf_redirect`, for copies that go to a netdev.
pub const FLAGS: &str = "FLAGS";
/// Global, `u32`: what ERSPAN's index says of the place: the point's id, and in the lowest bit whether it is its egress.
pub const INDEX: &str = "INDEX";

/// How a copy leaves.
pub mod kind {
    /// As it is, to a netdev.
    pub const DIRECT: u32 = 0;
    /// Cut, to a netdev.
    pub const CUT: u32 = 1;
    pub const VXLAN: u32 = 2;
    pub const GRE: u32 = 3;
    pub const GRE_WITH_KEY: u32 = 4;
    pub const ERSPAN: u32 = 5;
}

/// `skb->mark` of a copy: it is not mirrored again.
pub const MARK: u32 = 0x7370_616e;

/// The words of `skb->cb[]` with [`ID`] and [`INDEX`], while a copy is on its way to the program `copy`.
pub const CB_ID: [usize; 2] = [2, 3];
pub const CB_INDEX: usize = 4;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Room for the longest outer header: Ethernet, IPv6, GRE with a sequence number, ERSPAN II.
pub const HEADER_ROOM: usize = 80;

/// Where copies go.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Destination {
    /// 0 while there is no way there.
    pub ifindex: u32,
    /// Bytes of the largest IP packet on the way to a collector.
    pub mtu: u32,
    /// Sum of the IPv4 header's words in [`header`](Self::header), without the length.
    pub sum: u32,
    /// Length of the outer header.
    pub length: u32,
    /// The outer header. Lengths, the IPv4 checksum and what depends on the packet are 0; the kernel replaces the addresses
    /// of Ethernet.
    pub header: [u8; HEADER_ROOM],
}

/// What one CPU counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Copies, and their bytes without outer headers.
    pub mirrored_packets: u64,
    pub mirrored_bytes: u64,
    /// Copies that are shorter than the packet because the path takes no longer ones, or because of segmentation offload.
    pub shortened: u64,
    /// Packets that the filter left out.
    pub filtered: u64,
    /// Packets that were not sampled.
    pub sampled_out: u64,
    /// Copies that came here again, and ICMP errors about copies.
    pub again: u64,
    /// Packets that were not mirrored because there was no way.
    pub no_way: u64,
    /// Copies that the kernel did not make or send.
    pub failed: u64,
}
