//! How a version of a filter reaches the packet: the interface between a filter and the hook that it runs at.

#![forbid(unsafe_code)]

use super::assembly::Assembly;
use super::classic::{Operation, Size};
use super::insn::{Insn, Reg, Width};

/// The context, as passed by the hook.
pub(crate) const CONTEXT: Reg = Reg::R6;
/// The packet's first byte, in a linear version.
pub(crate) const DATA: Reg = Reg::R7;
/// The classic registers.
pub(crate) const A: Reg = Reg::R8;
pub(crate) const X: Reg = Reg::R9;

/// The byte order that a load leaves in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Host,
    /// As in memory, which saves the swap; only if [`Access::reads_directly`].
    Raw,
}

/// What is known of X when a load adds to it.
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

    /// Bytes of the packet that a [`check`](Self::check) must have granted before this operation; `None` if it needs
    /// none.
    fn extent(&self, operation: Operation) -> Option<u32>;

    /// Makes sure that the first `bytes` can be read.
    fn check(&self, code: &mut Assembly, bytes: u32);

    /// Loads `to` from the packet at `k`. Clobbers R0 to R5.
    fn load(&self, code: &mut Assembly, to: Reg, k: u32, size: Size, order: ByteOrder);

    /// Loads A from the packet at X + `k`. Clobbers R0 to R5.
    fn load_indirect(&self, code: &mut Assembly, k: u32, size: Size, range: IndexRange, order: ByteOrder);

    /// Loads the packet's length into `to`, including the tag.
    fn length(&self, code: &mut Assembly, to: Reg);

    /// Whether this load is a single memory access, which can leave the bytes in their order.
    fn reads_directly(&self, operation: Operation) -> bool;
}

/// Loads from memory in the given byte order.
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
