//! Services from eBPF objects: a manifest says what would otherwise be a plugin's code.
//!
//! It is a part of the host and not a plugin that is given a file. A plugin is one service with one schema, and the border
//! knows neither files nor several services in a library: a plugin for objects would need a border of its own for what are
//! values here. What an object becomes is what a plugin becomes, a [`ServiceSchema`] and cubes behind the same border
//! ([`CubeHandle`]), so that nothing above knows the difference: the same checks, turns, changes, pins and restarts.
//!
//! `files` reads both files, `manifest` what people write, `btf` what the compiler writes. `schema` connects leaves and lists
//! to globals and maps, with `fit` deciding which types go together. `cube` does at each change and read what was found then,
//! with `slot` for values, `entries` for the contents of maps.

mod btf;
mod cube;
mod entries;
mod fault;
mod files;
mod fit;
mod keywords;
mod manifest;
mod map;
mod schema;
mod slot;
#[cfg(test)]
mod tests;
mod twice;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::{Object as _, ObjectSection as _};
use polycube_layout::chain::PORTS;
use polycube_loader::object::{DeclaredMap, Facts, declared_maps, is_of_chain};
use polycube_plugin_api::{Direction, ServiceKind, ServiceSchema, keyword};
use serde_json::Value;

pub(super) use cube::create;
pub(crate) use fault::Fault;
pub(crate) use files::FileError;
pub(crate) use manifest::Malformed;

use super::{LoadError, cut};
use btf::Types;
use files::Files;
use manifest::{Hook, Manifest};
use map::{ObjectMap as _, Use};
use schema::{Bindings, Contents};

/// The section of an object that can have the manifest.
const SECTION: &str = ".polycube";

/// Everything that cubes of an object have in common.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The object's bytes as they were read.
    elf: Arc<[u8]>,
    kind: ServiceKind,
    hooks: Vec<Hook>,
    /// Maps of the cube: all but those of the chain and of `jumps`.
    maps: Vec<String>,
    /// By map: the program in each slot, of an object that knows nothing of chains.
    tail_calls: BTreeMap<String, Vec<Option<String>>>,
    /// The same of an object whose programs make their way through the chain themselves. What they jump to needs the slots of
    /// the program that jumps, so that each has such maps of its own.
    jumps: BTreeMap<String, Vec<Option<String>>>,
    bindings: Bindings,
}

impl Definition {
    pub(super) fn stands(&self, direction: Direction) -> bool {
        self.hooks.iter().any(|hook| hook.direction == direction)
    }
}

/// A service that an object and its manifest describe.
pub(super) struct Described {
    /// Of the object.
    pub path: PathBuf,
    /// Of the manifest, unless the object has it.
    pub manifest: Option<PathBuf>,
    pub service: ServiceSchema,
    pub definition: Arc<Definition>,
}

/// Reads the object `uri` of a plugin directory and its manifest, as a service called `name`.
///
/// # Errors
/// What is wrong with one of the files, and what to do.
pub(super) fn read(directories: &[PathBuf], uri: &str, name: &str) -> Result<Described, LoadError> {
    let Files { path, object, manifest } = files::read(directories, uri)?;
    let file = path.display().to_string();
    let in_file = |file: &str, fault| LoadError::Object { file: file.to_owned(), fault: Box::new(fault) };
    check_elf(&object).map_err(|fault| in_file(&file, fault))?;
    let beside = manifest.as_ref().map(|(beside, _)| beside.clone());
    let parsed = match manifest {
        Some((file, text)) => Manifest::parse(&text).map_err(|source| LoadError::Manifest { file, source })?,
        None => in_section(&path, &object).map_err(|fault| in_file(&file, fault))?,
    };
    let of_manifest = beside.as_ref().unwrap_or(&file);
    let at_fault = |fault: Fault| in_file(if fault.is_of_manifest() { of_manifest } else { &file }, fault);
    let (service, definition) = make(name, &object, parsed).map_err(at_fault)?;
    Ok(Described { path, manifest: beside.map(PathBuf::from), service, definition: Arc::new(definition) })
}

/// Checks that the bytes are an object for BPF and for this machine.
fn check_elf(bytes: &[u8]) -> Result<(), Fault> {
    const BIG: u8 = 2;
    const BPF: u16 = 247;
    if !bytes.starts_with(cut::MAGIC) {
        return Err(Fault::NotElf);
    }
    if bytes.len() < cut::HEADER {
        return Err(Fault::Cut);
    }
    if bytes[5] == BIG {
        return Err(Fault::BigEndian);
    }
    if words::u16_at(bytes, 18) != Some(BPF) {
        return Err(Fault::Machine);
    }
    if cut::ends_early(bytes, bytes.len() as u64) {
        return Err(Fault::Cut);
    }
    Ok(())
}

fn section(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let file = object::File::parse(bytes).ok()?;
    Some(file.section_by_name(name)?.data().ok()?.to_vec())
}

/// The manifest in the object itself.
fn in_section(path: &Path, object: &[u8]) -> Result<Manifest, Fault> {
    let beside = || Fault::NoManifest { file: path.with_extension("json").display().to_string() };
    let text = section(object, SECTION).ok_or_else(beside)?;
    let text = String::from_utf8(text).map_err(|_| Fault::NotText)?;
    Manifest::parse(text.trim_end_matches('\0')).map_err(Fault::Section)
}

