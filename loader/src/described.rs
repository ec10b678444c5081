//! Whether the datapath that a plugin describes can work: checked before anything is loaded. Pure.
//!
//! The kernel would take much of what is refused here: a program at a point that the cube does not have is never reached,
//! and a map that nothing describes stays empty for ever.

mod jumps;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use polycube_layout::chain::{ACCEPT, NEXT, PORTS};
use polycube_layout::log;
use polycube_plugin_api::{Code, Datapath, Direction, MapSpec, Program, ServiceKind};
use serde::Deserialize;

pub use jumps::Reach;

use crate::object::{Facts, declared_maps, is_of_chain, sections_in_words};

/// Why a description is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{program} is in object {index}, and there are {count}: number them from 0")]
    Index { program: String, index: usize, count: usize },
    #[error("{program}: the cube has no such point; {}", known(.points))]
    Point { program: String, points: Vec<String> },
    #[error(
        "{program}: a standard cube's programs stand at point 0, which is all of its ports: use `at_ports` or `leaving_ports`"
    )]
    Standard { program: String },
    #[error("{program} has the place and the stage of another program: number the stages of a place from 0")]
    Twice { program: String },
    #[error("{program}: object {index} is not an ELF object, or is damaged: compile it again, with clang -target bpf")]
    NotElf { program: String, index: usize },
    #[error(
        "{program} is followed by another stage, and object {index} has no map `{ACCEPT}` that leads there: declare one, a \
         PROG_ARRAY with one entry (`PCN_STAGES` of polycube.h), and jump through it where a packet is to go on \
         (`pcn_accept(skb)`)"
    )]
    NoAccept { program: String, index: usize },
    #[error("{program}: object {index} has no program of this name; {}", known(.programs))]
    Entry { program: String, index: usize, programs: Vec<String> },
    #[error(
        "{program} is in section `{section}`, which is for another kind of program: put it into {}",
        sections_in_words()
    )]
    Section { program: String, section: String },
    #[error("{program}: object {index} has no global `{name}` to set; {}", known(.globals))]
    Global { program: String, index: usize, name: String, globals: Vec<String> },
    #[error("{program}: the global `{name}` has {}, and the value for it has {}: give it as many", bytes(*.size), bytes(*.given as u64))]
    GlobalSize { program: String, name: String, size: u64, given: usize },
    #[error(
        "{program}: object {index} has a map `{name}` that the datapath does not describe, so that nothing could read or \
         fill it: add `MapSpec::declared(\"{name}\")` to its maps"
    )]
    Undescribed { program: String, index: usize, name: String },
    #[error("{program} refers to a map `{name}` that the datapath does not describe; {}", known(.maps))]
    NoMap { program: String, name: String, maps: Vec<String> },
    #[error("the map `{name}` is described twice: describe it once, for all programs")]
    MapTwice { name: String },
    #[error("the host makes the map `{name}` by itself: do not describe it")]
    Own { name: String },
    #[error("no object declares the map `{name}`: declare it in one, or describe its kind")]
    Undeclared { name: String },
    #[error(
        "{program}: the map `{PORTS}` of object {index} has room for {room} ports, and one has the id {id}: delete another \
         port first, or build the service with a larger map"
    )]
    Room { program: String, index: usize, room: u32, id: u32 },
    #[error("{program}: the host sets the global `{}` to the cube's loglevel: leave it out", log::LEVEL)]
    Level { program: String },
    #[error("programs jump through the map `{name}`, and it is described twice: name it once, in `jumps` alone")]
    JumpsTwice { name: String },
    #[error("programs cannot jump through the map `{name}`: make it a PROG_ARRAY with keys and values of 4 bytes")]
    NotJumps { name: String },
    #[error("{program} is past the end of the map, which has {room} slots: make it larger, or take a lower index")]
    JumpIndex { program: String, room: u32 },
    #[error("{program} has the index of another target of the map: give each an index of its own")]
    JumpTwice { program: String },
}

fn known(names: &[String]) -> String {
    if names.is_empty() { "there is none".to_owned() } else { format!("known: {}", names.join(", ")) }
}

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

