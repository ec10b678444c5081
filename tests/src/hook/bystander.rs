//! Another party's program on a hook, which the daemon must leave alone.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result};

use super::{BPF_TCX_EGRESS, BPF_TCX_INGRESS, Hook, bpf};
use crate::lab::Interface;

// Commands and program type of `linux/bpf.h`.
const BPF_PROG_LOAD: i64 = 5;
const BPF_LINK_CREATE: i64 = 28;
const BPF_LINK_DETACH: i64 = 34;
const SCHED_CLS: u32 = 3;
/// Opcodes of `r0 = imm` and `exit` (RFC 9669, sections 4.1 and 4.3).
const MOVE: u64 = 0xb7;
const EXIT: u64 = 0x95;
/// `call bpf_clone_redirect`.
const CLONE_REDIRECT: u64 = 13 << 32 | 0x85;
/// `r2 = imm` and `r3 = 0`, its second and third argument: the netdev's index, and no flags.
const INDEX: u64 = 0x02b7;
const NO_FLAGS: u64 = 0x03b7;
/// `TCX_NEXT` and `TCX_DROP` of `linux/bpf.h`.
const NEXT: u64 = 0xffff_ffff << 32;
const DROP: u64 = 2 << 32;
/// Skips the next two instructions if fewer than 24 bytes are linear: `r3 = data`, `r2 = data_end` (at 76 and 80 in
/// `struct __sk_buff`), `r3 += 24`, `if r3 > r2 goto +2`.
const UNLESS_LINEAR: [u64; 4] = [0x004c_1361, 0x0050_1261, 24 << 32 | 0x0307, 0x0002_232d];

/// The program's verdict on every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next program decides.
    Next,
    /// The packet is dropped.
    Drop,
    /// The packet is dropped if IPv4's protocol, the frame's byte 23, lies in the skb's linear memory. Stripping a tag
    /// makes the two bytes after the Ethernet header linear, and these may be linear too.
    DropLinear,
    /// A copy goes out of the netdev of this index; the next program decides.
    CopyTo(u32),
}

impl Verdict {
    fn program(self) -> Vec<u64> {
        match self {
            Self::Next => vec![NEXT | MOVE, EXIT],
            Self::Drop => vec![DROP | MOVE, EXIT],
            Self::DropLinear => [&UNLESS_LINEAR[..], &[DROP | MOVE, EXIT, NEXT | MOVE, EXIT]].concat(),
            Self::CopyTo(index) => {
                vec![u64::from(index) << 32 | INDEX, NO_FLAGS, CLONE_REDIRECT, NEXT | MOVE, EXIT]
            }
        }
    }
}

/// A program on a TCX hook. Dropping it detaches it.
#[derive(Debug)]
pub struct Bystander {
    link: OwnedFd,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: [u64; 2],
}

#[repr(C)]
#[derive(Default)]
struct Detach {
    link: u32,
}

impl Bystander {
    /// Attaches a program called `bystander` after those on the hook now.
    ///
    /// # Errors
    /// Fails without root, or on a kernel before 6.6.
    pub fn attach(interface: &Interface, hook: Hook, verdict: Verdict) -> Result<Self> {
        let attach = || {
            let program = load(verdict)?;
            let attach_type = if hook == Hook::Ingress { BPF_TCX_INGRESS } else { BPF_TCX_EGRESS };
            let mut link = Link {
                program: program.as_raw_fd().cast_unsigned(),
                target: interface.index(),
                attach_type,
                ..Link::default()
            };
            // SAFETY: the attribute holds no pointers.
            owned(unsafe { bpf(BPF_LINK_CREATE, &mut link) }?)
        };
        let link = interface.namespace().enter(attach).with_context(|| format!("cannot attach to {interface}"))?;
        Ok(Self { link })
    }
}

impl Drop for Bystander {
    /// Detaches it at once. Closing the link would not do: a child that another test starts meanwhile has a copy of the
    /// descriptor until it runs its program.
    fn drop(&mut self) {
        let mut detach = Detach { link: self.link.as_raw_fd().cast_unsigned() };
        // SAFETY: the attribute holds no pointers. A netdev that is gone has taken the link along.
        let _ = unsafe { bpf(BPF_LINK_DETACH, &mut detach) };
    }
}

fn load(verdict: Verdict) -> io::Result<OwnedFd> {
    let program = verdict.program();
    let license = c"GPL";
    let mut load = Load {
        kind: SCHED_CLS,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: *b"bystander\0\0\0\0\0\0\0",
        ..Load::default()
    };
    // SAFETY: instructions and licence outlive the call.
    owned(unsafe { bpf(BPF_PROG_LOAD, &mut load) }?)
}

fn owned(answer: i64) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: bpf(2) has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
