//! What an ELF object has, as far as a datapath's description refers to it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aya_obj::{EbpfSectionKind, Map, ParseError};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind, SymbolKind,
};

use super::aligned;

/// Sections of programs that can stand in a chain. What follows one of these after a `/` is a name.
const SECTIONS: [&str; 6] = ["tc", "tc/ingress", "tc/egress", "tcx/ingress", "tcx/egress", "classifier"];

/// Whether programs in `section` are for a chain: each other kind takes its verdict for something else.
pub fn is_of_chain(section: &str) -> bool {
    let is_named = |name: &str| section.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_named("classifier") || SECTIONS.contains(&section)
}

/// The sections, for messages.
pub fn sections_in_words() -> String {
    format!("{} or `classifier/NAME`", SECTIONS.map(|section| format!("`{section}`")).join(", "))
}

/// An object's contents by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Programs with their sections.
    pub programs: BTreeMap<String, String>,
    pub maps: BTreeSet<String>,
    /// Global variables with their sizes in bytes.
    pub globals: BTreeMap<String, u64>,
    /// Functions and variables that it uses and does not define.
    pub undefined: BTreeSet<String>,
    /// By program, the maps that it refers to, those of the functions that it calls included.
    pub refers: BTreeMap<String, BTreeSet<String>>,
}

impl Facts {
    /// `None` if `elf` is not an ELF object.
    pub fn of(elf: &[u8]) -> Option<Self> {
        let bytes = aligned(elf);
        let file = object::File::parse(&*bytes).ok()?;
        let mut facts = Self::default();
        for symbol in file.symbols() {
            if symbol.is_undefined() && symbol.is_global() {
                facts.undefined.extend(symbol.name().ok().map(str::to_owned));
                continue;
            }
            let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
            let (Ok(name), Some(section)) = (symbol.name(), section) else { continue };
            let Ok(section_name) = section.name() else { continue };
            if name.is_empty() {
                continue;
            }
            let is_data = [".rodata", ".data", ".bss"].iter().any(|prefix| section_name.starts_with(prefix));
            let is_map = section_name.starts_with("maps") || section_name.starts_with(".maps");
            if is_map && symbol.kind() == SymbolKind::Data {
                facts.maps.insert(name.to_owned());
            } else if is_data && symbol.kind() == SymbolKind::Data {
                facts.globals.insert(name.to_owned(), symbol.size());
            } else if section.kind() == SectionKind::Text
                && symbol.kind() == SymbolKind::Text
                && !section_name.starts_with(".text")
            {
                facts.programs.insert(name.to_owned(), section_name.to_owned());
            }
        }
        facts.refers = references(&file, &facts);
        Some(facts)
    }
}

/// The maps that each program refers to.
fn references(file: &object::File<'_>, facts: &Facts) -> BTreeMap<String, BTreeSet<String>> {
    // By section: where what is referred to. The functions that programs call are in a section of their own.
    let mut maps: HashMap<SectionIndex, Vec<(u64, String)>> = HashMap::new();
    let mut calls: HashMap<SectionIndex, Vec<(u64, SectionIndex)>> = HashMap::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let Ok(symbol) = file.symbol_by_index(symbol) else { continue };
            let name = symbol.name().unwrap_or_default();
            if facts.maps.contains(name) {
                maps.entry(section.index()).or_default().push((offset, name.to_owned()));
            } else if let Some(other) = symbol.section_index() {
                calls.entry(section.index()).or_default().push((offset, other));
            }
        }
    }
    let is_program = |symbol: &object::Symbol<'_, '_>| {
        symbol.kind() == SymbolKind::Text && symbol.name().is_ok_and(|name| facts.programs.contains_key(name))
    };
    let of_program = |symbol: object::Symbol<'_, '_>| {
        let (section, range) = (symbol.section_index()?, symbol.address()..symbol.address() + symbol.size());
        let own = maps.get(&section).into_iter().flatten().filter(|(offset, _)| range.contains(offset));
        let called = calls.get(&section).into_iter().flatten().filter(|(offset, _)| range.contains(offset));
        let called = called.flat_map(|(_, other)| maps.get(other).into_iter().flatten());
        let names = own.chain(called).map(|(_, name)| name.clone()).collect();
        Some((symbol.name().ok()?.to_owned(), names))
    };
    file.symbols().filter(is_program).filter_map(of_program).collect()
}

