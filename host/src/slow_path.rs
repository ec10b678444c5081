//! The way of packets from user space into the datapath.
//!
//! Plugins write frames to a tap device, which is made when the first cube asks for it, and goes with the daemon. The
//! program `inject` on its ingress looks up where each frame is to go, and redirects it: out of a netdev, or into one. There
//! the root has it pass the chain as any other packet does, or, if it is to go on in the middle of the chain, jumps to the
//! right place. For that, each such place has a slot in a map of all roots, with a small program that goes on where the
//! slot `next` of the cube's program leads: so a change of the chain after the cube changes both ways at once.
//!
//! A tap device takes no capability that the daemon does not have anyway. A packet socket would take CAP_NET_RAW, by which
//! a plugin could also read every packet of the machine. VLAN tags before a frame say its way, because the kernel takes those
//! off frames of any protocol and size, also of those that are still to be cut into segments.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{SchedClassifier, TcAttachType};
use polycube_layout::slow::{self, EXITS, KEY, OUTCOMES, RESUME, RESUME_SLOTS, exit_key};
use polycube_loader::LoadError;
use polycube_loader::object::{self, declared_maps, load_after, load_target};

use crate::netdev::TAP;
use crate::sys::bpf::{self, Elements, MapShape, Order, Tcx};
use crate::sys::tap::{self, Tap};
use crate::wiring::{Exit, NodeId};

/// The ELF object of the program on the tap device.
static INJECT: &[u8] = include_bytes!("../../ebpf/objects/inject.o");

/// Why packets of a cube cannot go from user space into the datapath.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlowPathError {
    #[error("cannot make a tap device ({source}): the daemon needs {}, and the right to open it", tap::DEVICE)]
    Tap { source: io::Error },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot attach to the tap device `{name}`: {reason}")]
    Attach { name: String, reason: String },
    #[error("{MOST} cubes send packets already")]
    TooMany,
    #[error("cannot {what}: {source}")]
    Kernel { what: &'static str, source: io::Error },
}

/// Cubes whose plugins can send at a time: their numbers have 16 bits.
const MOST: u32 = 65_535;

/// What one cube's plugin sends by. The descriptors are copies.
pub(crate) struct Door {
    pub cube: u32,
    pub frames: OwnedFd,
    pub exits: OwnedFd,
    pub outcomes: OwnedFd,
}

/// The maps that all roots share with `inject`.
pub(crate) struct Shared {
    /// See [`slow::RESUME`].
    pub resume: OwnedFd,
    /// See [`slow::KEY`].
    pub key: OwnedFd,
}

