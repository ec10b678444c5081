//! The compiled filter in the real kernel, one packet at a time (`BPF_PROG_TEST_RUN`).

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_type};
use pcn_packetcapture::filter::{Compiled, MapName};
use polycube_layout::ring::{FILTER, Filter};

/// More than any machine has that runs these tests.
const CPUS: u32 = 256;
/// Bytes of a ring without room for packets.
const ELEMENT: usize = FILTER + size_of::<Filter>();

const LOG_SIZE: usize = 1 << 22;
/// What the verifier writes there (`include/linux/bpf_verifier.h`).
const STEPS: u32 = 1;
const STATISTICS: u32 = 4;

/// What the programs behind the filter return, and those before it where something is wrong.
const ACCEPTED: u32 = 1;
const REJECTED: u32 = 2;
const NO_TAG: u32 = 97;
const NO_CUT: u32 = 98;
const NO_FILTER: u32 = 99;

/// A VLAN tag that the kernel keeps beside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub protocol: u16,
    pub control: u16,
}

/// Those that packets are tried with.
pub const TAGS: [Tag; 3] = [
    Tag { protocol: 0x8100, control: 5 },
    Tag { protocol: 0x88a8, control: 0x6064 },
    Tag { protocol: 0x8100, control: 0 },
];

/// The kernel tests no packet of IP that is shorter than its header: such a one starts longer and is cut.
const UNCUT: usize = 64;

/// The word `mark` of `struct __sk_buff`.
const MARK: usize = 2;

