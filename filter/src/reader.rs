//! Access to the packet from the context of each hook: a `struct __sk_buff`, or a `struct xdp_md`.

#![forbid(unsafe_code)]

use super::access::{A, Access, ByteOrder, CONTEXT, DATA, IndexRange, X, load_memory};
use super::assembly::{Assembly, Label};
use super::classic::{Operation, Size};
use super::insn::{Alu, Compare, Insn, Reg, Width};
use super::mode::{Mode, View};
use super::stack::forget;
use super::target::Hook;

/// Fields of `struct __sk_buff` (`include/uapi/linux/bpf.h`). The tag's protocol is in network order, its `TCI` in host
/// order.
const LEN: i16 = 0;
const VLAN_PRESENT: i16 = 20;
pub(crate) const VLAN_TCI: i16 = 24;
pub(crate) const VLAN_PROTO: i16 = 28;
const DATA_FIELD: i16 = 76;
const DATA_END_FIELD: i16 = 80;
/// Fields of `struct xdp_md`.
const XDP_DATA_FIELD: i16 = 0;
const XDP_DATA_END_FIELD: i16 = 4;

const XDP_GET_BUFF_LEN: i32 = 188;

/// End of the packet's directly readable memory, in a linear version. Calls clobber it.
const DATA_END: Reg = Reg::R5;
/// Results of functions, and the second part of a value that is assembled.
const PART: Reg = Reg::R0;

/// Offset of the tag: after two addresses of 6 bytes. It has 4 bytes.
pub(crate) const TAG: u32 = 12;
pub(crate) const TAG_SIZE: u32 = 4;
pub(crate) const BEHIND_TAG: u32 = TAG + TAG_SIZE;

/// Bytes from the packet's start that linear versions read directly: offsets have 16 bits with a sign.
const REACH: u32 = 0x7fff;
/// Maximum X that they add: the verifier accepts offsets up to 0xffff (`MAX_PACKET_OFF`).
const GREATEST_X: i32 = 0x7fff;

/// The access of one version to the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) hook: Hook,
    pub(crate) view: View,
    pub(crate) mode: Mode,
}

/// Part of a load that comes from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// In the frame, at this offset.
    Frame(u32, Size),
    /// In half of the tag: the field that contains it, the number of bits to shift, and the number of bytes.
    Tag { field: i16, shift: u32, bytes: u32 },
}

impl Piece {
    fn bytes(self) -> u32 {
        match self {
            Self::Frame(_, size) => size.bytes(),
            Self::Tag { bytes, .. } => bytes,
        }
    }
}

/// The first instructions: a packet that has lost its tag goes to the tagged version, if there is one.
pub(crate) fn begin(code: &mut Assembly, tagged: Option<Label>) {
    code.add(Insn::alu64(Alu::Mov, CONTEXT, Reg::R1));
    if let Some(tagged) = tagged {
        code.add(Insn::load(Width::W, PART, CONTEXT, VLAN_PRESENT));
        code.goto(Insn::branch32(Compare::Ne, PART, 0), tagged);
    }
}

/// Whether the tag affects `operation`.
pub(crate) fn sees_tag(operation: Operation) -> bool {
    match operation {
        Operation::Load { size, k } => k.saturating_add(size.bytes()) > TAG,
        Operation::LoadHeaderLength { k } => k >= TAG,
        Operation::LoadIndirect { .. } | Operation::LoadLength(_) => true,
        _ => false,
    }
}

/// After a failed check: if all of the packet is linear, it ends there and does not match. Otherwise the general
/// version, which must follow, decides; at XDP it always does, and a frame in several parts is rare.
pub(crate) fn short(code: &mut Assembly, hook: Hook) {
    if hook == Hook::Xdp {
        return;
    }
    code.add(Insn::alu64(Alu::Mov, Reg::R1, DATA_END));
    code.add(Insn::alu64(Alu::Sub, Reg::R1, DATA));
    code.add(Insn::load(Width::W, Reg::R2, CONTEXT, LEN));
    code.goto(Insn::branch64(Compare::Eq, Reg::R1, Reg::R2), Label::Reject);
}

impl Reader {
    /// The parts of a load at a constant offset, in order.
    fn pieces(self, k: u32, size: Size) -> Vec<Piece> {
        // No packet is that long, so the tag does not matter for offsets near the maximum.
        let Some(end) = k.checked_add(size.bytes()) else { return vec![Piece::Frame(u32::MAX, size)] };
        if self.view == View::Untagged || end <= TAG {
            return vec![Piece::Frame(k, size)];
        }
        if k >= BEHIND_TAG {
            return vec![Piece::Frame(k - TAG_SIZE, size)];
        }
        let mut pieces = Vec::new();
        let tag = |field, from: u32, to: u32| Piece::Tag { field, shift: 8 * (2 - to), bytes: to - from };
        let mut at = k;
        while at < end {
            let piece = match at {
                // Three bytes are loaded as one and two.
                ..TAG if (TAG - at).is_multiple_of(2) => Piece::Frame(at, Size::Half),
                ..TAG => Piece::Frame(at, Size::Byte),
                12 | 13 => tag(VLAN_PROTO, at - 12, end.min(14) - 12),
                14 | 15 => tag(VLAN_TCI, at - 14, end.min(16) - 14),
                _ if (end - at).is_multiple_of(2) => Piece::Frame(at - TAG_SIZE, Size::Half),
                _ => Piece::Frame(at - TAG_SIZE, Size::Byte),
            };
            pieces.push(piece);
            at += piece.bytes();
        }
        pieces
    }

