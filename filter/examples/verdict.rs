//! Loads a filter into the three kinds of programs with plain bpf(2), and asks each about a packet.
//!
//! ```text
//! # cargo run --example verdict -- 'udp port 53'
//! tc: 52 instructions, matches
//! ```

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use polycube_filter::{Compiled, Fields, Hook, Link, Target, compile};

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_TEST_RUN: i32 = 10;

/// The hooks, with their names and `enum bpf_prog_type`.
const HOOKS: [(Hook, &str, u32); 3] = [(Hook::SocketFilter, "socket", 1), (Hook::Tc, "tc", 3), (Hook::Xdp, "xdp", 6)];

const MATCHED: u32 = 1;
const OTHER: u32 = 0;

/// A hook's name, the length of its program, and whether it matches.
type Verdict = (&'static str, usize, bool);

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// The same for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// A query of DNS over IPv4, from port 40000 to port 53.
pub(crate) fn query() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 53]);
    frame.extend([0x9c, 0x40, 0, 53, 0, 20, 0, 0]);
    frame.extend([0; 12]);
    frame
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let expression = std::env::args().nth(1).unwrap_or_else(|| String::from("udp port 53"));
    for (name, instructions, matches) in verdicts(&expression, &query())? {
        println!("{name}: {instructions} instructions, {}", if matches { "matches" } else { "does not match" });
    }
    Ok(())
}

/// What the filter says of `frame` at each hook.
pub(crate) fn verdicts(expression: &str, frame: &[u8]) -> Result<Vec<Verdict>, Box<dyn std::error::Error>> {
    let mut verdicts = Vec::new();
    for (hook, name, prog_type) in HOOKS {
        let target = Target::returning(hook, MATCHED.cast_signed(), OTHER.cast_signed());
        let Some(filter) = compile(&Fields::default(), expression, Link::default(), &target)? else {
            verdicts.push((name, 0, true));
            continue;
        };
        let program = load(prog_type, &filter)?;
        // The kernel removes the Ethernet header before it tests a socket filter.
        let tested = if hook == Hook::SocketFilter { [&frame[..14], frame].concat() } else { frame.to_vec() };
        verdicts.push((name, filter.instructions.len(), run(&program, &tested)? == MATCHED));
    }
    Ok(verdicts)
}

/// The target names no maps, so there is nothing to write into the instructions.
fn load(prog_type: u32, filter: &Compiled) -> io::Result<OwnedFd> {
    let instructions = filter.instructions.iter().flat_map(|insn| insn.to_bytes()).collect::<Vec<_>>();
    let mut attr = Load {
        prog_type,
        insn_cnt: filter.instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the instructions and the licence live until the call returns.
    let program = unsafe { bpf(BPF_PROG_LOAD, &mut attr) }?;
    // SAFETY: a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(program as i32) })
}

fn run(program: &OwnedFd, frame: &[u8]) -> io::Result<u32> {
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the frame lives until the call returns.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

/// # Safety
/// `attr` is what the command takes, and its pointers are valid until this returns.
unsafe fn bpf<T>(command: i32, attr: &mut T) -> io::Result<c_long> {
    // SAFETY: as the caller promises; the size is that of the attributes, and the kernel takes the rest for zeros.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
