//! What two places of a configuration would both write: the last one would win. Pure.

use super::fault::{Fault, Place};
use super::schema::{Bindings, List, Member};

/// Checks that no global, no map and no byte of a map's entries belongs to two places.
///
/// # Errors
/// The second place that has what an earlier one has.
pub(super) fn check(Bindings { globals, lists, .. }: &Bindings) -> Result<(), Fault> {
    for (index, global) in globals.iter().enumerate() {
        if let Some(first) = globals[..index].iter().find(|first| first.name == global.name) {
            let [place, first] = [&global.path, &first.path].map(|path| place(path));
            return Err(Fault::SameGlobal { place, first, name: global.name.clone() });
        }
    }
    for (index, list) in lists.iter().enumerate() {
        if let Some(first) = lists[..index].iter().find(|first| first.map.name == list.map.name) {
            let [place, first] = [&list.path, &first.path].map(|path| place(path));
            return Err(Fault::SameMap { place, first, map: list.map.name.clone() });
        }
        check_members(list)?;
    }
    Ok(())
}

fn check_members(list: &List) -> Result<(), Fault> {
    let overlaps = |one: &Member, other: &Member| {
        let (one_range, other_range) = (one.slot.range(), other.slot.range());
        one.side == other.side && one_range.start < other_range.end && other_range.start < one_range.end
    };
    for (index, member) in list.members.iter().enumerate() {
        if let Some(first) = list.members[..index].iter().find(|first| overlaps(first, member)) {
            let [place, first] = [member, first].map(|member| place(&list.path).below(&member.name));
            return Err(Fault::SameBytes { place, first, map: list.map.name.clone() });
        }
    }
    Ok(())
}

fn place(path: &[String]) -> Place {
    Place { part: "configuration", path: path.join("/") }
}
