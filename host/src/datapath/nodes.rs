//! Programs of cubes: loaded side by side where several come at once.

use std::collections::HashMap;
use std::num::NonZero;
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{iter, thread};

use polycube_loader::object::{self, Entry, Loaded, Rodata, Standing};
use polycube_plugin_api::{Code, Direction};

use super::{CubeMap, Datapath, DatapathError, LoadError, Node, Pinned, digest, pins};
use crate::wiring::{MapId, NodeId, NodeKey, NodeSpec};

impl Datapath {
    pub(crate) fn load(&mut self, id: &NodeId, spec: &NodeSpec) -> Result<(), DatapathError> {
        let ahead = self.ahead.remove(id);
        let digest = self.digest(spec);
        if let Some(loaded) = self.found.take_node(&id.key, &digest, spec.jumps.len()) {
            self.taken.nodes.insert(id.clone());
            self.nodes.insert(id.clone(), Node { digest, loaded });
            return Ok(());
        }
        let loaded = ahead.unwrap_or_else(|| verify(id, spec, &self.maps))?;
        let pin = pins::node(id, &digest);
        self.pins.pin_program(&pin, &loaded)?;
        self.nodes.insert(id.clone(), Node { digest, loaded: Pinned { pin, object: loaded } });
        Ok(())
    }

    /// Loads the programs that [`Datapath::load`] will be asked for, and drops others that were loaded so, on as many threads as there are CPUs: most of the time
    /// goes to the verifier, which takes no lock for those who may load any program (`bpf_check()` in
    /// kernel/bpf/verifier.c).
    pub(crate) fn load_ahead(&mut self, nodes: &[(&NodeId, &NodeSpec)]) {
        let is_found = |id: &NodeId, spec| self.found.has_node(&id.key, &self.digest(spec), spec.jumps.len());
        let nodes: Vec<_> = nodes.iter().filter(|(id, spec)| !is_found(id, spec)).collect();
        let (maps, next) = (&self.maps, AtomicUsize::new(0));
        let work = || -> Vec<_> {
            let mine = iter::from_fn(|| nodes.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.map(|(id, spec)| ((*id).clone(), verify(id, spec, maps))).collect()
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(nodes.len());
        self.ahead = thread::scope(|scope| {
            let start = |_| thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, work).ok();
            // Without another thread, this one does all of it.
            let others: Vec<_> = (1..threads).filter_map(start).collect();
            let mut ahead: HashMap<_, _> = work().into_iter().collect();
            for other in others {
                ahead.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            ahead
        });
    }

    fn digest(&self, spec: &NodeSpec) -> String {
        digest::of_node(spec, &maps_of(spec, &self.maps).map(|(name, map)| (name, map.id)).collect())
    }

    pub(crate) fn unload(&mut self, id: &NodeId) {
        let Some(node) = self.nodes.remove(id) else { return };
        self.pins.unpin(&node.loaded.pin);
    }
}

/// Gets a program into the kernel, where nothing refers to it yet.
fn verify(id: &NodeId, spec: &NodeSpec, maps: &HashMap<MapId, Pinned<CubeMap>>) -> Result<Loaded, LoadError> {
    let what = in_words(&id.key);
    let maps = maps_of(spec, maps).map(|(name, map)| (name, map.fd.as_raw_fd())).collect();
    match &spec.program.code {
        Code::Elf { entry, constants } => {
            let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            let standing = if spec.is_followed { Standing::Followed } else { Standing::Last };
            let entry = Entry { elf: &spec.object, name: entry, constants, standing };
            object::load_jumping(&what, entry, &maps, Rodata::Constant, &spec.jumps)
        }
        Code::Instructions { maps: places } => object::load_instructions(&what, &spec.object, places, &maps),
    }
}

fn maps_of<'a>(
    spec: &'a NodeSpec,
    maps: &'a HashMap<MapId, Pinned<CubeMap>>,
) -> impl Iterator<Item = (&'a str, &'a CubeMap)> {
    spec.maps.iter().filter_map(|map| Some((map.name.as_str(), &maps.get(map)?.object)))
}

/// ``cube `br1` at point 0 ingress``.
fn in_words(NodeKey { cube, point, direction, .. }: &NodeKey) -> String {
    let side = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    format!("cube `{cube}` at point {point} {side}")
}
