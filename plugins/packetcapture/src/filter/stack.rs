//! What a filter keeps on its stack: half a word for what is needed at once, the rounds of loops, and the classic
//! machine's scratch memory.

#![forbid(unsafe_code)]

use super::assembly::Assembly;
use super::classic::SCRATCH;
use super::insn::{Insn, Reg, Width};

/// Half a word on the stack, for what is needed at once.
pub(crate) const SCRAP: i16 = -4;

/// Where the rounds of the first loop are counted on the stack.
const ROUNDS: i16 = -16;
/// Loops that have a place of their own there; libpcap runs out of scratch memory before.
pub(crate) const MOST_LOOPS: usize = 16;

/// Where a word of scratch memory is on the stack: in the upper half of a word, so that the verifier does not follow its
/// values; see [`forget`].
pub(crate) fn word(k: u32) -> i16 {
    ROUNDS - 4 - 8 * k as i16
}

/// Where the rounds of a loop are counted: behind a loop nobody reads its own, and the verifier takes the ways that leave
/// it after different rounds for one.
pub(crate) fn rounds(number: usize) -> i16 {
    match number.min(MOST_LOOPS - 1) as i16 {
        0 => ROUNDS,
        number => word(SCRATCH) - 4 - 8 * number,
    }
}

/// `to` from `from`, so that the verifier forgets what it knows of the value, which it keeps for whole words alone. It
/// would follow each value that it knows X to have through all that is behind, and give up on a long filter.
pub(crate) fn forget(code: &mut Assembly, to: Reg, from: Reg) {
    code.add(Insn::store(Width::W, Reg::R10, SCRAP, from));
    code.add(Insn::load(Width::W, to, Reg::R10, SCRAP));
}
