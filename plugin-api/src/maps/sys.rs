//! bpf(2) for maps that exist: the few commands that the typed maps need.
//!
//! The structures are the beginnings of the kernel's (`union bpf_attr`, `struct bpf_map_info` in
//! include/uapi/linux/bpf.h), which takes shorter ones and regards the rest as zeros.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const MAP_LOOKUP_BATCH: u32 = 24;

/// What the kernel says of a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MapInfo {
    /// `enum bpf_map_type`.
    pub(super) kind: u32,
    /// The kernel's id of the map.
    pub(super) id: u32,
    /// Bytes of a key.
    pub(super) key_size: u32,
    /// Bytes of a value; of one CPU's value in a per-CPU map.
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
}

#[repr(C)]
#[derive(Default)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    fd: u32,
    zero: u32,
    key: u64,
    /// The value, or the next key.
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Calls bpf(2).
///
/// # Safety
/// `attr` is the beginning of the structure of `command`, without padding, and each address in it is that of a live buffer
/// of the size that the kernel reads or writes for this command and map.
unsafe fn bpf<T>(command: u32, attr: &mut T) -> io::Result<()> {
    // SAFETY: `attr` is alive and `size_of::<T>()` bytes long; the caller answers for what is in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of an open descriptor.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// What the kernel says of `map`.
pub(super) fn info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let length = size_of::<MapInfo>() as u32;
    let mut attr = Info { fd: number(map), length, info: std::ptr::from_mut(&mut info) as u64 };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which are integers.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// A map whose sizes are known, so that the lengths of buffers can be checked.
#[derive(Clone, Copy)]
pub(super) struct Shaped<'a> {
    pub(super) map: BorrowedFd<'a>,
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes that the kernel copies for a value: those of all CPUs in a per-CPU map.
    pub(super) value: usize,
}

impl Shaped<'_> {
    fn element(self, key: &[u8], value: u64, flags: u64) -> Element {
        assert_eq!(key.len(), self.key, "a key has the size of the map's keys");
        Element { fd: number(self.map), zero: 0, key: key.as_ptr() as u64, value, flags }
    }

    /// Copies the value of `key` to `value`; `false` if there is none.
    pub(super) fn look_up(self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert_eq!(value.len(), self.value, "a value has the size of the map's values");
        let mut attr = self.element(key, value.as_mut_ptr() as u64, 0);
        // SAFETY: both buffers have the sizes that the map has for them, as asserted.
        is_there(unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) })
    }

    /// Sets the value of `key`; `flags` are `BPF_ANY`, `BPF_NOEXIST` or `BPF_EXIST`.
    pub(super) fn update(self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        assert_eq!(value.len(), self.value, "a value has the size of the map's values");
        let mut attr = self.element(key, value.as_ptr() as u64, flags);
        // SAFETY: as in `look_up`; the kernel only reads.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }
    }

    /// Removes `key`; `false` if it is not there.
    pub(super) fn remove(self, key: &[u8]) -> io::Result<bool> {
        let mut attr = self.element(key, 0, 0);
        // SAFETY: the kernel reads a key, whose size is asserted, and no value.
        is_there(unsafe { bpf(MAP_DELETE_ELEM, &mut attr) })
    }

    /// Copies the key after `key`, or the first one, to `next`; `false` after the last. The kernel begins again at the
    /// first key if `key` is no longer there (`htab_map_get_next_key()` in kernel/bpf/hashtab.c).
    pub(super) fn next_key(self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        assert_eq!(next.len(), self.key, "a key has the size of the map's keys");
        let address = next.as_mut_ptr() as u64;
        let first = Element { fd: number(self.map), value: address, ..Element::default() };
        let mut attr = key.map_or(first, |key| self.element(key, address, 0));
        // SAFETY: both keys have the size that the map has for them; without one, the address is null, which asks for
        // the first key.
        is_there(unsafe { bpf(MAP_GET_NEXT_KEY, &mut attr) })
    }

    /// Copies up to `room` entries to `keys` and `values`. Returns how many there are, and whether there are more, which
    /// another call with the same `place` copies. `place` is empty for the first call.
    pub(super) fn look_up_batch(
        self,
        place: &mut Vec<u8>,
        keys: &mut [u8],
        values: &mut [u8],
        room: usize,
    ) -> io::Result<(usize, bool)> {
        assert!(keys.len() == room * self.key && values.len() == room * self.value, "there is room for all");
        // The kernel keeps its place in 4 bytes for hash tables (`__htab_map_lookup_and_delete_batch()` in
        // kernel/bpf/hashtab.c), and in a key otherwise (`generic_map_lookup_batch()` in kernel/bpf/syscall.c).
        let mut after = vec![0_u8; self.key.max(4)];
        let from = if place.is_empty() { 0 } else { place.as_ptr() as u64 };
        let mut attr = BatchAttr {
            from,
            to: after.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).unwrap_or(u32::MAX),
            fd: number(self.map),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: `keys` and `values` have room for `count` of the map's keys and values, as asserted; `place` is null or
        // what an earlier call wrote to a buffer as long as `after`.
        let more = is_there(unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) })?;
        *place = after;
        Ok((room.min(attr.count as usize), more))
    }
}

/// The kernel's `ENOENT` is an answer.
fn is_there(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of possible CPUs, for which per-CPU maps have values: the CPUs in the kernel's list, as libbpf counts them
/// (`libbpf_num_possible_cpus()`).
pub(super) fn possible_cpus() -> io::Result<usize> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count(&list).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, list))
}

/// The number of CPUs in a list like `0-3,8`.
fn count(list: &str) -> Option<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (last.checked_sub(first)?).checked_add(1)
    };
    list.trim().split(',').map(range).sum()
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_kernels_list_of_cpus_is_counted() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3\n"), Some(4));
        assert_eq!(count("0-1,4-5,7\n"), Some(5));
        assert_eq!([count(""), count("3-1"), count("a")], [None; 3]);
    }
}
