//! eBPF instructions that filters need (kernel: `include/uapi/linux/bpf.h`,
//! `Documentation/bpf/standardization/instruction-set.rst`).

#![forbid(unsafe_code)]

use std::fmt;

/// An instruction in the kernel's format.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Operation code.
    pub code: u8,
    /// Destination in the low half, source in the high one, on little-endian machines.
    pub registers: u8,
    /// Distance of a jump, or offset of an access.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

/// `src_reg` of an `ld_imm64` that holds a map's descriptor (`BPF_PSEUDO_MAP_FD`).
const PSEUDO_MAP_FD: u8 = 1;
/// `src_reg` of a call to a function of the same program (`BPF_PSEUDO_CALL`).
const PSEUDO_CALL: u8 = 1;

const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU: u8 = 0x04;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const CLASS_ALU64: u8 = 0x07;
const MEM: u8 = 0x60;
const DOUBLE: u8 = 0x18;
const FROM_REGISTER: u8 = 0x08;
const END: u8 = 0xd0;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A register. R0 holds results, R1 to R5 are arguments that calls clobber, R10 is the frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Size of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    B = 0x10,
    H = 0x08,
    W = 0x00,
    D = 0x18,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Neg = 0x80,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// A comparison; unsigned unless its name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq = 0x10,
    Gt = 0x20,
    Ge = 0x30,
    Set = 0x40,
    Ne = 0x50,
    Lt = 0xa0,
    Le = 0xb0,
    SignedLt = 0xc0,
    SignedLe = 0xd0,
}

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    K(i32),
    Reg(Reg),
}

impl From<Reg> for Source {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Source {
    fn from(k: i32) -> Self {
        Self::K(k)
    }
}

/// 32 bits, interpreted by the instruction.
impl From<u32> for Source {
    fn from(k: u32) -> Self {
        Self::K(k.cast_signed())
    }
}

impl Insn {
    /// The instruction as the kernel's bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let [low, high] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.immediate.to_ne_bytes();
        [self.code, self.registers, low, high, a, b, c, d]
    }

    fn new(code: u8, dst: Reg, src: u8, offset: i16, immediate: i32) -> Self {
        let (dst, src) = if cfg!(target_endian = "little") { (dst as u8, src << 4) } else { ((dst as u8) << 4, src) };
        Self { code, registers: dst | src, offset, immediate }
    }

    fn with_source(code: u8, dst: Reg, source: Source) -> Self {
        match source {
            Source::K(k) => Self::new(code, dst, 0, 0, k),
            Source::Reg(src) => Self::new(code | FROM_REGISTER, dst, src as u8, 0, 0),
        }
    }

    /// A 32-bit operation; it clears the upper half of `dst`.
    pub(crate) fn alu32(alu: Alu, dst: Reg, source: impl Into<Source>) -> Self {
        Self::with_source(alu as u8 | CLASS_ALU, dst, source.into())
    }

    pub(crate) fn alu64(alu: Alu, dst: Reg, source: impl Into<Source>) -> Self {
        Self::with_source(alu as u8 | CLASS_ALU64, dst, source.into())
    }

    /// Converts the low 16 or 32 bits of `dst` from network to host order, and clears the rest.
    pub(crate) fn to_host_order(dst: Reg, bytes: u32) -> Self {
        Self::new(CLASS_ALU | END | FROM_REGISTER, dst, 0, 0, bytes.cast_signed() * 8)
    }

    pub(crate) fn load(width: Width, dst: Reg, base: Reg, offset: i16) -> Self {
        Self::new(CLASS_LDX | MEM | width as u8, dst, base as u8, offset, 0)
    }

    pub(crate) fn store(width: Width, base: Reg, offset: i16, source: impl Into<Source>) -> Self {
        match source.into() {
            Source::K(k) => Self::new(CLASS_ST | MEM | width as u8, base, 0, offset, k),
            Source::Reg(src) => Self::new(CLASS_STX | MEM | width as u8, base, src as u8, offset, 0),
        }
    }

