//! Topologies to wire in tests, by names alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use polycube_plugin_api::{Code, Direction, MapSpec, Program, constant};
use serde_json::Value;

use super::{CubeDatapath, Datapaths, Netdev, Netdevs, TooLong, Touched, Wiring};
use crate::plan::Plan;
use crate::topology::{Cube, CubeName, LogLevel, Place, Point, PortName, Role, Topology};

/// The stage of a cube's only program; those before it are filters.
pub(crate) const LAST: u32 = 1;

pub(crate) const BOTH: &[Direction] = &[Direction::Ingress, Direction::Egress];

/// A topology, what its cubes ask for, and the netdevs that exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub topology: Topology,
    pub datapaths: Datapaths,
    pub netdevs: Netdevs,
}

impl Model {
    /// Netdevs `veth1` to `veth3` with indexes 11 to 13, and no cubes.
    pub(crate) fn new() -> Self {
        let mut model = Self::default();
        for number in 1..=3 {
            model.netdevs.name(&format!("veth{number}"), Some(number + 10));
        }
        model
    }

    /// A standard cube with one port for each netdev.
    #[must_use]
    pub(crate) fn bridge(mut self, name: &str, peers: &[(&str, &str)]) -> Self {
        self.add(name, Role::Standard(OrdMap::new()));
        for (port, peer) in peers {
            self.topology.add_port(name, PortName::parse(port).unwrap(), String::new()).unwrap();
            self.topology.set_peer(name, port, Some(Point::parse(peer).unwrap())).unwrap();
        }
        self.load(name, &[Direction::Ingress], 0)
    }

    /// A transparent cube that sees both directions, attached outermost.
    #[must_use]
    pub(crate) fn tap(mut self, name: &str, point: &str) -> Self {
        self.add(name, Role::Transparent);
        self.topology.attach(name, Point::parse(point).unwrap(), &Place::Auto).unwrap();
        self.load(name, BOTH, 0)
    }

    /// Attaches a cube that has programs to one more point, where it has the same.
    #[must_use]
    pub(crate) fn also(mut self, name: &str, point: &str) -> Self {
        self.topology.attach(name, Point::parse(point).unwrap(), &Place::Auto).unwrap();
        let datapath = Arc::make_mut(self.datapaths.get_mut(name).unwrap());
        let first: Vec<Program> = datapath.programs.iter().filter(|program| program.point == 0).cloned().collect();
        let ids = self.topology.points(name);
        datapath.programs = ids
            .iter()
            .flat_map(|(id, _)| first.iter().map(|program| Program { point: *id, ..program.clone() }))
            .collect();
        self
    }

    /// Lets a cube ask for one program at each of these hooks. Another `flavour` is another program, and from every
    /// second one on the cube's map has another size.
    #[must_use]
    pub(crate) fn load(self, name: &str, directions: &[Direction], flavour: u32) -> Self {
        self.load_stages(name, directions, &[(LAST, flavour)])
    }

    /// Lets a cube ask for several programs at each of these hooks: stages and flavours, the last stage at the end.
    #[must_use]
    pub(crate) fn load_stages(mut self, name: &str, directions: &[Direction], stages: &[(u32, u32)]) -> Self {
        let places = directions.iter().flat_map(|direction| stages.iter().map(move |stage| (*direction, *stage)));
        let programs = places.map(|(direction, (stage, flavour))| {
            let constants = vec![constant("FLAVOUR", flavour.to_ne_bytes())];
            Program { point: 0, direction, stage, object: 0, code: Code::Elf { entry: name.to_owned(), constants } }
        });
        let size = stages.last().map(|(_, flavour)| flavour / 2);
        let map = MapSpec { value_size: size, ..MapSpec::declared("data") };
        let datapath = CubeDatapath {
            programs: programs.collect(),
            maps: vec![map],
            objects: vec![Arc::from([])],
            ..CubeDatapath::default()
        };
        self.datapaths.insert(CubeName::parse(name).unwrap(), Arc::new(datapath));
        self
    }

    fn add(&mut self, name: &str, role: Role) {
        let cube = Cube {
            uuid: String::new(),
            service: "s".into(),
            loglevel: LogLevel::Info,
            config: Value::Null,
            role,
            ephemeral: None,
        };
        self.topology.add_cube(CubeName::parse(name).unwrap(), cube).unwrap();
    }

    /// Wires everything anew, whatever `previous` has.
    pub(crate) fn try_wire(&self, previous: &Wiring) -> Result<Wiring, TooLong> {
        let mut netdevs: BTreeSet<Netdev> = previous.hooks.keys().map(|hook| hook.netdev.clone()).collect();
        let named = self.netdevs.named().keys().filter_map(|name| self.netdevs.of_name(name));
        for netdev in named.chain(self.netdevs.links().values().cloned()) {
            netdevs.replace(netdev);
        }
        let before = previous.nodes.keys().map(|node| &node.key.cube).chain(previous.maps.keys().map(|map| &map.cube));
        let cubes = before.chain(self.datapaths.keys()).cloned().collect();
        previous.rewire((&self.topology, &self.netdevs), &self.datapaths, &Touched { cubes, netdevs })
    }

    /// Wires what differs from `before`, whose wiring is `previous`.
    pub(crate) fn rewire(&self, before: &Self, previous: &Wiring) -> Wiring {
        let states = [before, self].map(|model| (&model.topology, &model.netdevs));
        let touched = Touched::between(states[0], states[1], before.touched(self));
        previous.rewire(states[1], &self.datapaths, &touched).unwrap()
    }

    #[track_caller]
    pub(crate) fn wire(&self, previous: &Wiring) -> Wiring {
        self.try_wire(previous).unwrap()
    }

    /// The way from here to `other`, whose cubes that ask for something else are touched.
    pub(crate) fn plan_to(&self, other: &Self) -> Plan {
        let old = self.wire(&Wiring::default());
        let new = other.wire(&old);
        Plan::new(&old, &new, &self.touched(other))
    }

    pub(crate) fn touched(&self, other: &Self) -> BTreeSet<CubeName> {
        let differs = |(name, datapath): &(&CubeName, &Arc<CubeDatapath>)| self.datapaths.get(*name) != Some(*datapath);
        other.datapaths.iter().filter(differs).map(|(name, _)| name.clone()).collect()
    }
}
