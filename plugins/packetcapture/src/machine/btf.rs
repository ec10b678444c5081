//! Where the kernel keeps what no field of a program's context has: whether a packet's checksum is computed.
//!
//! `skb->ip_summed` is a bit field whose place differs between kernels, and the kernel's own BTF
//! (Documentation/bpf/btf.rst) has it. That is one structure of five megabytes of types, so this reads no others.

#![forbid(unsafe_code)]

use std::fs;
use std::sync::OnceLock;

const BTF: &str = "/sys/kernel/btf/vmlinux";
/// In its mode `confidentiality`, programs may not read the kernel's memory.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// include/uapi/linux/btf.h.
const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// The bit of `struct sk_buff` at which `ip_summed` begins; `None` if the kernel does not say, or does not let programs
/// read it.
pub(crate) fn checksum_state() -> Option<u32> {
    static FOUND: OnceLock<Option<u32>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let is_locked = fs::read_to_string(LOCKDOWN).is_ok_and(|text| text.contains("[confidentiality]"));
        let bytes = if is_locked { None } else { fs::read(BTF).ok() }?;
        Types::parse(&bytes)?.bit("sk_buff", "ip_summed")
    })
}

/// The types, and where each begins.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// By their ids, less 1.
    starts: Vec<u32>,
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))?;
        let section = |offset: usize, length: usize| {
            let start = (word(bytes, 4)? + word(bytes, offset)?) as usize;
            bytes.get(start..start + word(bytes, length)? as usize)
        };
        let (types, strings) = (section(8, 12)?, section(16, 20)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            at += 12 + rest(word(types, at + 4)?)?;
        }
        (magic == MAGIC).then_some(Self { types, strings, starts })
    }

    /// The bit at which a member of a structure begins. Members of anonymous parts count as its own.
    fn bit(&self, structure: &str, member: &str) -> Option<u32> {
        let is_meant = |at: &usize| {
            let kind = word(self.types, at + 4).map(kind);
            kind == Some(STRUCT) && word(self.types, *at).is_some_and(|name| self.is_called(name, structure))
        };
        let mut found = self.starts.iter().map(|at| *at as usize).filter(is_meant);
        // A forward declaration would be another kind.
        found.find_map(|at| self.bit_within(at, member))
    }

    fn bit_within(&self, at: usize, member: &str) -> Option<u32> {
        let info = word(self.types, at + 4)?;
        let members = (0..count(info)).map(|index| at + 12 + 12 * index);
        for at in members {
            let (name, kind_id, offset) = (word(self.types, at)?, word(self.types, at + 4)?, word(self.types, at + 8)?);
            // With this flag, the upper byte is the size of a bit field.
            let offset = if info >> 31 == 1 { offset & 0x00ff_ffff } else { offset };
            if self.is_called(name, member) {
                return Some(offset);
            }
            if !self.is_called(name, "") {
                continue;
            }
            let inner = *self.starts.get(kind_id.checked_sub(1)? as usize)? as usize;
            if [STRUCT, UNION].contains(&kind(word(self.types, inner + 4)?))
                && let Some(bit) = self.bit_within(inner, member)
            {
                return Some(offset + bit);
            }
        }
        None
    }

    fn is_called(&self, offset: u32, name: &str) -> bool {
        let text = self.strings.get(offset as usize..).unwrap_or_default();
        text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn count(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes after the three words of each type.
fn rest(info: u32) -> Option<usize> {
    Some(match kind(info) {
        // INT, VAR and DECL_TAG.
        1 | 14 | 17 => 4,
        // ARRAY.
        3 => 12,
        // STRUCT, UNION, DATASEC and ENUM64.
        4 | 5 | 15 | 19 => 12 * count(info),
        // ENUM and FUNC_PROTO.
        6 | 13 => 8 * count(info),
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT and TYPE_TAG.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure `s` with `a`, and an anonymous union that has the bit field `b` in a structure.
    fn btf() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0";
        let with_bit_fields = 1 << 31;
        let types: &[u32] = &[
            0,
            1 << 24,
            4,
            32, // 1: an integer
            0,
            STRUCT << 24 | with_bit_fields | 1,
            4,
            5,
            1,
            2 << 24 | 5, // 2: { b : 2 at 5 }
            0,
            UNION << 24 | 1,
            4,
            0,
            2,
            0, // 3: { 2 }
            1,
            STRUCT << 24 | 2,
            8,
            3,
            1,
            0,
            0,
            3,
            32, // 4: { a; 3 at 32 }
        ];
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let lengths = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        let header = lengths.iter().flat_map(|word| word.to_ne_bytes());
        [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat().into_iter().chain(header).chain(types).chain(*strings).collect()
    }

    #[test]
    fn a_bit_field_is_found_within_anonymous_parts() {
        let bytes = btf();
        let types = Types::parse(&bytes).unwrap();
        assert_eq!((types.bit("s", "a"), types.bit("s", "b")), (Some(0), Some(37)));
        assert_eq!((types.bit("s", "c"), types.bit("t", "a")), (None, None));
        for cut in 0..bytes.len() {
            assert!(Types::parse(&bytes[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn this_kernel_says() {
        assert!(checksum_state().is_some_and(|bit| (8..8 * 4096).contains(&bit)));
    }
}
