mod keywords;

use polycube_plugin_api::Direction;
use serde_json::json;

use super::slot::Form;
use super::*;

const TYPES: &[u8] = include_bytes!("../../../../tests/fixtures/objects/types.o");
const VERDICTS: &[u8] = include_bytes!("../../../../tests/fixtures/objects/verdicts.o");
const LEAP: &[u8] = include_bytes!("../../../../tests/fixtures/objects/leap.o");
const LEAP_MANIFEST: &str = include_str!("../../../../tests/fixtures/objects/leap.json");
const RING: &[u8] = include_bytes!("../../../../tests/fixtures/objects/ring.o");
const BRIDGE: &[u8] = include_bytes!("../../../../ebpf/objects/simplebridge.o");
const TYPES_MANIFEST: &str = include_str!("../../../../tests/fixtures/objects/types.json");
const VERDICTS_MANIFEST: &str = include_str!("../../../../tests/fixtures/objects/verdicts.json");

fn made(object: &[u8], manifest: &str) -> Result<(ServiceSchema, Definition), Fault> {
    check_elf(object)?;
    make("my-service", object, Manifest::parse(manifest).unwrap())
}

/// A manifest with another value at a JSON pointer, whose last word may be new; null removes what is there.
fn changed(manifest: &str, pointer: &str, value: Value) -> String {
    let mut manifest: Value = serde_json::from_str(manifest).unwrap();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let members = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")).as_object_mut().unwrap();
    if value.is_null() {
        members.shift_remove(last);
    } else {
        members.insert(last.to_owned(), value);
    }
    manifest.to_string()
}

/// Asserts why a manifest is refused after a change.
#[track_caller]
fn check((object, manifest): (&[u8], &str), pointer: &str, value: Value, expected: &str) {
    let refused = made(object, &changed(manifest, pointer, value)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.starts_with(expected), "{refused}");
    assert!(!refused.contains('\n'), "{refused}");
}

fn member<'a>(list: &'a schema::List, name: &str) -> &'a schema::Member {
    list.members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn leaves_and_lists_are_connected_by_the_types_of_the_object() {
    let (service, definition) = made(TYPES, TYPES_MANIFEST).unwrap();
    let Bindings { globals, lists, readings, tables } = &definition.bindings;
    let forms: Vec<(&str, usize, &Form)> =
        globals.iter().map(|global| (global.name.as_str(), global.slot.size, &global.slot.form)).collect();
    let integer = |is_signed, is_big_endian| Form::Integer { is_signed, is_big_endian };
    // clang writes the signs of enumerators since LLVM 15 only.
    let words = ["off", "on", "auto"]
        .into_iter()
        .zip([0, 5, i64::from(u32::MAX)])
        .map(|(word, number)| (word.to_owned(), number));
    assert_eq!(
        forms,
        [
            ("mode", 4, &Form::Words(words.collect())),
            ("label", 8, &Form::Text),
            ("mac", 6, &Form::Mac),
            ("address", 4, &Form::Ipv4),
            ("offset", 2, &integer(true, false)),
            ("strict", 1, &Form::Boolean),
        ]
        .into_iter()
        .chain([("plain", 8, &integer(false, false))])
        .collect::<Vec<_>>()
    );
    let flows = &lists[0];
    assert_eq!((flows.map.key_size, flows.map.value_size, flows.keys.join(" ")), (16, 64, "name".to_owned()));
    for (name, side, offset, size, form) in [
        ("from", schema::Side::Key, 0, 4, Form::Ipv4),
        ("to", schema::Side::Key, 4, 4, Form::Ipv4),
        ("port", schema::Side::Key, 8, 2, integer(false, true)),
        ("gateway", schema::Side::Value, 0, 16, Form::Ipv6),
        ("burst", schema::Side::Value, 20, 4, integer(true, false)),
        ("name", schema::Side::Value, 28, 12, Form::Text),
        ("swapped", schema::Side::Value, 46, 2, integer(false, true)),
    ] {
        let found = member(flows, name);
        assert_eq!(
            (found.side, found.slot.offset, found.slot.size, &found.slot.form),
            (side, offset, size, &form),
            "{name}"
        );
    }
    assert_eq!(member(&lists[1], "network").slot.form, Form::Prefix);
    assert_eq!((lists[2].map.is_array, tables[0].map.is_per_cpu), (true, true));
    assert_eq!(readings.iter().map(|reading| reading.index).collect::<Vec<_>>(), [None, Some(3)]);
    assert_eq!(definition.maps, ["classes", "flows", "networks", "recent"]);

    let text = format!("{}{}", service.config, service.state);
    for keyword in ["x-map", "x-global", "x-field", "x-index", "x-big-endian"] {
        assert!(!text.contains(keyword), "{keyword} is the daemon's own: {text}");
    }
    assert!(text.contains("x-list-key"), "{text}");
}