    /// The first half of a load of a map's address; the second is all zeros.
    pub(crate) fn map(dst: Reg) -> Self {
        Self::new(CLASS_LD | DOUBLE, dst, PSEUDO_MAP_FD, 0, 0)
    }

    pub(crate) fn jump() -> Self {
        Self::new(CLASS_JMP, Reg::R0, 0, 0, 0)
    }

    /// A jump whose distance is the immediate (`gotol`, Linux 6.6).
    pub(crate) fn long_jump() -> Self {
        Self::new(CLASS_JMP32, Reg::R0, 0, 0, 0)
    }

    /// A comparison of 32 bits.
    pub(crate) fn branch32(compare: Compare, dst: Reg, source: impl Into<Source>) -> Self {
        Self::with_source(compare as u8 | CLASS_JMP32, dst, source.into())
    }

    pub(crate) fn branch64(compare: Compare, dst: Reg, source: impl Into<Source>) -> Self {
        Self::with_source(compare as u8 | CLASS_JMP, dst, source.into())
    }

    /// Calls a kernel helper by its number.
    pub(crate) fn helper(number: i32) -> Self {
        Self::new(CALL, Reg::R0, 0, 0, number)
    }

    /// Calls a function of this program.
    pub(crate) fn call() -> Self {
        Self::new(CALL, Reg::R0, PSEUDO_CALL, 0, 0)
    }

    pub(crate) fn exit() -> Self {
        Self::new(EXIT, Reg::R0, 0, 0, 0)
    }

    pub(crate) fn is_call(self) -> bool {
        self == Self { immediate: self.immediate, ..Self::call() }
    }

    pub(crate) fn is_unconditional(self) -> bool {
        matches!(self.code, CLASS_JMP | CLASS_JMP32)
    }

    pub(crate) fn is_long_jump(self) -> bool {
        self.code == CLASS_JMP32
    }

    pub(crate) fn is_wide(self) -> bool {
        self.code == CLASS_LD | DOUBLE
    }

    fn dst(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers & 0xf } else { self.registers >> 4 }
    }

    fn src(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers >> 4 } else { self.registers & 0xf }
    }
}

/// In the notation of the kernel's verifier; the caller adds targets of jumps, because it knows their names.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, offset, immediate, .. } = *self;
        let (dst, src) = (self.dst(), self.src());
        let class = code & 0x07;
        let letter = if matches!(class, CLASS_ALU | CLASS_JMP32) { 'w' } else { 'r' };
        let source = if code & FROM_REGISTER != 0 { format!("{letter}{src}") } else { constant(immediate) };
        let width = ["u32", "u16", "u8", "u64"][usize::from(code >> 3 & 3)];
        match class {
            CLASS_LD => write!(f, "r{dst} = map"),
            CLASS_LDX => write!(f, "{}{dst} = *({width} *)(r{src} {offset:+})", if width == "u64" { 'r' } else { 'w' }),
            CLASS_ST => write!(f, "*({width} *)(r{dst} {offset:+}) = {immediate}"),
            CLASS_STX => write!(f, "*({width} *)(r{dst} {offset:+}) = r{src}"),
            CLASS_ALU | CLASS_ALU64 if code & 0xf0 == END => write!(f, "r{dst} = be{immediate} r{dst}"),
            CLASS_ALU | CLASS_ALU64 if code & 0xf0 == Alu::Neg as u8 => write!(f, "{letter}{dst} = -{letter}{dst}"),
            CLASS_ALU | CLASS_ALU64 => {
                let operators = ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "", "%=", "^=", "="];
                write!(f, "{letter}{dst} {} {source}", operators[usize::from(code >> 4)])
            }
            _ if code == EXIT => f.write_str("exit"),
            _ if self.is_call() => f.write_str("call"),
            _ if code == CALL => write!(f, "call {}", helper_name(immediate)),
            _ if self.is_unconditional() => f.write_str("goto"),
            _ => {
                let operators = ["", "==", ">", ">=", "&", "!=", "", "", "", "", "<", "<=", "s<", "s<="];
                write!(f, "if {letter}{dst} {} {source} goto", operators[usize::from(code >> 4)])
            }
        }
    }
}

