//! A world to test with: a kernel of sets and slots that takes each effect as literally as the real one, and plugins
//! that refuse, panic or are busy when they are told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use polycube_plugin_api::{Code, Direction, Level, MapSpec, Program, constant};
use serde_json::Value;

use super::{Cubes, Handed, Kernel};
use crate::problem::Problem;
use crate::registry::Registry;
use crate::topology::{Cube, CubeName, LogLevel, Role};
use crate::wiring::{CubeDatapath, Hook, MapDescription, MapId, Netdev, NodeId, NodeSpec, PortKey, Source, Wiring};

/// What filters say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Reject,
}

/// What is in the kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub maps: BTreeSet<MapId>,
    /// Loaded programs, with the maps that they use.
    nodes: BTreeMap<NodeId, Vec<MapId>>,
    roots: BTreeMap<Hook, u32>,
    attached: BTreeSet<Hook>,
    slots: BTreeMap<Source, NodeId>,
    ports: BTreeMap<(MapId, u32), u32>,
}

/// A kernel that asserts what the real one would refuse.
#[derive(Clone, Debug, Default)]
pub(crate) struct DoubleKernel {
    pub state: State,
    /// Netdevs that were made for links, and those in promiscuous mode.
    pub pairs: BTreeSet<Netdev>,
    pub promiscuous: BTreeSet<u32>,
    /// Whether an earlier daemon left something.
    pub has_found: bool,
    /// The cubes whose leavings were kept.
    pub kept: BTreeSet<CubeName>,
    last_pair: u32,
    /// Programs that are to be loaded next.
    pub announced: BTreeSet<NodeId>,
    /// Cubes whose maps the new code declares otherwise.
    pub unfit: BTreeSet<CubeName>,
    /// How many effects succeed before one fails; `None` for all.
    pub fails_after: Option<usize>,
}

impl State {
    /// The state in which `wiring` is in force, and nothing else.
    pub(crate) fn of(wiring: &Wiring) -> Self {
        let slots = wiring.hooks.iter().flat_map(|(hook, chain)| chain.slots(hook));
        Self {
            maps: wiring.maps.keys().cloned().collect(),
            nodes: wiring.nodes.iter().map(|(id, spec)| (id.clone(), spec.maps.clone())).collect(),
            roots: wiring.hooks.iter().map(|(hook, chain)| (hook.clone(), chain.port)).collect(),
            attached: wiring.hooks.keys().cloned().collect(),
            slots: slots.filter_map(|(from, to)| Some((from, to?))).collect(),
            ports: wiring.ports.iter().map(|(entry, ifindex)| (entry.clone(), *ifindex)).collect(),
        }
    }

    /// The programs that a packet at `hook` passes, when every filter says the same of it.
    pub(crate) fn path(&self, hook: &Hook, verdict: Verdict) -> Vec<NodeId> {
        let mut path: Vec<NodeId> = Vec::new();
        let after = |node: &NodeId| {
            let accepted = self.slots.get(&Source::Accept(node.clone())).filter(|_| verdict == Verdict::Accept);
            accepted.or_else(|| self.slots.get(&Source::Node(node.clone())))
        };
        let root = Source::Root(hook.clone());
        let mut at = self.slots.get(&root).filter(|_| self.attached.contains(hook));
        while let Some(node) = at {
            assert!(self.nodes.contains_key(node), "{node:?} is linked and not loaded");
            assert!(!path.contains(node), "packets go in a circle: {path:?}");
            path.push(node.clone());
            at = after(node);
        }
        path
    }

    /// Where each port's packets go out: map, port id and ifindex.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&MapId, u32, u32)> {
        self.ports.iter().map(|((map, port), ifindex)| (map, *port, *ifindex))
    }
}

impl DoubleKernel {
    /// Takes a root off its hook, as another program could.
    pub(crate) fn steal(&mut self, hook: &Hook) {
        assert!(self.state.attached.remove(hook), "{hook:?} is not attached");
    }

    /// A kernel in which `wiring` is in force.
    pub(crate) fn of(wiring: &Wiring) -> Self {
        Self { state: State::of(wiring), ..Self::default() }
    }

