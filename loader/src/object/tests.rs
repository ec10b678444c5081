use std::collections::BTreeSet;

use polycube_layout::chain::{MAX_PORTS, NO_PORT, PORT, PORTS};

use super::*;

pub(super) const ROOT: &[u8] = include_bytes!("../../../ebpf/objects/root.o");
pub(super) const BRIDGE: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");
pub(super) const CAPTURE: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");

/// The bridge with its program in another section, whose name is at most as long as `classifier`.
pub(super) fn in_section(section: &str) -> Vec<u8> {
    let mut renamed = section.as_bytes().to_vec();
    renamed.resize("classifier".len(), 0);
    let mut bytes = BRIDGE.to_vec();
    for at in 0..bytes.len() - renamed.len() {
        if bytes[at..].starts_with(b"classifier\0") {
            bytes[at..at + renamed.len()].copy_from_slice(&renamed);
        }
    }
    bytes
}

fn names(object: &Object) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let maps = object.maps.keys().map(String::as_str);
    (object.programs.keys().map(String::as_str).collect(), maps.collect())
}

/// The words of an object's read-only data.
fn rodata(object: &Object) -> Vec<u32> {
    let data = object.maps.get(".rodata").map(Map::data).unwrap_or_default();
    data.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

#[test]
fn the_objects_have_the_programs_and_maps_that_the_host_binds() {
    for (what, elf, program, maps) in [
        ("root", ROOT, "root", &[NEXT, ".rodata"][..]),
        ("simplebridge", BRIDGE, "bridge", &[NEXT, PORTS, "fdb", "counters", ".rodata"]),
        ("packetcapture", CAPTURE, "capture", &[NEXT, "RINGS", "LANES", "BELL", ".rodata"]),
    ] {
        let object = parse(what, elf).unwrap();
        let (programs, found) = names(&object);
        assert!(programs.contains(program), "{what}: {programs:?}");
        for map in maps {
            assert!(found.contains(map), "{what} has no {map}: {found:?}");
        }
        let next = shape_of(&object.maps[NEXT]);
        assert_eq!(
            (next.map_type, next.key_size, next.value_size, next.max_entries, next.flags),
            (SLOT.map_type, SLOT.key_size, SLOT.value_size, SLOT.max_entries, SLOT.flags),
            "{what}: the slot of an object is like that of generated code"
        );
        assert_eq!(object.license.as_c_str(), c"Dual MIT/GPL", "{what}");
    }
}

#[test]
fn the_port_of_a_root_can_be_set() {
    let mut object = parse("root", ROOT).unwrap();
    assert_eq!(rodata(&object), [NO_PORT], "as it is built, a netdev belongs to no port");
    let port = 5_u32.to_ne_bytes();
    object.patch_map_data([(PORT, (&port[..], true))].into()).unwrap();
    assert_eq!(rodata(&object), [5]);
    let unknown = object.patch_map_data([("NO_SUCH_CONSTANT", (&port[..], true))].into());
    assert!(unknown.is_err(), "a constant that no program reads is a mistake of the plugin");
    assert!(object.patch_map_data([(PORT, (&port[..2], true))].into()).is_err(), "a constant has its own size");
}

#[test]
fn an_object_is_read_wherever_it_lies() {
    for offset in 0..8 {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(ROOT);
        let object = parse("root", &bytes[offset..]).unwrap();
        assert!(names(&object).0.contains("root"), "{offset}");
    }
}

#[test]
fn what_is_not_an_object_is_refused_by_name() {
    for bytes in [&b""[..], b"\x7fELF", &ROOT[..64], &BRIDGE[..BRIDGE.len() / 2]] {
        let message = parse("cube `br1`", bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with("the object of cube `br1` cannot be read: "), "{} bytes: {message}", bytes.len());
    }
}

#[test]
fn a_map_is_as_the_first_object_that_has_it_declares() {
    let instructions: Arc<[u8]> = Arc::from([0_u8; 16]);
    let objects = [instructions, Arc::from(CAPTURE), Arc::from(BRIDGE)];
    let ports = declared("cube `br1`", PORTS, &objects).unwrap();
    assert_eq!((ports.key_size, ports.value_size, ports.max_entries), (4, 4, MAX_PORTS));
    let rings = declared("cube `br1`", "RINGS", &objects).unwrap();
    assert_eq!((rings.key_size, rings.value_size), (4, 8));
    for (name, objects) in [("fbd", &objects[..]), (PORTS, &objects[..1]), (PORTS, &[])] {
        let message = declared("cube `br1`", name, objects).err().map(|error| error.to_string());
        assert_eq!(message, Some(format!("the object of cube `br1` has no map `{name}`")));
    }
}

#[test]
fn a_map_that_nothing_declares_is_refused_before_the_kernel_is_asked() {
    let refused = shape_of_cube_map("cube `br1`", &MapSpec::declared("fdb"), &[Arc::from(ROOT)]);
    let refused = refused.err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("the object of cube `br1` has no map `fdb`"));
}

/// Asserts that instructions with these places for maps are refused without a load.
#[track_caller]
fn check_refused(code: &[u64], places: &[(usize, &str)], expected: &str) {
    let code = code.iter().copied().map(u64::to_ne_bytes).collect::<Vec<_>>().concat();
    let places: Vec<_> = places.iter().map(|(index, name)| (*index, (*name).to_owned())).collect();
    let shared = HashMap::from([("RINGS", 3)]);
    let refused = load_instructions("cube `tap`", &code, &places, &shared).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some(expected));
}

#[test]
fn generated_code_refers_to_maps_where_it_loads_them() {
    const LOAD: u64 = 0x0000_0118;
    const EXIT: u64 = 0x95;
    let code = [LOAD, 0, EXIT];
    let place = |index: usize| format!("the object of cube `tap` has no load of map `RINGS` at instruction {index}");
    check_refused(&code, &[(2, "RINGS")], &place(2));
    check_refused(&code, &[(3, "RINGS")], &place(3));
    check_refused(&code, &[(usize::MAX, "RINGS")], &place(usize::MAX));
    check_refused(&code, &[(0, "BELL")], "the object of cube `tap` has no map `BELL`");
    check_refused(&code, &[(0, "RINGS"), (1, "RINGS")], &place(1));
}
