//! Functions that load from anywhere in a packet.
//!
//! Each takes the context in R1 and a 64-bit offset in R2, and returns the value in host order, or a negative number if
//! the packet ends before. The verifier follows every call anew, and limits the number of pending branches
//! (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c): so there are few branches, and paths that end come first.

#![forbid(unsafe_code)]

use super::access::{ByteOrder, load_memory};
use super::assembly::Assembly;
use super::classic::Size;
use super::insn::{Alu, Compare, Insn, Reg, Width};
use super::mode::View;
use super::reader::{BEHIND_TAG, TAG, TAG_SIZE, VLAN_PROTO, VLAN_TCI};
use super::target::Hook;

const SKB_LOAD_BYTES: i32 = 26;
const XDP_LOAD_BYTES: i32 = 189;

/// Where the bytes around the tag are assembled on the stack: four, the tag, four.
const WINDOW: i16 = -16;
/// Offset of the first of them in the tagged frame.
const WINDOW_START: u32 = TAG - 4;

/// The function that loads `size` bytes.
pub(crate) fn function(code: &mut Assembly, view: View, size: Size, hook: Hook) {
    match view {
        View::Untagged => of_frame(code, size, hook),
        View::Tagged => with_tag(code, size),
    }
}

fn of_frame(code: &mut Assembly, size: Size, hook: Hook) {
    let reachable = code.near();
    // The helper takes 32 bits and rejects half of the values.
    code.goto(Insn::branch64(Compare::Le, Reg::R2, i32::MAX), reachable);
    fail(code);
    code.set(reachable);
    code.add(Insn::alu32(Alu::Mov, Reg::R4, size.bytes()));
    copy(code, -4, hook);
    load_memory(code, Reg::R0, Reg::R10, -4, size, ByteOrder::Host);
    code.add(Insn::exit());
}

/// For a frame whose tag must be restored, from an `sk_buff`: assembles the bytes around the tag.
fn with_tag(code: &mut Assembly, size: Size) {
    let (context, index) = (Reg::R6, Reg::R7);
    let bytes = size.bytes().cast_signed();
    let (across, complete) = (code.near(), code.near());
    // The index is 0 for the first offset whose load overlaps the tag.
    let first = TAG.cast_signed() + 1 - bytes;
    code.add(Insn::alu64(Alu::Mov, index, Reg::R2));
    code.add(Insn::alu64(Alu::Sub, index, first));
    code.goto(Insn::branch64(Compare::Lt, index, BEHIND_TAG.cast_signed() - first), across);
    // Subtracts four if the offset is after the tag, from the sign of the difference.
    code.add(Insn::alu64(Alu::Mov, Reg::R3, BEHIND_TAG.cast_signed() - 1));
    code.add(Insn::alu64(Alu::Sub, Reg::R3, Reg::R2));
    code.add(Insn::alu64(Alu::Rsh, Reg::R3, 63));
    code.add(Insn::alu64(Alu::Lsh, Reg::R3, TAG_SIZE.ilog2()));
    code.add(Insn::alu64(Alu::Sub, Reg::R2, Reg::R3));
    code.call(View::Untagged, size);
    code.add(Insn::exit());

    code.set(across);
    code.add(Insn::alu64(Alu::Mov, context, Reg::R1));
    code.add(Insn::alu32(Alu::Mov, Reg::R2, WINDOW_START));
    code.add(Insn::alu32(Alu::Mov, Reg::R4, 4));
    copy(code, WINDOW, Hook::Tc);
    code.add(Insn::load(Width::W, Reg::R1, context, VLAN_PROTO));
    code.add(Insn::store(Width::H, Reg::R10, WINDOW + 4, Reg::R1));
    code.add(Insn::load(Width::W, Reg::R1, context, VLAN_TCI));
    code.add(Insn::to_host_order(Reg::R1, 2));
    code.add(Insn::store(Width::H, Reg::R10, WINDOW + 6, Reg::R1));
    code.add(Insn::store(Width::W, Reg::R10, WINDOW + 8, 0));
    // Number of the load's bytes after the tag.
    code.add(Insn::alu64(Alu::Mov, Reg::R4, index));
    code.add(Insn::alu64(Alu::Sub, Reg::R4, BEHIND_TAG.cast_signed() - bytes - first));
    code.goto(Insn::branch64(Compare::SignedLe, Reg::R4, 0), complete);
    code.add(Insn::alu64(Alu::Mov, Reg::R1, context));
    code.add(Insn::alu32(Alu::Mov, Reg::R2, TAG));
    copy(code, WINDOW + 8, Hook::Tc);
    code.set(complete);
    // A number to which a pointer is added counts as one into the caller's stack, until some kernel after 6.1.
    let base = Reg::R2;
    code.add(Insn::alu64(Alu::Mov, base, Reg::R10));
    code.add(Insn::alu64(Alu::Add, base, index));
    // Byte by byte, because the verifier only accepts aligned accesses to the stack.
    code.add(Insn::alu32(Alu::Mov, Reg::R0, 0));
    let start = WINDOW + (first - WINDOW_START.cast_signed()) as i16;
    for at in start..start + bytes as i16 {
        code.add(Insn::alu32(Alu::Lsh, Reg::R0, 8));
        code.add(Insn::load(Width::B, Reg::R1, base, at));
        code.add(Insn::alu32(Alu::Or, Reg::R0, Reg::R1));
    }
    code.add(Insn::exit());
}

/// Copies R4 bytes from the frame at offset R2 to the stack, or returns failure.
fn copy(code: &mut Assembly, to: i16, hook: Hook) {
    let copied = code.near();
    code.add(Insn::alu64(Alu::Mov, Reg::R3, Reg::R10));
    code.add(Insn::alu64(Alu::Add, Reg::R3, i32::from(to)));
    code.add(Insn::helper(match hook {
        Hook::Tc | Hook::SocketFilter => SKB_LOAD_BYTES,
        Hook::Xdp => XDP_LOAD_BYTES,
    }));
    code.goto(Insn::branch64(Compare::Eq, Reg::R0, 0), copied);
    fail(code);
    code.set(copied);
}

fn fail(code: &mut Assembly) {
    code.add(Insn::alu64(Alu::Mov, Reg::R0, -1));
    code.add(Insn::exit());
}
