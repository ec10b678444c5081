//! From an ELF object to a loaded program: maps created or bound, constants set, instructions relocated.

mod declared;
mod facts;
mod own;
mod sections;
#[cfg(test)]
mod tests;
mod types;
mod wrap;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use aya_obj::generated::{BPF_DW, BPF_IMM, BPF_LD, BPF_PSEUDO_MAP_FD, bpf_map_type};
use aya_obj::obj::copy_instructions;
use aya_obj::{EbpfSectionKind, Map, Object};
use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_plugin_api::{Count, InnerMap, MapKind, MapSpec};

pub use facts::{DeclaredMap, Facts, declared_maps, is_of_chain, sections_in_words};
pub use own::empty_slot;

use crate::bpf::{self, MapShape, MapTypes, ProgramRefused};
use crate::error::LoadError;
use crate::map::CubeMap;
use declared::declared;
use own::RODATA;
use types::{Types, relocate_to_kernel};

/// First bytes of an ELF file.
const ELF: &[u8] = b"\x7fELF";

/// Opcode of the load of a 64-bit immediate.
const LOAD_IMMEDIATE: u8 = (BPF_LD | BPF_IMM | BPF_DW) as u8;

/// A map with one slot for a program.
const SLOT: MapShape = MapShape {
    map_type: bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32,
    key_size: 4,
    value_size: 4,
    max_entries: 1,
    flags: 0,
};

/// A program in the kernel, with what must stay open for it to work.
pub struct Loaded {
    pub program: OwnedFd,
    /// The slot of the next program. The kernel empties a `PROG_ARRAY` when its last user-space reference closes.
    pub next: OwnedFd,
    /// The slot of its cube's next stage.
    pub accept: Option<OwnedFd>,
    pub rodata: Option<OwnedFd>,
    /// Its maps of programs that it jumps to, by name.
    pub jumps: Vec<(String, OwnedFd)>,
}

/// A map through which a program jumps to others of its cube.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpTable {
    /// Name in the objects.
    pub map: String,
    pub targets: Vec<JumpTarget>,
}

/// A program to jump to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpTarget {
    pub index: u32,
    pub object: Arc<[u8]>,
    pub entry: String,
    pub constants: Vec<(String, Vec<u8>)>,
}

/// Whether the verifier may take read-only data for constant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rodata {
    /// Frozen: branches that it turns off are removed.
    Constant,
    /// The host changes it while the program runs.
    Variable,
}

/// What a map of a cube is to be created as: sizes from its description, the rest from whichever object declares it.
///
/// # Errors
/// Nothing declares it, or an object cannot be read.
pub fn shape_of_cube_map(what: &str, spec: &MapSpec, objects: &[Arc<[u8]>]) -> Result<MapShape, LoadError> {
    let mut shape = match spec.kind {
        Some(MapKind { map_type, key_size, flags }) => {
            MapShape { map_type, key_size, value_size: 0, max_entries: 0, flags }
        }
        None => declared(what, &spec.name, objects)?,
    };
    if let Some(value_size) = spec.value_size {
        shape.value_size = value_size;
    }
    match spec.count {
        Count::Declared => {}
        Count::Entries(count) => shape.max_entries = count,
        Count::PerCpu => shape.max_entries = cpus(),
    }
    Ok(shape)
}

/// Creates the map `spec` of a cube, with the types that an object declares for it.
///
/// # Errors
/// What the kernel says.
pub fn create_cube_map(
    what: &str,
    spec: &MapSpec,
    shape: MapShape,
    objects: &[Arc<[u8]>],
) -> Result<CubeMap, LoadError> {
    let name = spec.name.as_str();
    let fd = match (spec.inner, typed(what, name, shape, objects)) {
        (Some(inner), _) => create_map_of_maps(what, name, shape, inner),
        (None, Some((types, map))) => create(what, name, shape, types.of_map(name, &map)),
        (None, None) => create(what, name, shape, None),
    }?;
    let (kernel_id, _) = bpf::map_info(fd.as_fd()).map_err(|source| refused(what, name, shape, source))?;
    Ok(CubeMap::new(fd, kernel_id, shape))
}

/// Creates a map of maps, from an example of what it is to hold.
fn create_map_of_maps(what: &str, name: &str, shape: MapShape, inner: InnerMap) -> Result<OwnedFd, LoadError> {
    let InnerMap { kind: MapKind { map_type, key_size, flags }, value_size } = inner;
    let example = create(what, name, MapShape { map_type, key_size, value_size, max_entries: 1, flags }, None)?;
    bpf::map_of_maps_create(name, shape, example.as_fd()).map_err(|source| refused(what, name, shape, source))
}

