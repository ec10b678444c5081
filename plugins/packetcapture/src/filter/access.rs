//! How a version of a filter reaches the packet: the seam between a filter and the hook that it runs at.

#![forbid(unsafe_code)]

use std::fmt;

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

/// Half a word on the stack, for what is needed at once.
pub(crate) const SCRAP: i16 = -4;

/// `to` from `from`, so that the verifier forgets what it knows of the value, which it keeps for whole words alone. It
/// would follow each value that it knows X to have through all that is behind, and give up on a long filter.
pub(crate) fn forget(code: &mut Assembly, to: Reg, from: Reg) {
    code.add(Insn::store(Width::W, Reg::R10, SCRAP, from));
    code.add(Insn::load(Width::W, to, Reg::R10, SCRAP));
}

/// What the filter sees of a frame whose VLAN tag the kernel may have taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum View {
    /// The frame as it is.
    Untagged,
    /// The frame with the tag put back at bytes 12 to 15.
    Tagged,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Untagged { "untagged" } else { "tagged" })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Reads memory directly, behind checks of the packet's end; what these do not grant is left to the general mode.
    Linear,
    /// Reads by a function that reaches every byte of the packet.
    General,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Linear { "linear" } else { "general" })
    }
}

/// The order of bytes that a load leaves in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Host,
    /// As in memory, which saves the swap; only where [`Access::reads_directly`].
    Raw,
}

/// What is known of X where a load adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
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
    fn load(&self, code: &mut Assembly, to: Reg, k: u32, size: Size, order: Order);

    /// A from the packet, at X + `k`. Registers R0 to R5 do not survive.
    fn load_indirect(&self, code: &mut Assembly, k: u32, size: Size, range: Range, order: Order);

    /// `to` from the packet's length, the tag included.
    fn length(&self, code: &mut Assembly, to: Reg);

    /// Whether this load is a single access to memory, which can leave its bytes as they are there.
    fn reads_directly(&self, operation: Operation) -> bool;
}