    /// Whether a linear version reads this part of the frame directly.
    fn reaches(self, offset: u32, size: Size) -> bool {
        self.mode == Mode::Linear && offset.saturating_add(size.bytes()) <= REACH
    }

    /// The offset that a linear version adds to X, if it reads directly. Before the tag's end, X decides where the byte
    /// is.
    fn direct(self, k: u32, size: Size) -> Option<u32> {
        let offset = if self.view == View::Tagged { k.checked_sub(BEHIND_TAG)? + TAG } else { k };
        self.reaches(offset, size).then_some(offset)
    }

    fn load_frame(self, code: &mut Assembly, to: Reg, offset: u32, size: Size, order: ByteOrder) {
        if self.reaches(offset, size) {
            load_memory(code, to, DATA, offset as i16, size, order);
        } else {
            code.add(Insn::alu32(Alu::Mov, Reg::R2, offset));
            self.load_by_call(code, to, View::Untagged, size);
        }
    }

    /// Loads from the offset in R2 with a function.
    fn load_by_call(self, code: &mut Assembly, to: Reg, view: View, size: Size) {
        code.add(Insn::alu64(Alu::Mov, Reg::R1, CONTEXT));
        code.call(view, size);
        code.goto(Insn::branch64(Compare::SignedLt, Reg::R0, 0), Label::Reject);
        if to != Reg::R0 {
            code.add(Insn::alu32(Alu::Mov, to, Reg::R0));
        }
        self.restore_end(code);
    }

    /// After a call, which clobbers it.
    fn restore_end(self, code: &mut Assembly) {
        if self.mode == Mode::Linear {
            code.add(Insn::load(Width::W, DATA_END, CONTEXT, self.data_fields().1));
        }
    }

    /// The fields of the context that have the start and the end of the directly readable memory.
    fn data_fields(self) -> (i16, i16) {
        match self.hook {
            Hook::Xdp => (XDP_DATA_FIELD, XDP_DATA_END_FIELD),
            Hook::Tc | Hook::SocketFilter => (DATA_FIELD, DATA_END_FIELD),
        }
    }
}

impl Access for Reader {
    fn enter(&self, code: &mut Assembly) {
        if self.mode == Mode::Linear {
            let (start, end) = self.data_fields();
            code.add(Insn::load(Width::W, DATA, CONTEXT, start));
            code.add(Insn::load(Width::W, DATA_END, CONTEXT, end));
        }
    }

    fn extent(&self, operation: Operation) -> Option<u32> {
        let (k, size) = match operation {
            Operation::Load { size, k } => (k, size),
            Operation::LoadHeaderLength { k } => (k, Size::Byte),
            _ => return None,
        };
        let extent = |piece: &Piece| match *piece {
            Piece::Frame(offset, size) if self.reaches(offset, size) => Some(offset + size.bytes()),
            _ => None,
        };
        self.pieces(k, size).iter().filter_map(extent).max()
    }

    fn check(&self, code: &mut Assembly, bytes: u32) {
        code.add(Insn::alu64(Alu::Mov, Reg::R1, DATA));
        code.add(Insn::alu64(Alu::Add, Reg::R1, bytes));
        code.goto(Insn::branch64(Compare::Gt, Reg::R1, DATA_END), Label::Short(self.view));
    }

    fn load(&self, code: &mut Assembly, to: Reg, k: u32, size: Size, order: ByteOrder) {
        for (number, piece) in self.pieces(k, size).into_iter().enumerate() {
            let is_first = number == 0;
            let part = if is_first { to } else { PART };
            match piece {
                Piece::Frame(offset, size) => self.load_frame(code, part, offset, size, order),
                Piece::Tag { field, shift, bytes } => {
                    code.add(Insn::load(Width::W, part, CONTEXT, field));
                    if field == VLAN_PROTO {
                        code.add(Insn::to_host_order(part, 2));
                    }
                    if shift > 0 {
                        code.add(Insn::alu32(Alu::Rsh, part, shift));
                    } else if bytes == 1 {
                        code.add(Insn::alu32(Alu::And, part, 0xff));
                    }
                }
            }
            if !is_first {
                code.add(Insn::alu32(Alu::Lsh, to, 8 * piece.bytes()));
                code.add(Insn::alu32(Alu::Or, to, PART));
            }
        }
    }

