//! What the datapath is to be, down to single programs, maps and slots. Pure.
//!
//! A topology says where cubes stand; the plugins say which programs and maps that takes; wiring joins the two.
//! Programs and maps carry a revision: one whose description is unchanged keeps it, so that the difference of two
//! wirings names exactly what has to be loaded, linked and dropped.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use polycube_layout::chain::{MAX_TAIL_CALLS, NO_PORT, PORTS};
use polycube_plugin_api::{Direction, MapSpec, Program};

pub use netdevs::Netdevs;

use crate::topology::{Attachment, CubeName, Point, Role, Topology};

/// What one cube asks to have loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CubeDatapath {
    pub programs: Vec<Program>,
    pub maps: Vec<MapSpec>,
    pub objects: Vec<Arc<[u8]>>,
}

/// A netdev in the daemon's network namespace: told apart by its index, so that a new name changes nothing.
#[derive(Clone, Debug)]
pub struct Netdev {
    pub ifindex: u32,
    pub name: String,
}

impl PartialEq for Netdev {
    fn eq(&self, other: &Self) -> bool {
        self.ifindex == other.ifindex
    }
}

impl Eq for Netdev {}

impl PartialOrd for Netdev {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Netdev {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ifindex.cmp(&other.ifindex)
    }
}

impl Hash for Netdev {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ifindex.hash(state);
    }
}

/// A place where a root program is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    pub netdev: Netdev,
    pub direction: Direction,
}

/// A chain that is longer than the kernel's tail calls reach.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {} chain on {} would have {programs} programs, each filter one of them: the kernel allows {MAX_TAIL_CALLS} \
     tail calls; detach a cube or clear a filter there first",
    if hook.direction == Direction::Ingress { "ingress" } else { "egress" },
    hook.netdev.name
)]
pub struct TooLong {
    pub hook: Hook,
    pub programs: usize,
}

/// A program of a cube, whatever its revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    pub cube: CubeName,
    pub point: u32,
    pub direction: Direction,
    pub stage: u32,
}

impl NodeKey {
    /// Whether both are stages of one cube at one place.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.cube, self.point, self.direction) == (&other.cube, other.point, other.direction)
    }
}

/// A loaded instance of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    pub key: NodeKey,
    pub revision: u64,
}

/// What a node is made of.
#[derive(Debug, PartialEq)]
pub struct NodeSpec {
    pub program: Program,
    pub object: Arc<[u8]>,
    /// Maps of the cube that the program uses if its object names them.
    pub maps: Vec<MapId>,
}

/// A map of a cube.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId {
    pub cube: CubeName,
    pub name: String,
    pub revision: u64,
}

/// What a map is made of: sizes from the plugin, type and flags from whichever object declares it.
#[derive(Debug)]
pub struct MapDescription {
    pub spec: MapSpec,
    pub objects: Vec<Arc<[u8]>>,
}

/// The programs at one hook, in the order in which packets pass them.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Port id that the root writes into the packet's metadata.
    pub port: u32,
    /// Stages of one cube stand beside each other.
    pub nodes: Vec<NodeId>,
}

impl Chain {
    /// What stands in each slot, the root's first: behind a node's `next` is the first stage of the next cube, behind
    /// its `accept` the next stage of its own.
    pub fn slots(&self, hook: &Hook) -> Vec<(Source, Option<NodeId>)> {
        let mut slots = vec![(Source::Root(hook.clone()), self.nodes.first().cloned())];
        for (index, node) in self.nodes.iter().enumerate() {
            let behind = &self.nodes[index + 1..];
            if let Some(stage) = behind.first().filter(|other| other.key.is_beside(&node.key)) {
                slots.push((Source::Accept(node.clone()), Some(stage.clone())));
            }
            let next = behind.iter().find(|other| !other.key.is_beside(&node.key));
            slots.push((Source::Node(node.clone()), next.cloned()));
        }
        slots
    }
}