/// The types of the map called `name`, if the object that declares it has some, and the map has the shape that it declares.
fn typed(what: &str, name: &str, shape: MapShape, objects: &[Arc<[u8]>]) -> Option<(Types, Map)> {
    // What cannot be parsed is refused when its programs are loaded.
    let parsed = objects.iter().filter(|object| object.starts_with(ELF)).filter_map(|elf| parse(what, elf).ok());
    let mut object = { parsed }.find(|object| object.maps.contains_key(name))?;
    let fits = |map: &Map| {
        let declared = shape_of(map);
        matches!(map, Map::Btf(_))
            && (declared.map_type, declared.key_size, declared.value_size)
                == (shape.map_type, shape.key_size, shape.value_size)
    };
    let map = object.maps.get(name).filter(|map| fits(map)).cloned()?;
    let types = guarded(what, || Ok(Types::load(what, &mut object, None))).ok().flatten();
    Some((types?, map))
}

/// Where a program stands among those of its cube.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In a chain, as the last of its cube there.
    Last,
    /// In a chain, with another stage of its cube after it.
    Followed,
    /// Behind a tail call of another program, whose verdict its own is.
    Target,
}

/// A program of an ELF object, and what it is loaded with.
pub struct Entry<'a> {
    pub elf: &'a [u8],
    pub name: &'a str,
    /// Globals to set, by name.
    pub constants: Vec<(&'a str, &'a [u8])>,
    pub standing: Standing,
}

/// Loads a program; `shared` are maps to bind, by name, and every other map is created.
///
/// # Errors
/// What is wrong with the object, or what the kernel says.
pub fn load(what: &str, entry: Entry<'_>, shared: &HashMap<&str, RawFd>, rodata: Rodata) -> Result<Loaded, LoadError> {
    load_jumping(what, entry, shared, rodata, &[])
}

/// Loads a program and those that it jumps to.
///
/// The targets have the program's own slots, so that each of them goes on where the program would, wherever it stands, and
/// keeps its place in the chain when the slots change.
///
/// # Errors
/// What is wrong with an object, or what the kernel says.
pub fn load_jumping(
    what: &str,
    entry: Entry<'_>,
    shared: &HashMap<&str, RawFd>,
    rodata: Rodata,
    jumps: &[JumpTable],
) -> Result<Loaded, LoadError> {
    let (elf, standing) = (entry.elf, entry.standing);
    let (program, mut own) = guarded(what, || assemble(what, entry, shared, rodata))?;
    let incomplete = |missing: String| LoadError::Incomplete { what: what.to_owned(), missing };
    let next = own.remove(NEXT).ok_or_else(|| incomplete(format!("map `{NEXT}`")))?;
    let accept = own.remove(ACCEPT);
    // The verdict of what replaces a wrapped program comes to the instructions around it.
    let is_wrapped = !jumps.is_empty() && !parse(what, elf)?.maps.contains_key(NEXT);
    let standing = if is_wrapped { Standing::Target } else { standing };
    let mut tables = Vec::new();
    for JumpTable { map, .. } in jumps {
        let table = own.remove(map.as_str()).ok_or_else(|| incomplete(format!("map `{map}`")))?;
        tables.push((map.clone(), table));
    }
    let mut bound = shared.clone();
    bound.insert(NEXT, next.as_raw_fd());
    bound.extend(accept.iter().map(|accept| (ACCEPT, accept.as_raw_fd())));
    bound.extend(tables.iter().map(|(map, table)| (map.as_str(), table.as_raw_fd())));
    for (JumpTable { map, targets }, (_, table)) in jumps.iter().zip(&tables) {
        for JumpTarget { index, object, entry, constants } in targets {
            let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            let target = Entry { elf: object, name: entry, constants, standing };
            let (target, _) = guarded(what, || assemble(what, target, &bound, Rodata::Constant))?;
            bpf::map_update(table.as_fd(), *index, &target.as_raw_fd().to_ne_bytes())
                .map_err(|source| LoadError::WriteMap { what: what.to_owned(), name: map.clone(), source })?;
        }
    }
    let loaded = Loaded { program, next, accept, rodata: own.remove(RODATA), jumps: tables };
    loaded.bind().map_err(|source| LoadError::Bind { what: what.to_owned(), source })?;
    Ok(loaded)
}

