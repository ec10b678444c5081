//! The TC hook: ingress and egress of a netdev, by TCX or clsact.

use aya_ebpf::{bindings, helpers::generated::bpf_redirect, maps::Array, programs::TcContext};
use polycube_layout::chain::CB_PORT;

use crate::Hook;

/// Drops the packet.
pub const DROP: i32 = bindings::TC_ACT_SHOT;

/// Takes the packet out of the chain, to where its netdev leads: neither the programs that follow nor those that others
/// attached see it.
pub const PASS: i32 = bindings::TC_ACT_OK;

/// Ends the way of a packet that user space has: it goes nowhere, as with [`DROP`], but where it comes from this machine, its
/// sender does not take it for lost. `DROP` at egress has `sendto(2)` answer `ENOBUFS`.
#[inline(always)]
pub fn taken() -> i32 {
    // SAFETY: takes numbers. No netdev has this index, and a redirection counts as sent (`sch_handle_egress()` in
    // net/core/dev.c).
    unsafe { bpf_redirect(0, 0) as i32 }
}

/// Sends the packet out of a port of a standard cube, whose `ports` are those that [`ports!`](crate::ports) declares; drops
/// it if the port has no peer.
#[inline(always)]
pub fn forward(ports: &Array<u32>, port: u32) -> i32 {
    match ports.get(port) {
        // SAFETY: takes numbers; the kernel drops the packet if the netdev is gone.
        Some(&ifindex) if ifindex != 0 => unsafe { bpf_redirect(ifindex, 0) as i32 },
        _ => DROP,
    }
}

impl Hook for TcContext {
    /// `TCX_NEXT`, which clsact calls `TC_ACT_UNSPEC`.
    const END: i32 = bindings::TC_ACT_UNSPEC;

    #[inline(always)]
    fn port(&self) -> u32 {
        self.cb()[CB_PORT]
    }

    #[inline(always)]
    fn set_port(&mut self, id: u32) {
        self.cb_mut()[CB_PORT] = id;
    }
}
