//! What surrounds a packet in the ring: the header of a classic pcap record (draft-ietf-opsawg-pcap, section 5), or
//! pcapng's Enhanced Packet Block (draft-ietf-opsawg-pcapng, section 4.3).
//!
//! The format is a constant when the verifier runs, which removes all branches for the other formats.

use core::arch::asm;

use polycube_layout::ring::{
    BLOCK_HEADER, BLOCK_TRAILER, FORMAT_PCAP_NANOS, FORMAT_PCAPNG, PACKET_BLOCK, RECORD_HEADER,
};

const NANOS: u64 = 1_000_000_000;
/// `epb_flags` (code 2) and the length of its value.
const FLAGS_OPTION: u64 = 2 | 4 << 16;

/// A packet's record.
#[derive(Clone, Copy)]
pub struct Record {
    pub format: u32,
    /// Bytes of the packet that it has.
    pub captured: u32,
    /// Bytes of the packet on the wire.
    pub length: u32,
}

impl Record {
    /// Bytes of the whole record.
    #[inline(always)]
    pub fn size(&self) -> u64 {
        if self.format == FORMAT_PCAPNG {
            (BLOCK_HEADER + BLOCK_TRAILER) as u64 + self.padded()
        } else {
            RECORD_HEADER as u64 + u64::from(self.captured)
        }
    }

    /// Writes what precedes the packet; returns the packet's place.
    ///
    /// # Safety
    ///
    /// `at` has room for [`size`](Self::size) bytes. It has no alignment.
    #[inline(always)]
    pub unsafe fn begin(&self, at: *mut u8, nanos: u64, interface: u32) -> *mut u8 {
        let (captured, length) = (u64::from(self.captured), u64::from(self.length));
        // SAFETY: the caller's promise. Rust's own unaligned store would be eight stores of a byte.
        unsafe {
            if self.format == FORMAT_PCAPNG {
                let kind = u64::from(PACKET_BLOCK) | self.size() << 32;
                let high = u64::from(interface) | nanos & (u64::MAX << 32);
                let low = nanos & u64::from(u32::MAX) | captured << 32;
                asm!("*(u64 *)({0} + 0) = {1}", in(reg) at, in(reg) kind, options(nostack));
                asm!("*(u64 *)({0} + 8) = {1}", in(reg) at, in(reg) high, options(nostack));
                asm!("*(u64 *)({0} + 16) = {1}", in(reg) at, in(reg) low, options(nostack));
                asm!("*(u32 *)({0} + 24) = {1}", in(reg) at, in(reg) length, options(nostack));
                at.add(BLOCK_HEADER)
            } else {
                let time = split(nanos, self.format);
                let lengths = captured | length << 32;
                asm!("*(u64 *)({0} + 0) = {1}", in(reg) at, in(reg) time, options(nostack));
                asm!("*(u64 *)({0} + 8) = {1}", in(reg) at, in(reg) lengths, options(nostack));
                at.add(RECORD_HEADER)
            }
        }
    }

    /// Writes what follows the packet at `body`. The padding is written after the packet is copied, because a store
    /// before the copy makes it wait.
    ///
    /// # Safety
    ///
    /// `body` is what [`begin`](Self::begin) returned.
    #[inline(always)]
    pub unsafe fn end(&self, body: *mut u8, flags: u32) {
        if self.format != FORMAT_PCAPNG {
            return;
        }
        let flags = FLAGS_OPTION | u64::from(flags) << 32;
        let length = self.size() << 32;
        // SAFETY: all of it lies within the block's size; the option overwrites surplus zeros of the padding.
        unsafe {
            let padding = body.add(self.captured as usize);
            asm!("*(u32 *)({0} + 0) = {1}", in(reg) padding, in(reg) 0u64, options(nostack));
            let trailer = body.add(self.padded() as usize);
            asm!("*(u64 *)({0} + 0) = {1}", in(reg) trailer, in(reg) flags, options(nostack));
            asm!("*(u64 *)({0} + 8) = {1}", in(reg) trailer, in(reg) length, options(nostack));
        }
    }

    /// Bytes of the packet and its padding to a multiple of 4.
    #[inline(always)]
    fn padded(&self) -> u64 {
        (u64::from(self.captured) + 3) & !3
    }
}

/// Splits nanoseconds since 1970 into seconds, in the lower half, and what is left of the second in the format's unit.
///
/// Without a division, which costs more than all of this: `nanos / 2^29` times `2^29 / 10^9` is short of the seconds
/// by less than one (0.54 for the bits cut off, at most 0.40 for the factor's rounding) until 2106, when the format's
/// 32 bits of seconds end.
#[inline(always)]
fn split(nanos: u64, format: u32) -> u64 {
    const FACTOR: u64 = (1 << 61) / NANOS;
    let mut seconds = ((nanos >> 29) * FACTOR) >> 32;
    let mut rest = nanos.wrapping_sub(seconds * NANOS);
    if rest >= NANOS {
        seconds += 1;
        rest -= NANOS;
    }
    let fraction = if format == FORMAT_PCAP_NANOS {
        rest
    } else {
        // rest / 1000, for any rest of 32 bits (Hacker's Delight, section 10-9).
        (rest * 274_877_907) >> 38
    };
    seconds | fraction << 32
}
