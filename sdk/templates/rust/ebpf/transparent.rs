//! The kernel side of @name@: runs for each packet that comes in where a cube is attached.

#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use polycube_chain::{count, counters, next, tc};

counters!(COUNTERS, "counters", 1);

/// Set before the verifier sees the program: the branch that is off costs nothing.
#[unsafe(no_mangle)]
static DROP: Global<u8> = Global::new(0);

#[classifier]
pub fn @name@(ctx: TcContext) -> i32 {
    count(&ctx, &COUNTERS, 0);
    if DROP.load() != 0 { tc::DROP } else { next(&ctx) }
}