fn contents(object: &[u8]) -> Result<Contents, Fault> {
    let types = section(object, ".BTF");
    if types.is_none() && section(object, ".maps").is_some() {
        return Err(Fault::NoTypes);
    }
    let maps = declared_maps(object)?;
    let facts = Facts::of(object).ok_or(Fault::NotElf)?;
    if let Some(name) = facts.undefined.first() {
        return Err(Fault::Undefined { name: name.clone() });
    }
    let types = types.and_then(|btf| Types::parse(&btf));
    Ok(Contents { facts, maps, types })
}

/// Makes a service of a manifest and the object that it is for. The ELF reader panics at some malformed objects.
fn make(name: &str, object: &[u8], manifest: Manifest) -> Result<(ServiceSchema, Definition), Fault> {
    let body = || define(name, object, manifest, &contents(object)?);
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(Fault::Malformed))
}

fn define(
    name: &str,
    object: &[u8],
    manifest: Manifest,
    contents: &Contents,
) -> Result<(ServiceSchema, Definition), Fault> {
    let Manifest { description, version, kind, hooks, mut config, mut state, tail_calls } = manifest;
    check_hooks(&hooks, &contents.facts)?;
    check_maps(contents, kind, &tail_calls)?;
    let bindings = schema::bind(contents, &mut config, &mut state)?;
    name_metrics(&mut state, &name.replace(['-', '.'], "_"));
    let is_in_chain = contents.maps.iter().any(DeclaredMap::is_of_chain);
    let (tail_calls, jumps) = if is_in_chain { (BTreeMap::new(), tail_calls) } else { (tail_calls, BTreeMap::new()) };
    let is_own = |map: &&DeclaredMap| !map.is_of_chain() && !map.is_of_log() && !jumps.contains_key(&map.name);
    let maps = contents.maps.iter().filter(is_own).map(|map| map.name.clone()).collect();
    let definition = Definition { elf: Arc::from(object), kind, hooks, maps, tail_calls, jumps, bindings };
    let service = ServiceSchema { description, version, ..ServiceSchema::new(name, kind, config, state) };
    Ok((service, definition))
}

fn check_hooks(hooks: &[Hook], facts: &Facts) -> Result<(), Fault> {
    if hooks.is_empty() {
        return Err(Fault::NoHooks);
    }
    for (index, Hook { program, direction, stage }) in hooks.iter().enumerate() {
        let (hook, program) = (index, program.clone());
        let Some(section) = facts.programs.get(&program) else {
            return Err(Fault::NoProgram { hook, program, programs: facts.programs.keys().cloned().collect() });
        };
        if !is_of_chain(section) {
            return Err(Fault::ProgramSection { hook, program, section: section.clone() });
        }
        let is_same = |other: &Hook| (other.direction, other.stage) == (*direction, *stage);
        if let Some(first) = hooks[..index].iter().position(is_same) {
            return Err(Fault::Twice { hook, first });
        }
    }
    Ok(())
}

fn check_maps(
    Contents { facts, maps, .. }: &Contents,
    kind: ServiceKind,
    tail_calls: &BTreeMap<String, Vec<Option<String>>>,
) -> Result<(), Fault> {
    for map in maps.iter().filter(|map| !map.is_of_log()) {
        let (name, purpose) = (map.name.clone(), map.purpose());
        if map.is_of_chain() {
            if purpose != Use::Calls || map.max_entries != 1 {
                return Err(Fault::ChainMap { map: name });
            }
        } else if purpose == Use::None {
            return Err(Fault::MapKind { map: name, kind: map.kind().to_owned() });
        } else if purpose == Use::Calls && !tail_calls.contains_key(&name) {
            return Err(Fault::Unfilled { map: name });
        }
    }
    let is_table = |map: &&DeclaredMap| {
        (map.name.as_str(), map.kind(), map.key_size, map.value_size) == (PORTS, "ARRAY", 4, 4)
            && map.max_entries >= fault::LEAST_PORTS
    };
    if kind == ServiceKind::Standard && !maps.iter().any(|map| is_table(&map)) {
        return Err(Fault::NoPorts);
    }
    check_calls(facts, maps, tail_calls)
}

fn check_calls(
    facts: &Facts,
    maps: &[DeclaredMap],
    tail_calls: &BTreeMap<String, Vec<Option<String>>>,
) -> Result<(), Fault> {
    let arrays: Vec<&DeclaredMap> =
        maps.iter().filter(|map| map.purpose() == Use::Calls && !map.is_of_chain()).collect();
    for (name, slots) in tail_calls {
        let map = name.clone();
        let Some(array) = arrays.iter().find(|map| map.name == *name) else {
            return Err(Fault::NoCalls { map, maps: arrays.iter().map(|map| map.name.clone()).collect() });
        };
        if slots.len() > array.max_entries as usize {
            return Err(Fault::CallCount { map, given: slots.len(), room: array.max_entries });
        }
        let is_target = |program: &&String| facts.programs.get(*program).is_some_and(|section| is_of_chain(section));
        if let Some(program) = slots.iter().flatten().find(|program| !is_target(program)) {
            let programs: BTreeSet<String> = facts.programs.keys().filter(|name| is_target(name)).cloned().collect();
            let programs = programs.into_iter().collect();
            return Err(Fault::NoTarget { map, program: program.clone(), programs });
        }
    }
    Ok(())
}

/// Puts the service's name before those of metrics: the same object can be several services.
fn name_metrics(node: &mut Value, service: &str) {
    let Value::Object(members) = node else { return };
    if let Some(Value::String(name)) = members.get_mut(keyword::METRIC).and_then(|metric| metric.get_mut("name")) {
        *name = format!("{service}_{name}");
    }
    members
        .iter_mut()
        .filter(|(name, _)| *name != keyword::METRIC)
        .for_each(|(_, member)| name_metrics(member, service));
}
