//! The header of a classic pcap record (draft-ietf-opsawg-pcap, section 5).

use core::arch::asm;

use polycube_layout::ring::FORMAT_PCAP_NANOS;

const NANOS: u64 = 1_000_000_000;

/// A time, as a record has it: seconds, and what is left of the second in the format's unit.
#[derive(Clone, Copy)]
pub struct Stamp {
    seconds: u64,
    fraction: u64,
}

impl Stamp {
    /// Splits nanoseconds since 1970.
    ///
    /// Without a division, which costs more than all of this: `nanos / 2^29` times `2^29 / 10^9` is short of the seconds
    /// by less than one (0.54 for the bits cut off, at most 0.40 for the factor's rounding) until 2106, when the format's
    /// 32 bits of seconds end.
    #[inline(always)]
    pub fn new(nanos: u64, format: u32) -> Self {
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
        Self { seconds, fraction }
    }
}

/// Writes a record's header.
///
/// # Safety
///
/// `record` has room for 16 bytes. It has no alignment.
#[inline(always)]
pub unsafe fn write_header(record: *mut u8, stamp: Stamp, captured: u32, length: u32) {
    let time = stamp.seconds | stamp.fraction << 32;
    let lengths = u64::from(captured) | u64::from(length) << 32;
    // SAFETY: the caller's promise. Rust's own unaligned store would be eight stores of a byte.
    unsafe {
        asm!("*(u64 *)({0} + 0) = {1}", in(reg) record, in(reg) time, options(nostack));
        asm!("*(u64 *)({0} + 8) = {1}", in(reg) record, in(reg) lengths, options(nostack));
    }
}
