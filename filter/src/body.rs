//! The instructions of a block before its terminator.

#![forbid(unsafe_code)]

use super::access::{A, Access, ByteOrder, IndexRange, X};
use super::assembly::{Assembly, Label};
use super::blocks::{Block, Terminator};
use super::bounds::Headers;
use super::classic::{Arithmetic, Operand, Operation, Register, Size, Test};
use super::insn::{Alu, Compare, Insn, Reg, Source, Width};
use super::liveness::Liveness;
use super::stack::word;

/// A block's last load may leave A in network order if A is then only masked and compared with a constant: the
/// constants are swapped instead, at no cost per packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkOrder {
    /// Index of the load.
    at: usize,
    size: Size,
}

impl NetworkOrder {
    pub(crate) fn of(block: &Block, program: &[Operation], access: &impl Access, liveness: &Liveness) -> Option<Self> {
        let Terminator::Branch { test: Test::Equal | Test::AnySet, operand: Operand::K(k), .. } = block.terminator
        else {
            return None;
        };
        let is_mask = |at: &usize| matches!(program[*at], Operation::Arithmetic(Arithmetic::And, Operand::K(_)));
        let at = block.body.clone().rev().find(|at| !is_mask(at))?;
        let (Operation::Load { size, .. } | Operation::LoadIndirect { size, .. }) = program[at] else { return None };
        let fits = size == Size::Word || (size == Size::Half && k <= u32::from(u16::MAX));
        let is_done = !liveness.is_a_read_after(block.terminator);
        (fits && is_done && access.reads_directly(program[at])).then_some(Self { at, size })
    }

    /// The constant in network order. After a load of 16 bits, the other bits do not matter.
    pub(crate) fn constant(self, k: u32) -> u32 {
        match self.size {
            Size::Byte => k,
            Size::Half => u32::from((k as u16).to_be()),
            Size::Word => k.to_be(),
        }
    }
}

/// How a block's instructions become eBPF.
pub(crate) struct Body<'a, T> {
    pub(crate) program: &'a [Operation],
    pub(crate) access: &'a T,
    pub(crate) order: Option<NetworkOrder>,
}

impl<T: Access> Body<'_, T> {
    /// Emits the instructions; `is_header` says whether X is a header's length at the start of the block.
    pub(crate) fn emit(&self, code: &mut Assembly, block: &Block, mut is_header: bool) {
        for at in block.body.clone() {
            code.set_origin(Some(at));
            let operation = self.program[at];
            self.operation(code, at, operation, if is_header { IndexRange::Header } else { IndexRange::Any });
            is_header = Headers::after(operation, is_header);
        }
    }

    fn operation(&self, code: &mut Assembly, at: usize, operation: Operation, range: IndexRange) {
        let order = if self.order.is_some_and(|order| order.at == at) { ByteOrder::Raw } else { ByteOrder::Host };
        match operation {
            Operation::Load { size, k } => self.access.load(code, A, k, size, order),
            Operation::LoadIndirect { size, k } => self.access.load_indirect(code, k, size, range, order),
            Operation::LoadHeaderLength { k } => {
                self.access.load(code, X, k, Size::Byte, ByteOrder::Host);
                code.add(Insn::alu32(Alu::And, X, 0xf));
                code.add(Insn::alu32(Alu::Lsh, X, 2));
            }
            Operation::LoadImmediate(to, k) => code.add(Insn::alu32(Alu::Mov, register(to), k)),
            Operation::LoadLength(to) => self.access.length(code, register(to)),
            Operation::LoadScratch(to, k) => code.add(Insn::load(Width::W, register(to), Reg::R10, word(k))),
            Operation::Store(from, k) => code.add(Insn::store(Width::W, Reg::R10, word(k), register(from))),
            Operation::Arithmetic(operation, Operand::K(k)) => {
                // Arithmetic after the load is masking.
                let k = self.order.filter(|order| order.at < at).map_or(k, |order| order.constant(k));
                with_constant(code, operation, k);
            }
            Operation::Arithmetic(operation, Operand::X) => with_x(code, operation),
            Operation::Negate => code.add(Insn::alu32(Alu::Neg, A, 0)),
            Operation::ToX => code.add(Insn::alu32(Alu::Mov, X, A)),
            Operation::ToA => code.add(Insn::alu32(Alu::Mov, A, X)),
            // Terminators of blocks.
            Operation::Jump(_) | Operation::Branch { .. } | Operation::Return(_) | Operation::ReturnA => {}
        }
    }
}

fn register(register: Register) -> Reg {
    match register {
        Register::A => A,
        Register::X => X,
    }
}

fn with_constant(code: &mut Assembly, operation: Arithmetic, k: u32) {
    match operation {
        // eBPF rejects such shifts.
        Arithmetic::Lsh | Arithmetic::Rsh if k >= u32::BITS => code.add(Insn::alu32(Alu::Mov, A, 0)),
        operation => code.add(Insn::alu32(alu(operation), A, k)),
    }
}

fn with_x(code: &mut Assembly, operation: Arithmetic) {
    match operation {
        Arithmetic::Lsh | Arithmetic::Rsh => {
            // eBPF takes X modulo 32; 0 stays 0 however it is shifted.
            let shifts = code.near();
            code.goto(Insn::branch32(Compare::Lt, X, Source::K(32)), shifts);
            code.add(Insn::alu32(Alu::Mov, A, 0));
            code.set(shifts);
        }
        Arithmetic::Div | Arithmetic::Mod => code.goto(Insn::branch32(Compare::Eq, X, 0), Label::Reject),
        _ => {}
    }
    code.add(Insn::alu32(alu(operation), A, X));
}

fn alu(operation: Arithmetic) -> Alu {
    match operation {
        Arithmetic::Add => Alu::Add,
        Arithmetic::Sub => Alu::Sub,
        Arithmetic::Mul => Alu::Mul,
        Arithmetic::Div => Alu::Div,
        Arithmetic::Or => Alu::Or,
        Arithmetic::And => Alu::And,
        Arithmetic::Lsh => Alu::Lsh,
        Arithmetic::Rsh => Alu::Rsh,
        Arithmetic::Mod => Alu::Mod,
        Arithmetic::Xor => Alu::Xor,
    }
}
