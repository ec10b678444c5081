//! MAC addresses, as one word each.

use core::arch::asm;

use aya_ebpf::programs::TcContext;
use polycube_layout::bridge::FdbKey;

/// A MAC address in the memory of an [`FdbKey`]: its first octet is the lowest.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(u64);

const _: () = assert!(size_of::<Address>() == size_of::<FdbKey>());

const OCTETS: u64 = 0xffff_ffff_ffff;

impl Address {
    /// Where IEEE 802.3x pause frames go: to the neighbour, never through a bridge (IEEE 802.1Q, table 8-1).
    pub const PAUSE: Self = Self(0x0100_00c2_8001);

    /// Multicast and broadcast.
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0 & 1 != 0
    }

    /// An address that a single station can have.
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
    /// Reads a frame's addresses; a frame too short to have them has none.
    #[inline(always)]
    pub fn of(ctx: &TcContext) -> Option<Self> {
        let (data, end) = (ctx.data(), ctx.data_end());
        let (first, second);
        if data + 14 <= end {
            // SAFETY: 14 bytes are there. Packets have no alignment, which a plain load in Rust would have to promise.
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
