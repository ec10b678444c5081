//! The compiled filter in the real kernel, one packet at a time (`BPF_PROG_TEST_RUN`).

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya_obj::generated::bpf_map_type;
use polycube_filter::{Compiled, Counter, Element, Exit, Hook, LinkType, Raw, Target, translate};
use polycube_tests::bpf::{self, Outcome, Shape};

/// More CPUs than any machine that runs these tests.
const CPUS: u32 = 256;
/// Size of an element that has a counter, and where it has it.
const ELEMENT: usize = 16;
const COUNTER: usize = 8;

/// The maps' names.
const ACCEPT: &str = "accept";
const COUNTERS: &str = "counters";
const NEXT: &str = "next";

/// Return values of the programs after the filter, and of those before it if something is wrong.
const ACCEPTED: u32 = 1;
const REJECTED: u32 = 2;
const NO_TAG: u32 = 97;
const NO_CUT: u32 = 98;
const NO_FILTER: u32 = 99;

/// A VLAN tag that the kernel keeps outside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub protocol: u16,
    pub control: u16,
}

/// The tags that packets are tried with.
pub(crate) const TAGS: [Tag; 3] = [
    Tag { protocol: 0x8100, control: 5 },
    Tag { protocol: 0x88a8, control: 0x6064 },
    Tag { protocol: 0x8100, control: 0 },
];

/// The kernel refuses to test IP packets shorter than their header: such a packet starts longer and is truncated.
const UNCUT: usize = 64;

/// The word `mark` of `struct __sk_buff`.
const MARK: usize = 2;

/// Maps, and the programs before and after the filter.
pub(crate) struct Kernel {
    accept: OwnedFd,
    counters: OwnedFd,
    next: OwnedFd,
    entry: OwnedFd,
    /// Programs that prepare a packet and continue with the filter: without a tag, and with each of the tags.
    makers: Vec<OwnedFd>,
}

fn map(map_type: bpf_map_type, value_size: u32, max_entries: u32) -> OwnedFd {
    let shape = Shape { map_type: map_type as u32, key_size: 4, value_size, max_entries, flags: 0 };
    bpf::create(shape).expect("these tests need root: a map could not be created")
}

fn put(slot: &OwnedFd, program: &OwnedFd) {
    bpf::put(slot.as_fd(), program.as_fd()).unwrap();
}

/// Loads a TC program, or returns why the verifier rejects it.
fn load(instructions: &[[u8; 8]]) -> std::io::Result<OwnedFd> {
    bpf::load(instructions, c"Dual MIT/GPL")
}

/// One instruction, for the short programs of tests.
fn insn(code: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    [code, registers, low, high, a, b, c, d]
}

fn returning(value: u32) -> OwnedFd {
    load(&[insn(0xb4, 0, 0, value as i32), insn(0x95, 0, 0, 0)]).unwrap()
}

/// Truncates a packet to the length in its mark, and adds a tag.
fn maker(tag: Option<Tag>, entry: &OwnedFd) -> OwnedFd {
    let fail = |value: u32| [insn(0x15, 0, 2, 0), insn(0xb4, 0, 0, value as i32), insn(0x95, 0, 0, 0)];
    let mut program = vec![
        insn(0xbf, 0x16, 0, 0),
        insn(0x61, 0x12, 4 * MARK as i16, 0),
        insn(0x15, 2, 5, 0),
        insn(0xb4, 3, 0, 0),
        // bpf_skb_change_tail
        insn(0x85, 0, 0, 38),
    ];
    program.extend(fail(NO_CUT));
    if let Some(tag) = tag {
        program.extend([
            insn(0xbf, 0x61, 0, 0),
            insn(0xb4, 2, 0, i32::from(tag.protocol.to_be())),
            insn(0xb4, 3, 0, i32::from(tag.control)),
            // bpf_skb_vlan_push
            insn(0x85, 0, 0, 18),
        ]);
        program.extend(fail(NO_TAG));
    }
    program.extend([
        insn(0xbf, 0x61, 0, 0),
        insn(0x18, 0x12, 0, entry.as_raw_fd()),
        insn(0, 0, 0, 0),
        insn(0xb4, 3, 0, 0),
        // bpf_tail_call
        insn(0x85, 0, 0, 12),
        insn(0xb4, 0, 0, NO_FILTER as i32),
        insn(0x95, 0, 0, 0),
    ]);
    load(&program).unwrap()
}