#[test]
fn a_leaf_gets_the_limits_of_its_type() {
    let (service, _) = made(TYPES, TYPES_MANIFEST).unwrap();
    for (pointer, least, most) in [
        ("/properties/limits/properties/offset", json!(-100), json!(32767)),
        ("/properties/plain", json!(0), json!(u64::MAX)),
        ("/properties/flows/items/properties/port", json!(0), json!(65535)),
        ("/properties/classes/items/properties/class", json!(0), json!(7)),
    ] {
        let leaf = service.config.pointer(pointer).unwrap();
        assert_eq!((&leaf["minimum"], &leaf["maximum"]), (&least, &most), "{pointer}");
    }
    assert_eq!(service.config["properties"]["label"]["maxLength"], 7);
    assert_eq!(service.state["properties"]["passes"].get("maximum"), None, "a sum has no limit");
}

#[test]
fn a_leaf_that_does_not_fit_is_refused_by_its_place() {
    let types = (TYPES, TYPES_MANIFEST);
    let leaf = |name: &str, word: &str| format!("/config/properties/{name}/{word}");
    check(types, &leaf("label", "x-global"), json!(null), "`label` of the configuration is connected to nothing");
    check(types, &leaf("label", "x-global"), json!(7), "`x-global` of `label` of the configuration is not a text");
    check(
        types,
        &leaf("label", "x-global"),
        json!("lable"),
        "`label` of the configuration: the object has no global variable `lable`; known: address, label, mac, mode",
    );
    check(
        types,
        &leaf("limits/properties/offset", "maximum"),
        json!(40000),
        "`limits/offset` of the configuration: its `maximum` is 40000, and the object's type goes from -32768 to 32767",
    );
    check(
        types,
        &leaf("label", "maxLength"),
        json!(8),
        "`label` of the configuration: its `maxLength` is 8, and the object has room for 7 bytes",
    );
    check(
        types,
        &leaf("label", "type"),
        json!("integer"),
        "`label` of the configuration: it is an integer, and the object has an array of 8, 8 bytes",
    );
    check(
        types,
        &leaf("label", "type"),
        json!("number"),
        "`label` of the configuration: it has no `type` that the object could store",
    );
    check(
        types,
        &leaf("mac", "format"),
        json!("ipv4"),
        "`mac` of the configuration: it is an IPv4 address of 4 bytes, and",
    );
    check(types, &leaf("mac", "format"), json!(null), "`mac` of the configuration: it is a text without a `format`");
    check(
        types,
        &leaf("mode", "enum"),
        json!(["slow"]),
        "`mode` of the configuration: no enumerator of `enum mode` is called `slow`, or ends with `_slow`; known: MODE_OFF, MODE_ON, MODE_AUTO",
    );
}

#[test]
fn what_two_places_would_write_is_refused_by_both() {
    let types = (TYPES, TYPES_MANIFEST);
    check(
        types,
        "/config/properties/limits/properties/strict/x-global",
        json!("offset"),
        "`limits/strict` of the configuration: `limits/offset` of the configuration has the global variable `offset` already",
    );
    let manifest: Value = serde_json::from_str(TYPES_MANIFEST).unwrap();
    let same = manifest["config"]["properties"]["classes"].clone();
    check(
        types,
        "/config/properties/more",
        same,
        "`more` of the configuration: `classes` of the configuration has the map `classes` already",
    );
}

