//! Which slot leads where. Pure.

use polycube_layout::chain::PORTS;
use polycube_layout::log;
use polycube_plugin_api::{MapSpec, Program, ServiceKind};

/// What the two slots of a program in a chain hold, as indices into the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// `accept`: the next stage of its own cube, if there is one.
    pub accept: Option<usize>,
    /// `next`: the first stage of the next cube.
    pub next: Option<usize>,
}

/// The slots of a chain's programs, in their order. Stages of one cube are next to each other, and `is_beside` says which
/// ones are of one cube.
pub fn slots<T>(chain: &[T], is_beside: impl Fn(&T, &T) -> bool) -> Vec<Slots> {
    let slots = |(index, program): (usize, &T)| {
        let rest = || chain.iter().enumerate().skip(index + 1);
        let accept = rest().next().filter(|(_, other)| is_beside(other, program)).map(|(at, _)| at);
        let next = rest().find(|(_, other)| !is_beside(other, program)).map(|(at, _)| at);
        Slots { accept, next }
    };
    chain.iter().enumerate().map(slots).collect()
}

/// The maps of a cube: those that its plugin describes, the table of ports that a standard cube with programs has, and those
/// of its log, if its programs write to it.
pub fn maps_of(kind: ServiceKind, programs: &[Program], maps: &[MapSpec], logs: bool) -> Vec<MapSpec> {
    let mut maps = maps.to_vec();
    let has_ports = kind == ServiceKind::Standard && !programs.is_empty();
    if has_ports && maps.iter().all(|map| map.name != PORTS) {
        maps.push(MapSpec::declared(PORTS));
    }
    if logs && !programs.is_empty() {
        maps.extend([log::LINES, log::STATE].map(MapSpec::declared));
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_leads_to_the_next_of_its_cube_and_past_it() {
        let found = slots(&['a', 'a', 'b', 'c', 'c'], |one, other| one == other);
        let expected = [(Some(1), Some(2)), (None, Some(2)), (None, Some(3)), (Some(4), None), (None, None)];
        assert_eq!(found, expected.map(|(accept, next)| Slots { accept, next }));
    }
}
