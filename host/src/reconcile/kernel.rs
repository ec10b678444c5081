//! The kernel, as far as the reconciler knows it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aya::programs::ProgramError;
use polycube_plugin_api::MapSpec;
use tokio::runtime;

use crate::datapath::{CubeMap, Datapath, DatapathError, LoadError};
use crate::problem::Problem;
use crate::sys::bpf;
use crate::sys::netlink::{Netlink, NetlinkError, Pair, link_aliases};
use crate::topology::CubeName;
use crate::wiring::{CubeExits, Hook, MapDescription, MapId, Netdev, NodeId, NodeSpec, PortKey, Source};

/// Single effects on the kernel, each about one thing. Whatever removes something takes an absent thing for a removed
/// one, so that a step that failed half-way can be undone.
pub(crate) trait Kernel {
    /// A map, as plugins get it.
    type Map;

    fn map(&self, id: &MapId) -> Option<&Self::Map>;
    fn create_map(&mut self, id: &MapId, description: &MapDescription) -> Result<(), Problem>;
    /// Whether the current plan took a map over from an earlier daemon.
    fn is_map_taken(&self, _: &MapId) -> bool {
        false
    }
    /// Takes a map that is described as late, and was made meanwhile.
    fn take_late_map(&mut self, id: &MapId, description: &MapDescription, map: Self::Map) -> Result<(), Problem>;
    fn drop_map(&mut self, id: &MapId);
    /// Whether a map that is there is what `description` would make.
    fn fits(&self, id: &MapId, spec: &MapSpec, objects: &[Arc<[u8]>]) -> bool;
    fn load(&mut self, id: &NodeId, spec: &NodeSpec) -> Result<(), Problem>;
    /// Announces the programs that [`Kernel::load`] is asked for next, so that they can be verified at the same time. This
    /// replaces an earlier announcement. [`Kernel::load`] reports failures.
    fn load_ahead(&mut self, nodes: &[(&NodeId, &NodeSpec)]) {
        let _ = nodes;
    }
    fn unload(&mut self, id: &NodeId);
    fn load_root(&mut self, hook: &Hook, port: u32) -> Result<(), Problem>;
    fn unload_root(&mut self, hook: &Hook);
    fn set_root_port(&mut self, hook: &Hook, port: u32) -> Result<(), Problem>;
    /// Where a port's packets go; ifindex 0 is nowhere.
    fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32) -> Result<(), Problem>;
    fn link(&mut self, from: &Source, to: Option<&NodeId>) -> Result<(), Problem>;
    /// Says where packets that plugins send can go: all exits of these cubes.
    fn set_exits(&mut self, exits: &[CubeExits]) {
        let _ = exits;
    }
    /// Starts to attach a root; [`Kernel::await_attach`] returns when it is attached.
    fn attach(&mut self, hook: &Hook) -> Result<(), Problem>;
    fn await_attach(&mut self, hook: &Hook) -> Result<(), Problem>;
    /// Ends the chain at a hook, and takes its root off in the background.
    fn detach(&mut self, hook: &Hook);
    /// The hooks whose root somebody else took off.
    fn lost(&self) -> Vec<Hook>;
    /// Pins again what somebody unpinned: without its pins, the datapath ends with the daemon.
    fn repin(&self);
    /// Waits until no CPU runs a program that was unlinked before the call.
    fn settle(&mut self);
    /// Waits for detachments that go on in the background, at most for `patience`.
    fn finish(&mut self, patience: Duration);

    /// Makes the veth pair of a link between two ports.
    ///
    /// # Errors
    /// The error from the kernel; no pair is left behind.
    fn make_pair(&mut self, one: &PortKey, other: &PortKey) -> Result<[Netdev; 2], Problem>;
    /// Deletes a pair, by either end.
    fn delete_pair(&mut self, end: &Netdev);
    /// A port of a standard cube takes frames that are addressed to others.
    fn set_promiscuous(&mut self, ifindex: u32, on: bool);

    /// The highest revision among what an earlier daemon left.
    fn last_revision(&self) -> u64;
    /// Takes everything but pairs for something that an earlier daemon left, so that another plan may take it over. In the
    /// kernel, nothing changes.
    fn put_back(&mut self);
    /// Whether anything of an earlier daemon is left.
    fn has_found(&self) -> bool;
    /// A plan has been carried out to its end: what it took over is its own now.
    fn keep_taken(&mut self) {}

    /// The steps back of a plan that failed. What it had taken over goes back to what was found, and packets go on passing
    /// it.
    fn undo_map(&mut self, id: &MapId) {
        self.drop_map(id);
    }
    fn undo_load(&mut self, id: &NodeId) {
        self.unload(id);
    }
    fn undo_root(&mut self, hook: &Hook) {
        self.unload_root(hook);
    }
    fn undo_attach(&mut self, hook: &Hook) {
        self.detach(hook);
    }
    fn undo_link(&mut self, from: &Source, was: Option<&NodeId>) -> Result<(), Problem> {
        self.link(from, was)
    }
    fn undo_port(&mut self, map: &MapId, port: u32, was: u32) -> Result<(), Problem> {
        self.set_port(map, port, was)
    }
    /// Takes pairs for found again.
    fn put_pairs_back(&mut self) {}
    /// Removes what an earlier daemon left and no step has taken over, but for what belongs to the cubes `kept`.
    fn release_found(&mut self, kept: &BTreeSet<CubeName>);
}

