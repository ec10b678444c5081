//! The stack layout of a filter: a scratch word, the round counters of loops, and the classic machine's memory.

#![forbid(unsafe_code)]

use super::assembly::Assembly;
use super::classic::SCRATCH;
use super::insn::{Insn, Reg, Width};

/// Half a word for values that are used at once.
pub(crate) const SCRAP: i16 = -4;

/// Round counter of the first loop.
const ROUNDS: i16 = -16;

/// Offset of a word of scratch memory: in the upper half of a stack slot, so that the verifier does not track its
/// values; see [`forget`].
pub(crate) fn word(k: u32) -> i16 {
    ROUNDS - 4 - 8 * k as i16
}

/// Offset of a loop's round counter. It is not read after the loop, so the verifier merges the paths that leave the
/// loop after different rounds.
pub(crate) fn rounds(number: usize) -> i16 {
    match number as i16 {
        0 => ROUNDS,
        number => word(SCRATCH) - 4 - 8 * number,
    }
}

/// Copies `from` to `to` so that the verifier forgets the value's bounds, which it only tracks for full stack slots.
/// Otherwise it would follow each known value of X through all the code that follows, and give up on a long filter.
pub(crate) fn forget(code: &mut Assembly, to: Reg, from: Reg) {
    code.add(Insn::store(Width::W, Reg::R10, SCRAP, from));
    code.add(Insn::load(Width::W, to, Reg::R10, SCRAP));
}
