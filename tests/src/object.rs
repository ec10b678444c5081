//! From a committed object to a loaded program.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::{EbpfSectionKind, Map, Object};

use crate::bpf::{self, Shape};

/// A program with its maps.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub program: OwnedFd,
    /// Its maps, by name.
    pub maps: HashMap<String, OwnedFd>,
}

/// Loads `entry` of `elf` with constants of eight bytes at most. `shape` may change the object's definition of a map.
///
/// # Errors
/// The object is invalid, or the kernel's reason.
pub fn load(elf: &[u8], entry: &str, constants: &[(&str, &[u8])], shape: impl Fn(&str, &mut Shape)) -> Result<Loaded> {
    // Nothing is put into slots.
    let inner = Shape { map_type: bpf::ARRAY, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
    load_with_slots(elf, entry, constants, shape, inner)
}

/// The same with maps of maps that can hold such as `inner`.
///
/// # Errors
/// As [`load`].
pub fn load_with_slots(
    elf: &[u8],
    entry: &str,
    constants: &[(&str, &[u8])],
    shape: impl Fn(&str, &mut Shape),
    inner: Shape,
) -> Result<Loaded> {
    // The parser requires 8-byte alignment, which the allocator provides.
    let aligned = elf.to_vec();
    let mut object = Object::parse(&aligned)?;
    object.patch_map_data(constants.iter().map(|&(name, bytes)| (name, (bytes, true))).collect())?;
    let declared = object.maps.drain().collect::<Vec<(String, Map)>>();
    let mut maps = HashMap::new();
    for (name, map) in &declared {
        let mut wanted = Shape {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        };
        shape(name, &mut wanted);
        let fd = match wanted.map_type {
            bpf::ARRAY_OF_MAPS => bpf::create(Shape { max_entries: 1, ..inner })
                .and_then(|example| bpf::create_slots(wanted, example.as_fd())),
            _ => bpf::create(wanted),
        };
        let fd = fd.with_context(|| format!("map {name}"))?;
        if map.section_kind() == EbpfSectionKind::Rodata {
            bpf::update(fd.as_fd(), &0_u32.to_ne_bytes(), map.data())?;
            bpf::freeze(fd.as_fd())?;
        }
        maps.insert(name.clone(), fd);
    }
    let bound = declared.iter().map(|(name, map)| (name.as_str(), maps[name].as_raw_fd(), map));
    let text = object.functions.keys().map(|(section, _)| *section).collect::<HashSet<_>>();
    object.relocate_maps(bound, &text)?;
    object.relocate_calls(&text)?;
    let program = object.programs.get(entry).with_context(|| format!("no program {entry}"))?;
    let function = object.functions.get(&program.function_key()).with_context(|| format!("no code for {entry}"))?;
    let program = bpf::load(&function.instructions, &object.license).with_context(|| format!("program {entry}"))?;
    Ok(Loaded { program, maps })
}
