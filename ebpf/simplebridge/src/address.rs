//! MAC addresses, each in one word.

use core::arch::asm;

use aya_ebpf::programs::TcContext;
use polycube_layout::bridge::FdbKey;

/// A MAC address in the memory of an [`FdbKey`]: its first octet is the lowest.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(u64);

const _: () = assert!(size_of::<Address>() == size_of::<FdbKey>());

const OCTETS: u64 = 0xffff_ffff_ffff;
/// The low four bits of the last octet.
const LAST_DIGIT: u64 = 0x0f00_0000_0000;

impl Address {
    /// 01:80:c2:00:00:00, the first of sixteen reserved addresses. A bridge without a spanning tree of its own may forward
    /// it, as Linux does (`br_handle_frame()` in net/bridge/br_input.c), so that others can find loops through it.
    const SPANNING_TREE: Self = Self(0x00c2_8001);

    /// Multicast and broadcast.
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0 & 1 != 0
    }

    /// 01:80:c2:00:00:00 to 01:80:c2:00:00:0f: for the neighbour only, such as spanning trees, pause frames, LACP, 802.1X
    /// and LLDP (IEEE 802.1D-2004 table 7-10, 802.1Q table 8-1).
    #[inline(always)]
    pub fn is_reserved(self) -> bool {
        self.0 & !LAST_DIGIT == Self::SPANNING_TREE.0
    }

    /// Whether it is the one of spanning trees.
    #[inline(always)]
    pub fn is_of_spanning_trees(self) -> bool {
        self == Self::SPANNING_TREE
    }

    /// Whether it can be the address of a single station.
    #[inline(always)]
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != 0
    }
}

pub struct Addresses {
    pub destination: Address,
    pub source: Address,
}

impl Addresses {
    /// Reads a frame's addresses; `None` if the frame is too short.
    #[inline(always)]
    pub fn of(ctx: &TcContext) -> Option<Self> {
        let (data, end) = (ctx.data(), ctx.data_end());
        let (first, second);
        if data + 14 <= end {
            // SAFETY: 14 bytes are there. Packets are not aligned, which a plain load in Rust would require.
            unsafe {
                asm!("{0} = *(u64 *)({1} + 0)", out(reg) first, in(reg) data, options(pure, readonly, nostack));
                asm!("{0} = *(u64 *)({1} + 4)", out(reg) second, in(reg) data, options(pure, readonly, nostack));
            }
        } else {
            let bytes = ctx.load::<[u32; 3]>(0).ok()?;
            let [low, middle, high] = bytes.map(u64::from);
            first = low | middle << 32;
            second = middle | high << 32;
        }
        Some(Self { destination: Address(first & OCTETS), source: Address(second >> 16) })
    }
}
