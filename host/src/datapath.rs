//! The datapath in the kernel: carries out single steps. What to do, and in which order, is the plan's business.
//!
//! What an earlier daemon left there is taken over by the steps that would make the same: see [`found`].

mod clsact;
mod detach;
mod digest;
mod found;
mod hook;
mod left;
mod marks;
mod nodes;
mod pins;
mod release;
mod repin;
mod shared;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aya::programs::ProgramError;
use polycube_layout::chain::{ACCEPT, NEXT, PORT, PORTS};
use polycube_layout::slow::{KEY, RESUME};
use polycube_loader::object::{self, Entry, Loaded, Rodata, Standing};
use polycube_plugin_api::MapSpec;

pub(crate) use hook::{AttachMode, Rank};
pub(crate) use left::Left;
use marks::{Mark, Marks};
pub(crate) use pins::Pins;
pub(crate) use polycube_loader::{CubeMap, LoadError};

use crate::slow_path::{Shared, SlowPath};
use crate::sys::bpf;
use crate::wiring::{Hook, MapDescription, MapId, Netdev, NodeId, Source};
use clsact::Clsact;
use detach::{Detacher, Leaving};
use found::{Found, FoundRoot, Taken};
use hook::{Attachment, TcxThread};

/// The roots' ELF object.
static ROOT: &[u8] = include_bytes!("../../ebpf/objects/root.o");

