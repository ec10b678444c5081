//! Gives sections of programs for TC the one name that `aya-obj` knows for them.
//!
//! libbpf's names (`tc`, `tcx/ingress` …) all mean the same program type, and `aya-obj` 0.3 refuses an object that has one
//! of them. `tc` becomes `classifier/tc`: in the section's header, and where `.BTF.ext` says which section its functions,
//! lines and relocations are of. New tables of strings go to the end of the file, so that every offset stays valid.

use std::borrow::Cow;

use super::facts::is_of_chain;

/// `SHF_EXECINSTR` of the ELF specification.
const EXECUTABLE: u64 = 4;

/// An object whose programs for TC are in sections that `aya-obj` knows. One that is damaged stays as it is: its parser
/// says what is wrong.
pub(super) fn normal(elf: &[u8]) -> Cow<'_, [u8]> {
    renamed(elf).map_or(Cow::Borrowed(elf), Cow::Owned)
}

/// A section's header, and where it is.
#[derive(Clone, Copy)]
struct Header {
    at: usize,
    name: usize,
    offset: usize,
    size: usize,
    flags: u64,
}

/// `None` where nothing is to be renamed.
fn renamed(elf: &[u8]) -> Option<Vec<u8>> {
    // 64-bit, little-endian.
    if elf.get(4..6)? != [2, 1] {
        return None;
    }
    let headers = headers(elf)?;
    let names = *headers.get(usize::from(u16_at(elf, 0x3e)?))?;
    let name_of = |header: &Header| text_at(elf, names.offset + header.name);
    let to_rename = |header: &&Header| {
        header.flags & EXECUTABLE != 0
            && name_of(header).is_some_and(|name| is_of_chain(name) && !name.starts_with("classifier"))
    };
    let sections: Vec<(Header, &str)> =
        headers.iter().filter(to_rename).filter_map(|header| Some((*header, name_of(header)?))).collect();
    if sections.is_empty() {
        return None;
    }
    let mut changed = elf.to_vec();
    let mut strings = elf.get(names.offset..names.offset + names.size)?.to_vec();
    for (header, name) in &sections {
        put(&mut changed, header.at, strings.len())?;
        strings.extend(format!("classifier/{name}\0").bytes());
    }
    append(&mut changed, &names, &strings)?;
    let find = |name: &str| headers.iter().find(|header| name_of(header) == Some(name));
    if let (Some(types), Some(info)) = (find(".BTF"), find(".BTF.ext")) {
        let names: Vec<&str> = sections.iter().map(|(_, name)| *name).collect();
        rename_in_types(elf, &mut changed, [*types, *info], &names)?;
    }
    Some(changed)
}

fn headers(elf: &[u8]) -> Option<Vec<Header>> {
    let start = usize::try_from(u64_at(elf, 0x28)?).ok()?;
    let (size, count) = (usize::from(u16_at(elf, 0x3a)?), usize::from(u16_at(elf, 0x3c)?));
    let header = |index: usize| {
        let at = start.checked_add(index * size)?;
        // What is past the end of the file is found missing when it is read.
        let word = |offset| Some(usize::try_from(u64_at(elf, at + offset)?).ok()?.min(elf.len()));
        Some(Header { at, name: u32_at(elf, at)?, offset: word(24)?, size: word(32)?, flags: u64_at(elf, at + 8)? })
    };
    (0..count).map(header).collect()
}

/// Renames sections in `.BTF.ext` (Documentation/bpf/btf.rst of the kernel has its layout), whose names are in `.BTF`.
fn rename_in_types(elf: &[u8], changed: &mut Vec<u8>, [types, info]: [Header; 2], names: &[&str]) -> Option<()> {
    let mut content = elf.get(types.offset..types.offset + types.size)?.to_vec();
    let (header, strings, length) = (u32_at(&content, 4)?, u32_at(&content, 16)?, u32_at(&content, 20)?);
    let start = header + strings;
    // The strings come last, or they could not grow.
    content.truncate(start + length);
    let mut offsets = Vec::new();
    for name in names {
        offsets.push(content.len() - start);
        content.extend(format!("classifier/{name}\0").bytes());
    }
    let grown = content.len() - start;
    put(&mut content, 20, grown)?;
    let header = u32_at(elf, info.offset + 4)?;
    // Functions, lines, and relocations, which older compilers do not have.
    for field in [8, 16, 24].into_iter().filter(|field| *field < header) {
        let length = u32_at(elf, info.offset + field + 4)?;
        let start = info.offset + header + u32_at(elf, info.offset + field)?;
        if length == 0 {
            continue;
        }
        let record = u32_at(elf, start)?;
        let mut at = start + 4;
        while at < start + length {
            let name = text_at(&content, start_of_strings(&content)? + u32_at(elf, at)?)?;
            if let Some(index) = names.iter().position(|other| *other == name) {
                put(changed, at, offsets[index])?;
            }
            at += 8 + u32_at(elf, at + 4)?.checked_mul(record)?;
        }
    }
    append(changed, &types, &content)
}

fn start_of_strings(types: &[u8]) -> Option<usize> {
    Some(u32_at(types, 4)? + u32_at(types, 16)?)
}

/// Puts new content of a section at the end of the file.
fn append(elf: &mut Vec<u8>, header: &Header, content: &[u8]) -> Option<()> {
    elf.resize(elf.len().next_multiple_of(8), 0);
    let (offset, size) = (elf.len() as u64, content.len() as u64);
    elf.get_mut(header.at + 24..header.at + 32)?.copy_from_slice(&offset.to_le_bytes());
    elf.get_mut(header.at + 32..header.at + 40)?.copy_from_slice(&size.to_le_bytes());
    elf.extend_from_slice(content);
    Some(())
}

/// Writes a 32-bit word.
fn put(bytes: &mut [u8], at: usize, word: usize) -> Option<()> {
    bytes.get_mut(at..at + 4)?.copy_from_slice(&u32::try_from(word).ok()?.to_le_bytes());
    Some(())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?)).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The text that ends with a zero.
fn text_at(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRIDGE, CAPTURE, ROOT, in_section};
    use super::super::{Object, parse};
    use super::*;

    #[test]
    fn an_object_of_ours_stays_as_it_is() {
        for elf in [ROOT, BRIDGE, CAPTURE, &b""[..], &ROOT[..64], &BRIDGE[..BRIDGE.len() / 2]] {
            assert!(matches!(normal(elf), Cow::Borrowed(same) if same == elf));
        }
    }

    fn facts(object: &Object) -> (usize, usize, usize) {
        let function = object.functions.values().find(|function| function.name == "bridge").unwrap();
        (function.instructions.len(), function.func_info.len(), function.line_info.len())
    }

    #[test]
    fn programs_keep_their_types_and_lines_in_each_section_for_tc() {
        let (code, functions, lines) = facts(&parse("classifier", BRIDGE).unwrap());
        assert!(code > 100 && functions > 0 && lines > 0, "{code} {functions} {lines}");
        for section in ["tc", "tc/ingress", "tc/egress", "tcx/egress"] {
            let object = parse(section, &in_section(section)).unwrap();
            assert_eq!(facts(&object), (code, functions, lines), "{section}");
            assert_eq!(object.maps.len(), parse("classifier", BRIDGE).unwrap().maps.len());
        }
    }

    #[test]
    fn a_damaged_object_does_not_end_the_daemon() {
        let whole = in_section("tc");
        for length in (0..whole.len()).step_by(97) {
            let _ = normal(&whole[..length]);
        }
        for at in (0..whole.len()).step_by(13) {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = normal(&damaged);
        }
    }
}