    /// Counts an effect, and fails the one whose turn it is.
    fn effect(&mut self) -> Result<(), Problem> {
        match &mut self.fails_after {
            Some(0) => {
                // The steps back succeed.
                self.fails_after = None;
                Err(Problem::failed("", "the kernel refuses"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Kernel for DoubleKernel {
    type Map = MapId;

    fn map(&self, id: &MapId) -> Option<&MapId> {
        self.state.maps.get(id)
    }

    fn create_map(&mut self, id: &MapId, _: &MapDescription) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.maps.insert(id.clone()), "{id:?} is there already");
        Ok(())
    }

    fn take_late_map(&mut self, id: &MapId, _: &MapDescription, _: MapId) -> Result<(), Problem> {
        self.effect()?;
        self.state.maps.insert(id.clone());
        Ok(())
    }

    fn fits(&self, id: &MapId, _: &MapSpec, _: &[Arc<[u8]>]) -> bool {
        !self.unfit.contains(&id.cube)
    }

    fn drop_map(&mut self, id: &MapId) {
        let state = &mut self.state;
        assert!(state.nodes.values().all(|maps| !maps.contains(id)), "a program still uses {id:?}");
        state.maps.remove(id);
        state.ports.retain(|(of, _), _| of != id);
    }

    fn load(&mut self, id: &NodeId, spec: &NodeSpec) -> Result<(), Problem> {
        assert!(self.announced.is_empty() || self.announced.remove(id), "{id:?} was not announced with others");
        self.effect()?;
        assert!(spec.maps.iter().all(|map| self.state.maps.contains(map)), "a map of {id:?} is not there yet");
        assert!(self.state.nodes.insert(id.clone(), spec.maps.clone()).is_none(), "{id:?} is loaded already");
        Ok(())
    }

    fn load_ahead(&mut self, nodes: &[(&NodeId, &NodeSpec)]) {
        self.announced = nodes.iter().map(|(id, _)| (*id).clone()).collect();
    }

    fn unload(&mut self, id: &NodeId) {
        let state = &mut self.state;
        let passes = |hook, verdict| state.path(hook, verdict).contains(id);
        let reached = state.attached.iter().any(|hook| passes(hook, Verdict::Accept) || passes(hook, Verdict::Reject));
        assert!(!reached, "packets still pass {id:?}");
        state.nodes.remove(id);
        state.slots.remove(&Source::Node(id.clone()));
        state.slots.remove(&Source::Accept(id.clone()));
        // A slot that points to it holds it in the real kernel, where no packet passes.
        state.slots.retain(|_, to| to != id);
    }

    fn load_root(&mut self, hook: &Hook, port: u32) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.roots.insert(hook.clone(), port).is_none(), "{hook:?} has a root already");
        Ok(())
    }

    fn unload_root(&mut self, hook: &Hook) {
        assert!(!self.state.attached.contains(hook), "{hook:?} is attached");
        self.state.roots.remove(hook);
        self.state.slots.remove(&Source::Root(hook.clone()));
    }

    fn set_root_port(&mut self, hook: &Hook, port: u32) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.roots.insert(hook.clone(), port).is_some(), "{hook:?} has no root");
        Ok(())
    }

    fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.maps.contains(map), "{map:?} is not there");
        let entry = (map.clone(), port);
        match ifindex {
            0 => self.state.ports.remove(&entry),
            ifindex => self.state.ports.insert(entry, ifindex),
        };
        Ok(())
    }

    fn link(&mut self, from: &Source, to: Option<&NodeId>) -> Result<(), Problem> {
        self.effect()?;
        let state = &mut self.state;
        let is_there = match from {
            Source::Root(hook) => state.roots.contains_key(hook),
            Source::Node(node) | Source::Accept(node) => state.nodes.contains_key(node),
        };
        assert!(is_there, "{from:?} is not loaded");
        assert!(to.is_none_or(|node| state.nodes.contains_key(node)), "{to:?} is not loaded");
        match to {
            Some(node) => state.slots.insert(from.clone(), node.clone()),
            None => state.slots.remove(from),
        };
        Ok(())
    }

    fn attach(&mut self, hook: &Hook) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.roots.contains_key(hook), "{hook:?} has no root yet");
        assert!(self.state.attached.insert(hook.clone()), "{hook:?} is attached already");
        Ok(())
    }

    fn await_attach(&mut self, hook: &Hook) -> Result<(), Problem> {
        self.effect()?;
        assert!(self.state.attached.contains(hook), "{hook:?} is not being attached");
        Ok(())
    }

    fn detach(&mut self, hook: &Hook) {
        self.state.attached.remove(hook);
    }

    fn lost(&self) -> Vec<Hook> {
        self.state.roots.keys().filter(|hook| !self.state.attached.contains(hook)).cloned().collect()
    }

    fn settle(&mut self) {}

    fn finish(&mut self, _: Duration) {}

    fn make_pair(&mut self, _: &PortKey, _: &PortKey) -> Result<[Netdev; 2], Problem> {
        self.effect()?;
        self.last_pair += 1;
        let pair = ["a", "b"].map(|end| Netdev {
            ifindex: 1000 + 2 * self.last_pair + u32::from(end == "b"),
            name: format!("pcn{}{end}", self.last_pair),
        });
        self.pairs.extend(pair.iter().cloned());
        Ok(pair)
    }

    fn delete_pair(&mut self, end: &Netdev) {
        let number = end.ifindex / 2;
        self.pairs.retain(|other| other.ifindex / 2 != number);
    }

    fn set_promiscuous(&mut self, ifindex: u32, on: bool) {
        let changed = if on { self.promiscuous.insert(ifindex) } else { self.promiscuous.remove(&ifindex) };
        assert!(changed, "{ifindex} is asked for the mode that it has");
    }

    fn repin(&self) {}

    fn last_revision(&self) -> u64 {
        0
    }

    /// What was taken over is out of sight, as what an earlier daemon left is to begin with.
    fn put_back(&mut self) {
        self.state = State::default();
    }

    fn has_found(&self) -> bool {
        self.has_found
    }

    fn release_found(&mut self, kept: &BTreeSet<CubeName>) {
        self.kept.clone_from(kept);
    }
}

/// How a plugin behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behaviour {
    #[default]
    Sound,
    RefusesCreate,
    RefusesDatapath,
    RefusesPrepare,
    /// Panics when a change is prepared: it is not called again.
    Panics,
    Busy,
}

/// A cube's plugin: what it has committed to, and what it has prepared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plugin {
    pub committed: Option<String>,
    pub prepared: Option<String>,
    pub failed: bool,
    /// The version of its code.
    pub code: u32,
}

/// Plugins that ask for a program at each point, and for one map.
#[derive(Clone, Debug, Default)]
pub(crate) struct DoubleCubes {
    pub plugins: BTreeMap<CubeName, Plugin>,
    /// Instances with other code, beside those above.
    pub fresh: BTreeMap<CubeName, Plugin>,
    /// The version of the code that new instances have.
    pub code: u32,
    pub behaviour: BTreeMap<CubeName, Behaviour>,
    pub claimed: BTreeSet<CubeName>,
}

impl DoubleCubes {
    fn behaviour(&self, name: &CubeName) -> Behaviour {
        self.behaviour.get(name).copied().unwrap_or_default()
    }

    /// The plugin of a cube that was claimed.
    #[track_caller]
    fn called(&mut self, name: &CubeName) -> &mut Plugin {
        assert!(self.claimed.contains(name), "{name} is called and was not claimed");
        let plugin = self.fresh.get_mut(name).or_else(|| self.plugins.get_mut(name)).unwrap();
        assert!(!plugin.failed, "{name} has failed and is called again");
        plugin
    }
}

/// What a plugin asks for: programs by the cube's configuration, a map whose size depends on it.
pub(crate) fn datapath(request: &Value, code: u32) -> CubeDatapath {
    let flavour = request["config"].as_u64().unwrap_or_default();
    let points = ["ports", "points"].into_iter().flat_map(|key| request[key].as_array().cloned().unwrap_or_default());
    let is_standard = request["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    let at = |point: u32, direction| Program {
        point,
        direction,
        stage: 0,
        object: 0,
        code: Code::Elf {
            entry: "entry".to_owned(),
            constants: vec![constant("FLAVOUR", (flavour + u64::from(code) * 100).to_ne_bytes())],
        },
    };
    let programs = if is_standard {
        let leaving = (flavour % 3 == 1).then(|| at(0, Direction::Egress));
        std::iter::once(at(0, Direction::Ingress)).chain(leaving).collect()
    } else {
        let ids = points.filter_map(|point| u32::try_from(point["id"].as_u64()?).ok());
        ids.flat_map(|id| [at(id, Direction::Ingress), at(id, Direction::Egress)]).collect()
    };
    let map = MapSpec { value_size: u32::try_from(flavour / 2).ok(), ..MapSpec::declared("data") };
    CubeDatapath { programs, maps: vec![map], objects: vec![Arc::from([])], ..CubeDatapath::default() }
}

