//! Which maps are a program's own.
//!
//! A pin says by its name alone what it is, and others can put another map there. The kernel knows better: it lists the maps
//! of each program. It lists those that the instructions mention, so a slot that a program never uses is bound to it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY};
use polycube_layout::chain::{ACCEPT, NEXT};

use super::{Loaded, SLOT};
use crate::bpf;

/// The map of a program's read-only data.
pub(super) const RODATA: &str = ".rodata";

impl Loaded {
    /// Its maps with their types, by the names that objects give them.
    fn maps(&self) -> impl Iterator<Item = (&str, &OwnedFd, u32)> {
        let slots = [(NEXT, Some(&self.next)), (ACCEPT, self.accept.as_ref())];
        let slots = slots.into_iter().filter_map(|(name, map)| Some((name, map?)));
        let slots = slots.chain(self.jumps.iter().map(|(name, map)| (name.as_str(), map)));
        let slots = slots.map(|(name, map)| (name, map, BPF_MAP_TYPE_PROG_ARRAY as u32));
        slots.chain(self.rodata.iter().map(|map| (RODATA, map, BPF_MAP_TYPE_ARRAY as u32)))
    }

    /// Has the kernel list all of them as the program's.
    pub(super) fn bind(&self) -> io::Result<()> {
        self.maps().try_for_each(|(_, map, _)| bpf::bind_map(self.program.as_fd(), map.as_fd()))
    }

    /// The names of those that are not the program's, or not of their type. None of them may be read or written: their keys
    /// and values may have any size.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn foreign(&self) -> io::Result<Vec<String>> {
        let own = bpf::map_ids(self.program.as_fd())?;
        let mut foreign = Vec::new();
        for (name, map, map_type) in self.maps() {
            let (id, shape) = bpf::map_info(map.as_fd())?;
            if !own.contains(&id) || shape.map_type != map_type {
                foreign.push(name.to_owned());
            }
        }
        Ok(foreign)
    }
}

/// A slot that leads nowhere.
///
/// # Errors
/// What the kernel says.
pub fn empty_slot() -> io::Result<OwnedFd> {
    bpf::map_create(NEXT, SLOT, None)
}