#[test]
fn a_list_that_does_not_fit_is_refused_by_its_place() {
    let types = (TYPES, TYPES_MANIFEST);
    let list = |word: &str| format!("/config/properties/flows/{word}");
    let item = |name: &str, word: &str| format!("/config/properties/flows/items/properties/{name}/{word}");
    check(
        types,
        &list("x-map"),
        json!(null),
        "`flows` of the configuration is connected to nothing in the object: give it `x-map`",
    );
    check(
        types,
        &list("x-map"),
        json!("flow"),
        "`flows` of the configuration: the object has no map `flow`; known: classes, flows",
    );
    check(
        types,
        &list("x-map"),
        json!("recent"),
        "`flows` of the configuration: the map `recent` is a LRU_PERCPU_HASH; the entries of a list need",
    );
    check(types, &list("x-list-key"), json!(null), "`flows` of the configuration is a list without `x-list-key`");
    check(
        types,
        &item("port", "x-field"),
        json!("prot"),
        "`flows/port` of the configuration: neither key nor value of the map `flows` has a field `prot`; known: from, to, port, protocol, more, gateway",
    );
    check(
        types,
        &item("rate", "x-field"),
        json!("flag"),
        "`flows/rate` of the configuration: the field `flag` is a bit field",
    );
    check(
        types,
        &item("rate", "x-field"),
        json!("bytes"),
        "`flows/rate` of the configuration: it is an integer, and the object has a structure of 8 bytes",
    );
    check(
        types,
        &item("burst", "x-field"),
        json!("bytes.rate"),
        "`flows/burst` of the configuration: `flows/rate` of the configuration is stored in the same bytes of the map `flows`",
    );
    check(
        types,
        "/config/properties/classes/items/properties/class/maximum",
        json!(8),
        "`classes/class` of the configuration: its `maximum` is 8, and the object's type goes from 0 to 7",
    );
    check(
        types,
        "/config/properties/networks/items/properties/network/format",
        json!("ipv4"),
        "`networks/network` of the configuration",
    );
    check(
        types,
        "/state/properties/class-3/x-index",
        json!(8),
        "`class-3` of the state: the index 8 is past the end of the map `classes`, which has 8 entries: make it larger, or take a lower index",
    );
    check(
        types,
        "/state/properties/passes/x-index",
        json!(0),
        "`x-index` of `passes` of the state is not of any use here: the map is not an array",
    );
}

#[test]
fn hooks_and_maps_are_checked() {
    let verdicts = (VERDICTS, VERDICTS_MANIFEST);
    let hook = |program: &str| json!([{ "program": program }]);
    check(verdicts, "/hooks", json!([]), "`hooks` is empty: name at least one program");
    check(
        verdicts,
        "/hooks",
        hook("entr"),
        "hook 0: the object has no program `entr`; known: drop, dropper, enter, leap, refused",
    );
    check(
        verdicts,
        "/hooks",
        hook("dropper"),
        "hook 0: program `dropper` is in section `xdp`, which is for another kind",
    );
    let twice = json!([{ "program": "enter" }, { "program": "leap", "direction": "egress" }, { "program": "leap" }]);
    check(verdicts, "/hooks", twice, "hook 2: hook 0 has the same direction and stage");
    check(verdicts, "/kind", json!("standard"), "a standard service needs the map `ports` in its object");
    check(verdicts, "/tail-calls", json!({}), "the map `jumps` is a PROG_ARRAY, and `tail-calls` does not say");
    let calls = |programs: Value| json!({ "jumps": programs });
    check(
        verdicts,
        "/tail-calls",
        calls(json!(["dropper"])),
        "`tail-calls` names the program `dropper` for the map `jumps`, and",
    );
    check(
        verdicts,
        "/tail-calls",
        calls(json!([null, null, null, null, null])),
        "`tail-calls` has 5 programs for the map `jumps`, which has room for 4",
    );
    check(
        verdicts,
        "/tail-calls/lengths",
        json!([]),
        "`tail-calls` names the map `lengths`, which is not a PROG_ARRAY of the object's; known: jumps",
    );
    let ring = r#"{ "description": "", "kind": "transparent", "hooks": [{ "program": "report" }] }"#;
    check(
        (RING, ring),
        "/version",
        json!("1"),
        "the map `events` is a RINGBUF, which a process would have to read or fill",
    );
}