    fn load_indirect(&self, code: &mut Assembly, k: u32, size: Size, range: IndexRange, order: ByteOrder) {
        let Some(offset) = self.direct(k, size) else {
            if let Ok(k) = i32::try_from(k) {
                forget(code, Reg::R2, X);
                code.add(Insn::alu64(Alu::Add, Reg::R2, k));
            } else {
                // No packet is that long, whatever X is.
                code.add(Insn::alu32(Alu::Mov, Reg::R2, u32::MAX));
            }
            return self.load_by_call(code, A, self.view, size);
        };
        let x = match range {
            IndexRange::Header => X,
            IndexRange::Any => {
                forget(code, Reg::R2, X);
                let general = Label::Version(self.view, Mode::General);
                code.goto(Insn::branch64(Compare::Gt, Reg::R2, GREATEST_X), general);
                Reg::R2
            }
        };
        code.add(Insn::alu64(Alu::Mov, Reg::R1, DATA));
        code.add(Insn::alu64(Alu::Add, Reg::R1, x));
        code.add(Insn::alu64(Alu::Mov, Reg::R2, Reg::R1));
        code.add(Insn::alu64(Alu::Add, Reg::R2, offset + size.bytes()));
        code.goto(Insn::branch64(Compare::Gt, Reg::R2, DATA_END), Label::Short(self.view));
        load_memory(code, A, Reg::R1, offset as i16, size, order);
    }

    fn length(&self, code: &mut Assembly, to: Reg) {
        if self.hook == Hook::Xdp {
            code.add(Insn::alu64(Alu::Mov, Reg::R1, CONTEXT));
            code.add(Insn::helper(XDP_GET_BUFF_LEN));
            code.add(Insn::alu32(Alu::Mov, to, Reg::R0));
            return self.restore_end(code);
        }
        code.add(Insn::load(Width::W, to, CONTEXT, LEN));
        if self.view == View::Tagged {
            code.add(Insn::alu32(Alu::Add, to, TAG_SIZE));
        }
    }

    fn reads_directly(&self, operation: Operation) -> bool {
        match operation {
            Operation::Load { size, k } => match self.pieces(k, size)[..] {
                [Piece::Frame(offset, size)] => self.reaches(offset, size),
                _ => false,
            },
            Operation::LoadIndirect { size, k } => self.direct(k, size).is_some(),
            _ => self.extent(operation).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(k: u32, size: Size, expected: &[Piece]) {
        assert_eq!(Reader { hook: Hook::Tc, view: View::Tagged, mode: Mode::Linear }.pieces(k, size), expected, "{k}");
        let untagged = Reader { hook: Hook::Tc, view: View::Untagged, mode: Mode::Linear };
        assert_eq!(untagged.pieces(k, size), [Piece::Frame(k, size)]);
    }

    #[test]
    fn a_load_beside_the_tag_is_of_the_frame() {
        check(8, Size::Word, &[Piece::Frame(8, Size::Word)]);
        check(16, Size::Word, &[Piece::Frame(12, Size::Word)]);
        check(18, Size::Byte, &[Piece::Frame(14, Size::Byte)]);
    }

    #[test]
    fn a_load_across_the_tag_is_put_together() {
        let proto = |shift, bytes| Piece::Tag { field: VLAN_PROTO, shift, bytes };
        let tci = |shift, bytes| Piece::Tag { field: VLAN_TCI, shift, bytes };
        check(12, Size::Half, &[proto(0, 2)]);
        check(12, Size::Byte, &[proto(8, 1)]);
        check(13, Size::Byte, &[proto(0, 1)]);
        check(14, Size::Half, &[tci(0, 2)]);
        check(12, Size::Word, &[proto(0, 2), tci(0, 2)]);
        check(13, Size::Half, &[proto(0, 1), tci(8, 1)]);
        check(9, Size::Word, &[Piece::Frame(9, Size::Byte), Piece::Frame(10, Size::Half), proto(8, 1)]);
        check(11, Size::Word, &[Piece::Frame(11, Size::Byte), proto(0, 2), tci(8, 1)]);
        check(15, Size::Word, &[tci(0, 1), Piece::Frame(12, Size::Byte), Piece::Frame(13, Size::Half)]);
        check(13, Size::Word, &[proto(0, 1), tci(0, 2), Piece::Frame(12, Size::Byte)]);
    }

    #[test]
    fn x_may_decide_where_a_byte_before_the_tags_end_is() {
        let direct = |view, k| Reader { hook: Hook::Tc, view, mode: Mode::Linear }.direct(k, Size::Half);
        assert_eq!(direct(View::Untagged, 14), Some(14));
        assert_eq!(direct(View::Tagged, 15), None);
        assert_eq!(direct(View::Tagged, 18), Some(14));
        assert_eq!(direct(View::Untagged, 0x7ffd), Some(0x7ffd));
        assert_eq!(direct(View::Untagged, 0x7ffe), None);
        assert_eq!(Reader { hook: Hook::Tc, view: View::Untagged, mode: Mode::General }.direct(14, Size::Half), None);
    }
}