/// Maps, and programs at both ends of the filter.
pub struct Kernel {
    accept: OwnedFd,
    rings: OwnedFd,
    next: OwnedFd,
    entry: OwnedFd,
    /// Programs that prepare a packet and go on to the filter: without a tag, and with each of the tags.
    makers: Vec<OwnedFd>,
    pub empty: OwnedFd,
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<c_long> {
    // SAFETY: `attr` is a whole bpf_attr, zeroed but for the fields of `command`; the pointers in it are to buffers
    // that the callers below keep alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn blank() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain structs; all zeroes is each one's neutral value.
    unsafe { std::mem::zeroed() }
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: the callers pass what a successful bpf(2) returned: a descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn map(map_type: bpf_map_type, value_size: u32, max_entries: u32) -> OwnedFd {
    let mut attr = blank();
    // SAFETY: writing the union's member for BPF_MAP_CREATE.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = map_type as u32;
    create.key_size = 4;
    create.value_size = value_size;
    create.max_entries = max_entries;
    let what = "these tests need root: a map could not be created";
    owned(bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).expect(what))
}

fn element(map: &OwnedFd, command: bpf_cmd, key: &u32, value: u64) -> io::Result<c_long> {
    let mut attr = blank();
    // SAFETY: writing the union's member for commands on elements.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd() as u32;
    element.key = std::ptr::from_ref(key) as u64;
    element.__bindgen_anon_1.value = value;
    bpf(command, &mut attr)
}

fn put(slot: &OwnedFd, program: &OwnedFd) {
    let fd = program.as_raw_fd();
    element(slot, bpf_cmd::BPF_MAP_UPDATE_ELEM, &0, std::ptr::from_ref(&fd) as u64).unwrap();
}

/// Loads a TC program, or says why the verifier refuses it.
pub fn load(instructions: &[[u8; 8]]) -> Result<OwnedFd, String> {
    let attempt = |level: u32, log: &mut [u8]| {
        let mut attr = blank();
        // SAFETY: writing the union's member for BPF_PROG_LOAD.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"Dual MIT/GPL".as_ptr() as u64;
        if level > 0 {
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
            load.log_level = level;
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
    };
    attempt(0, &mut []).or_else(|error| {
        let mut log = vec![0; LOG_SIZE];
        // Each step, and if that is too much, the reason alone.
        attempt(STEPS, &mut log)
            .or_else(|error| {
                let is_full = error.raw_os_error() == Some(libc::ENOSPC);
                if is_full { attempt(STATISTICS, &mut log) } else { Err(error) }
            })
            .map_err(|_| {
                let log = String::from_utf8_lossy(&log);
                let log = log.split('\0').next().unwrap_or_default();
                let tail = log.lines().rev().take(40).collect::<Vec<_>>();
                format!("{error}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
            })
    })
}

/// One instruction, for the programs of a few lines that tests need.
fn insn(code: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    const { assert!(size_of::<bpf_insn>() == 8) };
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    [code, registers, low, high, a, b, c, d]
}

fn returning(value: u32) -> OwnedFd {
    load(&[insn(0xb4, 0, 0, value as i32), insn(0x95, 0, 0, 0)]).unwrap()
}

/// Cuts a packet to the length that its mark says, and gives it a tag.
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

impl Kernel {
    pub fn new() -> Self {
        let slot = || map(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 1);
        let entry = slot();
        let kernel = Self {
            accept: slot(),
            next: slot(),
            rings: map(bpf_map_type::BPF_MAP_TYPE_ARRAY, ELEMENT as u32, CPUS),
            makers: [None].into_iter().chain(TAGS.map(Some)).map(|tag| maker(tag, &entry)).collect(),
            entry,
            empty: returning(u32::MAX),
        };
        put(&kernel.accept, &returning(ACCEPTED));
        put(&kernel.next, &returning(REJECTED));
        kernel
    }

    /// Nobody behind the filter, as where the figures are from.
    pub fn without_ends() -> Self {
        let kernel = Self::new();
        for slot in [&kernel.accept, &kernel.next] {
            element(slot, bpf_cmd::BPF_MAP_DELETE_ELEM, &0, 0).unwrap();
        }
        kernel
    }

    /// Loads a filter and puts it behind the programs that give tags.
    pub fn load(&self, compiled: &Compiled) -> OwnedFd {
        let mut instructions = compiled.instructions.iter().map(|insn| insn.to_bytes()).collect::<Vec<_>>();
        for (at, name) in &compiled.maps {
            let map = match name {
                MapName::Accept => &self.accept,
                MapName::Rings => &self.rings,
                MapName::Next => &self.next,
            };
            instructions[*at][4..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
        }
        let program = load(&instructions).unwrap_or_else(|log| panic!("refused: {}\n{log}", compiled.listing()));
        put(&self.entry, &program);
        program
    }

    /// Runs the filter that was loaded last on a packet, which must come out as it was.
    pub fn matches(&self, tag: Option<usize>, packet: &[u8]) -> bool {
        let maker = &self.makers[tag.map_or(0, |tag| tag + 1)];
        let mut out = [0; 4096];
        let (value, size, _) = if packet.len() < UNCUT {
            let mut uncut = [0; UNCUT];
            uncut[..packet.len()].copy_from_slice(packet);
            test_run(maker, &uncut, packet.len() as u32, &mut out, 1)
        } else {
            test_run(maker, packet, 0, &mut out, 1)
        };
        assert!(out[..size] == *packet, "the filter altered a packet");
        match value {
            ACCEPTED => true,
            REJECTED => false,
            other => panic!("the filter returned {other}"),
        }
    }

    /// Packets that the filter has counted, on all CPUs.
    pub fn rejected(&self) -> u64 {
        let count = |cpu: u32| {
            let mut ring = [0_u8; ELEMENT];
            element(&self.rings, bpf_cmd::BPF_MAP_LOOKUP_ELEM, &cpu, ring.as_mut_ptr() as u64).unwrap();
            u64::from_ne_bytes(ring[FILTER..FILTER + 8].try_into().unwrap())
        };
        (0..CPUS).map(count).sum()
    }
}

/// What the program returned, how many bytes are left of the packet, and the mean time of a run.
pub fn test_run(program: &OwnedFd, packet: &[u8], mark: u32, out: &mut [u8], repeat: u32) -> (u32, usize, u32) {
    let mut context = [0; MARK + 1];
    context[MARK] = mark;
    let mut attr = blank();
    // SAFETY: writing the union's member for BPF_PROG_TEST_RUN.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd() as u32;
    test.data_in = packet.as_ptr() as u64;
    test.data_size_in = packet.len() as u32;
    test.data_out = out.as_mut_ptr() as u64;
    test.data_size_out = out.len() as u32;
    test.ctx_in = std::ptr::from_ref(&context) as u64;
    test.ctx_size_in = size_of_val(&context) as u32;
    test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)
        .unwrap_or_else(|error| panic!("a packet of {} bytes: {error}", packet.len()));
    // SAFETY: the kernel wrote the member that was passed.
    let test = unsafe { &attr.test };
    (test.retval, test.data_size_out as usize, test.duration)
}