/// A stage between two other programs.
pub(crate) const fn stage(hook: Hook) -> Target {
    let counter = Counter { map: COUNTERS, element: Element::OfCpu, offset: COUNTER as i16 };
    Target {
        hook,
        on_match: Exit::tail_call(ACCEPT, 0, -1),
        on_mismatch: Exit::tail_call(NEXT, 0, -1).counted(counter),
    }
}

/// libpcap's program as a stage.
pub(crate) fn translated(raw: &[Raw], title: &str, hook: Hook) -> Compiled {
    translate(raw, title, LinkType::Ethernet, &stage(hook)).unwrap_or_else(|error| panic!("{title}: {error}"))
}

impl Kernel {
    pub(crate) fn new() -> Self {
        let slot = || map(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 1);
        let entry = slot();
        let kernel = Self {
            accept: slot(),
            next: slot(),
            counters: map(bpf_map_type::BPF_MAP_TYPE_ARRAY, ELEMENT as u32, CPUS),
            makers: [None].into_iter().chain(TAGS.map(Some)).map(|tag| maker(tag, &entry)).collect(),
            entry,
        };
        put(&kernel.accept, &returning(ACCEPTED));
        put(&kernel.next, &returning(REJECTED));
        kernel
    }

    /// Loads a filter and puts it after the programs that add tags.
    pub(crate) fn load(&self, compiled: &Compiled) {
        let mut instructions = compiled.instructions.iter().map(|insn| insn.to_bytes()).collect::<Vec<_>>();
        for (at, name) in &compiled.maps {
            let map = match *name {
                ACCEPT => &self.accept,
                NEXT => &self.next,
                _ => &self.counters,
            };
            instructions[*at][4..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
        }
        let program = load(&instructions).unwrap_or_else(|log| panic!("refused: {}\n{log}", compiled.listing()));
        put(&self.entry, &program);
    }

    /// Runs the filter that was loaded last on a packet, which must not change.
    pub(crate) fn matches(&self, tag: Option<usize>, packet: &[u8]) -> bool {
        let maker = &self.makers[tag.map_or(0, |tag| tag + 1)];
        let mut out = [0; 4096];
        let mut uncut = [0; UNCUT];
        let mut context = [0; MARK + 1];
        let whole = if packet.len() < UNCUT {
            uncut[..packet.len()].copy_from_slice(packet);
            context[MARK] = packet.len() as u32;
            &uncut[..]
        } else {
            packet
        };
        let run = bpf::test_run(maker.as_fd(), whole, &context, &mut out, 1);
        let Outcome { value, size, .. } =
            run.unwrap_or_else(|error| panic!("a packet of {} bytes: {error}", packet.len()));
        assert!(out[..size] == *packet, "the filter altered a packet");
        match value {
            ACCEPTED => true,
            REJECTED => false,
            other => panic!("the filter returned {other}"),
        }
    }

    /// Packets that the filter has counted, on all CPUs.
    pub(crate) fn rejected(&self) -> u64 {
        let count = |cpu: u32| {
            let mut element = [0_u8; ELEMENT];
            bpf::lookup(self.counters.as_fd(), &cpu.to_ne_bytes(), &mut element).unwrap();
            u64::from_ne_bytes(element[COUNTER..].try_into().unwrap())
        };
        (0..CPUS).map(count).sum()
    }
}
