//! bpf(2) for the contents of maps, whatever the sizes of keys and values.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya_obj::generated::bpf_cmd;

use super::{bpf, empty};

/// A map whose keys and values have these many bytes. The kernel copies as many, so they must be the map's own.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    map: BorrowedFd<'a>,
    key_size: usize,
    value_size: usize,
}

impl<'a> Elements<'a> {
    /// `map` with its sizes as the kernel has them; values of maps that have one for each CPU are all CPUs' together.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(map: BorrowedFd<'a>, cpus: Option<usize>) -> io::Result<Self> {
        let (_, shape) = super::map_info(map)?;
        let value_size = shape.value_size as usize;
        // `bpf_map_value_size()` in kernel/bpf/syscall.c.
        let value_size = cpus.map_or(value_size, |cpus| value_size.next_multiple_of(8) * cpus);
        Ok(Self { map, key_size: shape.key_size as usize, value_size })
    }

    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// What the kernel says, or the key has another length.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_size];
        let found = self.call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, Some(key), value.as_mut_ptr() as u64)?;
        Ok(found.then_some(value))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// What the kernel says, or key or value has another length.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if value.len() != self.value_size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.call(bpf_cmd::BPF_MAP_UPDATE_ELEM, Some(key), value.as_ptr() as u64).map(drop)
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// What the kernel says, or the key has another length.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.call(bpf_cmd::BPF_MAP_DELETE_ELEM, Some(key), 0).map(drop)
    }

    /// The key after `key`, or the first one.
    ///
    /// # Errors
    /// What the kernel says, or the key has another length.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_size];
        let found = self.call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, key, next.as_mut_ptr() as u64)?;
        Ok(found.then_some(next))
    }

    /// Whether there is what was asked for.
    fn call(&self, command: bpf_cmd, key: Option<&[u8]>, value: u64) -> io::Result<bool> {
        if key.is_some_and(|key| key.len() != self.key_size) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attr = empty();
        // SAFETY: writing the union's member for commands on elements; key and value have the map's sizes, which were
        // compared above or are those of buffers made here.
        let element = unsafe { &mut attr.__bindgen_anon_2 };
        element.map_fd = self.map.as_raw_fd() as u32;
        element.key = key.map_or(0, |key| key.as_ptr() as u64);
        element.__bindgen_anon_1.value = value;
        match bpf(command, &mut attr) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
