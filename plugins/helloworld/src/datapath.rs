//! What the cube asks the host to load.

use polycube_plugin_api::{Datapath, Port, Refusal, Tag, constant};

use crate::config::Config;

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/helloworld.o");

/// Ports that a cube has at most.
const PORTS: usize = 2;

/// `PCN_NO_PORT` of polycube.h.
const NO_PORT: u32 = u32::MAX;

pub(crate) fn datapath(config: Config, ports: &[Port]) -> Result<Datapath, Refusal> {
    if ports.len() > PORTS {
        let names = ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
        let message =
            format!("a helloworld cube has at most {PORTS} ports, and these would be {}: {names}", ports.len());
        return Err(Refusal::new(Tag::InvalidValue, message).at("ports"));
    }
    let id = |index: usize| ports.get(index).map_or(NO_PORT, |port| port.id);
    let constants = [("ACTION", config.action.number()), ("FIRST", id(0)), ("SECOND", id(1))]
        .map(|(name, value)| constant(name, value.to_ne_bytes()));
    Ok(Datapath::of(OBJECT).at_ports("helloworld", &constants).packets(&[]))
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::Code;

    use super::*;
    use crate::config::Action;

    fn ports(ids: &[u32]) -> Vec<Port> {
        ids.iter().map(|id| Port { id: *id, name: format!("p{id}"), netdev: None }).collect()
    }

    #[test]
    fn a_third_port_is_refused() {
        assert!(datapath(Config::default(), &ports(&[0, 1])).is_ok());
        let refusal = datapath(Config::default(), &ports(&[0, 1, 2])).unwrap_err();
        let expected = "a helloworld cube has at most 2 ports, and these would be 3: `p0`, `p1`, `p2`";
        assert_eq!((refusal.message.as_str(), refusal.path.as_str()), (expected, "ports"));
    }

    #[test]
    fn the_program_knows_its_ports() {
        let numbers = |ids: &[u32]| {
            let datapath = datapath(Config { action: Action::Forward }, &ports(ids)).unwrap();
            let Code::Elf { constants, .. } = &datapath.programs[0].code else { panic!("no ELF object") };
            constants[..3]
                .iter()
                .map(|(_, bytes)| u32::from_ne_bytes(bytes[..].try_into().unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&[]), [2, NO_PORT, NO_PORT]);
        assert_eq!(numbers(&[3]), [2, 3, NO_PORT]);
        assert_eq!(numbers(&[3, 1]), [2, 3, 1]);
    }
}
