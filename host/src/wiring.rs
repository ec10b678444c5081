//! The wanted datapath, down to single programs, maps and slots. Pure.
//!
//! A topology says where cubes are attached. The plugins say which programs and maps that takes. A wiring joins the
//! two: which programs are loaded, with which maps, and in which order packets pass them at each hook.
//!
//! Programs and maps carry a revision. One whose description is unchanged keeps its revision, so the difference of two
//! wirings names exactly what to load, link and drop, and a plan needs nothing else. A program also gets a new revision
//! when it moves to another hook: while packets at the old hook still pass it, its slot must not lead to the new chain.
//!
//! A change rewires only what it touches ([`Touched`]). Everything else is shared with the wiring before, unseen: the
//! ten-thousandth cube costs as much as the tenth. `Wiring::default()` rewired with everything touched is the wiring of
//! the whole topology; a property test holds the two ways against each other.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use imbl::OrdMap;
use polycube_layout::chain::{MAX_TAIL_CALLS, NO_PORT, PORTS};
use polycube_loader::chain::{self, Slots};
use polycube_loader::described::Checked;
use polycube_loader::object::JumpTable;
use polycube_plugin_api::{Direction, Jumps, LeftOut, MapSpec, Program, ServiceKind};

pub(crate) use exits::{CubeExits, Exit};
pub(crate) use netdevs::{Netdevs, PortKey};
pub(crate) use touched::{Place, Touched};

use crate::topology::{Attachment, Cube, CubeName, Point, Role};

/// What one cube asks to have loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CubeDatapath {
    pub programs: Vec<Program>,
    pub maps: Vec<MapSpec>,
    pub jumps: Vec<Jumps>,
    pub left_out: Vec<LeftOut>,
    pub objects: Vec<Arc<[u8]>>,
    pub checked: Checked,
}

/// A netdev in the daemon's network namespace, identified by its index: a new name changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Netdev {
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
pub(crate) struct Hook {
    pub netdev: Netdev,
    pub direction: Direction,
}

/// A chain that is longer than the kernel's tail calls reach.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {} chain on {} would have {programs} programs, each filter one of them{}: the kernel allows {MAX_TAIL_CALLS} \
     tail calls; detach a cube or clear a filter there first",
    if hook.direction == Direction::Ingress { "ingress" } else { "egress" },
    hook.netdev.name,
    if *jumps == 0 { String::new() } else { format!(", and its cubes jump up to {jumps} times") }
)]
pub(crate) struct TooLong {
    pub hook: Hook,
    pub programs: usize,
    /// Tail calls between the programs of one cube.
    pub jumps: usize,
}

/// A program of a cube, whatever its revision.
///
/// A program on the way out of a standard cube is followed by what is attached to the port, which differs from port to port.
/// So each port has an instance of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeKey {
    pub cube: CubeName,
    /// Of a transparent cube, the point; of a program on the way out of a standard cube, the id of the port; else 0.
    pub point: u32,
    pub direction: Direction,
    pub stage: u32,
}

impl NodeKey {
    /// Whether both are stages of one cube at one place. What stands ahead of all cubes is not.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.is_with(other) && self.is_ahead() == other.is_ahead()
    }

    /// Whether both are of one cube at one place.
    fn is_with(&self, other: &Self) -> bool {
        (&self.cube, self.point, self.direction) == (&other.cube, other.point, other.direction)
    }

    fn is_ahead(&self) -> bool {
        self.stage == Program::AHEAD
    }
}

/// A loaded instance of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId {
    pub key: NodeKey,
    pub revision: u64,
}

/// What a node is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    pub program: Program,
    pub object: Arc<[u8]>,
    /// Whether another stage of the cube comes after it.
    pub is_followed: bool,
    /// Maps of the cube that the program uses if its object names them.
    pub maps: Vec<MapId>,
    /// What it jumps to.
    pub jumps: Vec<JumpTable>,
    /// Tail calls between it and what it jumps to.
    pub tail_calls: usize,
}

/// A map of a cube.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MapId {
    pub cube: CubeName,
    pub name: String,
    pub revision: u64,
}

/// What a map is made of: sizes from the plugin, type and flags from whichever object declares it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MapDescription {
    pub spec: MapSpec,
    /// The UUID of the cube: another cube of its name does not get what is in the map.
    pub owner: String,
    pub objects: Vec<Arc<[u8]>>,
}

