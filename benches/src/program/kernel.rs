//! bpf(2), as far as a program that nobody attaches needs it.

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};

const LOG_SIZE: usize = 1 << 20;
/// Words of `struct __sk_buff` up to the end of `cb` (include/uapi/linux/bpf.h).
const CONTEXT_WORDS: usize = 17;
/// Where `cb` begins in it.
const CB: usize = 12;

/// What `BPF_MAP_CREATE` needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

pub(super) fn create(shape: Shape) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: the union's member for BPF_MAP_CREATE.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = shape.map_type;
    create.key_size = shape.key_size;
    create.value_size = shape.value_size;
    create.max_entries = shape.max_entries;
    create.map_flags = shape.flags;
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

/// Sets `key` to `value`; both have the map's sizes.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = empty();
    // SAFETY: the union's member for BPF_MAP_UPDATE_ELEM.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd().cast_unsigned();
    update.key = key.as_ptr() as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Lets the verifier take a map's content for constant.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Loads a TC program. The error's text is the verifier's log, where there is one.
pub(super) fn load(instructions: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; LOG_SIZE];
    let mut attr = empty();
    // SAFETY: the union's member for BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = instructions.len() as u32;
    load.license = license.as_ptr() as u64;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = log.len() as u32;
    load.log_level = 1;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned).map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        io::Error::new(error.kind(), format!("{error}: {}", String::from_utf8_lossy(&log[..end])))
    })
}

/// Runs a program `repeat` times over one packet, with `port` where a root leaves it. Returns the nanoseconds of one
/// run, loop included.
pub(super) fn test_run(program: BorrowedFd<'_>, packet: &[u8], port: u32, repeat: u32) -> io::Result<u32> {
    let mut context = [0_u32; CONTEXT_WORDS];
    context[CB + polycube_layout::chain::CB_PORT] = port;
    let mut attr = empty();
    // SAFETY: the union's member for BPF_PROG_TEST_RUN.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd().cast_unsigned();
    test.data_in = packet.as_ptr() as u64;
    test.data_size_in = packet.len() as u32;
    test.ctx_in = context.as_ptr() as u64;
    test.ctx_size_in = size_of_val(&context) as u32;
    test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: as above; the kernel has filled the member.
    Ok(unsafe { attr.test.duration })
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<c_long> {
    // SAFETY: `attr` is a whole bpf_attr, zero but for the fields of `command`; its pointers are to memory that the
    // callers above borrow over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn empty() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain structs; zeroes are each one's neutral value.
    unsafe { std::mem::zeroed() }
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: the callers pass the new descriptor that bpf(2) has just returned.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A map's memory.
pub(super) struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    pub(super) fn new(map: impl AsFd, length: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks the address, so nothing else is there.
        let start = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), length })
    }

    pub(super) fn read(&self, at: usize) -> u64 {
        // SAFETY: `word` checks the place; programs store whole words.
        unsafe { self.word(at).read_volatile() }
    }

    pub(super) fn write(&self, at: usize, value: u64) {
        // SAFETY: `word` checks the place; no program runs while the bench writes.
        unsafe { self.word(at).write_volatile(value) }
    }

    fn word(&self, at: usize) -> *mut u64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length, "no word at {at}");
        // SAFETY: the word lies within the mapping.
        unsafe { self.start.add(at).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mapping.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}
