//! The first program on a netdev: notes which port the netdev belongs to, and runs the chain.
//!
//! A packet that comes from user space goes on where it left the chain: what stands before has seen it.

#![no_std]
#![no_main]

use aya_ebpf::{
    Global,
    macros::{classifier, map},
    maps::{Array, ProgramArray},
    programs::TcContext,
};
use polycube_chain::{Hook, next, tc::DROP};
use polycube_layout::slow::{CB_KEY, CB_RESUMED, CB_SLOT, RESUME_SLOTS, RESUMED};

/// See [`polycube_layout::chain::PORT`]. Every packet gets it, because a copy made by a bridge still carries
/// the id of the port through which the original came in.
#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(polycube_layout::chain::NO_PORT);

/// See [`polycube_layout::slow::RESUME`].
#[map(name = "resume")]
static RESUME: ProgramArray = ProgramArray::with_max_entries(RESUME_SLOTS, 0);

/// See [`polycube_layout::slow::KEY`].
#[map(name = "key")]
static KEY: Array<u64> = Array::with_max_entries(1, 0);

#[classifier]
pub fn root(mut ctx: TcContext) -> i32 {
    ctx.set_port(PORT.load());
    if ctx.cb()[CB_RESUMED] == RESUMED
        && let Some(slot) = resumed(&mut ctx)
    {
        // SAFETY: a tail call does not return, and nothing here has a destructor.
        unsafe { RESUME.tail_call(&ctx, slot) };
        // The place is gone. Anywhere else in the chain, the packet would miss cubes, or meet some twice.
        return DROP;
    }
    next(&ctx)
}

/// The slot where a packet of `inject` goes on. What it carries for that is taken off, or it would go on there at its next
/// netdev, too.
#[cold]
#[inline(always)]
fn resumed(ctx: &mut TcContext) -> Option<u32> {
    let key = *KEY.get(0)?;
    let words = ctx.cb_mut();
    if key == 0 || words[CB_KEY[0]] != key as u32 || words[CB_KEY[1]] != (key >> 32) as u32 {
        return None;
    }
    let slot = words[CB_SLOT];
    words[CB_RESUMED] = 0;
    words[CB_KEY[0]] = 0;
    words[CB_KEY[1]] = 0;
    Some(slot)
}
