//! Classic BPF: libpcap's program for an expression, decoded and checked.
//!
//! The semantics are those of `pcap_filter()` in libpcap's `bpf_filter.c`, not those of the kernel, which gives
//! negative offsets a meaning of their own.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;

/// Offset of a packet's type in Linux (`SKF_AD_OFF + SKF_AD_PKTTYPE` in `include/uapi/linux/filter.h`). No packet is
/// that long.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;

/// Maximum instructions of a filter (`BPF_MAXINSNS` in the kernel's `include/uapi/linux/bpf_common.h`).
pub(crate) const MOST: usize = 4096;

/// Maximum loops: the verifier follows every round of each, up to a million instructions.
pub(crate) const MOST_LOOPS: usize = 16;

/// Words of scratch memory (`BPF_MEMWORDS`).
pub(crate) const SCRATCH: u32 = 16;

/// `struct bpf_insn` of libpcap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// Operation code.
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// Instructions to skip otherwise.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Why a program is not valid classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no instructions.
    #[error("it is empty")]
    Empty,
    /// More than [`MOST`] instructions.
    #[error("it has {0} instructions, and {MOST} is the most: use a shorter expression")]
    Long(usize),
    /// An unknown operation.
    #[error("instruction {at} has the unknown operation {code:#06x}")]
    Unknown { at: usize, code: u16 },
    /// A jump out of the program.
    #[error("instruction {at} jumps out of the program")]
    Jump { at: usize },
    /// A constant that its operation does not accept: division by zero, or a word outside scratch memory.
    #[error("instruction {at} has the impossible operand {k}")]
    Operand { at: usize, k: u32 },
    /// The packet's direction, which a frame does not contain, and libpcap gets from Linux.
    #[error(
        "a packet does not say its direction: instead of `inbound` or `outbound`, choose the direction where the program \
         is attached"
    )]
    Direction,
    /// More than [`MOST_LOOPS`] loops.
    #[error(
        "it has {0} loops, and {MOST_LOOPS} is the most: use fewer `protochain`, which has two of them, or `ip protochain` \
         and `ip6 protochain`, which have one each"
    )]
    Loops(usize),
    /// The last instruction does not return.
    #[error("it does not end")]
    Endless,
}

/// Size of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Size {
    Byte = 1,
    Half = 2,
    Word = 4,
}

impl Size {
    pub(crate) fn bytes(self) -> u32 {
        self as u32
    }
}

/// The two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    A,
    X,
}

/// The second operand of arithmetic and of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    K(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnySet,
}

/// An instruction; jumps contain the index of their target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Loads A from the packet at `k`.
    Load {
        size: Size,
        k: u32,
    },
    /// Loads A from the packet at X + `k`.
    LoadIndirect {
        size: Size,
        k: u32,
    },
    /// Sets X to four times the low half of the packet's byte at `k`: the length of an IPv4 header.
    LoadHeaderLength {
        k: u32,
    },
    LoadImmediate(Register, u32),
    LoadLength(Register),
    LoadScratch(Register, u32),
    Store(Register, u32),
    Arithmetic(Arithmetic, Operand),
    Negate,
    /// Copies A to X.
    ToX,
    /// Copies X to A.
    ToA,
    Jump(usize),
    Branch {
        test: Test,
        operand: Operand,
        then: usize,
        otherwise: usize,
    },
    /// The packet matches unless this is 0.
    Return(u32),
    ReturnA,
}

/// Decodes `raw` and checks everything that does not depend on a packet.
pub(crate) fn decode(raw: &[Raw]) -> Result<Vec<Operation>, Invalid> {
    if raw.len() > MOST {
        return Err(Invalid::Long(raw.len()));
    }
    let program = raw.iter().enumerate().map(|(at, raw)| operation(at, *raw)).collect::<Result<Vec<_>, _>>()?;
    let is_inside = |target: &usize| *target < program.len();
    for (at, operation) in program.iter().enumerate() {
        let inside = match operation {
            // A jump to itself would loop for ever.
            Operation::Jump(target) => is_inside(target) && *target != at,
            Operation::Branch { then, otherwise, .. } => is_inside(then) && is_inside(otherwise),
            _ => true,
        };
        if !inside {
            return Err(Invalid::Jump { at });
        }
    }
    let jump_back = |(at, operation): (usize, &Operation)| match operation {
        Operation::Jump(target) if *target < at => Some(*target),
        _ => None,
    };
    let loops = program.iter().enumerate().filter_map(jump_back).collect::<BTreeSet<_>>().len();
    if loops > MOST_LOOPS {
        return Err(Invalid::Loops(loops));
    }
    match program.last() {
        None => Err(Invalid::Empty),
        Some(Operation::Return(_) | Operation::ReturnA | Operation::Jump(_) | Operation::Branch { .. }) => Ok(program),
        Some(_) => Err(Invalid::Endless),
    }
}

