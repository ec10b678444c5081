//! What the bridge asks the host to load.

use std::collections::BTreeMap;

use polycube_layout::bridge::{AGING, ANY_FLAGS, COUNTERS, FDB, FLAGS, FORWARD_BPDU, PORT_LIMIT, PORT_STEP};
use polycube_plugin_api::{Datapath, MapSpec, Port, Refusal, Tag, constant};

use crate::config::{Bpdu, Config, FdbConfig, StaticEntry};
use crate::mac::Mac;

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");

/// Addresses that the user bound to a port, with the port's id.
pub(crate) type Statics = BTreeMap<Mac, u32>;

/// What is set at ports, by their ids, as the program expects it. Ports with nothing set are left out.
pub(crate) type Flags = BTreeMap<u32, u32>;

/// The flags of `ports`.
pub(crate) fn flags(config: &Config, ports: &[Port]) -> Flags {
    let set: BTreeMap<&str, u32> = config.ports.iter().map(|port| (port.name.as_str(), port.flags())).collect();
    let of_port = |port: &Port| Some((port.id, set.get(port.name.as_str()).copied().filter(|flags| *flags != 0)?));
    ports.iter().filter_map(of_port).collect()
}

pub(crate) fn datapath(config: &Config, ports: &[Port]) -> Datapath {
    let flags = flags(config, ports);
    let any = flags.values().fold(0, |any, flags| any | flags);
    let number = |name: &str, number: u32| constant(name, number.to_ne_bytes());
    let constants = [
        constant(AGING, config.fdb.aging().to_ne_bytes()),
        number(PORT_LIMIT, port_limit(ports)),
        number(ANY_FLAGS, any),
        number(FORWARD_BPDU, u32::from(config.bpdu == Bpdu::Forward)),
    ];
    let mut datapath = Datapath::of(OBJECT).at_ports("bridge", &constants).map(FDB).map(COUNTERS);
    // Other flags are in another map, which is filled before a packet meets it.
    datapath.maps.push(MapSpec { generation: generation(&flags), ..MapSpec::declared(FLAGS) });
    datapath
}

/// A number that stands for these flags.
fn generation(flags: &Flags) -> u64 {
    // FNV-1a, which is the same in every build: a daemon that starts finds the map of the one before.
    let words = flags.iter().flat_map(|(port, flags)| [*port, *flags]).flat_map(u32::to_le_bytes);
    let hash =
        words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    if flags.is_empty() { 0 } else { hash }
}

/// An upper bound of port ids for flooding. It doubles as ports are added, so that few additions need a new program.
fn port_limit(ports: &[Port]) -> u32 {
    let ids = ports.iter().map(|port| port.id + 1).max().unwrap_or_default();
    ids.next_power_of_two().max(PORT_STEP)
}

/// The static entries, checked against each other and against the existing ports.
pub(crate) fn statics(config: &FdbConfig, ports: &[Port]) -> Result<Statics, Refusal> {
    let mut statics = Statics::new();
    for StaticEntry { address, port } in &config.entry {
        let refuse = |why: String| Refusal::new(Tag::InvalidValue, why).at(format!("fdb/entry/{address}"));
        if !address.is_station() {
            return Err(refuse(format!("{address} is not the address of a station: no single port leads to it")));
        }
        let Some(found) = ports.iter().find(|candidate| candidate.name == *port) else {
            return Err(refuse(no_port(*address, port, ports)));
        };
        if statics.insert(*address, found.id).is_some() {
            return Err(refuse(format!("{address} has two entries; keep one")));
        }
    }
    Ok(statics)
}

