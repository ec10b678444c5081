use polycube_plugin_api::{MapKind, constant};

use super::*;

const ROOT: &[u8] = include_bytes!("../../../ebpf/objects/root.o");
const BRIDGE: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");

/// An object whose program stands in another section, whose name is at most as long as `classifier`.
fn in_section(section: &str) -> Vec<u8> {
    let mut renamed = section.as_bytes().to_vec();
    renamed.resize("classifier".len(), 0);
    let mut bytes = BRIDGE.to_vec();
    let places: Vec<usize> = (0..bytes.len() - 11).filter(|at| bytes[*at..].starts_with(b"classifier\0")).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + renamed.len()].copy_from_slice(&renamed);
    }
    bytes
}

fn elf(point: u32, direction: Direction, entry: &str) -> Program {
    let code = Code::Elf { entry: entry.to_owned(), constants: Vec::new() };
    Program { point, direction, stage: 0, object: 0, code }
}

fn generated(map: &str) -> Program {
    let code = Code::Instructions { maps: vec![(0, map.to_owned())] };
    Program { point: 3, direction: Direction::Egress, stage: 1, object: 1, code }
}

/// A datapath that can work for a transparent cube with the points 3 and 4.
fn described() -> Datapath {
    let maps = ["fdb", "counters", "flags", "ports"].map(MapSpec::declared).to_vec();
    Datapath { programs: vec![elf(3, Direction::Ingress, "bridge"), generated("fdb")], maps, ..Datapath::default() }
}

fn check_of(kind: ServiceKind, object: &[u8], datapath: &Datapath) -> String {
    check_with(&[], kind, object, datapath)
}

/// With ports of these ids.
fn check_with(ports: &[u32], kind: ServiceKind, object: &[u8], datapath: &Datapath) -> String {
    let objects = [object, &[0; 16]].map(|bytes| Arc::new(Known::new(bytes)));
    let ports = ports.iter().map(|id| Id { id: *id }).collect();
    let asked = Asked { points: [3, 4].map(|id| Id { id }).into(), ports };
    check(datapath, &objects, kind, &asked).err().map(|fault| fault.to_string()).unwrap_or_default()
}

/// Asserts what is said of the datapath after `change`.
#[track_caller]
fn check_that(change: impl FnOnce(&mut Datapath), expected: &str) {
    let mut datapath = described();
    change(&mut datapath);
    assert_eq!(check_of(ServiceKind::Transparent, BRIDGE, &datapath), expected);
}

#[test]
fn programs_stand_where_packets_can_reach_them() {
    check_that(|_| {}, "");
    check_that(
        |datapath| datapath.programs[0].point = 5,
        "bridge at point 5 ingress: the cube has no such point; known: 3, 4",
    );
    check_that(
        |datapath| datapath.programs.push(elf(3, Direction::Ingress, "bridge")),
        "bridge at point 3 ingress has the place and the stage of another program: number the stages of a place from 0",
    );
    check_that(
        |datapath| datapath.programs.push(generated("fdb")),
        "a generated one at point 3 egress stage 1 has the place and the stage of another program: number the stages of a \
         place from 0",
    );
    let second = |stage| Program { stage, ..elf(3, Direction::Ingress, "bridge") };
    check_that(
        |datapath| datapath.programs.push(second(1)),
        "bridge at point 3 ingress is followed by another stage, and object 0 has no map `accept` that leads there: declare \
         one, a PROG_ARRAY with one entry (`PCN_STAGES` of polycube.h), and jump through it where a packet is to go on \
         (`pcn_accept(skb)`)",
    );
    check_that(|datapath| datapath.programs.push(second(Program::AHEAD)), "");
    let standard = |point, direction| {
        let datapath = Datapath { programs: vec![elf(point, direction, "bridge")], ..described() };
        check_of(ServiceKind::Standard, BRIDGE, &datapath)
    };
    for direction in [Direction::Ingress, Direction::Egress] {
        assert_eq!(standard(0, direction), "");
    }
    for (point, direction, side) in [(3, Direction::Ingress, "3 ingress"), (3, Direction::Egress, "3 egress")] {
        let expected = format!(
            "bridge at point {side}: a standard cube's programs stand at point 0, which is all of its ports: use `at_ports` or `leaving_ports`"
        );
        assert_eq!(standard(point, direction), expected);
    }
}

