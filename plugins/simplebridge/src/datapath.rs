//! What the bridge asks the host to load.

use std::collections::BTreeMap;

use polycube_layout::bridge::{AGING, COUNTERS, FDB, PORT_LIMIT, PORT_STEP};
use polycube_plugin_api::{Datapath, Port, Refusal, Tag, constant};

use crate::config::{FdbConfig, StaticEntry};
use crate::mac::Mac;

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");

/// Addresses that the user bound to a port, with the port's id.
pub(crate) type Statics = BTreeMap<Mac, u32>;

pub(crate) fn datapath(config: &FdbConfig, ports: &[Port]) -> Datapath {
    let constants =
        [constant(AGING, config.aging().to_ne_bytes()), constant(PORT_LIMIT, port_limit(ports).to_ne_bytes())];
    Datapath::of(OBJECT).at_ports("bridge", &constants).map(FDB).map(COUNTERS)
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
            let config = FdbConfig { aging_time, entry: Vec::new() };
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
    }
}
