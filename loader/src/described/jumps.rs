//! Jumps between a cube's programs: whether they can work, which program needs which map, and how deep they go. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polycube_plugin_api::{Code, Datapath, Jumps, Program, Target};

use super::{Fault, Known, check_constants, is_own};
use crate::object::{declared_maps, is_of_chain};

/// `BPF_MAP_TYPE_PROG_ARRAY` of the kernel's include/uapi/linux/bpf.h.
const PROG_ARRAY: u32 = 3;

/// What a program reaches by jumps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Indices into the datapath's `jumps`: the maps that the program, or one that it jumps to, refers to.
    pub tables: BTreeSet<usize>,
    /// Tail calls that a packet makes on the longest way. Of programs that jump in a circle it is not known: 1.
    pub tail_calls: usize,
}

/// ``target 3 of `calls` ``.
fn in_words(map: &str, target: &Target) -> String {
    format!("target {} of `{map}` ({})", target.index, target.entry)
}

/// Checks the maps of a description through which programs jump, and what is in them.
pub(super) fn check(datapath: &Datapath, objects: &[Arc<Known>]) -> Result<(), Fault> {
    for (index, Jumps { map, targets }) in datapath.jumps.iter().enumerate() {
        let name = map.clone();
        if is_own(map) {
            return Err(Fault::Own { name });
        }
        let is_described = datapath.maps.iter().any(|spec| spec.name == *map);
        if is_described || datapath.jumps[..index].iter().any(|other| other.map == *map) {
            return Err(Fault::JumpsTwice { name });
        }
        let room = room(map, objects)?;
        let mut taken = BTreeSet::new();
        for target in targets {
            let program = in_words(map, target);
            if target.index >= room {
                return Err(Fault::JumpIndex { program, room });
            }
            if !taken.insert(target.index) {
                return Err(Fault::JumpTwice { program });
            }
            check_target(program, target, objects)?;
        }
    }
    Ok(())
}

/// How many slots the objects declare for a map. All of them declare as many.
fn room(map: &str, objects: &[Arc<Known>]) -> Result<u32, Fault> {
    let undeclared = || Fault::Undeclared { name: map.to_owned() };
    let mut room = None;
    let declaring = objects.iter().filter(|known| known.facts.as_ref().is_some_and(|facts| facts.maps.contains(map)));
    for known in declaring {
        // An object that cannot be read is refused when it is loaded, with the reason.
        let maps = declared_maps(&known.bytes).map_err(|_| undeclared())?;
        let declared = maps.into_iter().find(|declared| declared.name == map).ok_or_else(undeclared)?;
        if (declared.map_type, declared.key_size, declared.value_size) != (PROG_ARRAY, 4, 4) {
            return Err(Fault::NotJumps { name: map.to_owned() });
        }
        room = Some(room.unwrap_or(declared.max_entries).min(declared.max_entries));
    }
    room.ok_or_else(undeclared)
}

fn check_target(program: String, target: &Target, objects: &[Arc<Known>]) -> Result<(), Fault> {
    let Target { object: index, entry, constants, .. } = target;
    let index = *index;
    let Some(known) = objects.get(index) else {
        return Err(Fault::Index { program, index, count: objects.len() });
    };
    let Some(facts) = &known.facts else { return Err(Fault::NotElf { program, index }) };
    let Some(section) = facts.programs.get(entry) else {
        let programs = facts.programs.keys().cloned().collect();
        return Err(Fault::Entry { program, index, programs });
    };
    if !is_of_chain(section) {
        return Err(Fault::Section { program, section: section.clone() });
    }
    check_constants(&program, index, facts, constants)
}

/// A program of an object.
type Entry<'a> = (usize, &'a str);

/// What each program reaches, in the order of the description, which has been checked.
pub(super) fn reach(datapath: &Datapath, objects: &[Arc<Known>]) -> Vec<Reach> {
    let map = Calls { datapath, objects };
    let mut depths = BTreeMap::new();
    let programs = datapath.programs.iter();
    let reaches = programs.map(|Program { object, code, .. }| match code {
        Code::Elf { entry, .. } => {
            let entry = (*object, entry.as_str());
            Reach { tables: map.tables(entry), tail_calls: map.depth(entry, &mut depths).unwrap_or(1) }
        }
        Code::Instructions { .. } => Reach::default(),
    });
    reaches.collect()
}

struct Calls<'a> {
    datapath: &'a Datapath,
    objects: &'a [Arc<Known>],
}

impl<'a> Calls<'a> {
    /// The maps that a program itself refers to, and their indices.
    fn of(&self, (object, entry): Entry<'_>) -> impl Iterator<Item = (usize, &'a Jumps)> {
        let facts = self.objects.get(object).and_then(|known| known.facts.as_ref());
        let refers = facts.and_then(|facts| facts.refers.get(entry));
        let jumps = self.datapath.jumps.iter().enumerate();
        jumps.filter(move |(_, jumps)| refers.is_some_and(|maps| maps.contains(&jumps.map)))
    }

    fn tables(&self, first: Entry<'a>) -> BTreeSet<usize> {
        let (mut tables, mut waiting) = (BTreeSet::new(), vec![first]);
        while let Some(entry) = waiting.pop() {
            for (index, jumps) in self.of(entry) {
                if tables.insert(index) {
                    waiting.extend(jumps.targets.iter().map(|target| (target.object, target.entry.as_str())));
                }
            }
        }
        tables
    }

    /// Tail calls on the longest way from a program; `None` if it leads in a circle. `depths` has what is known: `None` of
    /// programs that are being looked at.
    fn depth(&self, entry: Entry<'a>, depths: &mut BTreeMap<Entry<'a>, Option<usize>>) -> Option<usize> {
        if let Some(known) = depths.get(&entry) {
            return *known;
        }
        depths.insert(entry, None);
        let mut deepest = 0;
        for target in self.of(entry).flat_map(|(_, jumps)| &jumps.targets) {
            deepest = deepest.max(1 + self.depth((target.object, &target.entry), depths)?);
        }
        depths.insert(entry, Some(deepest));
        Some(deepest)
    }
}
