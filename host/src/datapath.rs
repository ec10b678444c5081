//! The datapath in the kernel: carries out single steps. What to do, and in which order, is the plan's business.

mod clsact;
mod detach;
mod hook;
mod object;
mod pins;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aya::programs::ProgramError;
use polycube_layout::chain::{ACCEPT, NEXT, PORT};
use polycube_plugin_api::Code;

pub(crate) use hook::AttachMode;
pub(crate) use pins::Pins;

use crate::sys::bpf::{self, ProgramRefused};
use crate::wiring::{Hook, MapDescription, MapId, Netdev, NodeId, NodeSpec, Source};
use clsact::Clsact;
use detach::{Detacher, Leaving};
use hook::{Attachment, TcxThread};
use object::{Loaded, Rodata};

/// The roots' ELF object.
static ROOT: &[u8] = include_bytes!("../../ebpf/objects/root.o");

/// A step that the kernel did not take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatapathError {
    #[error("the object of {what} cannot be read: {source}")]
    Object { what: String, source: aya_obj::ParseError },
    #[error("the object of {what} cannot be relocated: {source}")]
    Relocation { what: String, source: aya_obj::relocation::EbpfRelocationError },
    #[error("the object of {what} has no {missing}")]
    Incomplete { what: String, missing: String },
    #[error("program of {what}: {source}")]
    Refused { what: String, source: ProgramRefused },
    #[error("cannot create the map `{name}` of {what} ({bytes} bytes): {source}")]
    CreateMap { what: String, name: String, bytes: u64, source: io::Error },
    #[error("cannot write the map `{name}` of {what}: {source}")]
    WriteMap { what: String, name: String, source: io::Error },
    #[error("cannot pin {path}: {source}")]
    Pin { path: String, source: io::Error },
    #[error("cannot attach to netdev `{netdev}` ({source}): is it still there?")]
    Attach { netdev: String, source: ProgramError },
    #[error(
        "netdev `{netdev}` has the queueing discipline `{kind}` where clsact would be: `tc qdisc del dev {netdev} {kind}` \
         removes it, `--attach tcx` does without (Linux 6.6 or later)"
    )]
    Taken { netdev: String, kind: String },
}

/// A map of a cube, as the plugin will see it.
#[derive(Debug)]
pub(crate) struct CubeMap {
    pub fd: OwnedFd,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

struct Root {
    program: Loaded,
    attachment: Attachment,
}

/// Everything that this daemon has in the kernel.
pub(crate) struct Datapath {
    pins: Pins,
    mode: AttachMode,
    tcx: TcxThread,
    detacher: Detacher,
    /// Ends a chain.
    end: OwnedFd,
    clsact: Clsact,
    maps: HashMap<MapId, CubeMap>,
    nodes: HashMap<NodeId, Loaded>,
    roots: HashMap<Hook, Root>,
}

impl Datapath {
    /// # Errors
    /// A thread cannot be started, or the kernel does not take a program of two instructions.
    pub(crate) fn new(pins: Pins, mode: AttachMode) -> anyhow::Result<Self> {
        let (tcx, detacher, end) = (TcxThread::start()?, Detacher::start()?, object::load_end()?);
        let clsact = Clsact::new(pins.path(Path::new(pins::ROOTS)));
        let (maps, nodes, roots) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { pins, mode, tcx, detacher, end, clsact, maps, nodes, roots })
    }

    /// A map that [`Datapath::create_map`] made.
    pub(crate) fn map(&self, id: &MapId) -> Option<&CubeMap> {
        self.maps.get(id)
    }

    pub(crate) fn create_map(&mut self, id: &MapId, description: &MapDescription) -> Result<(), DatapathError> {
        let map = object::create_cube_map(id, description)?;
        self.pins.pin(map.fd.as_fd(), &pins::map(id))?;
        self.maps.insert(id.clone(), map);
        Ok(())
    }

    pub(crate) fn drop_map(&mut self, id: &MapId) {
        self.pins.unpin(&pins::map(id));
        self.maps.remove(id);
    }

