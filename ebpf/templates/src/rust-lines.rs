//! The kernel side of an object service in Rust: writes a line for each packet, and lets it go on.

#![no_std]
#![no_main]

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use polycube_chain::{Hook as _, line, log::Level, logging, next};

logging!();

#[classifier]
pub fn speak(ctx: TcContext) -> i32 {
    let mac = ctx.load::<[u8; 6]>(6).unwrap_or_default();
    line!(Level::Info, "%M at port %d, %ld of %I", mac, ctx.port(), -5_i64, [10_u8, 0, 0, 7]);
    next(&ctx)
}
