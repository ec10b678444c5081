//! From a wanted model to the kernel: asks the plugins, wires, plans, executes, and only then takes the model over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polycube_plugin_api::{Point as PluginPoint, Port as PluginPort, Wanted};

use super::left::{Left, Part, Wish, may_be_left};
use super::netdevs::existing;
use super::{Engine, View};
use crate::datapath::Datapath;
use crate::execute::{Cubes, execute};
use crate::plan::{Plan, Step};
use crate::plugins::{Failure, Instance};
use crate::problem::{Problem, Problems};
use crate::topology::{Cube, CubeName, Topology};
use crate::wiring::{Netdev, Netdevs, Source, Wiring};

/// Why the kernel or a plugin does not take a model, and what is to blame, where that can be told.
struct Refused {
    part: Option<Part>,
    problem: Problem,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { part: None, problem }
    }
}

impl Engine {
    /// Makes `wanted` the model.
    ///
    /// # Errors
    /// What the first plugin or the kernel refused; then nothing has changed.
    pub(super) fn apply(&mut self, wanted: View, wish: Wish) -> Result<(), Problems> {
        let mut made = Vec::new();
        let unused = |before: &Netdevs, after: &Netdevs| {
            let is_unused = |end: &&Netdev| after.links.values().all(|kept| kept != *end);
            before.links.values().filter(is_unused).cloned().collect::<Vec<Netdev>>()
        };
        let before = self.current.netdevs.clone();
        match self.apply_leaving(wanted, wish, &mut made) {
            Ok(()) => self.delete_links(&unused(&before, &self.current.netdevs)),
            Err(problem) => {
                self.delete_links(&made);
                return Err(problem.into());
            }
        }
        Ok(())
    }

    /// Makes `wanted` the model, and leaves what is in the way and may be left. Pairs for links that `wanted` has and the
    /// current model has not are told in `made`.
    fn apply_leaving(&mut self, mut wanted: View, wish: Wish, made: &mut Vec<Netdev>) -> Result<(), Problem> {
        let links = self.link_ends(&wanted.topology, made)?;
        let named = existing(&wanted.topology)?;
        wanted.left = if wish == Wish::Followed && self.current.left.is_due() {
            Left::default()
        } else {
            self.current.left.over(&self.current, &wanted, &named)
        };
        self.leave_unfit(&mut wanted.left, &wanted.topology, &named)?;
        loop {
            wanted.netdevs = Netdevs { named: named.clone(), links: links.clone() };
            wanted.left.hide(&mut wanted.netdevs.named);
            let Err(Refused { part, problem }) = self.attempt(&wanted) else { break };
            let left = part
                .filter(|part| may_be_left(part, wish, &self.current, &wanted))
                .is_some_and(|part| wanted.left.add(part, problem.message.clone()));
            if !left {
                return Err(problem);
            }
        }
        wanted.left.tell_news(&self.current.left);
        self.current = wanted;
        self.publish();
        Ok(())
    }

    /// Brings plugins and kernel to `wanted`, or leaves both as they are.
    fn attempt(&mut self, wanted: &View) -> Result<(), Refused> {
        let mut asked = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for (name, cube) in wanted.topology.cubes() {
            let text = request(&wanted.topology, name, cube, &wanted.netdevs);
            let instance = &wanted.instances[name];
            if wanted.left.holds_cube(name) {
                asked.insert(name.clone(), self.asked.get(name).cloned().unwrap_or_default());
                continue;
            }
            let before = self.asked.get(name);
            // The datapath of a failed plugin goes on as it is.
            let keep = before.filter(|(before, _)| *before == text || instance.failure().is_some());
            let answer = match keep {
                Some((_, datapath)) => Arc::clone(datapath),
                None => {
                    touched.insert(name.clone());
                    let datapath = instance.datapath(&text).map_err(|failure| Refused {
                        part: Some(Part::Cube(name.clone())),
                        problem: Problem::from_plugin(name.as_str(), failure.into()),
                    });
                    Arc::new(datapath?)
                }
            };
            asked.insert(name.clone(), (text, answer));
        }
        let datapaths = asked.iter().map(|(name, (_, datapath))| (name.clone(), Arc::clone(datapath))).collect();
        let wiring = Wiring::new(&wanted.topology, &datapaths, &wanted.netdevs, &self.wiring);
        let wiring = wiring.map_err(|too_long| Refused {
            problem: Problem::bad("attach", too_long.to_string()),
            part: Some(Part::Netdev(too_long.hook.netdev)),
        })?;
        let plan = Plan::new(&self.wiring, &wiring, &touched);
        tracing::debug!(?plan, "plan");
        let texts = asked.iter().map(|(name, (text, _))| (name.clone(), text.clone())).collect();
        let mut cubes = Instances { instances: &wanted.instances, texts };
        let executed = execute(&plan, &wiring, &mut self.datapath, &mut cubes);
        executed.map_err(|(step, problem)| Refused { part: part_of(step), problem })?;
        self.set_promiscuous(&wiring);
        for (name, cube) in wanted.topology.cubes() {
            wanted.instances[name].set_level(cube.loglevel);
        }
        (self.wiring, self.asked) = (wiring, asked);
        Ok(())
    }

