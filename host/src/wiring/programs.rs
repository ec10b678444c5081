//! The programs of a cube with everything that the host adds to their descriptions.

use std::sync::Arc;

use polycube_layout::log::LEVEL;
use polycube_loader::object::{JumpTable, JumpTarget};
use polycube_plugin_api::{Code, Jumps, Program, Target, constant};

use super::CubeDatapath;
use crate::topology::LogLevel;

/// What is known of a program besides its description.
pub(super) struct Described {
    pub jumps: Vec<JumpTable>,
    pub tail_calls: usize,
}

/// The programs that a cube asks for, each with the programs that it jumps to. Those that can write to the cube's log have its
/// level.
pub(super) fn of(datapath: &CubeDatapath, level: LogLevel) -> impl Iterator<Item = (Program, Described)> {
    let CubeDatapath { programs, jumps, objects, checked, .. } = datapath;
    let level = constant(LEVEL, [level.highest()]);
    let add_level = move |object: usize, constants: &mut Vec<_>| {
        if checked.has_level.get(object).is_some_and(|has_level| *has_level) {
            constants.push(level.clone());
        }
    };
    let table = {
        let add_level = add_level.clone();
        move |Jumps { map, targets }: &Jumps| {
            let target = |Target { index, object, entry, constants }: &Target| {
                let mut constants = constants.clone();
                add_level(*object, &mut constants);
                JumpTarget { index: *index, object: Arc::clone(&objects[*object]), entry: entry.clone(), constants }
            };
            JumpTable { map: map.clone(), targets: targets.iter().map(target).collect() }
        }
    };
    programs.iter().enumerate().map(move |(index, program)| {
        let mut program = program.clone();
        if let Code::Elf { constants, .. } = &mut program.code {
            add_level(program.object, constants);
        }
        let reach = checked.reaches.get(index);
        let tables = reach.into_iter().flat_map(|reach| &reach.tables).filter_map(|table| jumps.get(*table));
        let described =
            Described { jumps: tables.map(&table).collect(), tail_calls: reach.map_or(0, |reach| reach.tail_calls) };
        (program, described)
    })
}
