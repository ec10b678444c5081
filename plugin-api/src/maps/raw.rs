//! A map whose keys and values are bytes, checked when it is opened.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::error::{MapError, MapType, OpenError, Operation};
use super::sys::{self, MapInfo, Shaped};
use crate::Map;

/// `BPF_ANY`, `BPF_NOEXIST` and `BPF_EXIST` of include/uapi/linux/bpf.h.
const ANY: u64 = 0;
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// What a map must be; sizes in bytes.
pub(super) struct Expected {
    pub(super) kind: MapType,
    pub(super) key: usize,
    pub(super) value: usize,
}

/// A map.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) fd: OwnedFd,
    pub(super) info: MapInfo,
    /// Bytes from one CPU's value to the next.
    pub(super) stride: usize,
    /// Values of an entry: one, or as many as there are possible CPUs.
    pub(super) values: usize,
}

/// Whether a key may be there before it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    Any,
    Absent,
    Present,
}

impl Raw {
    /// Opens `map`, if the kernel says that it is what is `expected`.
    pub(super) fn open(map: Map, expected: &Expected) -> Result<Self, OpenError> {
        let Map { name: map, fd, .. } = map;
        let info = match sys::info(fd.as_fd()) {
            Ok(info) => info,
            Err(source) => return Err(OpenError::Kernel { map, source }),
        };
        let (kind, key, value) = (MapType(info.kind), info.key_size as usize, info.value_size as usize);
        if kind != expected.kind {
            return Err(OpenError::Type { map, expected: expected.kind, found: kind });
        }
        if key != expected.key {
            return Err(OpenError::KeySize { map, expected: expected.key, found: key });
        }
        if value != expected.value {
            return Err(OpenError::ValueSize { map, expected: expected.value, found: value });
        }
        if !kind.is_per_cpu() {
            return Ok(Self { name: map, fd, info, stride: value, values: 1 });
        }
        match sys::possible_cpus() {
            // Each CPU's value begins at a multiple of 8 bytes (`bpf_map_value_size()` in kernel/bpf/syscall.c).
            Ok(values) => Ok(Self { name: map, fd, info, stride: value.next_multiple_of(8), values }),
            Err(source) => Err(OpenError::Kernel { map, source }),
        }
    }

    pub(super) fn shaped(&self) -> Shaped<'_> {
        Shaped { map: self.fd.as_fd(), key: self.info.key_size as usize, value: self.value_bytes() }
    }

    /// Bytes that the kernel copies for the value of one key.
    pub(super) fn value_bytes(&self) -> usize {
        self.stride * self.values
    }

    /// The values in `bytes`, one of each CPU.
    pub(super) fn each<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = self.info.value_size as usize;
        bytes.chunks_exact(self.stride.max(1)).map(move |value| &value[..size])
    }

    /// The value of `key`.
    pub(super) fn look_up(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
        let mut value = vec![0; self.value_bytes()];
        let is_there = self.shaped().look_up(key, &mut value).map_err(self.failed(Operation::Read))?;
        Ok(is_there.then_some(value))
    }

    /// Sets the value of `key`, of every CPU if it has several; `false` if its presence is not as demanded.
    pub(super) fn update(&self, key: &[u8], value: &[u8], presence: Presence) -> Result<bool, MapError> {
        let mut each = vec![0; self.value_bytes()];
        for one in each.chunks_exact_mut(self.stride.max(1)) {
            one[..value.len()].copy_from_slice(value);
        }
        let flags = match presence {
            Presence::Any => ANY,
            Presence::Absent => NO_EXIST,
            Presence::Present => EXIST,
        };
        match self.shaped().update(key, &each, flags) {
            Ok(()) => Ok(true),
            Err(error) => match (error.raw_os_error(), presence) {
                (Some(libc::EEXIST), Presence::Absent) | (Some(libc::ENOENT), Presence::Present) => Ok(false),
                // Hash tables say the one (`alloc_htab_elem()`), tries the other (`trie_update_elem()`).
                (Some(libc::E2BIG | libc::ENOSPC), _) => {
                    Err(MapError::Full { map: self.name.clone(), max_entries: self.info.max_entries })
                }
                _ => Err(self.failed(Operation::Write)(error)),
            },
        }
    }

    /// Removes `key`; `false` if it is not there.
    pub(super) fn remove(&self, key: &[u8]) -> Result<bool, MapError> {
        self.shaped().remove(key).map_err(self.failed(Operation::Remove))
    }

    pub(super) fn failed(&self, operation: Operation) -> impl FnOnce(io::Error) -> MapError {
        let map = self.name.clone();
        move |source| MapError::Kernel { map, operation, source }
    }
}