    /// A bridge needs the frames that are addressed to others, as `br_add_if()` in net/bridge/br_if.c has it.
    fn set_promiscuous(&self, new: &Wiring) {
        let ports = |wiring: &Wiring| wiring.ports.values().copied().collect::<BTreeSet<u32>>();
        let (before, after) = (ports(&self.wiring), ports(new));
        for (ifindex, on) in
            before.difference(&after).map(|i| (*i, false)).chain(after.difference(&before).map(|i| (*i, true)))
        {
            match self.promiscuous.set(ifindex, on) {
                Ok(()) => {}
                // It may be gone: so is its mode.
                Err(error) if !on => tracing::debug!(ifindex, %error, "leaving promiscuous mode"),
                Err(error) => tracing::warn!(ifindex, %error, "no promiscuous mode: frames to others are not bridged"),
            }
        }
    }
}

/// What a step is about.
fn part_of(step: &Step) -> Option<Part> {
    Some(match step {
        Step::CreateMap(map) | Step::SetPort { map, .. } => Part::Cube(map.cube.clone()),
        Step::Load(node) | Step::Link { from: Source::Node(node) | Source::Accept(node), .. } => {
            Part::Cube(node.key.cube.clone())
        }
        Step::Prepare(cube) => Part::Cube(cube.clone()),
        Step::LoadRoot(hook, _)
        | Step::SetRootPort { hook, .. }
        | Step::Attach(hook)
        | Step::AwaitAttach(hook)
        | Step::Link { from: Source::Root(hook), .. } => Part::Netdev(hook.netdev.clone()),
        Step::Wait => return None,
    })
}

/// What a plugin is asked: the text of a [`Wanted`].
fn request(topology: &Topology, name: &CubeName, cube: &Cube, netdevs: &Netdevs) -> String {
    let ports = cube.ports().map(|(port_name, port)| PluginPort {
        id: port.id,
        name: port_name.to_string(),
        netdev: netdevs.of_port(name, port_name, port).map(|netdev| netdev.name),
    });
    let points = topology.points(name.as_str()).into_iter().map(|(id, point)| PluginPoint {
        id,
        name: point.to_string(),
        netdev: netdevs.of_point(topology, point).map(|netdev| netdev.name),
    });
    let wanted = Wanted { config: &cube.config, ports: ports.collect(), points: points.collect() };
    serde_json::to_string(&wanted).unwrap_or_default()
}

struct Instances<'a> {
    instances: &'a BTreeMap<CubeName, Arc<Instance>>,
    texts: BTreeMap<CubeName, String>,
}

impl Cubes for Instances<'_> {
    fn prepare(&mut self, cube: &CubeName, wiring: &Wiring, datapath: &Datapath) -> Result<(), Problem> {
        let maps = wiring.maps_of(cube).filter_map(|id| Some((id.name.as_str(), datapath.map(id)?)));
        let prepared = self.instances[cube].prepare(&self.texts[cube], maps);
        prepared.map_err(|failure| Problem::from_plugin(cube.as_str(), failure.into()))
    }

    fn abort(&mut self, cube: &CubeName) {
        report(cube, "undone", self.instances[cube].abort());
    }

    fn commit(&mut self, cube: &CubeName) {
        report(cube, "through", self.instances[cube].commit());
    }
}

fn report(cube: &CubeName, what: &str, result: Result<(), Failure>) {
    // Of a panic the log has been told.
    if let Err(failure) = result
        && !matches!(failure, Failure::Failed(_))
    {
        tracing::error!(%cube, %failure, "a change is {what} in the kernel and not in the plugin");
    }
}
