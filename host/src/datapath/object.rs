//! From an ELF object to a loaded program: maps created or bound, constants set, instructions relocated.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use aya_obj::{EbpfSectionKind, Map, Object};
use polycube_layout::chain::NEXT;
use polycube_plugin_api::Count;

use super::{CubeMap, DatapathError};
use crate::sys::bpf::{self, MapShape};
use crate::wiring::{MapDescription, MapId};

/// A program in the kernel, with what must stay open for it to work.
pub struct Loaded {
    pub program: OwnedFd,
    /// The slot behind it. The kernel empties a `PROG_ARRAY` when its last user-space reference closes.
    pub next: OwnedFd,
    pub rodata: Option<OwnedFd>,
}

/// Whether the verifier may take read-only data for constant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rodata {
    /// Frozen: branches that it turns off are removed.
    Constant,
    /// The host changes it while the program runs.
    Variable,
}

/// Creates a map of a cube from the first object that declares it.
pub fn create_cube_map(id: &MapId, description: &MapDescription) -> Result<CubeMap, DatapathError> {
    let what = format!("cube `{}`", id.cube);
    for elf in &description.objects {
        let object = parse(&what, elf)?;
        let Some(declared) = object.maps.get(&id.name) else { continue };
        let mut shape = shape_of(declared);
        if let Some(value_size) = description.spec.value_size {
            shape.value_size = value_size;
        }
        match description.spec.count {
            Count::Declared => {}
            Count::Entries(count) => shape.max_entries = count,
            Count::PerCpu => shape.max_entries = cpus(),
        }
        let fd = create(&what, &id.name, shape)?;
        let MapShape { key_size, value_size, max_entries, .. } = shape;
        return Ok(CubeMap { fd, key_size, value_size, max_entries });
    }
    Err(DatapathError::Incomplete { what, missing: format!("map `{}`", id.name) })
}

/// Loads the program `entry` of `elf`; `shared` are maps to bind, by name, and every other map is created.
pub fn load<'a>(
    what: &str,
    elf: &[u8],
    entry: &str,
    constants: impl Iterator<Item = (&'a str, &'a [u8])>,
    shared: &HashMap<&str, RawFd>,
    rodata: Rodata,
) -> Result<Loaded, DatapathError> {
    let mut object = parse(what, elf)?;
    object
        .patch_map_data(constants.map(|(name, bytes)| (name, (bytes, true))).collect())
        .map_err(|source| DatapathError::Object { what: what.to_owned(), source })?;
    let declared: Vec<(String, Map)> = object.maps.drain().collect();
    let mut own = HashMap::new();
    for (name, map) in &declared {
        if !shared.contains_key(name.as_str()) {
            own.insert(name.as_str(), create_own(what, name, map, rodata)?);
        }
    }
    let fd_of = |name: &str| shared.get(name).copied().or_else(|| Some(own.get(name)?.as_raw_fd()));
    let bound = declared.iter().filter_map(|(name, map)| Some((name.as_str(), fd_of(name)?, map)));
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let relocation = |source| DatapathError::Relocation { what: what.to_owned(), source };
    object.relocate_maps(bound, &text).map_err(relocation)?;
    object.relocate_calls(&text).map_err(relocation)?;

    let incomplete = |missing: String| DatapathError::Incomplete { what: what.to_owned(), missing };
    let program = object.programs.get(entry).ok_or_else(|| incomplete(format!("program `{entry}`")))?;
    let function = object.functions.get(&program.function_key());
    let function = function.ok_or_else(|| incomplete(format!("code for `{entry}`")))?;
    let loaded = bpf::load_classifier(entry, &function.instructions, &object.license)
        .map_err(|source| DatapathError::Refused { what: what.to_owned(), source })?;
    let next = own.remove(NEXT).ok_or_else(|| incomplete(format!("map `{NEXT}`")))?;
    Ok(Loaded { program: loaded, next, rodata: own.remove(".rodata") })
}

fn parse(what: &str, elf: &[u8]) -> Result<Object, DatapathError> {
    Object::parse(&aligned(elf)).map_err(|source| DatapathError::Object { what: what.to_owned(), source })
}

/// The ELF reader casts the bytes to structures, so they have to lie on a word's boundary.
fn aligned(elf: &[u8]) -> Cow<'_, [u8]> {
    if elf.as_ptr().addr().is_multiple_of(8) {
        return Cow::Borrowed(elf);
    }
    // The allocator aligns whatever is larger than a word or two.
    Cow::Owned(elf.to_vec())
}

fn create_own(what: &str, name: &str, map: &Map, rodata: Rodata) -> Result<OwnedFd, DatapathError> {
    let fd = create(what, name, shape_of(map))?;
    let write = |source| DatapathError::WriteMap { what: what.to_owned(), name: name.to_owned(), source };
    match map.section_kind() {
        EbpfSectionKind::Data | EbpfSectionKind::Bss => bpf::map_update(fd.as_fd(), 0, map.data()).map_err(write)?,
        EbpfSectionKind::Rodata => {
            bpf::map_update(fd.as_fd(), 0, map.data()).map_err(write)?;
            if rodata == Rodata::Constant {
                bpf::map_freeze(fd.as_fd()).map_err(write)?;
            }
        }
        _ => {}
    }
    Ok(fd)
}

fn create(what: &str, name: &str, shape: MapShape) -> Result<OwnedFd, DatapathError> {
    bpf::map_create(name, shape).map_err(|source| DatapathError::CreateMap {
        what: what.to_owned(),
        name: name.to_owned(),
        bytes: u64::from(shape.value_size) * u64::from(shape.max_entries),
        source,
    })
}

fn shape_of(map: &Map) -> MapShape {
    MapShape {
        map_type: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
    }
}

/// CPUs that the machine can have.
fn cpus() -> u32 {
    aya::util::nr_cpus().map_or(1, |count| count as u32)
}