#[test]
fn programs_in_a_chain_have_tables_of_their_own_to_jump_through() {
    let calls = |elf: &'static [u8], manifest: &str| {
        let (_, definition) = make("s", elf, Manifest::parse(manifest).unwrap()).unwrap();
        let names = |calls: &BTreeMap<String, Vec<Option<String>>>| calls.keys().cloned().collect::<Vec<_>>();
        (definition.maps.clone(), names(&definition.tail_calls), names(&definition.jumps))
    };
    let is = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(calls(LEAP, LEAP_MANIFEST), (is(&["counters"]), is(&[]), is(&["calls"])));
    assert_eq!(calls(VERDICTS, VERDICTS_MANIFEST), (is(&["jumps", "lengths"]), is(&["jumps"]), is(&[])));
    let leap = (LEAP, LEAP_MANIFEST);
    let unfilled = "the map `calls` is a PROG_ARRAY, and `tail-calls` does not say which programs are in it: add `\"calls\": \
                    [\"PROGRAM\", …]` to `tail-calls`";
    check(leap, "/tail-calls", json!({}), unfilled);
    let room = "`tail-calls` has 3 programs for the map `calls`, which has room for 2";
    check(leap, "/tail-calls/calls", json!([null, null, "leap"]), room);
}

#[test]
fn objects_of_our_own_are_services_too() {
    let manifest = r#"{ "description": "", "kind": "standard", "hooks":
        [{ "program": "bridge" }, { "program": "bridge", "direction": "egress" }] }"#;
    let (_, definition) = made(BRIDGE, manifest).unwrap();
    assert_eq!(definition.hooks[1].direction, Direction::Egress, "on the way out of the ports");
    assert_eq!(definition.maps, ["counters", "fdb", "flags", "ports"], "each program has `next` for itself");
}

#[test]
fn what_is_not_an_object_for_this_machine_is_refused() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = TYPES.to_vec();
        bytes[at] = byte;
        made(&bytes, TYPES_MANIFEST).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(changed(0, 0), "it is not an ELF object: compile it with clang -target bpf");
    assert_eq!(changed(5, 2), "it is big-endian, and this machine is not: compile it with -target bpfel");
    assert_eq!(changed(18, 62), "it is an object for another machine: compile it with clang -target bpf");
    let name = (0..TYPES.len()).rev().find(|at| TYPES[*at..].starts_with(b".BTF\0")).unwrap();
    assert!(changed(name, b',').starts_with("it has no BTF, which declares its maps: compile it with -g"));
    let half = made(&TYPES[..TYPES.len() / 2], TYPES_MANIFEST).map(|_| ()).unwrap_err().to_string();
    assert!(half == "it ends early: copy or compile it again", "{half}");
}

#[test]
fn a_damaged_object_does_not_end_the_daemon() {
    let types = section(TYPES, ".BTF").unwrap();
    assert!(Types::parse(&types).is_some());
    for length in (0..types.len()).step_by(7) {
        let _ = Types::parse(&types[..length]);
    }
    for at in (0..types.len()).step_by(3) {
        let mut damaged = types.clone();
        damaged[at] ^= 0xff;
        if let Some(types) = Types::parse(&damaged) {
            let contents = Contents { types: Some(types), ..contents(TYPES).unwrap() };
            let _ = define("s", TYPES, Manifest::parse(TYPES_MANIFEST).unwrap(), &contents);
        }
    }
}

#[test]
fn without_types_only_numbers_of_globals_can_be_set() {
    let plain = Contents { types: None, ..contents(TYPES).unwrap() };
    let manifest = |manifest: &str| Manifest::parse(manifest).unwrap();
    let refused = define("s", TYPES, manifest(TYPES_MANIFEST), &plain).map(|_| ()).unwrap_err().to_string();
    assert!(refused.starts_with("`mode` of the configuration: the object has no BTF"), "{refused}");
    let numbers = json!({ "type": "object", "properties": { "offset": { "type": "integer", "minimum": -9, "x-global": "offset" } } });
    let mut short = changed(TYPES_MANIFEST, "/config", numbers);
    short = changed(&short, "/state", json!(null));
    let (service, definition) = define("s", TYPES, manifest(&short), &plain).unwrap();
    assert_eq!(service.config["properties"]["offset"]["maximum"], 32767);
    assert_eq!(definition.bindings.globals[0].slot.form, Form::Integer { is_signed: true, is_big_endian: false });
}

