//! The first program on a netdev: notes which port the netdev belongs to, and runs the chain.

#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use polycube_chain::{Hook, next};

/// See [`polycube_layout::chain::PORT`]. Every packet gets it, because a copy made by a bridge still carries
/// the id of the port through which the original came in.
#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(polycube_layout::chain::NO_PORT);

#[classifier]
pub fn root(mut ctx: TcContext) -> i32 {
    ctx.set_port(PORT.load());
    next(&ctx)
}
