//! What becomes of what was found and not taken over.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use super::found::{Found, Taken};
use super::hook::{Attachment, wait_for};
use super::{Datapath, Node, pins};
use crate::sys::bpf;
use crate::topology::CubeName;
use crate::wiring::{Hook, MapId, Netdev, NodeId, Source};

impl Datapath {
    /// The highest revision among the pins that were found.
    pub(crate) fn last_revision(&self) -> u64 {
        self.found.revision()
    }

    /// Whether anything that was found waits to be taken over or removed.
    pub(crate) fn has_found(&self) -> bool {
        !self.found_ports.is_empty() || self.found.all().next().is_some()
    }

    /// What was taken over is this daemon's own.
    pub(crate) fn keep_taken(&mut self) {
        self.taken = Taken::default();
    }

    /// Whether this slot was taken over by the current plan.
    pub(crate) fn is_taken(&self, from: &Source) -> bool {
        match from {
            Source::Root(hook) => self.taken.roots.contains(hook),
            Source::Node(id) | Source::Accept(id) => self.taken.nodes.contains(id),
        }
    }

    /// Whether this map was taken over by the current plan.
    pub(crate) fn is_map_taken(&self, id: &MapId) -> bool {
        self.taken.maps.contains(id)
    }

    /// Takes a map for found again, if the current plan took it over. Answers whether it did.
    pub(crate) fn give_map_back(&mut self, id: &MapId) -> bool {
        let Some(map) = self.taken.maps.take(id).and_then(|id| self.maps.remove(&id)) else { return false };
        self.found_ports.remove(id);
        self.found.put_map(id, map);
        true
    }

    /// As [`Datapath::give_map_back`], a program.
    pub(crate) fn give_node_back(&mut self, id: &NodeId) -> bool {
        let Some(Node { digest, loaded }) = self.taken.nodes.take(id).and_then(|id| self.nodes.remove(&id)) else {
            return false;
        };
        self.found.put_node(id, &digest, loaded);
        true
    }

    /// As [`Datapath::give_map_back`], a root.
    pub(crate) fn give_root_back(&mut self, hook: &Hook) -> bool {
        let Some(root) = self.taken.roots.take(hook).and_then(|hook| self.roots.remove(&hook)) else { return false };
        self.found.put_root(hook, self.root_digest.clone(), root);
        true
    }

    /// Takes everything for found again: the plan that took it over could not be carried out to its end, and another one
    /// will be. Packets pass what is there meanwhile.
    pub(crate) fn put_back(&mut self) {
        self.found_ports.clear();
        self.taken = Taken::default();
        for (id, map) in self.maps.drain() {
            self.found.put_map(&id, map);
        }
        for (id, Node { digest, loaded }) in self.nodes.drain() {
            self.found.put_node(&id, &digest, loaded);
        }
        for (hook, mut root) in std::mem::take(&mut self.roots) {
            root.attachment = match root.attachment {
                Attachment::Pending(link) => match wait_for(&link) {
                    Ok(link) if self.pins.pin(link.as_fd(), &root.pin.join(pins::LINK)).is_ok() => {
                        Attachment::Tcx(link)
                    }
                    _ => Attachment::None,
                },
                other => other,
            };
            if matches!(root.attachment, Attachment::None) {
                self.pins.unpin(&root.pin);
            } else {
                self.found.put_root(&hook, self.root_digest.clone(), root);
            }
        }
    }

    /// Removes what was found and has not been taken over, but for what belongs to the cubes `kept`.
    pub(crate) fn release_found(&mut self, kept: &BTreeSet<CubeName>) {
        self.clear_ports();
        let mut removed = self.found.without(kept);
        if removed.all().next().is_some() {
            tracing::info!(pins = removed.all().count(), "removing what an earlier daemon left and nothing asks for");
            self.remove(&mut removed);
        }
        self.clsact.remove_idle();
    }

    fn remove(&mut self, removed: &mut Found) {
        let mut hooks = Vec::new();
        for ((ifindex, direction), root) in removed.take_roots() {
            let hook = Hook { netdev: Netdev { ifindex, name: String::new() }, direction };
            self.roots.insert(hook.clone(), root);
            self.detach(&hook);
            hooks.push(hook);
        }
        bpf::wait_for_programs();
        for hook in &hooks {
            self.unload_root(hook);
        }
        for pin in removed.pins() {
            #[cfg(debug_assertions)]
            crate::fault::step();
            self.pins.unpin(pin);
        }
    }

    /// Clears the entries of ports that are not there any more from tables that were taken over.
    fn clear_ports(&mut self) {
        for (id, set) in self.found_ports.drain() {
            let Some(table) = self.maps.get(&id) else { continue };
            for port in (0..table.object.max_entries).filter(|port| !set.contains(port)) {
                let table = table.object.fd.as_fd();
                let cleared = match bpf::lookup(table, port) {
                    Ok(None | Some(0)) => Ok(()),
                    _ => bpf::map_update(table, port, &0_u32.to_ne_bytes()),
                };
                if let Err(error) = cleared {
                    tracing::warn!(cube = %id.cube, port, %error, "cannot clear a port that is gone");
                }
            }
        }
    }
}