/// The part of a plugin's question that its answer must fit.
#[derive(Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    points: Vec<Id>,
    #[serde(default)]
    ports: Vec<Id>,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

/// An object that a plugin handed over, and what it has if it is an ELF object.
pub struct Known {
    pub bytes: Arc<[u8]>,
    facts: Option<Facts>,
    /// How many ports its map of them has room for: found out when there are ports.
    room: OnceLock<Option<u32>>,
}

impl Known {
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: Arc::from(bytes), facts: Facts::of(bytes), room: OnceLock::new() }
    }

    /// Whether it is an ELF object, and not generated instructions.
    pub fn is_elf(&self) -> bool {
        self.facts.is_some()
    }

    fn room(&self) -> Option<u32> {
        let find = || {
            // What cannot be parsed is refused when its programs are loaded.
            let maps = declared_maps(&self.bytes).ok()?;
            maps.into_iter().find(|map| map.name == PORTS).map(|map| map.max_entries)
        };
        *self.room.get_or_init(find)
    }
}

/// What is found out about a description, beside that it can work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Whether its programs write lines to the cube's log.
    pub logs: bool,
    /// By object: whether it has the global that says which lines are written.
    pub has_level: Vec<bool>,
    /// By program.
    pub reaches: Vec<Reach>,
}

/// Checks a description for a cube of this kind.
///
/// # Errors
/// The first thing that cannot work.
pub fn check(datapath: &Datapath, objects: &[Arc<Known>], kind: ServiceKind, asked: &Asked) -> Result<Checked, Fault> {
    let Datapath { programs, maps, jumps, .. } = datapath;
    check_objects(programs, objects)?;
    check_maps(maps, objects)?;
    jumps::check(datapath, objects)?;
    let mut places = BTreeSet::new();
    for program in programs {
        let words = || in_words(program);
        let Program { point, direction, stage, object: index, .. } = *program;
        check_place(program, kind, asked)?;
        if !places.insert((point, direction, stage)) {
            return Err(Fault::Twice { program: words() });
        }
        let Some(object) = objects.get(index) else {
            return Err(Fault::Index { program: words(), index, count: objects.len() });
        };
        match &program.code {
            Code::Elf { entry, constants } => {
                let Some(facts) = &object.facts else { return Err(Fault::NotElf { program: words(), index }) };
                check_elf(program, facts, (entry, constants))?;
                check_stage(program, facts, programs)?;
                let is_described = |name: &String| {
                    is_own(name)
                        || is_of_log(name)
                        || maps.iter().any(|map| map.name == *name)
                        || jumps.iter().any(|jumps| jumps.map == *name)
                        || kind == ServiceKind::Standard && name == PORTS
                };
                let last = asked.ports.iter().map(|port| port.id).max().filter(|_| facts.maps.contains(PORTS));
                if let Some((id, room)) = last.and_then(|id| Some((id, object.room()?))).filter(|(id, room)| id >= room)
                {
                    return Err(Fault::Room { program: words(), index, room, id });
                }
                if let Some(name) = facts.maps.iter().find(|name| !is_described(name)) {
                    return Err(Fault::Undescribed { program: words(), index, name: name.clone() });
                }
            }
            Code::Instructions { maps: places } => {
                let missing = |name: &String| !is_own(name) && maps.iter().all(|map| map.name != *name);
                if let Some((_, name)) = places.iter().find(|(_, name)| missing(name)) {
                    let maps = maps.iter().map(|map| map.name.clone()).collect();
                    return Err(Fault::NoMap { program: words(), name: name.clone(), maps });
                }
            }
        }
    }
    let facts = || objects.iter().map(|object| object.facts.as_ref());
    Ok(Checked {
        logs: facts().flatten().any(|facts| facts.maps.contains(log::LINES)),
        has_level: facts().map(|facts| facts.is_some_and(|facts| facts.globals.contains_key(log::LEVEL))).collect(),
        reaches: jumps::reach(datapath, objects),
    })
}

/// Whether each program has a map of this name for itself.
fn is_own(name: &str) -> bool {
    name == NEXT || name == ACCEPT
}

/// Whether the host makes the map for the cube's log.
fn is_of_log(name: &str) -> bool {
    name == log::LINES || name == log::STATE
}

