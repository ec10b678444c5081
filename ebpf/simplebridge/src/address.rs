//! MAC addresses, as one word each.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{helpers::generated::bpf_skb_load_bytes, programs::TcContext};

/// A MAC address in the memory of a [`polycube_layout::bridge::FdbKey`]: its first octet is the lowest.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(u64);

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
            let mut bytes = [0u64; 2];
            // SAFETY: 12 bytes are written, `bytes` has 16.
            let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast::<c_void>(), 0, bytes.as_mut_ptr().cast(), 12) };
            if failed != 0 {
                return None;
            }
            first = bytes[0];
            second = bytes[0] >> 32 | bytes[1] << 32;
        }
        Some(Self { destination: Address(first & OCTETS), source: Address(second >> 16) })
    }
}
