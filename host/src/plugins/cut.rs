//! Whether an ELF file ends before what its header announces: half a copy, for example.

/// Bytes of the header of a 64-bit ELF file.
pub(super) const HEADER: usize = 64;

/// First bytes of an ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// Whether the table of sections, which linkers and compilers write last, is past the end of a file that begins with these
/// bytes. `Elf64_Ehdr` of elf(5) has the offsets.
pub(super) fn ends_early(begin: &[u8], length: u64) -> bool {
    let number = |at: usize, bytes: usize| {
        let bytes = begin.get(at..at + bytes)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (Some(sections), Some(size), Some(count)) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2)) else {
        return begin.starts_with(MAGIC);
    };
    begin.starts_with(MAGIC) && sections.saturating_add(size * count) > length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_an_object_ends_early() {
        let whole: &[u8] = include_bytes!("../../../ebpf/objects/root.o");
        assert!(!ends_early(&whole[..HEADER], whole.len() as u64));
        for length in (MAGIC.len()..whole.len()).step_by(97) {
            let begin = &whole[..length.min(HEADER)];
            assert!(ends_early(begin, length as u64), "{length} bytes");
        }
        assert!(!ends_early(b"\x7fEL", 3) && !ends_early(&[0; HEADER], 1), "what is not ELF is not cut");
    }
}