/// Checks that programs are in ELF objects, before anything else is missed that would be in one.
fn check_objects(programs: &[Program], objects: &[Arc<Known>]) -> Result<(), Fault> {
    let is_unfit = |program: &&Program| {
        let object = objects.get(program.object);
        matches!(program.code, Code::Elf { .. }) && object.is_some_and(|object| object.facts.is_none())
    };
    match programs.iter().find(is_unfit) {
        Some(program) => Err(Fault::NotElf { program: in_words(program), index: program.object }),
        None => Ok(()),
    }
}

/// Checks that a program that is followed by another stage of its cube can lead there. The host makes the slots of one that
/// knows nothing of chains.
fn check_stage(program: &Program, facts: &Facts, programs: &[Program]) -> Result<(), Fault> {
    let place = |program: &Program| (program.point, program.direction);
    let follows = |other: &&Program| place(other) == place(program) && other.stage > program.stage;
    let is_followed = !program.is_ahead() && programs.iter().filter(follows).any(|other| !other.is_ahead());
    let has = |map: &str| facts.maps.contains(map);
    if is_followed && has(NEXT) && !has(ACCEPT) {
        return Err(Fault::NoAccept { program: in_words(program), index: program.object });
    }
    Ok(())
}

fn check_maps(maps: &[MapSpec], objects: &[Arc<Known>]) -> Result<(), Fault> {
    for (index, MapSpec { name, kind, .. }) in maps.iter().enumerate() {
        let name = name.clone();
        if is_own(&name) || is_of_log(&name) {
            return Err(Fault::Own { name });
        }
        if maps[..index].iter().any(|other| other.name == name) {
            return Err(Fault::MapTwice { name });
        }
        let mut facts = objects.iter().filter_map(|object| object.facts.as_ref());
        if kind.is_none() && !facts.any(|facts| facts.maps.contains(&name)) {
            return Err(Fault::Undeclared { name });
        }
    }
    Ok(())
}

fn check_place(program: &Program, kind: ServiceKind, asked: &Asked) -> Result<(), Fault> {
    match kind {
        ServiceKind::Standard if program.point == 0 => Ok(()),
        ServiceKind::Standard => Err(Fault::Standard { program: in_words(program) }),
        ServiceKind::Transparent if asked.points.iter().any(|point| point.id == program.point) => Ok(()),
        ServiceKind::Transparent => {
            let points = asked.points.iter().map(|point| point.id.to_string()).collect();
            Err(Fault::Point { program: in_words(program), points })
        }
    }
}

fn check_elf(program: &Program, facts: &Facts, (entry, constants): (&str, &[(String, Vec<u8>)])) -> Result<(), Fault> {
    let (words, index) = (|| in_words(program), program.object);
    let Some(section) = facts.programs.get(entry) else {
        let programs = facts.programs.keys().cloned().collect();
        return Err(Fault::Entry { program: words(), index, programs });
    };
    if !is_of_chain(section) {
        return Err(Fault::Section { program: words(), section: section.clone() });
    }
    check_constants(&words(), index, facts, constants)
}

fn check_constants(program: &str, index: usize, facts: &Facts, constants: &[(String, Vec<u8>)]) -> Result<(), Fault> {
    for (name, bytes) in constants {
        let (program, name, given) = (program.to_owned(), name.clone(), bytes.len());
        match facts.globals.get(&name) {
            _ if name == log::LEVEL => return Err(Fault::Level { program }),
            None => {
                let globals = facts.globals.keys().cloned().collect();
                return Err(Fault::Global { program, index, name, globals });
            }
            Some(size) if *size != given as u64 => {
                return Err(Fault::GlobalSize { program, name, size: *size, given });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// `capture at point 3 ingress`.
pub fn in_words(program: &Program) -> String {
    let Program { point, direction, stage, .. } = program;
    let what = match &program.code {
        Code::Elf { entry, .. } => entry,
        Code::Instructions { .. } => "a generated one",
    };
    let side = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let stage = if *stage == 0 { String::new() } else { format!(" stage {stage}") };
    format!("{what} at point {point} {side}{stage}")
}

#[cfg(test)]
mod tests;
