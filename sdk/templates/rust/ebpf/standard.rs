//! The kernel side of @name@: runs for each packet that comes in from one of a cube's ports, and joins them in pairs.

#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use polycube_chain::{Hook as _, count, counters, ports, tc};

counters!(COUNTERS, "counters", 1);

/// Set before the verifier sees the program: the branch that is off costs nothing.
#[unsafe(no_mangle)]
static DROP: Global<u8> = Global::new(0);

ports!();

#[classifier]
pub fn @name@(ctx: TcContext) -> i32 {
    count(&ctx, &COUNTERS, 0);
    if DROP.load() != 0 { tc::DROP } else { tc::forward(&PORTS, ctx.port() ^ 1) }
}