/// The running kernel.
pub(crate) struct Live {
    pub datapath: Datapath,
    pub netlink: Netlink,
    /// Serves `netlink`.
    pub runtime: runtime::Handle,
    /// The netdevs that have to be in promiscuous mode.
    pub promiscuous: BTreeSet<u32>,
    /// What the names of our ends of links begin with.
    pub link_prefix: String,
    /// The number of the next link, unless it is taken.
    pub(crate) next_link: u32,
    /// Pairs that an earlier daemon made, by what they link.
    pub found_pairs: HashMap<String, Pair>,
    /// Those that the current plan took over.
    pub taken_pairs: HashMap<String, Pair>,
}

impl Kernel for Live {
    type Map = CubeMap;

    fn map(&self, id: &MapId) -> Option<&CubeMap> {
        self.datapath.map(id)
    }

    fn create_map(&mut self, id: &MapId, description: &MapDescription) -> Result<(), Problem> {
        self.datapath.create_map(id, description).map_err(|error| refused(id.cube.as_str(), &error))
    }

    fn is_map_taken(&self, id: &MapId) -> bool {
        self.datapath.is_map_taken(id)
    }

    fn take_late_map(&mut self, id: &MapId, description: &MapDescription, map: CubeMap) -> Result<(), Problem> {
        self.datapath.take_late_map(id, description, map).map_err(|error| refused(id.cube.as_str(), &error))
    }

    fn drop_map(&mut self, id: &MapId) {
        self.datapath.drop_map(id);
    }

    fn fits(&self, id: &MapId, spec: &MapSpec, objects: &[Arc<[u8]>]) -> bool {
        self.datapath.fits(id, spec, objects)
    }

    fn load(&mut self, id: &NodeId, spec: &NodeSpec) -> Result<(), Problem> {
        self.datapath.load(id, spec).map_err(|error| refused(id.key.cube.as_str(), &error))
    }

    fn load_ahead(&mut self, nodes: &[(&NodeId, &NodeSpec)]) {
        self.datapath.load_ahead(nodes);
    }

    fn unload(&mut self, id: &NodeId) {
        self.datapath.unload(id);
    }

    fn load_root(&mut self, hook: &Hook, port: u32) -> Result<(), Problem> {
        self.datapath.load_root(hook, port).map_err(|error| refused(&hook.netdev.name, &error))
    }

    fn unload_root(&mut self, hook: &Hook) {
        self.datapath.unload_root(hook);
    }

    fn set_root_port(&mut self, hook: &Hook, port: u32) -> Result<(), Problem> {
        self.datapath.set_root_port(hook, port).map_err(|error| refused(&hook.netdev.name, &error))
    }

    fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32) -> Result<(), Problem> {
        self.datapath.set_port(map, port, ifindex).map_err(|error| refused(map.cube.as_str(), &error))
    }

    fn link(&mut self, from: &Source, to: Option<&NodeId>) -> Result<(), Problem> {
        let path = match from {
            Source::Root(hook) => &hook.netdev.name,
            Source::Node(node) | Source::Accept(node) => node.key.cube.as_str(),
        };
        self.datapath.link(from, to).map_err(|error| refused(path, &error))
    }

    fn set_exits(&mut self, exits: &[CubeExits]) {
        self.datapath.set_exits(exits);
    }

    fn attach(&mut self, hook: &Hook) -> Result<(), Problem> {
        self.datapath.attach(hook).map_err(|error| refused(&hook.netdev.name, &error))
    }

    fn await_attach(&mut self, hook: &Hook) -> Result<(), Problem> {
        self.datapath.await_attach(hook).map_err(|error| refused(&hook.netdev.name, &error))
    }

    fn detach(&mut self, hook: &Hook) {
        self.datapath.detach(hook);
    }

    fn settle(&mut self) {
        bpf::wait_for_programs();
    }

    fn lost(&self) -> Vec<Hook> {
        self.datapath.lost()
    }

    fn repin(&self) {
        match self.datapath.repin() {
            Ok(made) if made.is_empty() => {}
            Ok(made) => tracing::warn!(?made, "another program removed pins of ours: made again"),
            Err(error) => tracing::error!("another program removed pins of ours: {error}"),
        }
    }

    fn finish(&mut self, patience: Duration) {
        self.datapath.wait_for_detached(patience);
    }

    fn make_pair(&mut self, one: &PortKey, other: &PortKey) -> Result<[Netdev; 2], Problem> {
        let [one, other] = [one, other].map(|(cube, port)| format!("{cube}:{port}"));
        let (aliases, reversed) = (link_aliases(&one, &other), link_aliases(&other, &one));
        let mut found = |aliases: &[String; 2]| aliases.iter().find_map(|alias| self.found_pairs.remove_entry(alias));
        let found = found(&aliases).map(|found| (found, false)).or_else(|| Some((found(&reversed)?, true)));
        if let Some(((alias, pair), is_reversed)) = found {
            let [one, other] = pair.clone();
            let ends = if is_reversed { [other, one] } else { [one, other] };
            self.taken_pairs.insert(alias, pair);
            return Ok(ends.map(|(name, ifindex)| Netdev { ifindex, name }));
        }
        let pair = self.netlink.add_pair(&self.link_prefix, &mut self.next_link, &aliases[0]);
        let pair = self.runtime.block_on(pair);
        let pair = pair.map_err(|error| {
            Problem::failed("connect", format!("cannot make a veth pair between {one} and {other}: {error}"))
        })?;
        Ok(pair.map(|(name, ifindex)| Netdev { ifindex, name }))
    }

    fn delete_pair(&mut self, end: &Netdev) {
        // It may have been deleted by hand already, and one end takes the other along.
        if let Err(error) = self.runtime.block_on(self.netlink.delete(end.ifindex)) {
            tracing::debug!(netdev = end.name, %error, "deleting a link");
        }
    }

    fn set_promiscuous(&mut self, ifindex: u32, on: bool) {
        if !on {
            self.promiscuous.remove(&ifindex);
            self.leave_promiscuous(ifindex);
        } else if let Err(error) = self.enter_promiscuous(ifindex) {
            tracing::warn!(ifindex, %error, "cannot enter promiscuous mode: frames to others are not bridged");
        }
    }

    fn last_revision(&self) -> u64 {
        self.datapath.last_revision()
    }

    fn put_back(&mut self) {
        self.datapath.put_back();
    }

    fn has_found(&self) -> bool {
        self.datapath.has_found() || !self.found_pairs.is_empty()
    }

    fn keep_taken(&mut self) {
        self.datapath.keep_taken();
        self.taken_pairs.clear();
    }

    fn undo_map(&mut self, id: &MapId) {
        if !self.datapath.give_map_back(id) {
            self.drop_map(id);
        }
    }

    fn undo_load(&mut self, id: &NodeId) {
        if !self.datapath.give_node_back(id) {
            self.unload(id);
        }
    }

    fn undo_attach(&mut self, hook: &Hook) {
        if !self.datapath.is_taken(&Source::Root(hook.clone())) {
            self.detach(hook);
        }
    }

    fn undo_root(&mut self, hook: &Hook) {
        if !self.datapath.give_root_back(hook) {
            self.unload_root(hook);
        }
    }

    /// A slot that was taken over leads on: what it held before is not known any more.
    fn undo_link(&mut self, from: &Source, was: Option<&NodeId>) -> Result<(), Problem> {
        if was.is_none() && self.datapath.is_taken(from) { Ok(()) } else { self.link(from, was) }
    }

    fn undo_port(&mut self, map: &MapId, port: u32, was: u32) -> Result<(), Problem> {
        if self.datapath.is_map_taken(map) {
            return Ok(());
        }
        match self.datapath.set_port(map, port, was) {
            Err(error) if was == 0 && is_past_the_end(&error) => Ok(()),
            done => done.map_err(|error| refused(map.cube.as_str(), &error)),
        }
    }

    fn put_pairs_back(&mut self) {
        self.found_pairs.extend(std::mem::take(&mut self.taken_pairs));
    }

    fn release_found(&mut self, kept: &BTreeSet<CubeName>) {
        self.datapath.release_found(kept);
        for ifindex in self.datapath.promiscuous.all() {
            if !self.promiscuous.contains(&ifindex) && kept.is_empty() {
                self.leave_promiscuous(ifindex);
            }
        }
        if kept.is_empty() {
            for (alias, [(name, ifindex), _]) in std::mem::take(&mut self.found_pairs) {
                tracing::info!(alias, "deleting a link between cubes that an earlier daemon left");
                self.delete_pair(&Netdev { ifindex, name });
            }
        }
    }
}

