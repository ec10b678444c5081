//! The TC hook: ingress and egress of a netdev, by TCX or clsact.

use aya_ebpf::{bindings, programs::TcContext};
use polycube_layout::chain::CB_PORT;

use crate::Hook;

/// Drops the packet.
pub const DROP: i32 = bindings::TC_ACT_SHOT;

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