/// The programs at one hook, in the order in which packets pass them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Port id that the root writes into the packet's metadata.
    pub port: u32,
    /// Stages of one cube are next to each other.
    pub nodes: Vec<NodeId>,
}

impl Chain {
    /// What each slot holds, the root's first: a node's `next` holds the first stage of the next cube, its `accept` the
    /// next stage of its own cube.
    pub(crate) fn slots(&self, hook: &Hook) -> Vec<(Source, Option<NodeId>)> {
        let mut slots = vec![(Source::Root(hook.clone()), self.nodes.first().cloned())];
        let chain = chain::slots(&self.nodes, |one, other| one.key.is_beside(&other.key));
        for (node, Slots { accept, next }) in self.nodes.iter().zip(chain) {
            if let Some(stage) = accept {
                slots.push((Source::Accept(node.clone()), Some(self.nodes[stage].clone())));
            }
            slots.push((Source::Node(node.clone()), next.map(|next| self.nodes[next].clone())));
        }
        slots
    }
}

/// What a slot belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Root(Hook),
    /// A node's `next`.
    Node(NodeId),
    /// A node's `accept`.
    Accept(NodeId),
}

/// The whole datapath. Programs that no packet reaches are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wiring {
    pub nodes: OrdMap<NodeId, Arc<NodeSpec>>,
    pub maps: OrdMap<MapId, Arc<MapDescription>>,
    pub hooks: OrdMap<Hook, Arc<Chain>>,
    /// Entries of the standard cubes' maps `ports`: ifindex by port id.
    pub ports: OrdMap<(MapId, u32), u32>,
    revision: u64,
}

/// What each cube asked to have loaded.
pub(crate) type Datapaths = OrdMap<CubeName, Arc<CubeDatapath>>;

