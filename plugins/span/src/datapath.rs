//! What a mirror asks the host to load.

use std::borrow::Cow;
use std::mem::offset_of;

use polycube_filter::{Compiled, Counter, Element, Exit, Hook, Target};
use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_layout::span::{
    COUNTERS, Counters, DESTINATION, FLAGS, ID, INDEX, IS_V6, KIND, SAMPLE, SEQUENCE, SNAPLEN, kind,
};
use polycube_plugin_api::{Code, Datapath, Direction, MapSpec, Point, Program, constant};

use crate::config::{Config, MAX_SNAPLEN};
use crate::header;
use crate::way::Goal;

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/span.o");

/// Programs that others attached after the chain still run.
const TCX_NEXT: i32 = -1;

/// The filter's stage: accepted packets go on to the mirror, others are counted and go to the next cube.
pub(crate) const FILTERED: Target = Target {
    hook: Hook::Tc,
    on_match: Exit::tail_call(ACCEPT, 0, TCX_NEXT),
    on_mismatch: Exit::tail_call(NEXT, 0, TCX_NEXT).counted(Counter {
        map: COUNTERS,
        element: Element::At(0),
        offset: offset_of!(Counters, filtered) as i16,
    }),
};

/// The stages, with or without a filter: so the mirror stays when the filter changes.
const FILTER: u32 = 0;
const MIRROR: u32 = 1;

/// How copies leave, which is compiled into the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    kind: u32,
    is_v6: bool,
    /// Whether copies come in at their netdev.
    comes_in: bool,
}

/// `BPF_F_INGRESS` of `bpf_redirect` and `bpf_clone_redirect`.
const COMES_IN: u32 = 1;

impl Form {
    pub(crate) fn of(config: &Config, goal: &Goal) -> Self {
        match goal {
            Goal::Collector(address, collector) => {
                Self { kind: header::kind_of(collector), is_v6: address.is_ipv6(), comes_in: false }
            }
            _ => Self {
                kind: if config.snaplen < MAX_SNAPLEN { kind::CUT } else { kind::DIRECT },
                is_v6: false,
                comes_in: matches!(goal, Goal::Port(_)),
            },
        }
    }

    /// A program must never find the header of another form in its map.
    fn generation(self) -> u64 {
        u64::from(self.kind) << 2 | u64::from(self.comes_in) << 1 | u64::from(self.is_v6)
    }
}

/// The programs for `config` at `points`, for the cube with this id. A point without a netdev has no packets.
pub(crate) fn datapath(
    config: &Config,
    form: Form,
    filter: Option<&Compiled>,
    (id, points): (u64, &[Point]),
) -> Datapath {
    let points = points.iter().filter(|point| point.netdev.is_some()).collect::<Vec<_>>();
    if points.is_empty() {
        return Datapath::default();
    }
    let places = points.iter().flat_map(|point| directions(config, point).map(|direction| (point.id, direction)));
    let mut programs = places
        .flat_map(|place| {
            let filter = filter.map(|filter| program(place, FILTER, instructions(filter)));
            filter.into_iter().chain([program(place, MIRROR, elf("mirror", constants(config, form, (id, place))))])
        })
        .collect::<Vec<_>>();
    if form.kind != kind::DIRECT {
        programs.extend(points.iter().map(|point| {
            let place = (point.id, Direction::Egress);
            program(place, Program::AHEAD, elf("copy", constants(config, form, (id, place))))
        }));
    }
    let generated =
        filter.map(|filter| filter.instructions.iter().flat_map(|insn| insn.to_bytes()).collect::<Vec<_>>());
    Datapath {
        programs,
        maps: vec![
            MapSpec { generation: form.generation(), ..MapSpec::declared(DESTINATION) },
            MapSpec::declared(COUNTERS),
            MapSpec::declared(SEQUENCE),
        ],
        objects: vec![Cow::Owned(generated.unwrap_or_default()), Cow::Borrowed(OBJECT)],
        ..Datapath::default()
    }
}

/// The hooks at which packets are mirrored. What leaves through the loopback comes in again, and is mirrored once.
fn directions(config: &Config, point: &Point) -> impl Iterator<Item = Direction> {
    let directions = config.direction.directions();
    let directions = if point.is_loopback { &directions[..1] } else { directions };
    directions.iter().copied()
}

