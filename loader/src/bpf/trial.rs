//! bpf(2) for a program that is attached nowhere: runs it over one packet (`BPF_PROG_TEST_RUN`).

mod exits;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya_obj::generated::bpf_cmd;

use super::{bpf, empty, owned};

pub(super) use exits::observed;

pub use exits::observe;

/// Words of `struct __sk_buff` up to the end of `cb`, and where `mark` and `cb` are (include/uapi/linux/bpf.h).
const CONTEXT_WORDS: usize = 17;
const MARK: usize = 2;
const CB: usize = 12;

/// More words than a kernel's `struct __sk_buff` has: 48 in Linux 6.18.
const ROOM_AFTER: usize = 128;

/// Bytes that a packet can grow by (`bpf_skb_adjust_room()` and the like), as far as the kernel has room in such a run.
const ROOM: usize = 4096;

/// A packet that goes through a program, or has gone through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub mark: u32,
    /// `skb->cb[]`, as programs for TC see it.
    pub cb: [u32; 5],
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: i32,
    pub packet: Packet,
    /// Where programs that are observed ([`observe`]) sent it and its copies, by ifindex.
    pub exits: Vec<u32>,
}

/// Runs a program, and what it calls, over a packet.
///
/// # Errors
/// What the kernel says; a packet without a whole Ethernet header is invalid.
pub fn run(program: BorrowedFd<'_>, packet: &Packet) -> io::Result<Outcome> {
    let mut context = [0_u32; CONTEXT_WORDS];
    context[MARK] = packet.mark;
    context[CB..].copy_from_slice(&packet.cb);
    // The kernel wants room for its whole structure, or calls the run a failure.
    let mut after = [0_u32; ROOM_AFTER];
    let mut bytes = vec![0; packet.bytes.len() + ROOM];
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_PROG_TEST_RUN; the buffers outlive the call below.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd() as u32;
    test.data_in = packet.bytes.as_ptr() as u64;
    test.data_size_in = packet.bytes.len() as u32;
    test.data_out = bytes.as_mut_ptr() as u64;
    test.data_size_out = bytes.len() as u32;
    test.ctx_in = context.as_ptr() as u64;
    test.ctx_size_in = size_of_val(&context) as u32;
    test.ctx_out = after.as_mut_ptr() as u64;
    test.ctx_size_out = size_of_val(&after) as u32;
    let notes = exits::Notes::begin()?;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    let exits = notes.end()?;
    // SAFETY: reading the member that the kernel has filled.
    let (verdict, length) = unsafe { (attr.test.retval, attr.test.data_size_out) };
    bytes.truncate(length as usize);
    let mut cb = [0; 5];
    cb.copy_from_slice(&after[CB..CONTEXT_WORDS]);
    Ok(Outcome { verdict: verdict.cast_signed(), packet: Packet { bytes, mark: after[MARK], cb }, exits })
}

/// Whether the kernel still has the program with this id.
///
/// # Errors
/// What the kernel says.
pub fn has_program(id: u32) -> io::Result<bool> {
    has(bpf_cmd::BPF_PROG_GET_FD_BY_ID, id)
}

/// Whether the kernel still has the map with this id.
///
/// # Errors
/// What the kernel says.
pub fn has_map(id: u32) -> io::Result<bool> {
    has(bpf_cmd::BPF_MAP_GET_FD_BY_ID, id)
}

fn has(command: bpf_cmd, id: u32) -> io::Result<bool> {
    let mut attr = empty();
    // Every kind of id has the same place.
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    match bpf(command, &mut attr).map(owned) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
