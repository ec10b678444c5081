//! The filter program alone: what it costs for a packet that it accepts, and for packets that it rejects early or late.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::generated::bpf_map_type;
use polycube_filter::{Compiled, Counter, Element, Exit, Fields, Hook, Link, Target, compile};
use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_layout::ring::{FILTER, Filter, RINGS};
use polycube_tests::bpf::{self, Shape};
use polycube_tests::traffic::Flow;

use super::possible_cpus;
use super::subject::{EXIT, call, instruction};

/// `BPF_FUNC_tail_call`, and where `struct __sk_buff` has `mark` (include/uapi/linux/bpf.h).
const TAIL_CALL: i32 = 12;
const MARK: i16 = 8;

/// How a frame differs from the flow's: an offset, and the bytes there.
pub(super) type Change = (usize, &'static [u8]);

/// Where an IPv4 frame has its type, its addresses and its ports.
pub(super) const OTHER_TYPE: Change = (12, &[0x88, 0xcc]);
pub(super) const OTHER_ADDRESSES: Change = (26, &[192, 0, 2, 1, 192, 0, 2, 2]);
pub(super) const OTHER_PORTS: Change = (34, &[0, 9, 0, 9]);

/// Programs that others attached after the chain still run.
const TCX_NEXT: i32 = -1;

/// The stage before a capture.
const STAGE: Target = Target {
    hook: Hook::Tc,
    on_match: Exit::tail_call(ACCEPT, 0, TCX_NEXT),
    on_mismatch: Exit::tail_call(NEXT, 0, TCX_NEXT).counted(Counter {
        map: RINGS,
        element: Element::OfCpu,
        offset: FILTER as i16,
    }),
};

/// A chain of filters that accept only the flow: what one rejects goes to the next. Nothing follows the last one, or
/// receives what they accept. The first is the program to run.
pub(super) fn chain(flow: &Flow, length: usize) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let expression = format!("host {} and udp port {}", flow.from.ip, flow.to.port);
    let compiled = compile(&Fields::default(), &expression, Link::default(), &STAGE)?.context("no filter")?;
    let mut held = Vec::new();
    let mut following: Option<OwnedFd> = None;
    for _ in 0..length {
        let (accept, next) = (slot()?, slot()?);
        let cpus = possible_cpus()? as u32;
        let rings = map(bpf_map_type::BPF_MAP_TYPE_ARRAY, (FILTER + size_of::<Filter>()) as u32, cpus)?;
        if let Some(following) = following.take() {
            bpf::put(next.as_fd(), following.as_fd())?;
            held.push(following);
        }
        following = Some(load(&compiled, &accept, &rings, &next)?);
        held.extend([accept, rings, next]);
    }
    Ok((following.context("an empty chain")?, held))
}

/// How a tail call finds its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// It is a constant: the kernel makes the call a direct jump, as in our chains.
    Constant,
    /// It is read from the packet: an indirect jump, with whatever the machine does against speculation.
    Read,
}

/// A chain of so many tail calls and nothing else. The first is the program to run.
pub(super) fn tail_calls(length: usize, index: Index) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let mut held = Vec::new();
    let mut following = bpf::load(&EXIT, c"Dual MIT/GPL")?;
    for _ in 0..length {
        let next = slot()?;
        bpf::put(next.as_fd(), following.as_fd())?;
        let instructions = [
            // *(u32 *)(r10 - 8) = 0: as all of our programs, it has a stack
            instruction(0x62, 10, 0, -8, 0),
            // r2 = slot; r3 = 0, or r1->mark, which is 0
            instruction(0x18, 2, 1, 0, next.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            if index == Index::Constant { instruction(0xb7, 3, 0, 0, 0) } else { instruction(0x61, 3, 1, MARK, 0) },
            call(TAIL_CALL),
            EXIT[0],
            EXIT[1],
        ];
        held.extend([following, next]);
        following = bpf::load(&instructions, c"Dual MIT/GPL").context("cannot load a tail call")?;
    }
    Ok((following, held))
}

fn load(compiled: &Compiled, accept: &OwnedFd, rings: &OwnedFd, next: &OwnedFd) -> Result<OwnedFd> {
    let mut instructions = compiled.instructions.iter().map(|insn| insn.to_bytes()).collect::<Vec<_>>();
    for (at, name) in &compiled.maps {
        let map = match *name {
            ACCEPT => accept,
            NEXT => next,
            _ => rings,
        };
        instructions[*at][4..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
    }
    bpf::load(&instructions, c"Dual MIT/GPL").context("cannot load the filter")
}

fn slot() -> Result<OwnedFd> {
    map(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 1)
}

fn map(map_type: bpf_map_type, value_size: u32, max_entries: u32) -> Result<OwnedFd> {
    let shape = Shape { map_type: map_type as u32, key_size: 4, value_size, max_entries, flags: 0 };
    bpf::create(shape).context("cannot create a filter's map")
}