impl Live {
    /// The mode is the netdev's, not this process's: a bridge works on while no daemon runs. One whose user has set it stays
    /// in it.
    fn enter_promiscuous(&mut self, ifindex: u32) -> Result<(), NetlinkError> {
        self.promiscuous.insert(ifindex);
        let Self { datapath, netlink, runtime, .. } = self;
        if datapath.promiscuous.contains(ifindex) || !runtime.block_on(netlink.is_promiscuous(ifindex))? {
            datapath.promiscuous.add(ifindex);
            runtime.block_on(netlink.set_promiscuous(ifindex, true))?;
        }
        Ok(())
    }

    fn leave_promiscuous(&mut self, ifindex: u32) {
        let Self { datapath, netlink, runtime, .. } = self;
        if datapath.promiscuous.contains(ifindex) {
            datapath.promiscuous.remove(ifindex);
            if let Err(error) = runtime.block_on(netlink.set_promiscuous(ifindex, false)) {
                // A netdev that is gone has taken its mode along.
                tracing::debug!(ifindex, %error, "leaving promiscuous mode");
            }
        }
    }
}

/// Whether a map has no such entry (`array_map_update_elem()` in the kernel's kernel/bpf/arraymap.c): then it was never set.
fn is_past_the_end(error: &DatapathError) -> bool {
    matches!(error, DatapathError::Load(LoadError::WriteMap { source, .. }) if source.raw_os_error() == Some(libc::E2BIG))
}

fn refused(path: &str, error: &DatapathError) -> Problem {
    match error {
        DatapathError::Load(LoadError::Refused { source, .. }) => {
            tracing::error!("{error}; the verifier's log:\n{}", source.log.trim_end());
            Problem::failed(path, error.to_string()).with_log(&source.log)
        }
        DatapathError::Attach { netdev, source: ProgramError::IOError(error) }
            if error.raw_os_error() == Some(libc::ENODEV) =>
        {
            Problem::missing(path, format!("netdev `{netdev}` disappeared meanwhile"))
        }
        DatapathError::Taken { .. } => Problem::bad(path, error.to_string()),
        _ => Problem::failed(path, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::problem::ErrorTag;

    #[test]
    fn an_entry_past_the_end_of_a_map_was_never_set() {
        let failed = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            DatapathError::Load(LoadError::WriteMap { what: "cube `p1`".to_owned(), name: "ports".to_owned(), source })
        };
        assert!(is_past_the_end(&failed(libc::E2BIG)) && !is_past_the_end(&failed(libc::EPERM)));
    }

    #[test]
    fn a_netdev_that_is_gone_or_taken_is_not_an_internal_error() {
        let tag = |errno| {
            let source = ProgramError::IOError(io::Error::from_raw_os_error(errno));
            refused("veth1", &DatapathError::Attach { netdev: "veth1".to_owned(), source }).tag
        };
        assert_eq!(tag(libc::ENODEV), ErrorTag::DataMissing);
        assert_eq!(tag(libc::ENOMEM), ErrorTag::OperationFailed);
        let taken = DatapathError::Taken { netdev: "veth1".to_owned(), kind: "ingress".to_owned() };
        assert_eq!(refused("veth1", &taken).tag, ErrorTag::BadAttribute);
    }
}