/// Who holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Root(Hook),
    /// A node's `next`.
    Node(NodeId),
    /// A node's `accept`.
    Accept(NodeId),
}

/// The whole datapath. Programs that no packet reaches are left out.
#[derive(Clone, Debug, Default)]
pub struct Wiring {
    pub nodes: BTreeMap<NodeId, Arc<NodeSpec>>,
    pub maps: BTreeMap<MapId, Arc<MapDescription>>,
    pub hooks: BTreeMap<Hook, Chain>,
    /// Entries of the standard cubes' maps `ports`: ifindex by port id.
    pub ports: BTreeMap<(MapId, u32), u32>,
    revision: u64,
}

impl Wiring {
    /// Joins `topology` with what its cubes ask for. `netdevs` are those that exist; ports whose peer does not are
    /// left unwired. What `previous` has in the same shape keeps its revision.
    ///
    /// # Errors
    /// A chain that is longer than the kernel's tail calls reach.
    pub fn new(
        topology: &Topology,
        datapaths: &BTreeMap<CubeName, Arc<CubeDatapath>>,
        netdevs: &Netdevs,
        previous: &Self,
    ) -> Result<Self, TooLong> {
        let mut wiring = Self { revision: previous.revision, ..Self::default() };
        for (cube, datapath) in datapaths {
            let standard = topology.cube(cube.as_str()).is_ok_and(|(_, cube)| cube.role != Role::Transparent);
            wiring.add_cube(cube, datapath, standard, previous);
        }
        wiring.add_port_tables(topology, netdevs);
        wiring.add_hooks(topology, netdevs, previous)?;
        let used: BTreeSet<NodeId> = wiring.hooks.values().flat_map(|chain| chain.nodes.iter().cloned()).collect();
        wiring.nodes.retain(|node, _| used.contains(node));
        Ok(wiring)
    }

    /// The maps of `cube`.
    pub fn maps_of(&self, cube: &CubeName) -> impl Iterator<Item = &MapId> {
        let first = MapId { cube: cube.clone(), name: String::new(), revision: 0 };
        self.maps.range(first..).map(|(map, _)| map).take_while(move |map| map.cube == *cube)
    }

    /// The programs of `cube` at one of its points, stage after stage.
    fn nodes_at(&self, cube: &CubeName, point: u32, direction: Direction) -> impl Iterator<Item = &NodeId> {
        let first = NodeId { key: NodeKey { cube: cube.clone(), point, direction, stage: 0 }, revision: 0 };
        self.nodes.range(first.clone()..).map(|(id, _)| id).take_while(move |id| id.key.is_beside(&first.key))
    }

