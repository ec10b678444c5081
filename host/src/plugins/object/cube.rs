//! A cube of an object, behind the same border as a plugin's.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RStr, RString, RVec};
use polycube_loader::object::load_target;
use polycube_plugin_api::abi::{Answer, CubeAbi, CubeAbi_TO, CubeHandle, DatapathText, HostHandle, MapHandle};
use polycube_plugin_api::{
    Code, Count, Datapath, Jumps, Level, MapSpec, Point, Program, Refusal, ServiceKind, Tag, Target, Wanted,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Definition;
use super::entries::Entries;
use super::map::MapShape;
use crate::sys::bpf::{self, Elements};

/// Makes a cube; `info` is what plugins get, too.
pub(in crate::plugins) fn create(definition: &Arc<Definition>, info: &str, host: HostHandle) -> Answer<CubeHandle> {
    guard(|| {
        #[derive(Deserialize)]
        struct Info {
            name: String,
        }
        let Info { name } = serde_json::from_str(info)?;
        let cube = Cube { definition: Arc::clone(definition), name, host, state: Mutex::default() };
        Ok(CubeAbi_TO::from_value(cube, TD_Opaque))
    })
}

struct Cube {
    definition: Arc<Definition>,
    name: String,
    host: HostHandle,
    state: Mutex<State>,
}

/// A map of the cube.
struct CubeMap {
    fd: OwnedFd,
    /// Whether the change made it: no packet has been looked up in it yet.
    is_new: bool,
}

#[derive(Default)]
struct State {
    maps: BTreeMap<String, CubeMap>,
    /// What a change has prepared.
    staged: Option<Staged>,
}

struct Staged {
    maps: BTreeMap<String, CubeMap>,
    /// The contents of the lists, in the definition's order.
    lists: Vec<Entries>,
    targets: Vec<Filling>,
}

/// A program for a slot that tail calls go through.
struct Filling {
    map: String,
    slot: u32,
    program: OwnedFd,
}

/// A global's name and its bytes.
type Constants = Vec<(String, Vec<u8>)>;

impl Cube {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The globals that have a value in a configuration.
    fn constants(&self, config: &Value) -> Result<Constants, Refusal> {
        let mut constants = Vec::new();
        for global in &self.definition.bindings.globals {
            let value = at(config, &global.path);
            if value.is_null() {
                continue;
            }
            let mut bytes = vec![0; global.slot.size];
            let name = global.path.join("/");
            let unfit = |why| Refusal::new(Tag::InvalidValue, format!("`{name}` cannot be stored: {why}")).at(&name);
            global.slot.write(value, &mut bytes).map_err(unfit)?;
            constants.push((global.name.clone(), bytes));
        }
        Ok(constants)
    }

    /// What each list's map is to contain.
    fn lists(&self, config: &Value) -> Result<Vec<Entries>, Refusal> {
        let lists = self.definition.bindings.lists.iter();
        lists.map(|list| list.encode(at(config, &list.path).as_array().map_or(&[], Vec::as_slice))).collect()
    }

    fn describe(&self, wanted: &Wanted<Value>) -> Result<Datapath, Refusal> {
        let Definition { kind, hooks, maps, tail_calls, jumps, .. } = &*self.definition;
        let constants = self.constants(&wanted.config)?;
        // The maps are written when they are there; what does not fit is refused before anything is loaded.
        self.lists(&wanted.config)?;
        let points: Vec<u32> = match kind {
            ServiceKind::Standard => vec![0],
            ServiceKind::Transparent => {
                let is_reached = |point: &&Point| point.netdev.is_some();
                wanted.points.iter().filter(is_reached).map(|point| point.id).collect()
            }
        };
        let places = points.into_iter().flat_map(|point| hooks.iter().map(move |hook| (point, hook)));
        let programs = places.map(|(point, hook)| {
            let code = Code::Elf { entry: hook.program.clone(), constants: constants.clone() };
            Program { point, direction: hook.direction, stage: hook.stage, object: 0, code }
        });
        let programs = programs.collect();
        // The programs that tail calls lead to are loaded with the globals: other globals, other programs and slots.
        let generation = generation(&self.definition, &constants);
        let map = |name: &String| MapSpec {
            generation: if tail_calls.contains_key(name) { generation } else { 0 },
            count: Count::Declared,
            ..MapSpec::declared(name)
        };
        let target = |(index, entry): (u32, &Option<String>)| {
            Some(Target { index, object: 0, entry: entry.clone()?, constants: constants.clone() })
        };
        let table = |(map, slots): (&String, &Vec<Option<String>>)| Jumps {
            map: map.clone(),
            targets: (0..).zip(slots).filter_map(target).collect(),
        };
        let (maps, jumps) = (maps.iter().map(map).collect(), jumps.iter().map(table).collect());
        Ok(Datapath { programs, maps, jumps, ..Datapath::default() })
    }

    /// Fills the maps that are new. The others are in use, by the code before at times: [`Cube::finish`] writes to them, when
    /// nothing can be undone any more.
    fn stage(&self, wanted: &Wanted<Value>, maps: BTreeMap<String, CubeMap>) -> Result<(), Refusal> {
        let lists = self.lists(&wanted.config)?;
        for (list, entries) in self.definition.bindings.lists.iter().zip(&lists) {
            if maps.get(&list.map.name).is_some_and(|map| map.is_new) {
                write(&maps, &list.map, |map| list.apply(map, entries))?;
            }
        }
        let targets = self.targets(&maps, &self.constants(&wanted.config)?)?;
        let (now, later) = targets.into_iter().partition(|target| maps[&target.map].is_new);
        self.fill(&maps, now)?;
        self.state().staged = Some(Staged { maps, lists, targets: later });
        Ok(())
    }

    /// Loads the programs for slots that do not have theirs. A map that is kept has those of the same object and globals, with
    /// the maps of that time.
    fn targets(&self, maps: &BTreeMap<String, CubeMap>, constants: &Constants) -> Result<Vec<Filling>, Refusal> {
        let what = format!("cube `{}`", self.name);
        let shared: HashMap<&str, RawFd> = maps.iter().map(|(name, map)| (name.as_str(), map.fd.as_raw_fd())).collect();
        let is_other = maps.values().any(|map| map.is_new);
        let mut targets = Vec::new();
        for (map, slots) in &self.definition.tail_calls {
            let Some(CubeMap { fd, .. }) = maps.get(map) else { continue };
            for (slot, program) in (0..).zip(slots) {
                let Some(program) = program else { continue };
                let there = bpf::lookup(fd.as_fd(), slot)
                    .map_err(|error| Refusal::failed(format!("cannot read the map `{map}` of {what}: {error}")))?;
                if is_other || there.is_none() {
                    let program = load_target(&what, &self.definition.elf, program, constants, &shared)
                        .map_err(|error| Refusal::failed(error.to_string()))?;
                    targets.push(Filling { map: map.clone(), slot, program });
                }
            }
        }
        Ok(targets)
    }

    /// Puts programs into their slots. The maps keep them.
    fn fill(&self, maps: &BTreeMap<String, CubeMap>, targets: Vec<Filling>) -> Result<(), Refusal> {
        for Filling { map, slot, program } in targets {
            bpf::map_update(maps[&map].fd.as_fd(), slot, &program.as_raw_fd().to_ne_bytes()).map_err(|error| {
                Refusal::failed(format!("cannot write the map `{map}` of cube `{}`: {error}", self.name))
            })?;
        }
        Ok(())
    }

    fn finish(&self) {
        let mut state = self.state();
        let Some(Staged { maps, lists, targets }) = state.staged.take() else { return };
        state.maps = maps;
        if let Err(refusal) = self.fill(&state.maps, targets) {
            self.host
                .log(Level::Error as u8, format!("tail calls are not in force as a whole: {refusal}").as_str().into());
        }
        for (list, entries) in self.definition.bindings.lists.iter().zip(&lists) {
            if let Err(refusal) = write(&state.maps, &list.map, |map| list.apply(map, entries)) {
                // The change is made; what is wrong shows in the map's contents until the next one.
                let line = format!("the list `{}` is not in force as a whole: {refusal}", list.path.join("/"));
                self.host.log(Level::Error as u8, line.as_str().into());
            }
        }
    }

    fn read(&self) -> Result<Value, Refusal> {
        let state = self.state();
        let cpus = cpus();
        let mut shown = json!({});
        for reading in &self.definition.bindings.readings {
            let value = read(&state.maps, &reading.map, |map| reading.read(map, cpus))?;
            put(&mut shown, &reading.path, value);
        }
        for table in &self.definition.bindings.tables {
            let value = read(&state.maps, &table.map, |map| table.decode(map, cpus))?;
            put(&mut shown, &table.path, value);
        }
        Ok(shown)
    }
}

/// Writes to one of the maps. One that is not there has nothing to contain.
fn write(
    maps: &BTreeMap<String, CubeMap>,
    shape: &MapShape,
    write: impl FnOnce(&Elements<'_>) -> std::io::Result<()>,
) -> Result<(), Refusal> {
    let Some(map) = maps.get(&shape.name) else { return Ok(()) };
    let written = Elements::of(map.fd.as_fd(), None).and_then(|map| write(&map));
    written.map_err(|error| Refusal::failed(format!("cannot write the map `{}`: {error}", shape.name)))
}

/// Reads one of the maps. One that is not there has null for everything.
fn read(
    maps: &BTreeMap<String, CubeMap>,
    shape: &MapShape,
    read: impl FnOnce(&Elements<'_>) -> std::io::Result<Value>,
) -> Result<Value, Refusal> {
    let Some(map) = maps.get(&shape.name) else { return Ok(Value::Null) };
    let found = Elements::of(map.fd.as_fd(), shape.is_per_cpu.then(cpus)).and_then(|map| read(&map));
    found.map_err(|error| Refusal::failed(format!("cannot read the map `{}`: {error}", shape.name)))
}

/// CPUs that the machine can have.
fn cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

/// Another number for another object, other globals or other tail calls.
fn generation(Definition { elf, tail_calls, .. }: &Definition, constants: &Constants) -> u64 {
    let mut digest = Sha256::new();
    let calls = json!(tail_calls).to_string();
    let constants = constants.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
    for bytes in [&**elf, calls.as_bytes()].into_iter().chain(constants) {
        digest.update((bytes.len() as u64).to_ne_bytes());
        digest.update(bytes);
    }
    digest.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The value at a path; null where there is none.
fn at<'a>(document: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(document, |node, word| &node[word])
}

fn put(document: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut node = document;
    for word in parents {
        let Value::Object(members) = node else { return };
        node = members.entry(word.clone()).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(members) = node {
        members.insert(last.clone(), value);
    }
}

/// What the border carries instead of an error, and instead of a panic, which would end the daemon there.
fn guard<T>(body: impl FnOnce() -> Result<T, Refusal>) -> Answer<T> {
    let refusal = match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return ROk(value),
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::new(Tag::Panic, "the daemon's log has the place"),
    };
    RErr(serde_json::to_string(&refusal).unwrap_or_default().into())
}

#[derive(Deserialize)]
struct MapInfo {
    name: String,
    new: bool,
}

impl CubeAbi for Cube {
    fn datapath(&self, wanted: RStr<'_>) -> Answer<DatapathText> {
        guard(|| {
            let spec = serde_json::to_string(&self.describe(&serde_json::from_str(wanted.as_str())?)?)?.into();
            Ok(DatapathText { spec, objects: RVec::from(vec![RVec::from(self.definition.elf.to_vec())]) })
        })
    }

    fn prepare(&self, wanted: RStr<'_>, maps: RVec<MapHandle>) -> Answer<()> {
        guard(|| {
            // SAFETY: with every handle, the host passes ownership of an open descriptor, once.
            let owned = |handle: &MapHandle| unsafe { OwnedFd::from_raw_fd(handle.fd) };
            let maps: Vec<(&MapHandle, OwnedFd)> = maps.iter().map(|handle| (handle, owned(handle))).collect();
            let mut named = BTreeMap::new();
            for (handle, fd) in maps {
                let MapInfo { name, new } = serde_json::from_str(&handle.info)?;
                named.insert(name, CubeMap { fd, is_new: new });
            }
            self.stage(&serde_json::from_str(wanted.as_str())?, named)
        })
    }

    fn commit(&self) -> Answer<()> {
        guard(|| {
            self.finish();
            Ok(())
        })
    }

    fn abort(&self) -> Answer<()> {
        guard(|| {
            self.state().staged = None;
            Ok(())
        })
    }

    fn state(&self) -> Answer<RString> {
        guard(|| Ok(self.read()?.to_string().into()))
    }

    fn action(&self, path: RStr<'_>, _: RStr<'_>) -> Answer<RString> {
        guard(|| Err(Refusal::new(Tag::OperationNotSupported, format!("this cube has no action `{path}`"))))
    }

    fn tick(&self) -> Answer<()> {
        ROk(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tail_calls_are_another_generation() {
        let of = |slot: Option<&str>| {
            let calls = BTreeMap::from([("calls".to_owned(), vec![slot.map(str::to_owned)])]);
            let definition = Definition {
                elf: Vec::new().into(),
                kind: ServiceKind::Transparent,
                hooks: Vec::new(),
                maps: Vec::new(),
                tail_calls: calls,
                jumps: BTreeMap::new(),
                bindings: Default::default(),
            };
            generation(&definition, &Constants::default())
        };
        assert_eq!(of(Some("target")), of(Some("target")));
        assert_ne!(of(Some("target")), of(None));
    }
}