/// Small numbers in decimal, others in hexadecimal.
fn constant(immediate: i32) -> String {
    if (-256..256).contains(&immediate) { immediate.to_string() } else { format!("{immediate:#x}") }
}

fn helper_name(number: i32) -> String {
    match number {
        1 => "bpf_map_lookup_elem".to_owned(),
        8 => "bpf_get_smp_processor_id".to_owned(),
        12 => "bpf_tail_call".to_owned(),
        26 => "bpf_skb_load_bytes".to_owned(),
        188 => "bpf_xdp_get_buff_len".to_owned(),
        189 => "bpf_xdp_load_bytes".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(insn: Insn, bytes: [u8; 8], text: &str) {
        assert_eq!(insn.to_string(), text);
        if cfg!(target_endian = "little") {
            assert_eq!(insn.to_bytes(), bytes, "{text}");
        }
    }

    /// Encodings as produced by clang 19 and llvm-objdump.
    #[test]
    fn instructions_are_those_of_the_kernel() {
        use Reg::{R0, R1, R2, R6, R7, R8, R9, R10};
        check(Insn::alu64(Alu::Mov, R6, R1), [0xbf, 0x16, 0, 0, 0, 0, 0, 0], "r6 = r1");
        check(Insn::alu32(Alu::And, R8, 0xffff_ff00_u32), [0x54, 8, 0, 0, 0, 0xff, 0xff, 0xff], "w8 &= -256");
        check(Insn::alu32(Alu::Neg, R8, 0), [0x84, 8, 0, 0, 0, 0, 0, 0], "w8 = -w8");
        check(Insn::load(Width::H, R8, R7, 12), [0x69, 0x78, 12, 0, 0, 0, 0, 0], "w8 = *(u16 *)(r7 +12)");
        check(Insn::store(Width::W, R10, -4, 0), [0x62, 10, 0xfc, 0xff, 0, 0, 0, 0], "*(u32 *)(r10 -4) = 0");
        check(Insn::store(Width::D, R0, 0, R1), [0x7b, 0x10, 0, 0, 0, 0, 0, 0], "*(u64 *)(r0 +0) = r1");
        check(Insn::to_host_order(R8, 2), [0xdc, 8, 0, 0, 16, 0, 0, 0], "r8 = be16 r8");
        check(Insn::map(R2), [0x18, 0x12, 0, 0, 0, 0, 0, 0], "r2 = map");
        check(Insn::branch32(Compare::Ne, R8, 0x800), [0x56, 8, 0, 0, 0, 8, 0, 0], "if w8 != 0x800 goto");
        check(Insn::branch32(Compare::Set, R8, R9), [0x4e, 0x98, 0, 0, 0, 0, 0, 0], "if w8 & w9 goto");
        check(Insn::branch64(Compare::SignedLt, R0, 0), [0xc5, 0, 0, 0, 0, 0, 0, 0], "if r0 s< 0 goto");
        check(Insn::jump(), [0x05, 0, 0, 0, 0, 0, 0, 0], "goto");
        check(Insn::long_jump(), [0x06, 0, 0, 0, 0, 0, 0, 0], "goto");
        check(Insn::helper(12), [0x85, 0, 0, 0, 12, 0, 0, 0], "call bpf_tail_call");
        check(Insn::call(), [0x85, 0x10, 0, 0, 0, 0, 0, 0], "call");
        check(Insn::exit(), [0x95, 0, 0, 0, 0, 0, 0, 0], "exit");
    }
}