/// The user may be adding the entry, or removing its port.
fn no_port(address: Mac, name: &str, ports: &[Port]) -> String {
    let names = ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>();
    match names[..] {
        [] => format!("the static entry {address} names port `{name}`, and there are no ports: delete the entry first"),
        _ => format!(
            "the static entry {address} names port `{name}`, which is not among {}: name one of these, or delete the entry",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use polycube_layout::bridge::{ISOLATED, NO_FLOOD, NO_LEARNING};
    use polycube_plugin_api::Code;

    use super::*;

    #[track_caller]
    fn check(entries: &[(&str, &str)], expected: Result<&[(&str, u32)], (&str, &str)>) {
        let ports = [(3, "left"), (5, "right")];
        let ports = ports.map(|(id, name)| Port { id, name: name.to_owned(), netdev: None });
        let entry = entries
            .iter()
            .map(|(address, port)| StaticEntry { address: address.parse().unwrap(), port: (*port).to_owned() })
            .collect();
        let found = statics(&FdbConfig { entry, ..FdbConfig::default() }, &ports);
        let expected = match expected {
            Ok(list) => Ok(list.iter().map(|(mac, id)| (mac.parse().unwrap(), *id)).collect()),
            Err((path, message)) => Err(Refusal::new(Tag::InvalidValue, message).at(path)),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_ports_become_ids() {
        check(&[], Ok(&[]));
        check(
            &[("02:00:00:00:00:02", "right"), ("02:00:00:00:00:01", "left")],
            Ok(&[("02:00:00:00:00:01", 3), ("02:00:00:00:00:02", 5)]),
        );
    }

    #[test]
    fn an_unknown_port_is_refused_with_those_that_exist() {
        check(
            &[("02:00:00:00:00:0A", "up")],
            Err((
                "fdb/entry/02:00:00:00:00:0a",
                "the static entry 02:00:00:00:00:0a names port `up`, which is not among left, right: name one of these, or \
                 delete the entry",
            )),
        );
        assert!(no_port("02:00:00:00:00:0a".parse().unwrap(), "up", &[]).contains("there are no ports"));
    }

    #[test]
    fn a_group_address_is_refused() {
        check(
            &[("33:33:00:00:00:01", "left")],
            Err((
                "fdb/entry/33:33:00:00:00:01",
                "33:33:00:00:00:01 is not the address of a station: no single port leads to it",
            )),
        );
    }

    #[test]
    fn an_address_is_bound_once_in_whatever_case() {
        check(
            &[("02:00:00:00:00:0a", "left"), ("02:00:00:00:00:0A", "right")],
            Err(("fdb/entry/02:00:00:00:00:0a", "02:00:00:00:00:0a has two entries; keep one")),
        );
    }

    #[test]
    fn the_ageing_time_is_a_constant_in_nanoseconds() {
        let constants = |aging_time| {
            let config = Config { fdb: FdbConfig { aging_time, entry: Vec::new() }, ..Config::default() };
            let Code::Elf { constants, .. } = datapath(&config, &[]).programs[0].code.clone() else {
                panic!("no ELF object")
            };
            constants[0].clone()
        };
        assert_eq!(constants(300), constant("AGING", 300_000_000_000_u64.to_ne_bytes()));
        assert_eq!(constants(0), constant("AGING", 0_u64.to_ne_bytes()));
    }

    #[test]
    fn a_flood_reaches_every_port_and_looks_little_further() {
        let limit = |ids: &[u32]| {
            let ports = ids.iter().map(|id| Port { id: *id, name: format!("p{id}"), netdev: None });
            port_limit(&ports.collect::<Vec<_>>())
        };
        assert_eq!([limit(&[]), limit(&[0, 3]), limit(&[4]), limit(&[0, 9]), limit(&[127])], [4, 4, 8, 16, 128]);
        assert_eq!(limit(&[1023]), 1024);
    }

    #[test]
    fn what_is_set_at_ports_is_known_by_id_and_stands_for_a_map_of_its_own() {
        let ports = [(3, "left"), (5, "right"), (1000, "up")];
        let ports = ports.map(|(id, name)| Port { id, name: name.to_owned(), netdev: None });
        let of = |settings: serde_json::Value| {
            let config: Config = serde_json::from_value(serde_json::json!({ "ports": settings })).unwrap();
            (flags(&config, &ports), datapath(&config, &ports).maps[2].generation)
        };
        let port = |name: &str, more: serde_json::Value| {
            let mut port = more;
            port["name"] = name.into();
            port
        };
        let bare = serde_json::json!({});
        let (none, first) =
            of(serde_json::json!([port("left", bare.clone()), port("right", bare.clone()), port("up", bare)]));
        assert_eq!((none, first), (Flags::new(), 0));
        let left = port("left", serde_json::json!({ "learning": "off" }));
        let up = port("up", serde_json::json!({ "isolated": "on", "flood": "off" }));
        let (both, other) = of(serde_json::json!([left, up]));
        assert_eq!(both, Flags::from([(3, NO_LEARNING), (1000, NO_FLOOD | ISOLATED)]));
        assert!(other != 0 && other != of(serde_json::json!([left])).1);
    }
}