    fn add_cube(&mut self, cube: &CubeName, datapath: &CubeDatapath, standard: bool, previous: &Self) {
        let mut specs = datapath.maps.clone();
        if standard && !datapath.programs.is_empty() && specs.iter().all(|spec| spec.name != PORTS) {
            specs.push(MapSpec::declared(PORTS));
        }
        let mut maps = Vec::new();
        for spec in specs {
            let unchanged = previous
                .maps_of(cube)
                .find(|id| id.name == spec.name && previous.maps.get(*id).is_some_and(|map| map.spec == spec));
            let revision = unchanged.map_or_else(|| self.next_revision(), |id| id.revision);
            let id = MapId { cube: cube.clone(), name: spec.name.clone(), revision };
            self.maps.insert(id.clone(), Arc::new(MapDescription { spec, objects: datapath.objects.clone() }));
            maps.push(id);
        }
        for program in &datapath.programs {
            let Program { point, direction, stage, .. } = *program;
            let key = NodeKey { cube: cube.clone(), point, direction, stage };
            let object = Arc::clone(&datapath.objects[program.object]);
            let spec = NodeSpec { program: program.clone(), object, maps: maps.clone() };
            let unchanged = previous
                .nodes_at(&key.cube, point, direction)
                .filter_map(|id| previous.nodes.get_key_value(id))
                .find(|(id, old)| id.key == key && ***old == spec);
            let (revision, spec) = match unchanged {
                Some((id, old)) => (id.revision, Arc::clone(old)),
                None => (self.next_revision(), Arc::new(spec)),
            };
            self.nodes.insert(NodeId { key, revision }, spec);
        }
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn add_port_tables(&mut self, topology: &Topology, netdevs: &Netdevs) {
        for (name, cube) in topology.cubes() {
            let Some(map) = self.maps_of(name).find(|map| map.name == PORTS).cloned() else { continue };
            for (port_name, port) in cube.ports() {
                if let Some(netdev) = netdevs.of_port(name, port_name, port) {
                    self.ports.insert((map.clone(), port.id), netdev.ifindex);
                }
            }
        }
    }

    fn add_hooks(&mut self, topology: &Topology, netdevs: &Netdevs, previous: &Self) -> Result<(), TooLong> {
        let mut owners = BTreeMap::new();
        for (cube, spec) in topology.cubes() {
            for (name, port) in spec.ports() {
                if let Some(netdev) = netdevs.of_port(cube, name, port) {
                    owners.insert(netdev, (cube, name, port.id));
                }
            }
        }
        let attached = topology.chains().filter_map(|(point, _)| match point {
            Point::Netdev(_) => netdevs.of_point(topology, point),
            Point::Port(..) => None,
        });
        let in_use: BTreeSet<Netdev> = owners.keys().cloned().chain(attached).collect();
        let stood = previous.places();
        for netdev in in_use {
            let owner = owners.get(&netdev);
            let outer = topology.chain(&Point::Netdev(netdev.name.clone()));
            let inner =
                owner.map_or(&[][..], |(cube, port, _)| topology.chain(&Point::Port((*cube).clone(), (*port).clone())));
            let port = owner.map_or(NO_PORT, |(_, _, id)| *id);
            let hook = Hook { netdev: netdev.clone(), direction: Direction::Ingress };
            let mut nodes = self.stages(outer.iter().chain(inner.iter().rev()), &hook, &stood);
            nodes.extend(owner.iter().flat_map(|(cube, ..)| self.nodes_at(cube, 0, Direction::Ingress)).cloned());
            self.add_hook(hook, port, nodes)?;
            let hook = Hook { netdev, direction: Direction::Egress };
            let nodes = self.stages(inner.iter().chain(outer.iter().rev()), &hook, &stood);
            self.add_hook(hook, port, nodes)?;
        }
        Ok(())
    }

    /// The hook of each program.
    fn places(&self) -> HashMap<&NodeId, &Hook> {
        self.hooks.iter().flat_map(|(hook, chain)| chain.nodes.iter().map(move |node| (node, hook))).collect()
    }

    /// The programs of transparent cubes at `hook`. One that stood at another is loaded anew: while packets at the old
    /// hook still pass it, it must not lead to what stands behind it here.
    fn stages<'a>(
        &mut self,
        attachments: impl Iterator<Item = &'a Attachment>,
        hook: &Hook,
        stood: &HashMap<&NodeId, &Hook>,
    ) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for Attachment { cube, id } in attachments {
            let here: Vec<NodeId> = self.nodes_at(cube, *id, hook.direction).cloned().collect();
            for mut node in here {
                if stood.get(&node).is_some_and(|before| *before != hook)
                    && let Some(spec) = self.nodes.remove(&node)
                {
                    node.revision = self.next_revision();
                    self.nodes.insert(node.clone(), spec);
                }
                nodes.push(node);
            }
        }
        nodes
    }

    fn add_hook(&mut self, hook: Hook, port: u32, nodes: Vec<NodeId>) -> Result<(), TooLong> {
        if nodes.len() > MAX_TAIL_CALLS {
            return Err(TooLong { hook, programs: nodes.len() });
        }
        if !nodes.is_empty() {
            self.hooks.insert(hook, Chain { port, nodes });
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod fixture;
mod netdevs;
#[cfg(test)]
mod tests;