#[test]
fn metrics_have_the_name_of_the_service() {
    let (service, _) = made(VERDICTS, VERDICTS_MANIFEST).unwrap();
    assert_eq!(service.state["properties"]["packets"]["x-metric"]["name"], "my_service_packets_total");
}

#[test]
fn entries_become_keys_and_values() {
    let (_, definition) = made(TYPES, TYPES_MANIFEST).unwrap();
    let flows = &definition.bindings.lists[0];
    let entry = |name: &str, port: u16| json!({ "name": name, "from": "10.0.0.1", "port": port, "mode": "MODE_ON", "burst": -1 });
    let encoded = flows.encode(&[entry("a", 80), entry("b", 443)]).unwrap();
    let keys: Vec<&Vec<u8>> = encoded.keys().collect();
    assert_eq!(keys[0], &[10, 0, 0, 1, 0, 0, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0]);
    let value = &encoded[keys[0]];
    assert_eq!((value[20..24].to_vec(), value[24], value[28]), (vec![255; 4], 5, b'a'));
    let twice = flows.encode(&[entry("a", 80), entry("b", 80)]).unwrap_err();
    assert_eq!(
        (twice.path.as_str(), twice.message.as_str()),
        ("flows/b", "entries `a` and `b` mean the same to the program: remove one")
    );
    let many: Vec<Value> = (0..5).map(|port| entry(&port.to_string(), port)).collect();
    let many = flows.encode(&many).unwrap_err();
    assert_eq!(
        (many.path.as_str(), many.message.as_str()),
        ("flows", "the program's map has room for 4 entries, not for 5")
    );
}

/// The reader of ELF files panics at some of these.
#[test]
fn a_key_of_several_members_is_of_fields_of_the_maps_key() {
    let key = json!(["from", "to", "port", "protocol"]);
    let manifest = changed(TYPES_MANIFEST, "/config/properties/flows/x-list-key", key);
    let (_, definition) = made(TYPES, &manifest).unwrap();
    let flows = definition.bindings.lists.iter().find(|list| list.path == ["flows"]).unwrap();
    assert_eq!(flows.keys, ["from", "to", "port", "protocol"]);
    let flow = |port: u16| json!({ "from": "10.0.0.1", "to": "10.0.0.2", "port": port, "protocol": 6, "name": port.to_string() });
    assert_eq!(flows.encode(&[flow(80), flow(81)]).unwrap().len(), 2);
    let refused = flows.encode(&[flow(80), flow(80)]).unwrap_err();
    assert_eq!(refused.path, "flows/10.0.0.1/10.0.0.2/80/6");
    check(
        (TYPES, TYPES_MANIFEST),
        "/config/properties/classes/x-list-key",
        json!(["class", "weight"]),
        "`classes/class` of the configuration: neither key nor value of the map `classes` has a field `class`",
    );
}

#[test]
fn no_damage_to_an_object_is_more_than_a_refusal() {
    let (mut made_anyway, mut malformed) = (0, 0);
    for at in (0..VERDICTS.len()).step_by(3) {
        let mut object = VERDICTS.to_vec();
        object[at] = 0xff;
        match made(&object, VERDICTS_MANIFEST) {
            Ok(_) => made_anyway += 1,
            Err(Fault::Malformed) => malformed += 1,
            Err(_) => {}
        }
        let _ = made(&VERDICTS[..at], VERDICTS_MANIFEST);
    }
    assert!(made_anyway > 0 && malformed > 0, "{made_anyway}, {malformed}");
}

#[test]
fn the_map_of_ports_has_room_for_every_port() {
    let mut contents = contents(BRIDGE).unwrap();
    let check = |contents: &Contents| check_maps(contents, ServiceKind::Standard, &BTreeMap::new());
    assert!(check(&contents).is_ok());
    let ports = contents.maps.iter_mut().find(|map| map.name == PORTS).unwrap();
    ports.max_entries = 127;
    assert!(matches!(check(&contents), Err(Fault::NoPorts)));
}
