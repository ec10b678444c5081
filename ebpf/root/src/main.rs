//! The first program on a netdev: says which port the netdev is, then runs the chain.

#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::classifier, programs::TcContext};
use polycube_chain::{Hook, next};

/// See [`polycube_layout::chain::PORT`]. Set on every packet: a copy made by a bridge carries the sender's.
#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(polycube_layout::chain::NO_PORT);

#[classifier]
pub fn root(mut ctx: TcContext) -> i32 {
    ctx.set_port(PORT.load());
    next(&ctx)
}