/// Loads a program that others reach with a tail call, and no chain leads to.
///
/// # Errors
/// What is wrong with the object, or what the kernel says.
pub fn load_target(
    what: &str,
    elf: &[u8],
    name: &str,
    constants: &[(String, Vec<u8>)],
    shared: &HashMap<&str, RawFd>,
) -> Result<OwnedFd, LoadError> {
    let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let entry = Entry { elf, name, constants, standing: Standing::Target };
    Ok(guarded(what, || assemble(what, entry, shared, Rodata::Constant))?.0)
}

/// A program in the kernel, and the maps that were created for it.
fn assemble(
    what: &str,
    Entry { elf, name: entry, constants, standing }: Entry<'_>,
    shared: &HashMap<&str, RawFd>,
    rodata: Rodata,
) -> Result<(OwnedFd, HashMap<String, OwnedFd>), LoadError> {
    let mut object = parse(what, elf)?;
    object
        .patch_map_data(constants.into_iter().map(|(name, bytes)| (name, (bytes, true))).collect())
        .map_err(|source| LoadError::Object { what: what.to_owned(), source })?;
    relocate_to_kernel(what, &mut object)?;
    let is_wrapped = standing != Standing::Target && !object.maps.contains_key(NEXT);
    let types = Types::load(what, &mut object, is_wrapped.then_some(entry));
    let declared: Vec<(String, Map)> = object.maps.drain().collect();
    let mut own = HashMap::new();
    for (name, map) in &declared {
        if !shared.contains_key(name.as_str()) {
            let types = types.as_ref().and_then(|types| types.of_map(name, map));
            own.insert(name.clone(), create_own(what, name, map, (rodata, types))?);
        }
    }
    let fd_of = |name: &str| shared.get(name).copied().or_else(|| Some(own.get(name)?.as_raw_fd()));
    let bound = declared.iter().filter_map(|(name, map)| Some((name.as_str(), fd_of(name)?, map)));
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let relocation = |source| LoadError::Relocation { what: what.to_owned(), source };
    object.relocate_maps(bound, &text).map_err(relocation)?;
    object.relocate_calls(&text).map_err(relocation)?;

    let incomplete = |missing: String| LoadError::Incomplete { what: what.to_owned(), missing };
    let program = object.programs.get(entry).ok_or_else(|| incomplete(format!("program `{entry}`")))?;
    let function = object.functions.get_mut(&program.function_key());
    let function = function.ok_or_else(|| incomplete(format!("code for `{entry}`")))?;
    if is_wrapped {
        if wrap::makes_tail_calls(&function.instructions) && function.func_info.len() == 0 {
            return Err(LoadError::Untyped { program: entry.to_owned(), what: what.to_owned() });
        }
        let slots = if standing == Standing::Followed { &[ACCEPT, NEXT][..] } else { &[NEXT] };
        let mut fds = Vec::new();
        for slot in slots {
            if let Some(fd) = shared.get(slot) {
                fds.push(*fd);
                continue;
            }
            let fd = create(what, slot, SLOT, None)?;
            fds.push(fd.as_raw_fd());
            own.insert((*slot).to_owned(), fd);
        }
        wrap::wrap(function, &fds).map_err(|source| LoadError::Object { what: what.to_owned(), source })?;
    }
    let types = types.as_ref().map(|types| types.of_program(function));
    let loaded = bpf::load_classifier(entry, &function.instructions, &object.license, types.as_ref())
        .map_err(|source| refused_program(entry, what, source))?;
    Ok((loaded, own))
}

