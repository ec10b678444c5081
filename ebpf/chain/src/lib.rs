//! What every program of a chain shares: the program behind it, the input port, the licence.
//!
//! A program ends with [`next`], or with a verdict of its hook. What differs from hook to hook is behind [`Hook`].

#![no_std]

use aya_ebpf::{EbpfContext, macros::map, maps::ProgramArray};

pub mod tc;

/// The program behind this one, in slot 0; see [`polycube_layout::chain::NEXT`].
#[map(name = "next")]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Helpers such as `bpf_ktime_get_tai_ns` are for GPL-compatible programs (`license_is_gpl_compatible` in the kernel).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A place in the kernel where a chain runs, as its programs see it.
pub trait Hook: EbpfContext {
    /// The verdict at the end of a chain: whatever others attached behind it goes on.
    const END: i32;

    /// The id of the port that the packet came in by, as the root set it.
    fn port(&self) -> u32;

    /// Tells the programs behind this one by which port the packet came in.
    fn set_port(&mut self, id: u32);
}

/// Runs the program behind this one, or ends the chain where there is none.
#[inline(always)]
pub fn next<H: Hook>(ctx: &H) -> i32 {
    // SAFETY: nothing that is dropped is alive in the callers, which return what this returns.
    unsafe { NEXT.tail_call(ctx, 0) };
    H::END
}

/// The compiler removes every panic from a program that the verifier accepts; the language wants a handler.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