impl Cubes<MapId> for DoubleCubes {
    fn claim(&mut self, cubes: &BTreeSet<CubeName>) -> Result<(), BTreeSet<CubeName>> {
        assert!(self.claimed.is_empty(), "cubes are claimed twice");
        let busy: BTreeSet<CubeName> =
            cubes.iter().filter(|cube| self.behaviour(cube) == Behaviour::Busy).cloned().collect();
        if !busy.is_empty() {
            return Err(busy);
        }
        self.claimed.clone_from(cubes);
        Ok(())
    }

    fn release(&mut self) {
        self.claimed.clear();
    }

    fn create(&mut self, name: &CubeName, _: &Cube, _: &Registry) -> Result<(), Problem> {
        if self.behaviour(name) == Behaviour::RefusesCreate {
            return Err(Problem::bad(name.as_str(), "the plugin refuses"));
        }
        let plugin = Plugin { code: self.code, ..Plugin::default() };
        assert!(self.plugins.insert(name.clone(), plugin).is_none(), "{name} is created twice");
        Ok(())
    }

    fn renew(&mut self, name: &CubeName, _: &Cube, _: &Registry) -> Result<(), Problem> {
        if self.behaviour(name) == Behaviour::RefusesCreate {
            return Err(Problem::bad(name.as_str(), "the plugin refuses"));
        }
        assert!(self.plugins.contains_key(name), "{name} is renewed and was not created");
        let plugin = Plugin { code: self.code, ..Plugin::default() };
        assert!(self.fresh.insert(name.clone(), plugin).is_none(), "{name} is renewed twice");
        Ok(())
    }

    fn forget_renewed(&mut self, name: &CubeName) {
        self.fresh.remove(name);
    }

    fn remove(&mut self, name: &CubeName) {
        assert!(self.plugins.remove(name).is_some(), "{name} is removed and was not created");
    }

    fn drop_removed(&mut self) {}

    fn failure(&self, name: &CubeName) -> Option<String> {
        self.fresh
            .get(name)
            .or_else(|| self.plugins.get(name))
            .filter(|plugin| plugin.failed)
            .map(|_| "panicked".to_owned())
    }

    fn datapath(&mut self, name: &CubeName, request: &str) -> Result<CubeDatapath, Problem> {
        let code = self.called(name).code;
        if self.behaviour(name) == Behaviour::RefusesDatapath {
            return Err(Problem::bad(name.as_str(), "the plugin refuses"));
        }
        Ok(datapath(&serde_json::from_str(request).unwrap(), code))
    }

    fn prepare(&mut self, name: &CubeName, request: &str, maps: &[Handed<'_, MapId>]) -> Result<(), Problem> {
        let behaviour = self.behaviour(name);
        let plugin = self.called(name);
        assert!(maps.iter().any(|map| map.name == "data"), "{name} has no map");
        assert_eq!(plugin.prepared, None, "{name} is prepared twice");
        match behaviour {
            Behaviour::RefusesPrepare => return Err(Problem::bad(name.as_str(), "the plugin refuses")),
            Behaviour::Panics => {
                plugin.failed = true;
                return Err(Problem::failed(name.as_str(), "the plugin panicked"));
            }
            _ => plugin.prepared = Some(request.to_owned()),
        }
        Ok(())
    }

    fn abort(&mut self, name: &CubeName) {
        if let Some(plugin) = self.fresh.get_mut(name).or_else(|| self.plugins.get_mut(name)) {
            plugin.prepared = None;
        }
    }

    fn commit(&mut self, name: &CubeName) {
        if let Some(fresh) = self.fresh.remove(name) {
            self.plugins.insert(name.clone(), fresh);
        }
        let plugin = self.called(name);
        plugin.committed = plugin.prepared.take();
        assert!(plugin.committed.is_some(), "{name} has prepared nothing");
    }

    fn set_level(&mut self, _: &CubeName, _: LogLevel) {}

    fn admits(&self, _: &CubeName, _: Level) -> bool {
        false
    }
}

/// A cube of a service that no plugin is needed for.
pub(crate) fn cube(role: Role) -> Cube {
    Cube {
        uuid: String::new(),
        service: "double".to_owned(),
        loglevel: LogLevel::Info,
        config: Value::Null,
        role,
        ephemeral: None,
    }
}
