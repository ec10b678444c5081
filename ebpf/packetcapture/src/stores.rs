//! Stores that say that what was stored before is complete.
//!
//! All stores into the ring are volatile, and the compiler moves none of them across a helper or an `asm!`, so a CPU makes
//! them in the order of the code. x86 shows them to other CPUs in that order. Others, such as aarch64, do not: there, the
//! heads and the end of `busy` need a barrier. An exchange is the only one that BPF has had on all kernels from 6.1 on, and it
//! is a full one (`emit_lse_atomic` and `emit_ll_sc_atomic` of arch/arm64/net/bpf_jit_comp.c: an acquire and a release in
//! one instruction, or `dmb ish` after it). [`Stores`] is a constant when the verifier runs, which removes the way that is
//! not taken.
//!
//! What is stored into freed room needs no barrier: it depends on the load of `tail` by a branch, and no machine shows a
//! store before the branch that leads to it.

use core::arch::asm;

/// In which order other CPUs see the stores of one.
#[derive(Clone, Copy)]
pub enum Stores {
    InOrder,
    InAnyOrder,
}

impl Stores {
    /// Stores a word after everything that was stored before.
    ///
    /// # Safety
    ///
    /// `at` is an aligned word of this CPU's element.
    #[inline(always)]
    pub unsafe fn publish(self, at: *mut u64, word: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::InOrder => at.write_volatile(word),
                Self::InAnyOrder => asm!(
                    "{word} = xchg_64({at} + 0, {word})",
                    word = inout(reg) word => _,
                    at = in(reg) at,
                    options(nostack),
                ),
            }
        }
    }

    /// The same with a half word.
    ///
    /// # Safety
    ///
    /// `at` is an aligned half word of this CPU's element.
    #[inline(always)]
    pub unsafe fn publish_half(self, at: *mut u32, half: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::InOrder => at.write_volatile(half),
                Self::InAnyOrder => _ = exchange_half(at, half),
            }
        }
    }
}

/// Stores a half word, which is a barrier on every machine; returns what was there.
///
/// # Safety
///
/// `at` is an aligned half word of this CPU's element.
#[inline(always)]
pub unsafe fn exchange_half(at: *mut u32, mut half: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{half} = xchg32_32({at} + 0, {half})",
            half = inout(wreg) half,
            at = in(reg) at,
            options(nostack),
        );
    }
    half
}