/// The fields of `code`, as in libpcap's `pcap/bpf.h`: class, size, mode, operation, source.
fn operation(at: usize, raw: Raw) -> Result<Operation, Invalid> {
    use Register::{A, X};
    let Raw { code, k, .. } = raw;
    let impossible = |is_impossible: bool| if is_impossible { Err(Invalid::Operand { at, k }) } else { Ok(()) };
    Ok(match code {
        0x28 if k == PACKET_TYPE => return Err(Invalid::Direction),
        0x20 => Operation::Load { size: Size::Word, k },
        0x28 => Operation::Load { size: Size::Half, k },
        0x30 => Operation::Load { size: Size::Byte, k },
        0x40 => Operation::LoadIndirect { size: Size::Word, k },
        0x48 => Operation::LoadIndirect { size: Size::Half, k },
        0x50 => Operation::LoadIndirect { size: Size::Byte, k },
        0xb1 => Operation::LoadHeaderLength { k },
        0x00 => Operation::LoadImmediate(A, k),
        0x01 => Operation::LoadImmediate(X, k),
        0x80 => Operation::LoadLength(A),
        0x81 => Operation::LoadLength(X),
        0x60 | 0x61 | 0x02 | 0x03 => {
            impossible(k >= SCRATCH)?;
            match code {
                0x60 => Operation::LoadScratch(A, k),
                0x61 => Operation::LoadScratch(X, k),
                0x02 => Operation::Store(A, k),
                _ => Operation::Store(X, k),
            }
        }
        0x84 => Operation::Negate,
        0x07 => Operation::ToX,
        0x87 => Operation::ToA,
        0x06 => Operation::Return(k),
        0x16 => Operation::ReturnA,
        // libpcap's loops (`protochain`) are jumps by a negative distance.
        0x05 => Operation::Jump((at + 1).checked_add_signed(k.cast_signed() as isize).ok_or(Invalid::Jump { at })?),
        _ => {
            let operand = if code & 0x08 == 0 { Operand::K(k) } else { Operand::X };
            let unknown = Invalid::Unknown { at, code };
            match code & !0xf8 {
                0x04 => {
                    let arithmetic = arithmetic(code & 0xf0).ok_or(unknown)?;
                    let divides = matches!(arithmetic, Arithmetic::Div | Arithmetic::Mod);
                    impossible(divides && operand == Operand::K(0))?;
                    Operation::Arithmetic(arithmetic, operand)
                }
                0x05 => Operation::Branch {
                    test: test(code & 0xf0).ok_or(unknown)?,
                    operand,
                    then: at + 1 + usize::from(raw.jt),
                    otherwise: at + 1 + usize::from(raw.jf),
                },
                _ => return Err(unknown),
            }
        }
    })
}

fn arithmetic(code: u16) -> Option<Arithmetic> {
    Some(match code {
        0x00 => Arithmetic::Add,
        0x10 => Arithmetic::Sub,
        0x20 => Arithmetic::Mul,
        0x30 => Arithmetic::Div,
        0x40 => Arithmetic::Or,
        0x50 => Arithmetic::And,
        0x60 => Arithmetic::Lsh,
        0x70 => Arithmetic::Rsh,
        0x90 => Arithmetic::Mod,
        0xa0 => Arithmetic::Xor,
        _ => return None,
    })
}

fn test(code: u16) -> Option<Test> {
    Some(match code {
        0x10 => Test::Equal,
        0x20 => Test::Greater,
        0x30 => Test::GreaterOrEqual,
        0x40 => Test::AnySet,
        _ => return None,
    })
}