fn program((point, direction): (u32, Direction), stage: u32, code: Code) -> Program {
    let object = usize::from(stage != FILTER);
    Program { point, direction, stage, object, code }
}

fn instructions(filter: &Compiled) -> Code {
    let maps = filter.maps.iter().map(|(index, map)| (*index, (*map).to_owned()));
    Code::Instructions { maps: maps.collect() }
}

fn elf(entry: &str, constants: Vec<(String, Vec<u8>)>) -> Code {
    Code::Elf { entry: entry.to_owned(), constants }
}

fn constants(config: &Config, form: Form, (id, place): (u64, (u32, Direction))) -> Vec<(String, Vec<u8>)> {
    let (point, direction) = place;
    let index = point << 1 | u32::from(direction == Direction::Egress);
    vec![
        constant(ID, id.to_ne_bytes()),
        constant(SAMPLE, config.sample.to_ne_bytes()),
        constant(SNAPLEN, config.snaplen.to_ne_bytes()),
        constant(KIND, form.kind.to_ne_bytes()),
        constant(IS_V6, u32::from(form.is_v6).to_ne_bytes()),
        constant(FLAGS, if form.comes_in { COMES_IN } else { 0 }.to_ne_bytes()),
        constant(INDEX, index.to_ne_bytes()),
    ]
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::Direction::{Egress, Ingress};
    use serde_json::{Value, json};

    use super::*;

    fn point(id: u32, netdev: Option<&str>) -> Point {
        let is_loopback = netdev == Some("lo");
        Point {
            id,
            name: format!("p{id}"),
            netdev: netdev.map(str::to_owned),
            is_loopback,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        }
    }

    #[track_caller]
    fn check(config: &Value, points: &[Point], expected: &[(u32, Direction, u32)]) {
        let config: Config = serde_json::from_value(config.clone()).unwrap();
        let goal = Goal::of(&config).unwrap();
        let datapath = datapath(&config, Form::of(&config, &goal), None, (7, points));
        let found = datapath.programs.iter().map(|program| (program.point, program.direction, program.stage));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(datapath.maps.is_empty(), expected.is_empty());
    }

    #[test]
    fn programs_stand_where_packets_are() {
        let both = [(3, Ingress, MIRROR), (3, Egress, MIRROR)];
        check(&json!({ "target": "veth9" }), &[point(3, Some("veth3")), point(4, None)], &both);
        check(&json!({ "target": "veth9", "direction": "egress" }), &[point(3, Some("veth3"))], &both[1..]);
        check(&json!({ "target": "veth9" }), &[point(4, None)], &[]);
        check(&json!({ "target": "veth9" }), &[point(5, Some("lo"))], &[(5, Ingress, MIRROR)]);
    }

    #[test]
    fn copies_that_change_are_changed_ahead_of_all_cubes() {
        let expected = [(3, Ingress, MIRROR), (3, Egress, Program::AHEAD)];
        for to in [
            json!({ "direction": "ingress", "target": "veth9", "snaplen": 96 }),
            json!({ "direction": "ingress", "collector": { "address": "192.0.2.9" } }),
        ] {
            check(&to, &[point(3, Some("veth3"))], &expected);
        }
    }

    #[test]
    fn each_form_has_a_map_of_its_own() {
        let generation = |collector: &Value| {
            let config: Config = serde_json::from_value(json!({ "collector": collector })).unwrap();
            Form::of(&config, &Goal::of(&config).unwrap()).generation()
        };
        let forms = ["vxlan", "gre", "erspan"].iter().flat_map(|encapsulation| {
            ["192.0.2.9", "2001:db8::9"].map(|address| json!({ "address": address, "encapsulation": encapsulation }))
        });
        let with_key = json!({ "address": "192.0.2.9", "encapsulation": "gre", "id": 5 });
        let forms =
            forms.chain([with_key]).map(|collector| generation(&collector)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(forms.len(), 7);
        let other = |address: &str| generation(&json!({ "address": address }));
        assert_eq!(other("192.0.2.9"), other("192.0.2.8"), "an address is in the map, and needs no other program");
    }
}
