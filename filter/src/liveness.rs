//! Liveness analysis: which registers and words of scratch memory are still read.

#![forbid(unsafe_code)]

use super::blocks::{Block, Terminator};
use super::classic::{Operand, Operation, Register};

/// A set of registers (A, X) and words of scratch memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveSet(u32);

impl LiveSet {
    pub(crate) const A: Self = Self(1 << 16);
    pub(crate) const X: Self = Self(1 << 17);

    pub(crate) fn word(k: u32) -> Self {
        Self(1 << k)
    }

    pub(crate) fn contains(self, places: Self) -> bool {
        self.0 & places.0 == places.0
    }

    fn with(self, places: Self) -> Self {
        Self(self.0 | places.0)
    }

    fn without(self, places: Self) -> Self {
        Self(self.0 & !places.0)
    }
}

impl From<Register> for LiveSet {
    fn from(register: Register) -> Self {
        match register {
            Register::A => Self::A,
            Register::X => Self::X,
        }
    }
}

/// For each block, what is read in or after it before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Liveness(Vec<LiveSet>);

impl Liveness {
    pub(crate) fn of(blocks: &[Block], program: &[Operation]) -> Self {
        let mut live = Self(vec![LiveSet::default(); blocks.len()]);
        let mut is_settled = false;
        while !is_settled {
            is_settled = true;
            for (number, block) in blocks.iter().enumerate().rev() {
                let before = block.body.clone().rev().fold(live.after(block.terminator), |live, at| {
                    let (reads, writes) = effect(program[at]);
                    live.without(writes).with(reads)
                });
                is_settled &= live.0[number] == before;
                live.0[number] = before;
            }
        }
        live
    }

    /// What is read from the start of block `number` on.
    pub(crate) fn at(&self, number: usize) -> LiveSet {
        self.0[number]
    }

    /// Whether A is read after a block with this terminator.
    pub(crate) fn is_a_read_after(&self, terminator: Terminator) -> bool {
        terminator.targets().any(|target| self.at(target).contains(LiveSet::A))
    }

    /// What is read by and after a terminator.
    fn after(&self, terminator: Terminator) -> LiveSet {
        let own = match terminator {
            Terminator::Branch { operand: Operand::X, .. } => LiveSet::A.with(LiveSet::X),
            Terminator::Branch { .. } | Terminator::ReturnA => LiveSet::A,
            Terminator::Goto(_) | Terminator::Return(_) => LiveSet::default(),
        };
        terminator.targets().fold(own, |live, target| live.with(self.at(target)))
    }
}

/// What an operation reads and writes.
fn effect(operation: Operation) -> (LiveSet, LiveSet) {
    let nothing = LiveSet::default();
    match operation {
        Operation::Load { .. } => (nothing, LiveSet::A),
        Operation::LoadIndirect { .. } | Operation::ToA => (LiveSet::X, LiveSet::A),
        Operation::LoadHeaderLength { .. } => (nothing, LiveSet::X),
        Operation::LoadImmediate(to, _) | Operation::LoadLength(to) => (nothing, to.into()),
        Operation::LoadScratch(to, k) => (LiveSet::word(k), to.into()),
        Operation::Store(from, k) => (from.into(), LiveSet::word(k)),
        Operation::Arithmetic(_, Operand::X) => (LiveSet::A.with(LiveSet::X), LiveSet::A),
        Operation::Arithmetic(_, Operand::K(_)) | Operation::Negate => (LiveSet::A, LiveSet::A),
        Operation::ToX => (LiveSet::A, LiveSet::X),
        Operation::Jump(_) | Operation::Branch { .. } | Operation::Return(_) | Operation::ReturnA => (nothing, nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::split;
    use crate::classic::{Arithmetic, Size, Test};

    const LOAD: Operation = Operation::Load { size: Size::Half, k: 12 };
    const ADD_X: Operation = Operation::Arithmetic(Arithmetic::Add, Operand::X);

    #[track_caller]
    fn check(program: &[Operation], expected: &[LiveSet]) {
        assert_eq!(Liveness::of(&split(program), program).0, expected);
    }

    #[test]
    fn what_is_written_first_is_not_live() {
        check(&[LOAD, Operation::ToX, ADD_X, Operation::ReturnA], &[LiveSet::default()]);
        check(&[LOAD, ADD_X, Operation::ReturnA], &[LiveSet::X]);
        check(&[Operation::LoadScratch(Register::A, 3), Operation::ReturnA], &[LiveSet::word(3)]);
    }

    #[test]
    fn what_one_way_reads_is_live_before_the_branch() {
        let branch = Operation::Branch { test: Test::Equal, operand: Operand::K(1), then: 2, otherwise: 4 };
        let program = [LOAD, branch, LOAD, Operation::ReturnA, ADD_X, Operation::ReturnA];
        check(&program, &[LiveSet::X, LiveSet::default(), LiveSet::A.with(LiveSet::X)]);
    }

    #[test]
    fn what_a_loop_reads_is_live_all_around_it() {
        let branch = Operation::Branch { test: Test::Equal, operand: Operand::K(1), then: 2, otherwise: 4 };
        let program = [LOAD, branch, LOAD, Operation::Jump(0), ADD_X, Operation::Return(1)];
        check(&program, &[LiveSet::X, LiveSet::X, LiveSet::A.with(LiveSet::X)]);
    }
}
