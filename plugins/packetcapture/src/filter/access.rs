//! How a version of a filter reaches the packet: the seam between a filter and the hook that it runs at.

#![forbid(unsafe_code)]

use super::assembly::Assembly;
use super::classic::{Operation, Size};
use super::insn::{Insn, Reg, Width};

/// The context, as the hook gave it.
pub(crate) const CONTEXT: Reg = Reg::R6;
/// The packet's first byte, in a linear version.
pub(crate) const DATA: Reg = Reg::R7;
/// The classic registers.
pub(crate) const A: Reg = Reg::R8;
pub(crate) const X: Reg = Reg::R9;

/// The order of bytes that a load leaves in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Host,
    /// As in memory, which saves the swap; only where [`Access::reads_directly`].
    Raw,
}

/// What is known of X where a load adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexRange {
    Any,
    /// At most [`LONGEST_HEADER`](super::bounds::LONGEST_HEADER).
    Header,
}

/// How a version reaches the packet. A load past its end jumps to [`Reject`](super::assembly::Label::Reject).
pub(crate) trait Access {
    /// What the version needs before its first block.
    fn enter(&self, code: &mut Assembly);

    /// Bytes of the packet that a [`check`](Self::check) must have granted before this operation; `None` where none.
    fn extent(&self, operation: Operation) -> Option<u32>;

    /// Makes sure that the first `bytes` are in reach.
    fn check(&self, code: &mut Assembly, bytes: u32);

    /// `to` from the packet, at `k`. Registers R0 to R5 do not survive.
    fn load(&self, code: &mut Assembly, to: Reg, k: u32, size: Size, order: ByteOrder);

    /// A from the packet, at X + `k`. Registers R0 to R5 do not survive.
    fn load_indirect(&self, code: &mut Assembly, k: u32, size: Size, range: IndexRange, order: ByteOrder);

    /// `to` from the packet's length, the tag included.
    fn length(&self, code: &mut Assembly, to: Reg);

    /// Whether this load is a single access to memory, which can leave its bytes as they are there.
    fn reads_directly(&self, operation: Operation) -> bool;
}

/// Loads from memory, in the order that is wanted.
pub(crate) fn load_memory(code: &mut Assembly, to: Reg, base: Reg, offset: i16, size: Size, order: ByteOrder) {
    let width = match size {
        Size::Byte => Width::B,
        Size::Half => Width::H,
        Size::Word => Width::W,
    };
    code.add(Insn::load(width, to, base, offset));
    if size != Size::Byte && order == ByteOrder::Host {
        code.add(Insn::to_host_order(to, size.bytes()));
    }
}
