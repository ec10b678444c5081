//! The slot for the map of the large lanes: a map of maps, which `aya-ebpf` does not have.

use core::{cell::UnsafeCell, ffi::c_void};

use aya_ebpf::{bindings::bpf_map_def, helpers::generated::bpf_map_lookup_elem};
use polycube_layout::ring::ARRAY_OF_MAPS;

/// See [`polycube_layout::ring::LANES`].
#[unsafe(link_section = "maps")]
#[unsafe(no_mangle)]
pub static LANES: Slots = Slots(UnsafeCell::new(bpf_map_def {
    type_: ARRAY_OF_MAPS,
    key_size: 4,
    value_size: 4,
    max_entries: 1,
    map_flags: 0,
    id: 0,
    pinning: 0,
}));

/// A map of maps.
#[repr(transparent)]
pub struct Slots(UnsafeCell<bpf_map_def>);

// SAFETY: nothing here reads or writes the definition, which the loader replaces by a map.
unsafe impl Sync for Slots {}

/// A slot's number.
#[derive(Clone, Copy)]
pub struct Slot(u32);

impl Slot {
    pub const LARGE: Self = Self(0);
}

/// A map that was in a slot. It stays as long as the program runs.
pub struct Inner(*mut c_void);

impl Slots {
    /// The map in `slot`, if there is one.
    #[inline(always)]
    pub fn get(&self, slot: Slot) -> Option<Inner> {
        let Slot(key) = slot;
        // SAFETY: a map, and a key of its size.
        let map = unsafe { bpf_map_lookup_elem(self.0.get().cast(), (&raw const key).cast()) };
        (!map.is_null()).then_some(Inner(map))
    }
}

impl Inner {
    /// The element with `index`.
    #[inline(always)]
    pub fn get(&self, index: u32) -> Option<*mut u8> {
        // SAFETY: a map, and a key of its size.
        let element = unsafe { bpf_map_lookup_elem(self.0, (&raw const index).cast()) };
        (!element.is_null()).then_some(element.cast())
    }
}