#[test]
fn a_program_is_in_an_object_that_has_it() {
    check_that(
        |datapath| datapath.programs[0].object = 2,
        "bridge at point 3 ingress is in object 2, and there are 2: number them from 0",
    );
    check_that(
        |datapath| datapath.programs[0].object = 1,
        "bridge at point 3 ingress: object 1 is not an ELF object, or is damaged: compile it again, with clang -target bpf",
    );
    for damaged in [&b"hello"[..], b"", &BRIDGE[..BRIDGE.len() / 2]] {
        let refused = check_of(ServiceKind::Transparent, damaged, &described());
        assert_eq!(
            refused,
            "bridge at point 3 ingress: object 0 is not an ELF object, or is damaged: compile it again, with clang -target bpf"
        );
    }
    check_that(
        |datapath| datapath.programs[0] = elf(3, Direction::Ingress, "brigde"),
        "brigde at point 3 ingress: object 0 has no program of this name; known: bridge",
    );
    let constants = |constants| {
        move |datapath: &mut Datapath| {
            datapath.programs[0].code = Code::Elf { entry: "bridge".to_owned(), constants };
        }
    };
    check_that(constants(vec![constant("AGING", [0; 8])]), "");
    check_that(
        constants(vec![constant("AGING", [0])]),
        "bridge at point 3 ingress: the global `AGING` has 8 bytes, and the value for it has 1 byte: give it as many",
    );
    let mut datapath = described();
    constants(vec![constant("AGE", [0; 8])])(&mut datapath);
    let refused = check_of(ServiceKind::Transparent, BRIDGE, &datapath);
    assert!(refused.contains("object 0 has no global `AGE` to set; known: AGING"), "{refused}");
}

#[test]
fn a_program_is_of_the_kind_that_chains_take() {
    for section in ["tc", "tc/ingress", "tc/egress", "tcx/egress", "classifier"] {
        assert_eq!(check_of(ServiceKind::Transparent, &in_section(section), &described()), "", "{section}");
    }
    for section in ["xdp", "socket", "kprobe/x", "cgroup/skb", "mine"] {
        let expected = format!(
            "bridge at point 3 ingress is in section `{section}`, which is for another kind of program: put it into `tc`, \
             `tc/ingress`, `tc/egress`, `tcx/ingress`, `tcx/egress`, `classifier` or `classifier/NAME`"
        );
        assert_eq!(check_of(ServiceKind::Transparent, &in_section(section), &described()), expected);
    }
}

#[test]
fn every_map_is_made_and_can_be_filled() {
    check_that(
        |datapath| drop(datapath.maps.remove(1)),
        "bridge at point 3 ingress: object 0 has a map `counters` that the datapath does not describe, so that nothing could \
         read or fill it: add `MapSpec::declared(\"counters\")` to its maps",
    );
    check_that(
        |datapath| drop(datapath.maps.remove(3)),
        "bridge at point 3 ingress: object 0 has a map `ports` that the datapath does not describe, so that nothing could \
         read or fill it: add `MapSpec::declared(\"ports\")` to its maps",
    );
    let standard = Datapath {
        programs: vec![elf(0, Direction::Ingress, "bridge")],
        maps: ["fdb", "counters", "flags"].map(MapSpec::declared).to_vec(),
        ..Datapath::default()
    };
    assert_eq!(check_of(ServiceKind::Standard, BRIDGE, &standard), "", "the host fills `ports`");
    check_that(
        |datapath| datapath.programs[1] = generated("bdf"),
        "a generated one at point 3 egress stage 1 refers to a map `bdf` that the datapath does not describe; known: fdb, \
         counters, flags, ports",
    );
    check_that(|datapath| datapath.programs[1] = generated("next"), "");
    check_that(
        |datapath| datapath.maps.push(MapSpec::declared("fdb")),
        "the map `fdb` is described twice: describe it once, for all programs",
    );
    for name in ["next", "accept"] {
        check_that(
            |datapath| datapath.maps.push(MapSpec::declared(name)),
            &format!("the host makes the map `{name}` by itself: do not describe it"),
        );
    }
    check_that(
        |datapath| datapath.maps.push(MapSpec::declared("other")),
        "no object declares the map `other`: declare it in one, or describe its kind",
    );
    let kind = Some(MapKind { map_type: 2, key_size: 4, flags: 0 });
    check_that(|datapath| datapath.maps.push(MapSpec { kind, ..MapSpec::declared("other") }), "");
    let maps = ["resume", "key"].map(MapSpec::declared).to_vec();
    let root = Datapath {
        programs: vec![elf(4, Direction::Egress, "root")],
        maps,
        objects: Vec::new(),
        ..Datapath::default()
    };
    assert_eq!(check_of(ServiceKind::Transparent, ROOT, &root), "", "a program's own maps need no description");
    let nothing = Asked::default();
    let root = Datapath { maps: Vec::new(), ..root };
    let refused = check(&root, &[], ServiceKind::Transparent, &nothing).unwrap_err().to_string();
    assert_eq!(refused, "root at point 4 egress: the cube has no such point; there is none");
}

#[test]
fn a_port_that_the_table_has_no_room_for_is_refused() {
    let maps = ["fdb", "counters", "flags"].map(MapSpec::declared).to_vec();
    let datapath = Datapath { programs: vec![elf(0, Direction::Ingress, "bridge")], maps, ..Datapath::default() };
    let check = |ports: &[u32]| check_with(ports, ServiceKind::Standard, BRIDGE, &datapath);
    assert_eq!(check(&[0, 1023]), "");
    assert_eq!(
        check(&[1024, 0]),
        "bridge at point 0 ingress: the map `ports` of object 0 has room for 1024 ports, and one has the id 1024: delete \
         another port first, or build the service with a larger map"
    );
}

