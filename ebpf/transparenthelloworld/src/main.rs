//! Drops, passes or hands over every packet of one direction at a point of a transparenthelloworld cube.

#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use polycube_chain::{
    next, packets,
    tc::{DROP, taken},
};

packets!();

/// What becomes of packets: 0 passes them, 1 drops them, 2 hands them to user space.
#[unsafe(no_mangle)]
static ACTION: Global<u32> = Global::new(0);

#[classifier]
pub fn hello(ctx: TcContext) -> i32 {
    match ACTION.load() {
        0 => next(&ctx),
        2 => {
            // What finds no room is counted, and lost.
            if PACKETS.hand_over(&ctx, 0, [0; 4]) { taken() } else { DROP }
        }
        _ => DROP,
    }
}
