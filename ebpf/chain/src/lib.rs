//! What all programs of a chain share: a link to the next program, the input port, and the licence.
//!
//! A program ends with [`next`], or with a verdict of its hook. [`Hook`] has what differs between hooks, [`tc`] the verdicts
//! of the only hook that there is today.
//!
//! ```text
//! #![no_std]
//! #![no_main]
//!
//! use aya_ebpf::{macros::classifier, programs::TcContext};
//! use polycube_chain::{next, tc};
//!
//! #[classifier]
//! pub fn guard(ctx: TcContext) -> i32 {
//!     if ctx.len() > 1_500 { tc::DROP } else { next(&ctx) }
//! }
//! ```

#![no_std]

use aya_ebpf::{EbpfContext, macros::map, maps::ProgramArray};

mod count;
pub mod log;
pub mod packets;
pub mod tc;

pub use count::{Counter, count};
#[doc(no_inline)]
pub use polycube_layout::chain::{MAX_PORTS, NO_PORT};

/// The next program, in slot 0; see [`polycube_layout::chain::NEXT`].
#[map(name = "next")]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Helpers such as `bpf_ktime_get_tai_ns` are for GPL-compatible programs (`license_is_gpl_compatible` in the kernel).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A place in the kernel where a chain runs, as its programs see it.
pub trait Hook: EbpfContext {
    /// The verdict at the end of a chain: programs that others attached after ours still run.
    const END: i32;

    /// The id of the port through which the packet came in, as the root set it.
    fn port(&self) -> u32;

    /// Sets the id of the port through which the packet came in, for the programs that follow.
    fn set_port(&mut self, id: u32);
}

/// Declares the ports of a standard cube as `PORTS`, which the host fills: port id to ifindex, 0 for a port without a peer.
/// For [`tc::forward`].
#[macro_export]
macro_rules! ports {
    () => {
        #[::aya_ebpf::macros::map(name = "ports")]
        static PORTS: ::aya_ebpf::maps::Array<u32> = ::aya_ebpf::maps::Array::with_max_entries($crate::MAX_PORTS, 0);
    };
}

/// Declares programs of the cube that others jump to by index, whose slots the plugin describes (`Datapath::jump`):
/// `programs!(CALLS, "calls", 8)`. For [`jump`].
#[macro_export]
macro_rules! programs {
    ($name:ident, $map:literal, $count:expr) => {
        #[::aya_ebpf::macros::map(name = $map)]
        static $name: ::aya_ebpf::maps::ProgramArray = ::aya_ebpf::maps::ProgramArray::with_max_entries($count, 0);
    };
}

/// Jumps to a program of the cube. Returns only where the slot is empty, or after 33 tail calls of one packet.
#[inline(always)]
pub fn jump<H: Hook>(ctx: &H, programs: &ProgramArray, index: u32) {
    // SAFETY: a tail call does not return, and no caller holds a value with a destructor.
    unsafe { programs.tail_call(ctx, index) };
}

/// Runs the next program, or ends the chain if there is none.
#[inline(always)]
pub fn next<H: Hook>(ctx: &H) -> i32 {
    // SAFETY: a tail call does not return, and no caller holds a value with a destructor.
    unsafe { NEXT.tail_call(ctx, 0) };
    H::END
}

/// The language requires a handler, although no program that the verifier accepts contains a panic.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
