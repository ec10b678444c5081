//! bpf(2) for what is in the kernel already: opens pins, and says what they are.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{bpf_cmd, bpf_link_info, bpf_map_info, bpf_prog_info};

use super::{MapShape, bpf, empty, owned};

/// Opens what is pinned at `path`.
///
/// # Errors
/// What the kernel says.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_OBJ_GET.
    let get = unsafe { &mut attr.__bindgen_anon_4 };
    get.pathname = path.as_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(owned)
}

/// A TCX link, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// 0 for one that was detached by force, or whose netdev is gone (`tcx_link_fill_info()` in kernel/bpf/tcx.c).
    pub ifindex: u32,
    /// The kernel's id of the program that runs.
    pub program: u32,
}

/// # Errors
/// What the kernel says.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: bpf_link_info is plain data; all zeroes is a value of it.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    read_info(link, &mut info)?;
    // SAFETY: the member of TCX links, whose ifindex comes first; whatever the kernel wrote, these are plain integers.
    let ifindex = unsafe { info.__bindgen_anon_1.tcx.ifindex };
    Ok(LinkInfo { ifindex, program: info.prog_id })
}

/// Whether a TCX link is still attached.
///
/// # Errors
/// What the kernel says.
pub fn is_attached(link: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(link_info(link)?.ifindex != 0)
}

/// The kernel's id of a program.
///
/// # Errors
/// What the kernel says.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: bpf_prog_info is plain data; all zeroes is a value of it, and asks for no copies.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    read_info(program, &mut info)?;
    Ok(info.id)
}

/// Most maps of a program: what its instructions can mention (`MAX_USED_MAPS` in include/linux/bpf_verifier.h), and more for
/// what is bound to it.
const MOST_MAPS: usize = 128;

/// The kernel's ids of a program's maps. A descriptor of something else has none.
///
/// # Errors
/// What the kernel says.
pub fn map_ids(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_MAPS];
    // SAFETY: bpf_prog_info is plain data; all zeroes is a value of it, and asks for no copies.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    (info.nr_map_ids, info.map_ids) = (MOST_MAPS as u32, ids.as_mut_ptr() as u64);
    read_info(program, &mut info)?;
    Ok(ids.into_iter().take(info.nr_map_ids as usize).filter(|id| *id != 0).collect())
}

/// Counts a map among a program's, if it is not one of them.
///
/// # Errors
/// What the kernel says.
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.prog_bind_map.prog_fd = program.as_raw_fd() as u32;
    attr.prog_bind_map.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_PROG_BIND_MAP, &mut attr).map(drop)
}

/// The kernel's id of a map, and what it was created as.
///
/// # Errors
/// What the kernel says.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<(u32, MapShape)> {
    // SAFETY: bpf_map_info is plain data; all zeroes is a value of it.
    let mut info: bpf_map_info = unsafe { std::mem::zeroed() };
    read_info(map, &mut info)?;
    let bpf_map_info { id, type_: map_type, key_size, value_size, max_entries, map_flags: flags, .. } = info;
    Ok((id, MapShape { map_type, key_size, value_size, max_entries, flags }))
}

/// What `BPF_OBJ_GET_INFO_BY_FD` says of an object; `info` is the kernel's structure for objects of this kind.
fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = empty();
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Has a link run another program, in the same place among others: one atomic exchange, under traffic.
///
/// # Errors
/// What the kernel says.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.link_update.link_fd = link.as_raw_fd() as u32;
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// The 4-byte value at `key` of a map whose values have 4 bytes: of a slot, the id of its program. `None` where the slot
/// is empty.
///
/// # Errors
/// What the kernel says.
pub fn lookup(map: BorrowedFd<'_>, key: u32) -> io::Result<Option<u32>> {
    let mut value = 0_u32;
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_MAP_LOOKUP_ELEM.
    let lookup = unsafe { &mut attr.__bindgen_anon_2 };
    lookup.map_fd = map.as_raw_fd() as u32;
    lookup.key = std::ptr::from_ref(&key) as u64;
    lookup.__bindgen_anon_1.value = std::ptr::from_mut(&mut value) as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