    pub(crate) fn load(&mut self, id: &NodeId, spec: &NodeSpec) -> Result<(), DatapathError> {
        let what = format!("cube `{}`", id.key.cube);
        let maps = spec.maps.iter().filter_map(|map| Some((map.name.as_str(), self.maps.get(map)?.fd.as_raw_fd())));
        let maps = maps.collect();
        let loaded = match &spec.program.code {
            Code::Elf { entry, constants } => {
                let constants = constants.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
                object::load(&what, &spec.object, entry, constants, &maps, Rodata::Constant)
            }
            Code::Instructions { maps: places } => object::load_instructions(&what, &spec.object, places, &maps),
        }?;
        self.pins.pin(loaded.program.as_fd(), &pins::node(id).join("program"))?;
        self.pins.pin(loaded.next.as_fd(), &pins::node(id).join(NEXT))?;
        if let Some(accept) = &loaded.accept {
            self.pins.pin(accept.as_fd(), &pins::node(id).join(ACCEPT))?;
        }
        self.nodes.insert(id.clone(), loaded);
        Ok(())
    }

    pub(crate) fn unload(&mut self, id: &NodeId) {
        self.pins.unpin(&pins::node(id));
        self.nodes.remove(id);
    }

    pub(crate) fn load_root(&mut self, hook: &Hook, port: u32) -> Result<(), DatapathError> {
        let what = format!("the root of netdev `{}`", hook.netdev.name);
        let port = port.to_ne_bytes();
        let constants = [(PORT, port.as_slice())].into_iter();
        let program = object::load(&what, ROOT, "root", constants, &HashMap::new(), Rodata::Variable)?;
        self.pins.pin(program.program.as_fd(), &pins::root(hook).join("program"))?;
        self.pins.pin(program.next.as_fd(), &pins::root(hook).join(NEXT))?;
        self.roots.insert(hook.clone(), Root { program, attachment: Attachment::None });
        Ok(())
    }

    pub(crate) fn unload_root(&mut self, hook: &Hook) {
        self.pins.unpin(&pins::root(hook));
        self.roots.remove(hook);
    }

    pub(crate) fn set_root_port(&mut self, hook: &Hook, port: u32) -> Result<(), DatapathError> {
        let Some(root) = self.roots.get(hook) else { return Ok(()) };
        let what = || format!("the root of netdev `{}`", hook.netdev.name);
        let rodata = root.program.rodata.as_ref();
        let rodata = rodata.ok_or_else(|| DatapathError::Incomplete { what: what(), missing: PORT.to_owned() })?;
        bpf::map_update(rodata.as_fd(), 0, &port.to_ne_bytes()).map_err(|source| DatapathError::WriteMap {
            what: what(),
            name: PORT.to_owned(),
            source,
        })
    }