impl Shared {
    /// Their shapes, by name, as the roots declare them.
    pub(crate) const SHAPES: [(&'static str, MapShape); 2] = [
        (RESUME, MapShape { map_type: 3, key_size: 4, value_size: 4, max_entries: RESUME_SLOTS, flags: 0 }),
        (KEY, MapShape { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, flags: 0 }),
    ];
}

pub(crate) struct SlowPath {
    shared: Shared,
    /// Whether the kernel has TCX.
    is_tcx: bool,
    /// A free path in the directory of pins.
    scratch: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    device: Option<Device>,
    cubes: HashMap<String, Cube>,
    slots: Slots,
}

/// The tap device, its program and its maps.
struct Device {
    tap: Tap,
    exits: OwnedFd,
    outcomes: OwnedFd,
    /// Held: it takes the program along when it closes. A clsact filter goes with the device.
    _link: Option<OwnedFd>,
}

struct Cube {
    number: u32,
    /// Instances that have asked: two while a service is reloaded.
    instances: usize,
    exits: HashMap<(u32, u32), Wired>,
    /// Places that packets on their way may still go to.
    left: Vec<Place>,
}

struct Wired {
    ifindex: u32,
    place: Option<Place>,
}

/// A place in a chain where packets go on.
struct Place {
    after: NodeId,
    slot: u32,
    /// The kernel empties a `PROG_ARRAY` when its last user-space reference closes.
    _next: OwnedFd,
}

/// The slots of [`slow::RESUME`] in use. A free one is not used again soon: a packet may be on its way to it.
#[derive(Default)]
struct Slots {
    used: BTreeSet<u32>,
    last: u32,
}

impl Slots {
    fn take(&mut self) -> Option<u32> {
        let slot =
            (1..=RESUME_SLOTS).map(|step| (self.last + step) % RESUME_SLOTS).find(|slot| !self.used.contains(slot))?;
        self.last = slot;
        self.used.insert(slot);
        Some(slot)
    }
}

impl SlowPath {
    pub(crate) fn new(shared: Shared, is_tcx: bool, scratch: PathBuf) -> Self {
        Self { shared, is_tcx, scratch, state: Mutex::default() }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the plugin of a cube send packets. Each call is matched by one of [`close`](Self::close).
    ///
    /// # Errors
    /// The device cannot be made.
    pub(crate) fn open(&self, uuid: &str) -> Result<Door, SlowPathError> {
        let state = &mut *self.state();
        let device = match &state.device {
            Some(device) => device,
            None => state.device.insert(self.make_device()?),
        };
        let copy =
            |fd: &OwnedFd| fd.try_clone().map_err(|source| SlowPathError::Kernel { what: "copy a descriptor", source });
        let (frames, exits, outcomes) = (copy(&device.tap.frames)?, copy(&device.exits)?, copy(&device.outcomes)?);
        let number = if let Some(cube) = state.cubes.get(uuid) {
            cube.number
        } else {
            let used: BTreeSet<u32> = state.cubes.values().map(|cube| cube.number).collect();
            let number = (1..=MOST).find(|number| !used.contains(number)).ok_or(SlowPathError::TooMany)?;
            let kernel = |source| SlowPathError::Kernel { what: "count what a cube sends", source };
            let cpus = object::cpus() as usize;
            let counts = Elements::of(device.outcomes.as_fd(), Some(cpus)).map_err(kernel)?;
            counts.update(&number.to_ne_bytes(), &vec![0; size_of::<slow::Outcomes>() * cpus]).map_err(kernel)?;
            number
        };
        let cube = Cube { number, instances: 0, exits: HashMap::new(), left: Vec::new() };
        state.cubes.entry(uuid.to_owned()).or_insert(cube).instances += 1;
        Ok(Door { cube: number, frames, exits, outcomes })
    }

    /// Takes back what [`open`](Self::open) gave one instance of a cube.
    pub(crate) fn close(&self, uuid: &str) {
        let state = &mut *self.state();
        let Some(cube) = state.cubes.get_mut(uuid) else { return };
        cube.instances -= 1;
        if cube.instances > 0 {
            return;
        }
        self.wire(state, uuid, &[], |_| None);
        let Some((cube, device)) = state.cubes.remove(uuid).zip(state.device.as_ref()) else { return };
        if let Ok(counts) = Elements::of(device.outcomes.as_fd(), Some(object::cpus() as usize)) {
            note("forget what a cube sent", counts.delete(&cube.number.to_ne_bytes()));
        }
    }

    /// Sets all exits of a cube. `next` answers with the slot `next` of a program.
    pub(crate) fn set(&self, uuid: &str, exits: &[Exit], next: impl Fn(&NodeId) -> Option<OwnedFd>) {
        self.wire(&mut self.state(), uuid, exits, next);
    }

    fn wire(&self, state: &mut State, uuid: &str, exits: &[Exit], next: impl Fn(&NodeId) -> Option<OwnedFd>) {
        // A cube whose plugin sends nothing needs no exits.
        let State { device: Some(device), cubes, slots } = state else { return };
        let Some(cube) = cubes.get_mut(uuid) else { return };
        let Ok(table) = Elements::of(device.exits.as_fd(), None) else { return };
        let mut before = std::mem::take(&mut cube.exits);
        let gone: Vec<Place> = std::mem::take(&mut cube.left);
        for Exit { way, id, ifindex, after } in exits {
            let was = before.remove(&(*way, *id));
            let is_same =
                |was: &Wired| was.ifindex == *ifindex && was.place.as_ref().map(|place| &place.after) == after.as_ref();
            let wired = match was {
                Some(was) if is_same(&was) => was,
                was => {
                    cube.left.extend(was.and_then(|was| was.place));
                    let place = match after {
                        None => None,
                        Some(node) => match self.place(slots, node, next(node)) {
                            Ok(place) => Some(place),
                            Err(error) => {
                                tracing::error!(%error, cube = %node.key.cube, "packets from user space cannot go on");
                                continue;
                            }
                        },
                    };
                    let slot = place.as_ref().map_or(0, |place| place.slot);
                    let key = exit_key(cube.number, *way, *id).to_ne_bytes();
                    let value = [ifindex.to_ne_bytes(), slot.to_ne_bytes()].concat();
                    note("set an exit", table.update(&key, &value));
                    Wired { ifindex: *ifindex, place }
                }
            };
            cube.exits.insert((*way, *id), wired);
        }
        for ((way, id), wired) in before {
            note("remove an exit", table.delete(&exit_key(cube.number, way, id).to_ne_bytes()));
            cube.left.extend(wired.place);
        }
        // What was left before: packets that were on their way then have arrived. All of it, if nothing is to come.
        let gone = gone.into_iter().chain(if exits.is_empty() { std::mem::take(&mut cube.left) } else { Vec::new() });
        for place in gone {
            note("clear a place", bpf::map_clear(self.shared.resume.as_fd(), place.slot));
            slots.used.remove(&place.slot);
        }
    }

    /// Makes a place after a program.
    fn place(&self, slots: &mut Slots, after: &NodeId, next: Option<OwnedFd>) -> Result<Place, SlowPathError> {
        let kernel = |what| move |source| SlowPathError::Kernel { what, source };
        let full = || kernel("find a free place")(io::ErrorKind::StorageFull.into());
        let next = next.ok_or_else(|| kernel("find a program")(io::ErrorKind::NotFound.into()))?;
        let program = load_after("the way on after a cube", next.as_fd())?;
        let slot = slots.take().ok_or_else(full)?;
        if let Err(source) = bpf::map_update(self.shared.resume.as_fd(), slot, &program.as_raw_fd().to_ne_bytes()) {
            slots.used.remove(&slot);
            return Err(kernel("set a place")(source));
        }
        Ok(Place { after: after.clone(), slot, _next: next })
    }

    fn make_device(&self) -> Result<Device, SlowPathError> {
        let tap = tap::open(TAP).map_err(|source| SlowPathError::Tap { source })?;
        let what = "the tap device";
        let (exits, outcomes) = (self.make_map(EXITS)?, self.make_map(OUTCOMES)?);
        let maps = [(EXITS, exits.as_fd()), (OUTCOMES, outcomes.as_fd()), (KEY, self.shared.key.as_fd())];
        let maps = maps.map(|(name, map)| (name, map.as_raw_fd())).into();
        let program = load_target(what, INJECT, "inject", &[], &maps)?;
        let attach = if self.is_tcx {
            let link = bpf::link_create(program.as_fd(), tap.ifindex, Tcx::Ingress, Order::Last);
            link.map(Some).map_err(|error| error.to_string())
        } else {
            self.attach_filter(program.as_fd(), &tap.name).map(|()| None).map_err(|error| error.to_string())
        };
        let link = attach.map_err(|reason| SlowPathError::Attach { name: tap.name.clone(), reason })?;
        tracing::info!(netdev = tap.name, "made a tap device, for packets that plugins send");
        Ok(Device { tap, exits, outcomes, _link: link })
    }

    fn make_map(&self, name: &'static str) -> Result<OwnedFd, SlowPathError> {
        let missing = || LoadError::Incomplete { what: "the tap device".to_owned(), missing: format!("map `{name}`") };
        let declared =
            declared_maps(INJECT).map_err(|source| LoadError::Object { what: "the tap device".to_owned(), source })?;
        let map = declared.into_iter().find(|map| map.name == name).ok_or_else(missing)?;
        // BPF_F_NO_PREALLOC: few of the entries are ever in use.
        let shape = MapShape {
            map_type: map.map_type,
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: 1,
        };
        bpf::map_create(name, shape, None).map_err(|source| SlowPathError::Kernel { what: "make a map", source })
    }

    /// For kernels without TCX.
    fn attach_filter(&self, program: BorrowedFd<'_>, netdev: &str) -> Result<(), Box<dyn std::error::Error>> {
        self.scratch.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        bpf::pin(program, &self.scratch)?;
        let attach = || -> Result<(), Box<dyn std::error::Error>> {
            qdisc_add_clsact(netdev)?;
            let mut program = SchedClassifier::from_pin(&self.scratch)?;
            let options = TcAttachOptions::Netlink(NlOptions::default());
            let id = program.attach_with_options(netdev, TcAttachType::Ingress, options)?;
            // The filter goes with the device, and not before.
            std::mem::forget(program.take_link(id)?);
            Ok(())
        };
        let attached = attach();
        std::fs::remove_file(&self.scratch)?;
        // Others may be in it.
        let _ = self.scratch.parent().map(std::fs::remove_dir);
        attached
    }
}

/// What fails while the rest of a change goes on: the kernel has no memory, most likely.
fn note(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "packets from user space: cannot {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_not_used_again_at_once() {
        let mut slots = Slots::default();
        assert_eq!([slots.take(), slots.take()], [Some(1), Some(2)]);
        slots.used.remove(&1);
        assert_eq!(slots.take(), Some(3));
        for _ in 0..RESUME_SLOTS - 2 {
            assert!(slots.take().is_some());
        }
        assert_eq!((slots.take(), slots.used.len()), (None, RESUME_SLOTS as usize));
    }

    #[test]
    fn the_shared_maps_are_as_the_roots_declare_them() {
        let root = declared_maps(include_bytes!("../../ebpf/objects/root.o")).unwrap();
        for (name, shape) in Shared::SHAPES {
            let map = root.iter().find(|map| map.name == name).unwrap();
            let declared = (map.map_type, map.key_size, map.value_size, map.max_entries);
            assert_eq!(declared, (shape.map_type, shape.key_size, shape.value_size, shape.max_entries), "{name}");
        }
    }
}
