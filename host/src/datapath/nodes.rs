//! Programs of cubes: loaded side by side where several come at once.

use std::collections::HashMap;
use std::num::NonZero;
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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

    /// Loads the programs that [`Datapath::load`] is asked for next, and drops those of an earlier call that were not asked
    /// for. Most of the time goes to the verifier, which takes no lock if the caller has `CAP_BPF` (`bpf_check()` in
    /// kernel/bpf/verifier.c).
    pub(crate) fn load_ahead(&mut self, nodes: &[(&NodeId, &NodeSpec)]) {
        let is_found = |id: &NodeId, spec| {
            self.found.has_nodes() && self.found.has_node(&id.key, &self.digest(spec), spec.jumps.len())
        };
        let nodes: Vec<_> = nodes.iter().filter(|(id, spec)| !is_found(id, spec)).collect();
        let loaded = side_by_side(&nodes, |(id, spec)| verify(id, spec, &self.maps));
        self.ahead = loaded.into_iter().map(|(index, loaded)| (nodes[index].0.clone(), loaded)).collect();
    }

    fn digest(&self, spec: &NodeSpec) -> String {
        digest::of_node(spec, &maps_of(spec, &self.maps).map(|(name, map)| (name, map.id)).collect())
    }

    pub(crate) fn unload(&mut self, id: &NodeId) {
        let Some(node) = self.nodes.remove(id) else { return };
        self.pins.unpin(&node.loaded.pin);
    }
}

/// Does `work` for all `items`, on as many threads as there are CPUs, or until it fails for one: then for those before it
/// and a few after it. Returns the results with the indices of the items.
fn side_by_side<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Vec<(usize, Result<R, E>)> {
    let next = AtomicUsize::new(0);
    let work_off = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.push((index, result));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, work_off).ok();
        // Without another thread, this one does all of it.
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let mut done = work_off();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_work_is_done_once_or_ends_soon_after_a_failure() {
        let items: Vec<usize> = (0..1000).collect();
        let check = |fails_at: usize| {
            let work = |item: &usize| {
                if *item > fails_at {
                    // The thread that failed may be stopped before it says so.
                    thread::sleep(Duration::from_millis(10));
                }
                if *item == fails_at { Err(*item) } else { Ok(*item) }
            };
            let mut done = side_by_side(&items, work);
            done.sort_by_key(|(index, _)| *index);
            let is_right = |(index, result): &(usize, Result<_, _>)| *result == work(index);
            assert!(done.iter().all(is_right), "{done:?}");
            done.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(check(1000), items);
        let done = check(3);
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        let most = items.len().min(4 + 100 * cpus);
        assert!(done.starts_with(&[0, 1, 2, 3]) && done.len() < most, "{done:?}");
        assert!(side_by_side(&[], |_: &()| Err::<(), ()>(())).is_empty());
    }
}