    pub(crate) fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32) -> Result<(), DatapathError> {
        let Some(ports) = self.maps.get(map) else { return Ok(()) };
        bpf::map_update(ports.fd.as_fd(), port, &ifindex.to_ne_bytes()).map_err(|source| DatapathError::WriteMap {
            what: format!("cube `{}`", map.cube),
            name: map.name.clone(),
            source,
        })
    }

    /// Points a slot to a node, or empties it: one atomic update, under traffic.
    pub(crate) fn link(&mut self, from: &Source, to: Option<&NodeId>) -> Result<(), DatapathError> {
        let node = |id: &NodeId| self.nodes.get(id);
        let (what, name, slot) = match from {
            Source::Root(hook) => {
                let root = self.roots.get(hook);
                (format!("netdev `{}`", hook.netdev.name), NEXT, root.map(|root| &root.program.next))
            }
            Source::Node(id) => (format!("cube `{}`", id.key.cube), NEXT, node(id).map(|node| &node.next)),
            Source::Accept(id) => {
                (format!("cube `{}`", id.key.cube), ACCEPT, node(id).and_then(|node| node.accept.as_ref()))
            }
        };
        let incomplete = || DatapathError::Incomplete { what: what.clone(), missing: format!("map `{name}`") };
        let slot = slot.ok_or_else(incomplete)?.as_fd();
        match to {
            None => bpf::map_clear(slot, 0),
            Some(node) => {
                let target = self.nodes.get(node).ok_or_else(incomplete)?.program.as_raw_fd();
                bpf::map_update(slot, 0, &target.to_ne_bytes())
            }
        }
        .map_err(|source| DatapathError::WriteMap { what, name: name.to_owned(), source })
    }

    /// Starts to put a root on its netdev. [`Datapath::await_attach`] tells how it went.
    pub(crate) fn attach(&mut self, hook: &Hook) -> Result<(), DatapathError> {
        let Some(root) = self.roots.get_mut(hook) else { return Ok(()) };
        let attachment = match self.mode {
            AttachMode::Tcx => {
                let attached = self.tcx.attach(root.program.program.as_fd(), hook);
                attached.map_err(|error| failed(&hook.netdev, error.into()))
            }
            AttachMode::Clsact => {
                let pin = self.pins.path(&pins::root(hook).join("program"));
                let attached = hook::attach_clsact(hook, &pin, &mut self.clsact);
                attached.inspect_err(|_| self.clsact.remove_if_idle(&hook.netdev))
            }
        };
        root.attachment = attachment?;
        Ok(())
    }

    /// Waits until a root is on its netdev.
    pub(crate) fn await_attach(&mut self, hook: &Hook) -> Result<(), DatapathError> {
        let Some(root) = self.roots.get_mut(hook) else { return Ok(()) };
        root.attachment = match std::mem::take(&mut root.attachment) {
            Attachment::Pending(link) => {
                let link = hook::wait_for(&link).map_err(|source| failed(&hook.netdev, source.into()))?;
                self.pins.pin(link.as_fd(), &pins::root(hook).join("link"))?;
                Attachment::Tcx(link)
            }
            other => other,
        };
        Ok(())
    }

    /// Takes a root off its netdev, if it is there: see [`detach`] for how. Packets that passed it before may still be in
    /// the chain.
    pub(crate) fn detach(&mut self, hook: &Hook) {
        let Some(root) = self.roots.get_mut(hook) else { return };
        if let Err(error) = bpf::map_update(root.program.next.as_fd(), 0, &self.end.as_raw_fd().to_ne_bytes()) {
            tracing::warn!(netdev = hook.netdev.name, %error, "cannot end the chain before its root goes");
        }
        match std::mem::take(&mut root.attachment) {
            Attachment::None => {}
            Attachment::Pending(link) => self.detacher.detach(Leaving::Pending(link)),
            Attachment::Tcx(link) => self.detacher.detach(Leaving::Link(link)),
            Attachment::Clsact(link) => {
                if let Err(error) = aya::programs::links::Link::detach(link) {
                    // A netdev that is gone has taken its filters along.
                    tracing::debug!(netdev = hook.netdev.name, %error, "detaching");
                }
            }
        }
        self.clsact.remove_if_idle(&hook.netdev);
    }

    /// The hooks whose root is attached no more, though nobody asked us to detach it: another program did, or the netdev is
    /// gone.
    pub(crate) fn lost(&self) -> Vec<Hook> {
        // Each list is a request of its own, and a netdev has two hooks.
        let mut listed: HashMap<u32, Option<Vec<u32>>> = HashMap::new();
        let mut is_lost = |hook: &Hook, root: &Root| match &root.attachment {
            Attachment::Tcx(link) => !bpf::is_attached(link.as_fd()).unwrap_or(true),
            Attachment::Clsact(_) => {
                let own = bpf::program_id(root.program.program.as_fd()).ok();
                let ifindex = hook.netdev.ifindex;
                let there = listed.entry(ifindex).or_insert_with(|| crate::sys::clsact::programs(ifindex).ok());
                own.zip(there.as_ref()).is_some_and(|(own, there)| !there.contains(&own))
            }
            Attachment::None | Attachment::Pending(_) => false,
        };
        self.roots.iter().filter(|(hook, root)| is_lost(hook, root)).map(|(hook, _)| hook.clone()).collect()
    }

    /// Waits until every root that was detached is off its netdev, at most for `patience`.
    pub(crate) fn wait_for_detached(&self, patience: Duration) {
        self.detacher.wait(patience);
    }
}

fn failed(netdev: &Netdev, source: ProgramError) -> DatapathError {
    DatapathError::Attach { netdev: netdev.name.clone(), source }
}