/// Programs that jump: `enter`, `twice` and `around` refer to `calls`, which has four slots, `cross` and `leave` do not.
const JUMPING: &[u8] = include_bytes!("../../../tests/fixtures/beside/beside.o");

fn jumping(targets: &[(u32, &str)]) -> Datapath {
    let datapath = Datapath::of(JUMPING).at_ports("enter", &[]).leaving_ports("leave", &[]);
    targets.iter().fold(datapath, |datapath, (index, entry)| datapath.jump("calls", *index, entry, &[]))
}

fn checked(datapath: &Datapath) -> Result<Checked, String> {
    let objects = [Arc::new(Known::new(JUMPING))];
    check(datapath, &objects, ServiceKind::Standard, &Asked::default()).map_err(|fault| fault.to_string())
}

#[test]
fn jumps_lead_to_programs_of_an_object_in_slots_that_the_map_has() {
    assert!(checked(&jumping(&[(0, "cross"), (3, "twice")])).is_ok());
    let refused = |datapath: Datapath| checked(&datapath).unwrap_err();
    assert_eq!(
        refused(jumping(&[(1, "cross"), (1, "twice")])),
        "target 1 of `calls` (twice) has the index of another target of the map: give each an index of its own"
    );
    assert_eq!(
        refused(jumping(&[(4, "cross")])),
        "target 4 of `calls` (cross) is past the end of the map, which has 4 slots: make it larger, or take a lower index"
    );
    assert_eq!(
        refused(jumping(&[(0, "crsos")])),
        "target 0 of `calls` (crsos): object 0 has no program of this name; known: around, cross, enter, leave, twice"
    );
    assert_eq!(
        refused(jumping(&[]).jump("ports", 0, "cross", &[])),
        "programs cannot jump through the map `ports`: make it a PROG_ARRAY with keys and values of 4 bytes"
    );
    assert_eq!(
        refused(jumping(&[]).jump("cals", 0, "cross", &[])),
        "no object declares the map `cals`: declare it in one, or describe its kind"
    );
    assert_eq!(
        refused(jumping(&[(0, "cross")]).map("calls")),
        "programs jump through the map `calls`, and it is described twice: name it once, in `jumps` alone"
    );
    assert_eq!(
        refused(jumping(&[]).jump("next", 0, "cross", &[])),
        "the host makes the map `next` by itself: do not describe it"
    );
    let mut elsewhere = jumping(&[(0, "cross")]);
    elsewhere.jumps[0].targets[0].object = 7;
    assert_eq!(refused(elsewhere), "target 0 of `calls` (cross) is in object 7, and there are 1: number them from 0");
    assert_eq!(
        refused(jumping(&[]).jump("calls", 0, "cross", &[constant("MARK", [0; 2])])),
        "target 0 of `calls` (cross): the global `MARK` has 1 byte, and the value for it has 2 bytes: give it as many"
    );
    let undescribed = refused(Datapath { jumps: Vec::new(), ..jumping(&[]) });
    assert!(undescribed.contains("a map `calls` that the datapath does not describe"), "{undescribed}");
}

#[test]
fn it_is_known_how_deep_jumps_go_unless_they_go_in_a_circle() {
    let reaches = |targets: &[(u32, &str)]| {
        let reaches = checked(&jumping(targets)).unwrap().reaches;
        reaches.into_iter().map(|reach| (reach.tables.len(), reach.tail_calls)).collect::<Vec<_>>()
    };
    assert_eq!(reaches(&[(0, "cross")]), [(1, 1), (0, 0)], "the program on the way out does not jump");
    assert_eq!(reaches(&[(0, "cross"), (1, "leave")]), [(1, 1), (0, 0)]);
    assert_eq!(reaches(&[(0, "cross"), (1, "twice")]), [(1, 1), (0, 0)], "a circle counts as one");
}

#[test]
fn programs_that_write_lines_have_the_hosts_maps_and_level() {
    let found = checked(&jumping(&[(0, "cross")])).unwrap();
    assert_eq!((found.logs, found.has_level), (true, vec![true]));
    let level =
        Datapath::of(JUMPING).at_ports("enter", &[constant("pcn_log_level", [1])]).jump("calls", 0, "cross", &[]);
    assert_eq!(
        checked(&level).unwrap_err(),
        "enter at point 0 ingress: the host sets the global `pcn_log_level` to the cube's loglevel: leave it out"
    );
    let lines = jumping(&[(0, "cross")]).map("pcn_log_lines");
    assert_eq!(checked(&lines).unwrap_err(), "the host makes the map `pcn_log_lines` by itself: do not describe it");
}