/// Loads finished instructions; `places` are the loads that refer to maps, and `shared` the maps that are not the
/// program's own slots.
///
/// # Errors
/// What is wrong with the instructions, or what the kernel says.
pub fn load_instructions(
    what: &str,
    code: &[u8],
    places: &[(usize, String)],
    shared: &HashMap<&str, RawFd>,
) -> Result<Loaded, LoadError> {
    let incomplete = |missing: String| LoadError::Incomplete { what: what.to_owned(), missing };
    let mut instructions =
        copy_instructions(code).map_err(|source| LoadError::Object { what: what.to_owned(), source })?;
    let mut own: HashMap<&str, OwnedFd> = HashMap::new();
    for slot in [NEXT, ACCEPT].into_iter().filter(|slot| places.iter().any(|(_, name)| name == slot)) {
        own.insert(slot, create(what, slot, SLOT, None)?);
    }
    for (index, name) in places {
        let own = own.get(name.as_str()).map(std::os::fd::AsRawFd::as_raw_fd);
        let fd = own.or_else(|| shared.get(name.as_str()).copied());
        let fd = fd.ok_or_else(|| incomplete(format!("map `{name}`")))?;
        let load = instructions.get_mut(*index).filter(|load| load.code == LOAD_IMMEDIATE);
        let load = load.ok_or_else(|| incomplete(format!("load of map `{name}` at instruction {index}")))?;
        load.set_src_reg(BPF_PSEUDO_MAP_FD as u8);
        load.imm = fd;
    }
    let loaded = bpf::load_classifier("filter", &instructions, c"Dual MIT/GPL", None)
        .map_err(|source| refused_program("filter", what, source))?;
    let next = own.remove(NEXT).ok_or_else(|| incomplete(format!("map `{NEXT}`")))?;
    Ok(Loaded { program: loaded, next, accept: own.remove(ACCEPT), rodata: None, jumps: Vec::new() })
}

/// Loads a program that ends its chain, like an empty slot.
///
/// # Errors
/// What the kernel says.
pub fn load_end() -> Result<OwnedFd, LoadError> {
    // r0 = TCX_NEXT · exit (include/uapi/linux/bpf.h).
    let code: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
    let code = code.map(u64::to_ne_bytes).concat();
    let what = || "the end of chains".to_owned();
    let code = copy_instructions(&code).map_err(|source| LoadError::Object { what: what(), source })?;
    bpf::load_classifier("end", &code, c"Dual MIT/GPL", None).map_err(|source| refused_program("end", &what(), source))
}

/// Loads a program that goes on with the one in `next`, the slot of another program, or ends its chain if that is empty: a
/// packet that is sent to it continues after that other program.
///
/// # Errors
/// What the kernel says.
pub fn load_after(what: &str, next: BorrowedFd<'_>) -> Result<OwnedFd, LoadError> {
    let code = copy_instructions(&wrap::after(next.as_raw_fd()));
    let code = code.map_err(|source| LoadError::Object { what: what.to_owned(), source })?;
    bpf::load_classifier("after", &code, c"Dual MIT/GPL", None).map_err(|source| refused_program("after", what, source))
}

fn parse(what: &str, elf: &[u8]) -> Result<Object, LoadError> {
    let refused = |source| LoadError::Object { what: what.to_owned(), source };
    guarded(what, || Object::parse(&sections::normal(&aligned(elf))).map_err(refused))
}

/// Runs what reads an object. The ELF reader panics at some malformed ones, and no file may end a daemon.
fn guarded<T>(what: &str, body: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    let malformed = |_| Err(LoadError::Malformed { what: what.to_owned() });
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(malformed)
}

/// The ELF reader casts the bytes to structures, so they have to lie on a word's boundary.
fn aligned(elf: &[u8]) -> Cow<'_, [u8]> {
    if elf.as_ptr().addr().is_multiple_of(8) {
        return Cow::Borrowed(elf);
    }
    // The allocator aligns whatever is larger than a word or two.
    Cow::Owned(elf.to_vec())
}

fn refused_program(program: &str, what: &str, source: ProgramRefused) -> LoadError {
    LoadError::Refused { program: program.to_owned(), what: what.to_owned(), source }
}

fn create_own(
    what: &str,
    name: &str,
    map: &Map,
    (rodata, types): (Rodata, Option<MapTypes<'_>>),
) -> Result<OwnedFd, LoadError> {
    let fd = create(what, name, shape_of(map), types)?;
    let write = |source| LoadError::WriteMap { what: what.to_owned(), name: name.to_owned(), source };
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

fn create(what: &str, name: &str, shape: MapShape, types: Option<MapTypes<'_>>) -> Result<OwnedFd, LoadError> {
    bpf::map_create(name, shape, types).map_err(|source| refused(what, name, shape, source))
}

fn refused(what: &str, name: &str, shape: MapShape, source: io::Error) -> LoadError {
    let bytes = u64::from(shape.value_size) * u64::from(shape.max_entries);
    LoadError::CreateMap { what: what.to_owned(), name: name.to_owned(), bytes, source }
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
pub fn cpus() -> u32 {
    aya::util::nr_cpus().map_or(1, |count| count as u32)
}
