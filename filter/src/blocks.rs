//! Basic blocks: sequences of instructions that are entered at the first and left at the last.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::classic::{Operand, Operation, Test};

/// A block that some packet can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Indices of the instructions before the terminator.
    pub(crate) body: Range<usize>,
    pub(crate) terminator: Terminator,
}

/// How a block ends; targets are indices of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminator {
    Goto(usize),
    Branch { test: Test, operand: Operand, then: usize, otherwise: usize },
    Return(u32),
    ReturnA,
}

impl Terminator {
    pub(crate) fn targets(self) -> impl Iterator<Item = usize> {
        let (first, second) = match self {
            Self::Goto(target) => (Some(target), None),
            Self::Branch { then, otherwise, .. } => (Some(then), Some(otherwise)),
            Self::Return(_) | Self::ReturnA => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// The blocks of `program`, in order, without unreachable ones. Block 0 is the entry.
pub(crate) fn split(program: &[Operation]) -> Vec<Block> {
    let starts = starts(program);
    let mut ends = BTreeMap::new();
    let mut open = vec![0];
    while let Some(start) = open.pop() {
        if ends.contains_key(&start) {
            continue;
        }
        let end = (start..).find(|at| leaves(program[*at]) || starts.contains(&(at + 1))).unwrap_or(start);
        match program[end] {
            Operation::Jump(target) => open.push(target),
            Operation::Branch { then, otherwise, .. } => open.extend([then, otherwise]),
            Operation::Return(_) | Operation::ReturnA => {}
            _ => open.push(end + 1),
        }
        ends.insert(start, end);
    }
    let numbers = ends.keys().enumerate().map(|(number, start)| (*start, number)).collect::<BTreeMap<_, _>>();
    let block = |(start, at): (&usize, &usize)| {
        let terminator = match program[*at] {
            Operation::Jump(target) => Terminator::Goto(numbers[&target]),
            Operation::Branch { then, otherwise, .. } if then == otherwise => Terminator::Goto(numbers[&then]),
            Operation::Branch { test, operand, then, otherwise } => {
                Terminator::Branch { test, operand, then: numbers[&then], otherwise: numbers[&otherwise] }
            }
            Operation::Return(value) => Terminator::Return(value),
            Operation::ReturnA => Terminator::ReturnA,
            _ => Terminator::Goto(numbers[&(at + 1)]),
        };
        Block { body: *start..if leaves(program[*at]) { *at } else { at + 1 }, terminator }
    };
    ends.iter().map(block).collect()
}

/// Instructions that are reached other than from the one before.
fn starts(program: &[Operation]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::from([0]);
    for operation in program {
        match operation {
            Operation::Jump(target) => drop(starts.insert(*target)),
            Operation::Branch { then, otherwise, .. } => starts.extend([*then, *otherwise]),
            _ => {}
        }
    }
    starts
}

fn leaves(operation: Operation) -> bool {
    matches!(operation, Operation::Jump(_) | Operation::Branch { .. } | Operation::Return(_) | Operation::ReturnA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::{Register, Size};

    const LOAD: Operation = Operation::Load { size: Size::Half, k: 12 };
    const NOTHING: Operation = Operation::LoadImmediate(Register::A, 0);

    fn branch(then: usize, otherwise: usize) -> Operation {
        Operation::Branch { test: Test::Equal, operand: Operand::K(1), then, otherwise }
    }

    #[track_caller]
    fn check(program: &[Operation], expected: &[(Range<usize>, &[usize])]) {
        let blocks = split(program);
        let found = blocks.iter().map(|block| (block.body.clone(), block.terminator.targets().collect::<Vec<_>>()));
        let expected = expected.iter().map(|(body, targets)| (body.clone(), targets.to_vec()));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_branch_ends_a_block_and_begins_two() {
        check(
            &[LOAD, branch(2, 3), Operation::Return(1), Operation::Return(0)],
            &[(0..1, &[1, 2]), (2..2, &[]), (3..3, &[])],
        );
    }

    #[test]
    fn what_is_jumped_to_is_a_block_even_if_it_follows() {
        check(
            &[LOAD, branch(2, 3), NOTHING, NOTHING, Operation::ReturnA],
            &[(0..1, &[1, 2]), (2..3, &[2]), (3..4, &[])],
        );
    }

    #[test]
    fn what_no_packet_reaches_is_left_out() {
        check(&[Operation::Jump(3), LOAD, Operation::Return(0), Operation::Return(1)], &[(0..0, &[1]), (3..3, &[])]);
    }

    #[test]
    fn a_test_that_decides_nothing_is_a_jump() {
        check(&[LOAD, branch(2, 2), Operation::Return(1)], &[(0..1, &[1]), (2..2, &[])]);
    }

    #[test]
    fn a_loop_is_a_block_that_comes_back() {
        check(
            &[LOAD, branch(2, 4), NOTHING, Operation::Jump(0), Operation::Return(0)],
            &[(0..1, &[1, 2]), (2..3, &[0]), (4..4, &[])],
        );
    }
}
