//! bpf(2) for types: BTF of our own, and maps that have it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::bpf_cmd;

use super::{MapShape, bpf, empty, object_name, owned};

/// Types of a map's keys and values, by their ids in a BTF.
#[derive(Clone, Copy, Debug)]
pub struct MapTypes<'a> {
    pub types: BorrowedFd<'a>,
    /// 0 for none.
    pub key: u32,
    pub value: u32,
}

/// Types of a program: where its functions and its lines of source are, as `struct bpf_func_info` and
/// `struct bpf_line_info` of include/uapi/linux/bpf.h.
#[derive(Clone, Debug)]
pub struct ProgramTypes<'a> {
    pub types: BorrowedFd<'a>,
    pub functions: Vec<u8>,
    pub lines: Vec<u8>,
}

/// Bytes of a `struct bpf_func_info` and of a `struct bpf_line_info`.
pub(super) const FUNCTION_SIZE: usize = 8;
pub(super) const LINE_SIZE: usize = 16;

/// Loads BTF.
///
/// # Errors
/// What the kernel says: it knows less types than the compiler, or none.
pub fn types_load(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_BTF_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = btf.as_ptr() as u64;
    load.btf_size = btf.len() as u32;
    bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr).map(owned)
}

/// Creates a map of maps, which can hold such as `inner`.
///
/// # Errors
/// What the kernel says.
pub fn map_of_maps_create(name: &str, shape: MapShape, inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_MAP_CREATE.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = shape.map_type;
    create.key_size = shape.key_size;
    create.value_size = shape.value_size;
    create.max_entries = shape.max_entries;
    create.map_flags = shape.flags;
    create.map_name = object_name(name);
    create.inner_map_fd = inner.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

/// Creates a map, with its types if the kernel takes them: some kinds of maps have none.
///
/// # Errors
/// What the kernel says.
pub fn map_create(name: &str, shape: MapShape, types: Option<MapTypes<'_>>) -> io::Result<OwnedFd> {
    let attempt = |types: Option<MapTypes<'_>>| {
        let mut attr = empty();
        // SAFETY: writing the union's member for BPF_MAP_CREATE.
        let create = unsafe { &mut attr.__bindgen_anon_1 };
        create.map_type = shape.map_type;
        create.key_size = shape.key_size;
        create.value_size = shape.value_size;
        create.max_entries = shape.max_entries;
        create.map_flags = shape.flags;
        create.map_name = object_name(name);
        if let Some(MapTypes { types, key, value }) = types {
            create.btf_fd = types.as_raw_fd() as u32;
            create.btf_key_type_id = key;
            create.btf_value_type_id = value;
        }
        bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
    };
    if types.is_some()
        && let Ok(map) = attempt(types)
    {
        return Ok(map);
    }
    attempt(None)
}
