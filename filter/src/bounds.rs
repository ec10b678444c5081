//! What a block can rely on because every path to it guarantees it.

#![forbid(unsafe_code)]

use super::blocks::Block;
use super::classic::{Operation, Register};

/// Maximum length of an IPv4 header in bytes (RFC 791, section 3.1: 15 words).
pub(crate) const LONGEST_HEADER: u32 = 60;

/// For each block, the number of bytes that must be checked before it: `None` if the blocks before it have checked as
/// many on every path, or if it needs none.
///
/// A block needs what its furthest load needs, according to `extent`: its only exit in the middle is "no match", and a
/// load past the end leads there too.
pub(crate) fn checks(
    blocks: &[Block],
    program: &[Operation],
    extent: impl Fn(Operation) -> Option<u32>,
) -> Vec<Option<u32>> {
    let need = |block: &Block| block.body.clone().filter_map(|at| extent(program[at])).max().unwrap_or_default();
    let needs = blocks.iter().map(need).collect::<Vec<_>>();
    let checked = settle(blocks, 0, |block, before: u32| before.max(needs[block]), Ord::min);
    let check = |(need, before): (&u32, &u32)| (need > before).then_some(*need);
    needs.iter().zip(&checked).map(check).collect()
}

/// Where X is the length of an IPv4 header, and so at most [`LONGEST_HEADER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headers(Vec<bool>);

impl Headers {
    pub(crate) fn of(blocks: &[Block], program: &[Operation]) -> Self {
        let through = |block: usize, is_header: bool| {
            let body = blocks[block].body.clone();
            body.fold(is_header, |is_header, at| Self::after(program[at], is_header))
        };
        Self(settle(blocks, true, through, |one, other| one && other))
    }

    /// Whether it is at the start of the block. X is 0 at the start of the program.
    pub(crate) fn at(&self, block: usize) -> bool {
        self.0[block]
    }

    /// Whether it is after `operation`, if it was before according to `is_header`.
    pub(crate) fn after(operation: Operation, is_header: bool) -> bool {
        match operation {
            Operation::LoadHeaderLength { .. } => true,
            Operation::LoadImmediate(Register::X, value) => value <= LONGEST_HEADER,
            Operation::LoadScratch(Register::X, _) | Operation::LoadLength(Register::X) | Operation::ToX => false,
            _ => is_header,
        }
    }
}

/// A data-flow analysis: the value at the start of each block, from `entry` at the first, `through` a block, and `join`
/// where paths meet. `through` and `join` must be monotonic, so that loops reach a fixed point.
fn settle<T: Copy + PartialEq>(
    blocks: &[Block],
    entry: T,
    through: impl Fn(usize, T) -> T,
    join: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut before = vec![None; blocks.len()];
    before[0] = Some(entry);
    let mut is_settled = false;
    while !is_settled {
        is_settled = true;
        for (number, block) in blocks.iter().enumerate() {
            let Some(value) = before[number] else { continue };
            let after = through(number, value);
            for target in block.terminator.targets() {
                let joined = before[target].map_or(after, |known| join(known, after));
                if before[target] != Some(joined) {
                    before[target] = Some(joined);
                    is_settled &= target > number;
                }
            }
        }
    }
    // Every block is reachable from the entry.
    before.into_iter().map(|value| value.unwrap_or(entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::split;
    use crate::classic::{Operand, Size, Test};

    fn load(k: u32) -> Operation {
        Operation::Load { size: Size::Half, k }
    }

    fn branch(then: usize, otherwise: usize) -> Operation {
        Operation::Branch { test: Test::Equal, operand: Operand::K(1), then, otherwise }
    }

    fn end(operation: Operation) -> Option<u32> {
        match operation {
            Operation::Load { size, k } => Some(k + size.bytes()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(program: &[Operation], expected: &[Option<u32>]) {
        assert_eq!(checks(&split(program), program, end), expected);
    }

    #[test]
    fn one_check_stands_for_the_furthest_byte_of_a_block() {
        check(&[load(12), load(30), load(20), Operation::ReturnA], &[Some(32)]);
        check(&[Operation::Return(1)], &[None]);
    }

    #[test]
    fn what_was_checked_before_is_not_checked_again() {
        check(&[load(30), branch(2, 3), load(12), load(32), Operation::ReturnA], &[Some(32), None, Some(34)]);
    }

    #[test]
    fn where_paths_join_the_shorter_one_counts() {
        let program = [load(12), branch(2, 4), load(40), Operation::Jump(5), load(20), load(30), Operation::ReturnA];
        check(&program, &[Some(14), Some(42), Some(22), Some(32)]);
        let program = [load(12), branch(2, 4), load(40), Operation::Jump(5), load(30), load(20), Operation::ReturnA];
        check(&program, &[Some(14), Some(42), Some(32), None]);
    }

    #[test]
    fn a_loop_grants_what_its_entry_does() {
        let program = [load(12), load(2), branch(3, 5), load(50), Operation::Jump(1), Operation::Return(0)];
        check(&program, &[Some(14), None, Some(52), None]);
    }

    #[test]
    fn x_is_a_header_length_where_all_paths_say_so() {
        let header = Operation::LoadHeaderLength { k: 14 };
        let program = [header, load(12), branch(3, 4), Operation::ToX, load(20), Operation::ReturnA];
        assert_eq!(Headers::of(&split(&program), &program), Headers(vec![true, true, false]));
        let program = [header, load(12), branch(3, 4), header, load(20), Operation::ReturnA];
        assert_eq!(Headers::of(&split(&program), &program), Headers(vec![true, true, true]));
    }
}