/// A map as an object declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredMap {
    pub name: String,
    /// One of `enum bpf_map_type`.
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    /// Ids of types in the object's BTF; 0 for none.
    pub key_type: u32,
    pub value_type: u32,
}

/// The maps that an object declares, those of its variables left out, by name.
///
/// # Errors
/// It is not an object that can be loaded.
pub fn declared_maps(elf: &[u8]) -> Result<Vec<DeclaredMap>, ParseError> {
    let object = aya_obj::Object::parse(&super::sections::normal(&aligned(elf)))?;
    let is_declared =
        |map: &(&String, &Map)| matches!(map.1.section_kind(), EbpfSectionKind::Maps | EbpfSectionKind::BtfMaps);
    let declared = |(name, map): (&String, &Map)| {
        let (key_type, value_type) = match map {
            Map::Btf(map) => (map.def.btf_key_type_id, map.def.btf_value_type_id),
            Map::Legacy(_) => (0, 0),
        };
        DeclaredMap {
            name: name.clone(),
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            key_type,
            value_type,
        }
    };
    let mut maps: Vec<DeclaredMap> = object.maps.iter().filter(is_declared).map(declared).collect();
    maps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRIDGE, CAPTURE, ROOT};
    use super::*;

    fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
        names.into_iter().map(String::as_str).collect()
    }

    #[test]
    fn what_an_object_uses_and_does_not_define_is_named() {
        let bytes = aligned(BRIDGE);
        let file = object::File::parse(&*bytes).unwrap();
        let (table, bridge) = (file.section_by_name(".symtab"), file.symbols().find(|s| s.name() == Ok("bridge")));
        let (at, _) = table.and_then(|table| table.file_range()).unwrap();
        // `st_shndx` of an `Elf64_Sym`, which has 24 bytes.
        let section = usize::try_from(at).unwrap() + bridge.unwrap().index().0 * 24 + 6;
        let mut without = BRIDGE.to_vec();
        without[section..section + 2].fill(0);
        assert!(Facts::of(BRIDGE).unwrap().undefined.is_empty());
        assert_eq!(names(&Facts::of(&without).unwrap().undefined), ["bridge"]);
    }

    #[test]
    fn an_object_has_programs_maps_and_globals() {
        for (elf, program, maps, globals) in [
            (ROOT, "root", &["key", "next", "resume"][..], &["PORT"][..]),
            (BRIDGE, "bridge", &["counters", "fdb", "flags", "next", "ports"], &["AGING", "ANY_FLAGS"]),
            (CAPTURE, "capture", &["BELL", "LANES", "RINGS", "next"], &["FLAGS", "MASK", "SNAPLEN"]),
        ] {
            let facts = Facts::of(elf).unwrap();
            assert_eq!(facts.programs, BTreeMap::from([(program.to_owned(), "classifier".to_owned())]));
            assert_eq!(names(&facts.maps), maps);
            for global in globals {
                assert!(facts.globals.contains_key(*global), "{global}: {facts:?}");
            }
        }
        assert_eq!(Facts::of(CAPTURE).unwrap().globals["MASK"], 8);
        for bytes in [&b""[..], b"\x7fELF", &[1, 2]] {
            assert_eq!(Facts::of(bytes), None);
        }
    }

    #[test]
    fn only_sections_for_tc_are_of_a_chain() {
        for section in SECTIONS.into_iter().chain(["classifier/marker"]) {
            assert!(is_of_chain(section), "{section}");
        }
        for section in
            ["xdp", "xdp.frags", "kprobe/x", "tcx", "tc/other", "classifiers", "cgroup_skb/ingress", "", "action"]
        {
            assert!(!is_of_chain(section), "{section}");
        }
    }
}
