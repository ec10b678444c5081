//! bpf(2) for programs that are not attached: maps, and runs on one packet.

use std::ffi::{CStr, CString, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{
    bpf_attr, bpf_attr__bindgen_ty_1, bpf_cmd, bpf_insn, bpf_map_info, bpf_prog_info, bpf_prog_type,
};

const LOG_SIZE: usize = 1 << 22;
/// How many lines of the verifier's log an error includes.
const LOG_LINES: usize = 40;
/// What the verifier writes to the log (`include/linux/bpf_verifier.h`).
const STEPS: u32 = 1;
const STATISTICS: u32 = 4;

/// What `BPF_MAP_CREATE` needs.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// One of `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The maximum number of entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// Creates a map.
///
/// # Errors
/// The kernel's reason.
pub fn create(shape: Shape) -> io::Result<OwnedFd> {
    create_with(shape, |_| {})
}

fn create_with(shape: Shape, with: impl FnOnce(&mut bpf_attr__bindgen_ty_1)) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: the union's member for BPF_MAP_CREATE.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = shape.map_type;
    create.key_size = shape.key_size;
    create.value_size = shape.value_size;
    create.max_entries = shape.max_entries;
    create.map_flags = shape.flags;
    with(create);
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(owned)
}

/// `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
pub const ARRAY: u32 = 2;
pub(crate) const ARRAY_OF_MAPS: u32 = 12;

/// Creates a map of maps, which can hold such as `inner`.
///
/// # Errors
/// The kernel's reason.
pub fn create_slots(shape: Shape, inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create_with(shape, |create| create.inner_map_fd = inner.as_raw_fd().cast_unsigned())
}

/// Opens what is pinned at `path`.
///
/// # Errors
/// The kernel's reason.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    // SAFETY: the union's member for BPF_OBJ_GET.
    let get = unsafe { &mut attr.__bindgen_anon_4 };
    get.pathname = path.as_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(owned)
}

/// Pins a map or program at `path`.
///
/// # Errors
/// The kernel's reason.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    // SAFETY: the union's member for BPF_OBJ_PIN.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = object.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// What the kernel knows of a map.
///
/// # Errors
/// The kernel's reason.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    // SAFETY: plain data, of which zeroes are a value.
    let mut info = unsafe { std::mem::zeroed() };
    read_info(map, &mut info)?;
    Ok(info)
}

/// What the kernel knows of a program.
///
/// # Errors
/// The kernel's reason.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: plain data, of which zeroes are a value, and ask for no copies.
    let mut info = unsafe { std::mem::zeroed() };
    read_info(program, &mut info)?;
    Ok(info)
}

/// Opens a loaded program by the kernel's id of it.
///
/// # Errors
/// There is none.
pub fn program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    bpf(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr).map(owned)
}

fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = empty();
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Sets `key` to `value`; both have the map's sizes.
///
/// # Errors
/// The kernel's reason.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    element(map, bpf_cmd::BPF_MAP_UPDATE_ELEM, key, value.as_ptr() as u64)
}

/// Reads the value of `key` into `value`; both have the map's sizes.
///
/// # Errors
/// The kernel's reason.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    element(map, bpf_cmd::BPF_MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64)
}

/// Puts a program into slot 0 of a `PROG_ARRAY`.
///
/// # Errors
/// The kernel's reason.
pub fn put(slot: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    update(slot, &0_u32.to_ne_bytes(), &program.as_raw_fd().to_ne_bytes())
}

fn element(map: BorrowedFd<'_>, command: bpf_cmd, key: &[u8], value: u64) -> io::Result<()> {
    let mut attr = empty();
    // SAFETY: the union's member for commands on elements.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd().cast_unsigned();
    element.key = key.as_ptr() as u64;
    element.__bindgen_anon_1.value = value;
    bpf(command, &mut attr).map(drop)
}

/// Freezes a map, so that the verifier treats its content as constant.
///
/// # Errors
/// The kernel's reason.
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Loads a TC program; `T` is an instruction of eight bytes.
///
/// # Errors
/// The kernel's reason, and the end of the verifier's log.
pub fn load<T>(instructions: &[T], license: &CStr) -> io::Result<OwnedFd> {
    load_as(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, instructions, license)
}

/// Loads a program of another type; `T` is an instruction of eight bytes.
///
/// # Errors
/// The kernel's reason, and the end of the verifier's log.
pub fn load_as<T>(program_type: bpf_prog_type, instructions: &[T], license: &CStr) -> io::Result<OwnedFd> {
    const { assert!(size_of::<T>() == size_of::<bpf_insn>()) };
    let attempt = |level: u32, log: &mut [u8]| {
        let mut attr = empty();
        // SAFETY: the union's member for BPF_PROG_LOAD.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = program_type as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = license.as_ptr() as u64;
        if level > 0 {
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
            load.log_level = level;
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
    };
    attempt(0, &mut []).or_else(|error| {
        let mut log = vec![0; LOG_SIZE];
        // Every step; if that is too much for the log, the reason alone.
        attempt(STEPS, &mut log)
            .or_else(|error| {
                let is_full = error.raw_os_error() == Some(libc::ENOSPC);
                if is_full { attempt(STATISTICS, &mut log) } else { Err(error) }
            })
            .map_err(|_| {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let log = String::from_utf8_lossy(&log[..end]);
                let tail = log.lines().rev().take(LOG_LINES).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                io::Error::new(error.kind(), format!("{error}\n{tail}"))
            })
    })
}

/// Detaches a link by its id, by force, as `bpftool link detach id` does.
///
/// # Errors
/// The kernel's reason.
pub fn detach_link(id: u32) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let link = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr).map(owned)?;
    let mut attr = empty();
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// The result of running a program on one packet.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What the program returned.
    pub value: u32,
    /// The packet's length afterwards.
    pub size: usize,
    /// Nanoseconds per run, loop included.
    pub nanos: u32,
}

/// Runs a program `repeat` times on one packet, with the first words of its `struct __sk_buff`. Afterwards `out` has
/// the packet as the program left it, as far as there is room.
///
/// # Errors
/// The kernel's reason.
pub fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    context: &[u32],
    out: &mut [u8],
    repeat: u32,
) -> io::Result<Outcome> {
    let mut attr = empty();
    // SAFETY: the union's member for BPF_PROG_TEST_RUN.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd().cast_unsigned();
    test.data_in = packet.as_ptr() as u64;
    test.data_size_in = packet.len() as u32;
    if !out.is_empty() {
        test.data_out = out.as_mut_ptr() as u64;
        test.data_size_out = out.len() as u32;
    }
    // A context without words would be refused.
    if !context.is_empty() {
        test.ctx_in = context.as_ptr() as u64;
        test.ctx_size_in = size_of_val(context) as u32;
    }
    test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: as above; the kernel has filled the member.
    let test = unsafe { &attr.test };
    Ok(Outcome { value: test.retval, size: test.data_size_out as usize, nanos: test.duration })
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