/// A step that the kernel did not take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatapathError {
    #[error(transparent)]
    Load(#[from] LoadError),
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

/// Something with its place in the directory of pins.
struct Pinned<T> {
    pin: PathBuf,
    object: T,
}

/// A program of a cube, and the digest of what it is made of.
struct Node {
    digest: String,
    loaded: Pinned<Loaded>,
}

struct Root {
    pin: PathBuf,
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
    /// The netdevs that are in promiscuous mode because of us.
    pub(crate) promiscuous: Marks,
    /// The digest of the roots.
    root_digest: String,
    maps: HashMap<MapId, Pinned<CubeMap>>,
    nodes: HashMap<NodeId, Node>,
    /// Programs that are in the kernel, or were refused, before their step has come.
    ahead: HashMap<NodeId, Result<Loaded, LoadError>>,
    roots: HashMap<Hook, Root>,
    found: Found,
    slow_path: Arc<SlowPath>,
    /// What was found and taken over by the current plan.
    taken: Taken,
    /// Tables of ports that were found, and the ports that have been set in them since.
    found_ports: HashMap<MapId, BTreeSet<u32>>,
}

impl Datapath {
    /// # Errors
    /// A thread cannot be started, the pins cannot be read, or the kernel does not take a program of two instructions.
    pub(crate) fn new(pins: Pins, mode: AttachMode, rank: Rank) -> anyhow::Result<Self> {
        let (tcx, detacher, end) = (TcxThread::start(rank)?, Detacher::start()?, object::load_end()?);
        let mut clsact = Marks::read(pins.directory(), Mark::Clsact)?;
        let mut promiscuous = Marks::read(pins.directory(), Mark::Promiscuous)?;
        let found = Found::look(&pins)?;
        for (marks, what) in [(&mut promiscuous, "put into promiscuous mode"), (&mut clsact, "gave clsact to")] {
            forget_strangers(marks, &found, what);
        }
        let clsact = Clsact::new(clsact);
        let shared = shared::open(&pins, &found).context("cannot make the maps of roots")?;
        // A root refers to these very maps.
        let ids = [&shared.resume, &shared.key].map(|map| Ok(bpf::map_info(map.as_fd())?.0.to_ne_bytes()));
        let ids = ids.into_iter().collect::<io::Result<Vec<_>>>()?.concat();
        let root_digest = digest::of_object(&[ROOT, &ids].concat());
        let scratch = pins.path(&Path::new(pins::SHARED).join("inject"));
        let slow_path = Arc::new(SlowPath::new(shared, mode == AttachMode::Tcx, scratch));
        let (maps, nodes, roots, found_ports) = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self {
            pins,
            mode,
            tcx,
            detacher,
            end,
            clsact,
            promiscuous,
            root_digest,
            maps,
            nodes,
            ahead: HashMap::new(),
            roots,
            found,
            slow_path,
            taken: Taken::default(),
            found_ports,
        })
    }

    /// The way of packets from user space.
    pub(crate) fn slow_path(&self) -> &Arc<SlowPath> {
        &self.slow_path
    }

    /// A map that [`Datapath::create_map`] made.
    pub(crate) fn map(&self, id: &MapId) -> Option<&CubeMap> {
        self.maps.get(id).map(|map| &map.object)
    }

    pub(crate) fn create_map(&mut self, id: &MapId, description: &MapDescription) -> Result<(), DatapathError> {
        let (what, MapDescription { spec, objects, .. }) = (format!("cube `{}`", id.cube), description);
        let shape = object::shape_of_cube_map(&what, spec, objects)?;
        let map = if let Some(map) = self.found.take_map(id, shape, description) {
            self.taken.maps.insert(id.clone());
            if id.name == PORTS {
                self.found_ports.insert(id.clone(), BTreeSet::new());
            }
            map
        } else {
            if self.found.has_map(id) {
                tracing::warn!(
                    cube = %id.cube,
                    map = %id.name,
                    "an earlier daemon's map of this name is another one: it is replaced, and what it holds is lost"
                );
            }
            if spec.late {
                return Ok(());
            }
            self.pin_map(id, description, new_map(id, description)?)?
        };
        self.maps.insert(id.clone(), map);
        Ok(())
    }

    /// Takes a map that was described as late, and has been made with [`new_map`].
    pub(crate) fn take_late_map(
        &mut self,
        id: &MapId,
        description: &MapDescription,
        map: CubeMap,
    ) -> Result<(), DatapathError> {
        let map = self.pin_map(id, description, map)?;
        self.maps.insert(id.clone(), map);
        Ok(())
    }

    fn pin_map(
        &self,
        id: &MapId,
        MapDescription { spec, owner, .. }: &MapDescription,
        object: CubeMap,
    ) -> Result<Pinned<CubeMap>, DatapathError> {
        let map = Pinned { pin: pins::map(id, spec.generation, owner, object.id), object };
        self.pins.pin(map.object.fd.as_fd(), &map.pin)?;
        Ok(map)
    }

    /// Whether a map that is there has the shape that `spec` and `objects` ask for.
    pub(crate) fn fits(&self, id: &MapId, spec: &MapSpec, objects: &[Arc<[u8]>]) -> bool {
        if spec.late && !self.maps.contains_key(id) {
            return true;
        }
        let now = self.maps.get(id).and_then(|map| bpf::map_info(map.object.fd.as_fd()).ok());
        now.map(|(_, shape)| shape) == object::shape_of_cube_map(&format!("cube `{}`", id.cube), spec, objects).ok()
    }

    pub(crate) fn drop_map(&mut self, id: &MapId) {
        if let Some(map) = self.maps.remove(id) {
            self.pins.unpin(&map.pin);
        }
    }

    pub(crate) fn load_root(&mut self, hook: &Hook, port: u32) -> Result<(), DatapathError> {
        match self.found.take_root(hook) {
            Some(FoundRoot { digest: Some(digest), root }) if digest == self.root_digest => {
                self.taken.roots.insert(hook.clone());
                self.roots.insert(hook.clone(), root);
                return self.set_root_port(hook, port);
            }
            Some(FoundRoot { root, .. }) => self.replace_root(hook, port, root)?,
            None => {
                let root = self.make_root(hook, port)?;
                self.roots.insert(hook.clone(), root);
            }
        }
        Ok(())
    }

    fn make_root(&mut self, hook: &Hook, port: u32) -> Result<Root, DatapathError> {
        let what = format!("the root of netdev `{}`", hook.netdev.name);
        let port = port.to_ne_bytes();
        let constants = vec![(PORT, port.as_slice())];
        let root = Entry { elf: ROOT, name: "root", constants, standing: Standing::Last };
        self.pin_shared()?;
        let Shared { resume, key } = self.slow_path.shared();
        let shared = HashMap::from([(RESUME, resume.as_raw_fd()), (KEY, key.as_raw_fd())]);
        let program = object::load(&what, root, &shared, Rodata::Variable)?;
        let pin = pins::root(hook, &self.root_digest);
        // One that was on its way to the hook, or from it, when its daemon ended.
        if self.found.take_rest(&pin) {
            self.pins.unpin(&pin);
        }
        self.pins.pin_program(&pin, &program)?;
        Ok(Root { pin, program, attachment: Attachment::None })
    }

    /// Puts a root of this version in the place of one of another version that was found, or of one whose maps
    /// are not all its own. A TCX link keeps its place, and no packet misses the chain; a clsact filter has to go first.
    fn replace_root(&mut self, hook: &Hook, port: u32, mut found: Root) -> Result<(), DatapathError> {
        let has_same_pins = found.pin == pins::root(hook, &self.root_digest);
        if has_same_pins {
            // Its link is open, and so stays.
            self.pins.unpin(&found.pin);
        }
        let mut root = self.make_root(hook, port)?;
        if let Attachment::Tcx(link) = std::mem::take(&mut found.attachment) {
            let taken_over = self
                .found
                .target(&found.program.next)
                .map_or(Ok(()), |first| bpf::map_update(root.program.next.as_fd(), 0, &first.as_raw_fd().to_ne_bytes()))
                .and_then(|()| bpf::link_update(link.as_fd(), root.program.program.as_fd()));
            taken_over.map_err(|error| failed(&hook.netdev, error.into()))?;
            self.pins.pin(link.as_fd(), &root.pin.join(pins::LINK))?;
            root.attachment = Attachment::Tcx(link);
        }
        if !has_same_pins {
            self.pins.unpin(&found.pin);
        }
        self.taken.roots.insert(hook.clone());
        self.roots.insert(hook.clone(), root);
        Ok(())
    }

    pub(crate) fn unload_root(&mut self, hook: &Hook) {
        self.pins.unpin(&self.roots.remove(hook).map_or_else(|| pins::root(hook, &self.root_digest), |root| root.pin));
        self.unpin_shared();
    }

    pub(crate) fn set_root_port(&mut self, hook: &Hook, port: u32) -> Result<(), DatapathError> {
        let Some(root) = self.roots.get(hook) else { return Ok(()) };
        let what = || format!("the root of netdev `{}`", hook.netdev.name);
        let rodata = root.program.rodata.as_ref();
        let rodata = rodata.ok_or_else(|| LoadError::Incomplete { what: what(), missing: PORT.to_owned() })?;
        bpf::map_update(rodata.as_fd(), 0, &port.to_ne_bytes())
            .map_err(|source| LoadError::WriteMap { what: what(), name: PORT.to_owned(), source }.into())
    }

    pub(crate) fn set_port(&mut self, map: &MapId, port: u32, ifindex: u32) -> Result<(), DatapathError> {
        let Some(ports) = self.maps.get(map) else { return Ok(()) };
        if let Some(set) = self.found_ports.get_mut(map) {
            set.insert(port);
        }
        bpf::map_update(ports.object.fd.as_fd(), port, &ifindex.to_ne_bytes()).map_err(|source| {
            LoadError::WriteMap { what: format!("cube `{}`", map.cube), name: map.name.clone(), source }.into()
        })
    }

    /// Points a slot to a node, or empties it: one atomic update, under traffic.
    pub(crate) fn link(&mut self, from: &Source, to: Option<&NodeId>) -> Result<(), DatapathError> {
        let node = |id: &NodeId| self.nodes.get(id).map(|node| &node.loaded.object);
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
        let incomplete = || LoadError::Incomplete { what: what.clone(), missing: format!("map `{name}`") };
        let slot = slot.ok_or_else(incomplete)?.as_fd();
        match to {
            None => bpf::map_clear(slot, 0),
            Some(node) => {
                let target = self.nodes.get(node).ok_or_else(incomplete)?.loaded.object.program.as_raw_fd();
                bpf::map_update(slot, 0, &target.to_ne_bytes())
            }
        }
        .map_err(|source| LoadError::WriteMap { what, name: name.to_owned(), source }.into())
    }

    /// Starts to put a root on its netdev. [`Datapath::await_attach`] tells how it went.
    pub(crate) fn attach(&mut self, hook: &Hook) -> Result<(), DatapathError> {
        let Some(root) = self.roots.get_mut(hook) else { return Ok(()) };
        if !matches!(root.attachment, Attachment::None) {
            // It was found there.
            return Ok(());
        }
        let attachment = match self.mode {
            AttachMode::Tcx => {
                let attached = self.tcx.attach(root.program.program.as_fd(), hook);
                attached.map_err(|error| failed(&hook.netdev, error.into()))
            }
            AttachMode::Clsact => {
                let pin = self.pins.path(&root.pin.join(pins::PROGRAM));
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
                self.pins.pin(link.as_fd(), &root.pin.join(pins::LINK))?;
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
        let attachment = std::mem::take(&mut root.attachment);
        if let Err(error) = bpf::map_update(root.program.next.as_fd(), 0, &self.end.as_raw_fd().to_ne_bytes()) {
            tracing::warn!(netdev = hook.netdev.name, %error, "cannot end the chain before its root goes");
        }
        match attachment {
            Attachment::None => {}
            Attachment::Pending(link) => self.detacher.detach(Leaving::Pending(link)),
            Attachment::Tcx(link) => self.detacher.detach(Leaving::Link(link)),
            Attachment::Clsact(link) => {
                if let Err(error) = aya::programs::links::Link::detach(link) {
                    // A netdev that is gone has taken its filters along, and another one may have its ifindex.
                    tracing::debug!(netdev = hook.netdev.name, %error, "detaching");
                    return self.clsact.forget(&hook.netdev);
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

/// Makes a map, which the kernel zeroes: that can take milliseconds.
pub(crate) fn new_map(id: &MapId, description: &MapDescription) -> Result<CubeMap, LoadError> {
    let (what, MapDescription { spec, objects, .. }) = (format!("cube `{}`", id.cube), description);
    let shape = object::shape_of_cube_map(&what, spec, objects)?;
    object::create_cube_map(&what, spec, shape, objects)
}

/// Forgets marks of netdevs that are gone. Another netdev may have got their ifindex, perhaps with the same name and MAC
/// address: after a restart of a container, all three are often as before. So the proof that a netdev is still the same
/// is our root on it, which the kernel removes with the netdev. Without it, a mode or a queueing discipline stays as it is: it
/// may be its user's.
fn forget_strangers(marks: &mut Marks, found: &Found, what: &str) {
    for ifindex in marks.all() {
        if !found.has_root_on(ifindex) {
            tracing::info!(ifindex, "is not known to be the netdev that an earlier daemon {what}");
            marks.remove(ifindex);
        }
    }
}

fn failed(netdev: &Netdev, source: ProgramError) -> DatapathError {
    DatapathError::Attach { netdev: netdev.name.clone(), source }
}