impl Wiring {
    /// An empty wiring, whose revisions go on after `revision`.
    pub(crate) fn after(revision: u64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The wiring of another state: `touched` is wired anew for it, and the rest is as it is. A port whose peer does
    /// not exist is left unwired. What is described as before keeps its revision.
    ///
    /// # Errors
    /// A chain that is longer than the kernel's tail calls reach.
    pub(crate) fn rewire(
        &self,
        (topology, netdevs): Place<'_>,
        datapaths: &Datapaths,
        touched: &Touched,
    ) -> Result<Self, TooLong> {
        let mut wiring = self.clone();
        for cube in &touched.cubes {
            wiring.remove_cube(cube);
        }
        for cube in &touched.cubes {
            let (Some(datapath), Some((_, found))) = (datapaths.get(cube), topology.get(cube.as_str())) else {
                continue;
            };
            wiring.add_cube((cube, found), datapath, self);
            wiring.add_port_table(cube, (topology, netdevs));
        }
        wiring.rewire_hooks((topology, netdevs), touched, self)?;
        wiring.drop_unreached(touched);
        Ok(wiring)
    }

    /// The same without these maps: what is described like one of them gets a map of its own.
    pub(crate) fn without_maps(&self, maps: &BTreeSet<MapId>) -> Self {
        let mut wiring = self.clone();
        for map in maps {
            wiring.maps.remove(map);
            for (entry, _) in self.ports.range((map.clone(), 0)..=(map.clone(), u32::MAX)) {
                wiring.ports.remove(entry);
            }
        }
        wiring
    }

    /// The maps of `cube`.
    pub(crate) fn maps_of(&self, cube: &CubeName) -> impl Iterator<Item = &MapId> {
        let first = MapId { cube: cube.clone(), name: String::new(), revision: 0 };
        self.maps.range(first..).map(|(map, _)| map).take_while(move |map| map.cube == *cube)
    }

    /// The programs of `cube`.
    fn nodes_of(&self, cube: &CubeName) -> impl Iterator<Item = &NodeId> {
        let key = NodeKey { cube: cube.clone(), point: 0, direction: Direction::Ingress, stage: 0 };
        self.nodes.range(NodeId { key, revision: 0 }..).map(|(id, _)| id).take_while(move |id| id.key.cube == *cube)
    }

    /// The programs of `cube` at one of its points, or on the way out of one of its ports, stage after stage.
    fn nodes_at(&self, cube: &CubeName, point: u32, direction: Direction) -> impl Iterator<Item = &NodeId> {
        let first = NodeId { key: NodeKey { cube: cube.clone(), point, direction, stage: 0 }, revision: 0 };
        self.nodes.range(first.clone()..).map(|(id, _)| id).take_while(move |id| id.key.is_with(&first.key))
    }

    fn remove_cube(&mut self, cube: &CubeName) {
        for node in self.nodes_of(cube).cloned().collect::<Vec<_>>() {
            self.nodes.remove(&node);
        }
        for map in self.maps_of(cube).cloned().collect::<Vec<_>>() {
            let ports = self.ports.range((map.clone(), 0)..=(map.clone(), u32::MAX));
            for entry in ports.map(|(entry, _)| entry.clone()).collect::<Vec<_>>() {
                self.ports.remove(&entry);
            }
            self.maps.remove(&map);
        }
    }

    fn add_cube(&mut self, (cube, found): (&CubeName, &Cube), datapath: &CubeDatapath, previous: &Self) {
        let kind = if found.role == Role::Transparent { ServiceKind::Transparent } else { ServiceKind::Standard };
        let specs = chain::maps_of(kind, &datapath.programs, &datapath.maps, datapath.checked.logs);
        let mut maps = Vec::new();
        for spec in specs {
            let is_same = |map: &Arc<MapDescription>| map.spec == spec && map.owner == found.uuid;
            let unchanged =
                previous.maps_of(cube).find(|id| id.name == spec.name && previous.maps.get(*id).is_some_and(is_same));
            let revision = unchanged.map_or_else(|| self.next_revision(), |id| id.revision);
            let id = MapId { cube: cube.clone(), name: spec.name.clone(), revision };
            // No program refers to a late one, and whether it is there makes no other program.
            if !spec.late {
                maps.push(id.clone());
            }
            self.maps.insert(
                id,
                Arc::new(MapDescription { spec, owner: found.uuid.clone(), objects: datapath.objects.clone() }),
            );
        }
        for (program, described) in programs::of(datapath, found.loglevel) {
            let Program { point, direction, stage, .. } = program;
            let object = Arc::clone(&datapath.objects[program.object]);
            let is_next = |other: &Program| {
                (other.point, other.direction) == (point, direction) && other.stage > stage && !other.is_ahead()
            };
            let is_followed = datapath.programs.iter().any(is_next);
            let programs::Described { jumps, tail_calls } = described;
            let spec = Arc::new(NodeSpec { program, object, is_followed, maps: maps.clone(), jumps, tail_calls });
            let leaves = kind == ServiceKind::Standard && direction == Direction::Egress;
            let points = if leaves { found.ports().map(|(_, port)| port.id).collect::<Vec<_>>() } else { vec![point] };
            for point in points {
                self.add_node(NodeKey { cube: cube.clone(), point, direction, stage }, &spec, previous);
            }
        }
    }

    fn add_node(&mut self, key: NodeKey, spec: &Arc<NodeSpec>, previous: &Self) {
        let unchanged = previous
            .nodes_at(&key.cube, key.point, key.direction)
            .filter_map(|id| previous.nodes.get_key_value(id))
            .find(|(id, old)| id.key == key && *old == spec);
        let (revision, spec) = match unchanged {
            Some((id, old)) => (id.revision, Arc::clone(old)),
            None => (self.next_revision(), Arc::clone(spec)),
        };
        self.nodes.insert(NodeId { key, revision }, spec);
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn add_port_table(&mut self, cube: &CubeName, (topology, netdevs): Place<'_>) {
        let Some(map) = self.maps_of(cube).find(|map| map.name == PORTS).cloned() else { return };
        let Some((_, found)) = topology.get(cube.as_str()) else { return };
        for (name, port) in found.ports() {
            if let Some(netdev) = netdevs.of_port(cube, name, port) {
                self.ports.insert((map.clone(), port.id), netdev.ifindex);
            }
        }
    }

    fn rewire_hooks(
        &mut self,
        (topology, netdevs): Place<'_>,
        touched: &Touched,
        previous: &Self,
    ) -> Result<(), TooLong> {
        let mut stood = HashMap::new();
        for netdev in &touched.netdevs {
            for direction in [Direction::Ingress, Direction::Egress] {
                let hook = Hook { netdev: netdev.clone(), direction };
                self.hooks.remove(&hook);
                let chain = previous.hooks.get(&hook);
                stood.extend(chain.into_iter().flat_map(|chain| &chain.nodes).map(|node| (node, hook.clone())));
            }
        }
        for netdev in &touched.netdevs {
            self.add_hooks(netdev, (topology, netdevs), &stood)?;
        }
        Ok(())
    }

    /// Both hooks of a netdev, if it is still there and packets have something to pass.
    fn add_hooks(
        &mut self,
        netdev: &Netdev,
        (topology, netdevs): Place<'_>,
        stood: &HashMap<&NodeId, Hook>,
    ) -> Result<(), TooLong> {
        let owner = netdevs.owner(netdev, topology);
        if owner.is_none() && netdevs.of_name(&netdev.name).as_ref() != Some(netdev) {
            return Ok(());
        }
        let id = owner.as_ref().and_then(|(cube, port)| Some(topology.port(cube.as_str(), port.as_str()).ok()?.id));
        let outer = topology.chain(&Point::Netdev(netdev.name.clone()));
        let inner = owner.as_ref().map(|(cube, port)| Point::Port(cube.clone(), port.clone()));
        let inner = inner.as_ref().map_or(&[][..], |point| topology.chain(point));
        let port = id.unwrap_or(NO_PORT);
        let hook = Hook { netdev: netdev.clone(), direction: Direction::Ingress };
        let mut nodes = self.stages(places(outer.iter().chain(inner.iter().rev())), &hook, stood);
        nodes.extend(owner.iter().flat_map(|(cube, _)| self.nodes_at(cube, 0, Direction::Ingress)).cloned());
        self.add_hook(hook, port, nodes)?;
        let hook = Hook { netdev: netdev.clone(), direction: Direction::Egress };
        let leaving = owner.iter().filter_map(|(cube, _)| Some((cube, id?)));
        let nodes = self.stages(leaving.chain(places(inner.iter().chain(outer.iter().rev()))), &hook, stood);
        self.add_hook(hook, port, nodes)
    }

    /// Removes programs that stand at no hook. Those of cubes that are not touched stand where they stood.
    fn drop_unreached(&mut self, touched: &Touched) {
        let hooks = touched.netdevs.iter().flat_map(|netdev| {
            [Direction::Ingress, Direction::Egress].map(|direction| Hook { netdev: netdev.clone(), direction })
        });
        let chains: Vec<Arc<Chain>> = hooks.filter_map(|hook| self.hooks.get(&hook).cloned()).collect();
        let used: BTreeSet<&NodeId> = chains.iter().flat_map(|chain| &chain.nodes).collect();
        let nodes = touched.cubes.iter().flat_map(|cube| self.nodes_of(cube));
        for node in nodes.filter(|node| !used.contains(node)).cloned().collect::<Vec<_>>() {
            self.nodes.remove(&node);
        }
    }

    /// The programs of cubes at `hook` that stand at no other. One that stood at another hook gets a new revision.
    fn stages<'a>(
        &mut self,
        places: impl Iterator<Item = (&'a CubeName, u32)>,
        hook: &Hook,
        stood: &HashMap<&NodeId, Hook>,
    ) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for (cube, point) in places {
            let here: Vec<NodeId> = self.nodes_at(cube, point, hook.direction).cloned().collect();
            for mut node in here {
                if stood.get(&node).is_some_and(|before| before != hook)
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

    fn add_hook(&mut self, hook: Hook, port: u32, mut nodes: Vec<NodeId>) -> Result<(), TooLong> {
        nodes.sort_by_key(|node| !node.key.is_ahead());
        let jumps = nodes.iter().filter_map(|id| self.nodes.get(id)).map(|spec| spec.tail_calls).sum();
        if nodes.len() + jumps > MAX_TAIL_CALLS {
            return Err(TooLong { hook, programs: nodes.len(), jumps });
        }
        if !nodes.is_empty() {
            self.hooks.insert(hook, Arc::new(Chain { port, nodes }));
        }
        Ok(())
    }
}

/// Where attached cubes have their programs.
fn places<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> impl Iterator<Item = (&'a CubeName, u32)> {
    attachments.map(|Attachment { cube, id, .. }| (cube, *id))
}

mod exits;
#[cfg(test)]
pub(crate) mod fixture;
mod netdevs;
mod programs;
#[cfg(test)]
mod tests;
mod touched;