/// In the notation of `tcpdump -d`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |size: &Size| match size {
            Size::Byte => "ldb",
            Size::Half => "ldh",
            Size::Word => "ld",
        };
        let x = |register: &Register| if *register == Register::X { "x" } else { "" };
        match self {
            Self::Load { size, k } => write!(f, "{} [{k}]", suffix(size)),
            Self::LoadIndirect { size, k } => write!(f, "{} [x + {k}]", suffix(size)),
            Self::LoadHeaderLength { k } => write!(f, "ldxb 4*([{k}]&0xf)"),
            Self::LoadImmediate(to, k) => write!(f, "ld{} #{k:#x}", x(to)),
            Self::LoadLength(to) => write!(f, "ld{} #pktlen", x(to)),
            Self::LoadScratch(to, k) => write!(f, "ld{} M[{k}]", x(to)),
            Self::Store(from, k) => write!(f, "st{} M[{k}]", x(from)),
            Self::Arithmetic(operation, operand) => {
                write!(f, "{} {operand}", format!("{operation:?}").to_lowercase())
            }
            Self::Negate => f.write_str("neg"),
            Self::ToX => f.write_str("tax"),
            Self::ToA => f.write_str("txa"),
            Self::Jump(target) => write!(f, "ja {target}"),
            Self::Branch { test, operand, then, otherwise } => {
                let name = match test {
                    Test::Equal => "jeq",
                    Test::Greater => "jgt",
                    Test::GreaterOrEqual => "jge",
                    Test::AnySet => "jset",
                };
                write!(f, "{name} {operand} jt {then} jf {otherwise}")
            }
            Self::Return(k) => write!(f, "ret #{k}"),
            Self::ReturnA => f.write_str("ret a"),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::K(k) => write!(f, "#{k:#x}"),
            Self::X => f.write_str("x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN: Raw = Raw { code: 0x06, jt: 0, jf: 0, k: 1 };

    #[track_caller]
    fn check(raw: &[(u16, u8, u8, u32)], expected: Result<&[&str], Invalid>) {
        let raw = raw.iter().map(|&(code, jt, jf, k)| Raw { code, jt, jf, k }).collect::<Vec<_>>();
        let found = decode(&raw).map(|program| program.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(found, expected.map(|lines| lines.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn what_tcpdump_prints_is_what_is_decoded() {
        check(
            &[(0x28, 0, 0, 12), (0x15, 0, 3, 0x800), (0xb1, 0, 0, 14), (0x48, 0, 0, 16), (0x16, 0, 0, 0), (6, 0, 0, 0)],
            Ok(&["ldh [12]", "jeq #0x800 jt 2 jf 5", "ldxb 4*([14]&0xf)", "ldh [x + 16]", "ret a", "ret #0"]),
        );
        check(
            &[(0x81, 0, 0, 0), (0x03, 0, 0, 15), (0x60, 0, 0, 15), (0x9c, 0, 0, 0), (0x84, 0, 0, 0), (6, 0, 0, 9)],
            Ok(&["ldx #pktlen", "stx M[15]", "ld M[15]", "mod x", "neg", "ret #9"]),
        );
        check(&[(0x07, 0, 0, 0), (0x05, 0, 0, u32::MAX - 1), (6, 0, 0, 0)], Ok(&["tax", "ja 0", "ret #0"]));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        check(&[], Err(Invalid::Empty));
        check(&[(0x20, 0, 0, 0)], Err(Invalid::Endless));
        check(&[(0x28, 0, 0, PACKET_TYPE), (6, 0, 0, 0)], Err(Invalid::Direction));
        check(&[(0x0e, 0, 0, 0)], Err(Invalid::Unknown { at: 0, code: 0x0e }));
        check(&[(0xf4, 0, 0, 0), (6, 0, 0, 0)], Err(Invalid::Unknown { at: 0, code: 0xf4 }));
        check(&[(0x15, 0, 1, 0), (6, 0, 0, 0)], Err(Invalid::Jump { at: 0 }));
        check(&[(0x05, 0, 0, 1), (6, 0, 0, 0)], Err(Invalid::Jump { at: 0 }));
        check(&[(0x05, 0, 0, u32::MAX), (6, 0, 0, 0)], Err(Invalid::Jump { at: 0 }));
        check(&[(0x05, 0, 0, u32::MAX - 1), (6, 0, 0, 0)], Err(Invalid::Jump { at: 0 }));
        check(&[(0x34, 0, 0, 0), (6, 0, 0, 0)], Err(Invalid::Operand { at: 0, k: 0 }));
        check(&[(0x94, 0, 0, 0), (6, 0, 0, 0)], Err(Invalid::Operand { at: 0, k: 0 }));
        check(&[(0x02, 0, 0, 16), (6, 0, 0, 0)], Err(Invalid::Operand { at: 0, k: 16 }));
    }

    #[test]
    fn more_loops_than_the_verifier_follows_are_refused() {
        let jump_back = |at: u32| (0x05, 0, 0, (-i32::try_from(at).unwrap()).cast_unsigned());
        let jumps = (0..17).flat_map(|_| [(0x07, 0, 0, 0), jump_back(2)]).chain([(6, 0, 0, 0)]).collect::<Vec<_>>();
        check(&jumps, Err(Invalid::Loops(17)));
        let raw = jumps[2..].iter().map(|&(code, jt, jf, k)| Raw { code, jt, jf, k }).collect::<Vec<_>>();
        assert!(decode(&raw).is_ok());
    }

    #[test]
    fn as_many_instructions_as_the_kernel_allows_are_taken() {
        assert_eq!(decode(&[RETURN; MOST]).map(|program| program.len()), Ok(MOST));
        assert_eq!(decode(&[RETURN; MOST + 1]), Err(Invalid::Long(MOST + 1)));
    }
}
