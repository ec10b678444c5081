//! The programs that are compared.

use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use polycube_layout::bridge::FDB;
use polycube_layout::chain::{CB_PORT, PORTS};
use polycube_layout::ring::{
    ARRAY_OF_MAPS, CONSUMER, Consumer, LANES, LARGE_FLAGS, MASK, Producer, RINGS, SEGMENT_BITS, SMALL_MASK, WEAK_ORDER,
    element_size, segment_size, segments, small_size, with_slack,
};
use polycube_layout::span::{DESTINATION, Destination, SAMPLE};
use polycube_tests::bpf;
use polycube_tests::traffic::Flow;
use rustix::thread::sched_getcpu;

use super::filter::{self, Change, Index};
use super::mapping::Mapping;
use super::possible_cpus;
use crate::capture::on_the_senders_core;
use polycube_tests::object::{self, Loaded};

static CAPTURE: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");
static BRIDGE: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");
static SPAN: &[u8] = include_bytes!("../../../ebpf/objects/span.o");

/// Words of `struct __sk_buff` up to the end of `cb` (include/uapi/linux/bpf.h).
const CONTEXT_WORDS: usize = 17;
/// Where `cb` begins in it.
const CB: usize = 12;
/// `BPF_FUNC_*` (include/uapi/linux/bpf.h).
const KTIME_GET_TAI_NS: i32 = 208;
const MAP_LOOKUP_ELEM: i32 = 1;
const CLONE_REDIRECT: i32 = 13;
const SKB_LOAD_BYTES: i32 = 26;
/// Bytes that the floor has room for.
const FLOOR: i32 = 2048;
/// The ports that the bridge has here. Nothing is sent: a test run ends with the verdict.
const IN: u32 = 1;
const OUT: u32 = 2;
const IFINDEX: u32 = 1;

/// A loaded program, and what its runs leave to be emptied.
pub(super) struct Subject {
    name: String,
    program: OwnedFd,
    /// Kept open: the program uses these maps and tail-calls these programs.
    _maps: Vec<OwnedFd>,
    rings: Option<Rings>,
    /// What it sees instead of the original frame.
    change: Option<Change>,
    /// Whether it runs on two CPUs at once.
    on_both: bool,
}

struct Rings {
    mapping: Mapping,
    size: usize,
    cpus: usize,
    reader: Reader,
}

/// How the rings are read between the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Everything is: records go to the small lanes.
    InTime,
    /// One record stays in each small lane: all others go to the large ones.
    Late,
    /// The same, with all of the large lanes in the cache.
    LateInCache,
}

impl Subject {
    /// `return TCX_NEXT`.
    pub(super) fn empty() -> Result<Self> {
        Self::raw("empty", &EXIT, Vec::new())
    }

    /// The same after reading the clock.
    pub(super) fn timestamp() -> Result<Self> {
        Self::raw("timestamp alone", &[call(KTIME_GET_TAI_NS), EXIT[0], EXIT[1]], Vec::new())
    }

    /// The least that a capture does: it reads the clock and copies the frame, always to the same place.
    pub(super) fn floor() -> Result<Self> {
        let map_type = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        let shape = bpf::Shape { map_type, key_size: 4, value_size: FLOOR as u32, max_entries: 1, flags: 0 };
        let map = bpf::create(shape).context("cannot create the floor's map")?;
        let instructions = [
            // r6 = context
            instruction(0xbf, 6, 1, 0, 0),
            call(KTIME_GET_TAI_NS),
            // *(u32 *)(r10 - 4) = 0; r1 = map; r2 = r10 - 4
            instruction(0x62, 10, 0, -4, 0),
            instruction(0x18, 1, 1, 0, map.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            call(MAP_LOOKUP_ELEM),
            // if r0 == 0 goto exit; r3 = r0; r4 = context->len
            instruction(0x15, 0, 0, 7, 0),
            instruction(0xbf, 3, 0, 0, 0),
            instruction(0x61, 4, 6, 0, 0),
            // if r4 > FLOOR or r4 == 0 goto exit
            instruction(0x25, 4, 0, 4, FLOOR),
            instruction(0x15, 4, 0, 3, 0),
            // r1 = context; r2 = 0
            instruction(0xbf, 1, 6, 0, 0),
            instruction(0xb7, 2, 0, 0, 0),
            call(SKB_LOAD_BYTES),
            EXIT[0],
            EXIT[1],
        ];
        Self::raw("timestamp and one copy of the frame", &instructions, vec![map])
    }

    /// What finds the place of a record in a large lane: a map in a slot, and an element of it.
    pub(super) fn look_ups() -> Result<Self> {
        let inner =
            bpf::Shape { map_type: bpf::ARRAY, key_size: 4, value_size: 4096, max_entries: 16, flags: LARGE_FLAGS };
        let slots = bpf::Shape { map_type: ARRAY_OF_MAPS, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
        let inner = bpf::create(inner).context("cannot create a map for a slot")?;
        let slots = bpf::create_slots(slots, inner.as_fd()).context("cannot create a slot")?;
        bpf::update(slots.as_fd(), &0_u32.to_ne_bytes(), &inner.as_raw_fd().to_ne_bytes())?;
        let instructions = [
            // *(u32 *)(r10 - 4) = 0; r1 = slots; r2 = r10 - 4
            instruction(0x62, 10, 0, -4, 0),
            instruction(0x18, 1, 1, 0, slots.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            call(MAP_LOOKUP_ELEM),
            // if r0 == 0 goto exit; r1 = r0; r2 = r10 - 4
            instruction(0x15, 0, 0, 4, 0),
            instruction(0xbf, 1, 0, 0, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            call(MAP_LOOKUP_ELEM),
            EXIT[0],
            EXIT[1],
        ];
        Self::raw("the look-ups of a late record alone", &instructions, vec![inner, slots])
    }

    fn raw(name: &str, instructions: &[Instruction], maps: Vec<OwnedFd>) -> Result<Self> {
        let program = bpf::load(instructions, c"Dual MIT/GPL").with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), program, _maps: maps, rings: None, change: None, on_both: false })
    }

    /// The capture program, whole frames, with a ring of `size` bytes for each CPU.
    pub(super) fn capture(name: &str, size: usize, reader: Reader) -> Result<Self> {
        Self::capture_with(name, size, reader, None)
    }

    /// The same with another constant in the program.
    pub(super) fn capture_with(name: &str, size: usize, reader: Reader, other: Option<(&str, u32)>) -> Result<Self> {
        let cpus = possible_cpus()?;
        let masks = [size, small_size(size)].map(|size| (size as u64 - 1).to_ne_bytes());
        let bits = segment_size(size).ilog2().to_ne_bytes();
        let other = other.map(|(name, value)| (name, value.to_ne_bytes()));
        let mut constants: Vec<(&str, &[u8])> = vec![(MASK, &masks[0]), (SMALL_MASK, &masks[1]), (SEGMENT_BITS, &bits)];
        if cfg!(not(target_arch = "x86_64")) {
            constants.push((WEAK_ORDER, &[1, 0, 0, 0]));
        }
        constants.extend(other.as_ref().map(|(name, value)| (*name, &value[..])));
        let large = bpf::Shape {
            map_type: bpf::ARRAY,
            key_size: 4,
            value_size: with_slack(segment_size(size)) as u32,
            max_entries: (segments(size) * cpus) as u32,
            flags: LARGE_FLAGS,
        };
        let shape = |name: &str, shape: &mut bpf::Shape| {
            if name == RINGS {
                shape.value_size = element_size(size) as u32;
                shape.max_entries = cpus as u32;
            }
        };
        let loaded = object::load_with_slots(CAPTURE, "capture", &constants, shape, large)?;
        let large = bpf::create(large).context("cannot create the large lanes")?;
        let slots = loaded.maps.get(LANES).context("no slot for the large lanes")?;
        bpf::update(slots.as_fd(), &0_u32.to_ne_bytes(), &large.as_raw_fd().to_ne_bytes())?;
        let rings = loaded.maps.get(RINGS).context("no rings")?;
        let mapping = Mapping::new(rings, element_size(size) * cpus).context("the rings cannot be mapped")?;
        let rings = Rings { mapping, size, cpus, reader };
        rings.set_late(reader != Reader::InTime);
        Ok(Self::with(name.to_owned(), loaded, Some(rings)))
    }

    /// The same program, run on two CPUs at once.
    pub(super) fn on_both(self, name: &str) -> Self {
        Self { name: name.to_owned(), on_both: true, ..self }
    }

    /// The bridge, which has learned both ends of `flow`.
    pub(super) fn bridge(flow: &Flow) -> Result<Self> {
        let loaded = object::load(BRIDGE, "bridge", &[], |_, _| {})?;
        let ports = loaded.maps.get(PORTS).context("no ports")?;
        bpf::update(ports.as_fd(), &OUT.to_ne_bytes(), &IFINDEX.to_ne_bytes())?;
        let fdb = loaded.maps.get(FDB).context("no fdb")?;
        for (end, port) in [(flow.from, IN), (flow.to, OUT)] {
            let entry = [polycube_layout::bridge::STATIC, u64::from(port)].map(u64::to_ne_bytes).concat();
            bpf::update(fdb.as_fd(), &[&end.mac[..], &[0; 2]].concat(), &entry)?;
        }
        Ok(Self::with(String::from("bridge, both known"), loaded, None))
    }

    /// A mirror to the netdev `ifindex`, of one in `sample` packets.
    pub(super) fn span(name: &str, ifindex: u32, sample: u32) -> Result<Self> {
        let sample = sample.to_ne_bytes();
        let loaded = object::load(SPAN, "mirror", &[(SAMPLE, &sample)], |_, _| {})?;
        let destination = loaded.maps.get(DESTINATION).context("no destination")?;
        let mut bytes = [0; size_of::<Destination>()];
        bytes[..4].copy_from_slice(&ifindex.to_ne_bytes());
        bpf::update(destination.as_fd(), &0_u32.to_ne_bytes(), &bytes)?;
        Ok(Self::with(name.to_owned(), loaded, None))
    }

    /// `bpf_clone_redirect` and nothing else.
    pub(super) fn clone_redirect(name: &str, ifindex: u32) -> Result<Self> {
        let instructions = [
            // r2 = ifindex; r3 = 0
            instruction(0xb4, 2, 0, 0, ifindex.cast_signed()),
            instruction(0xb7, 3, 0, 0, 0),
            call(CLONE_REDIRECT),
            EXIT[0],
            EXIT[1],
        ];
        Self::raw(name, &instructions, Vec::new())
    }

    /// A chain of filters that accept `flow`, and how the frame they see differs from it.
    pub(super) fn filters(name: &str, flow: &Flow, length: usize, change: Option<Change>) -> Result<Self> {
        let (program, held) = filter::chain(flow, length)?;
        Ok(Self { name: name.to_owned(), program, _maps: held, rings: None, change, on_both: false })
    }

    /// So many tail calls and nothing else.
    pub(super) fn tail_calls(name: &str, length: usize, index: Index) -> Result<Self> {
        let (program, held) = filter::tail_calls(length, index)?;
        Ok(Self { name: name.to_owned(), program, _maps: held, rings: None, change: None, on_both: false })
    }

    fn with(name: String, loaded: Loaded, rings: Option<Rings>) -> Self {
        Self {
            name,
            program: loaded.program,
            _maps: loaded.maps.into_values().collect(),
            rings,
            change: None,
            on_both: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The nanoseconds of one run, averaged over `repeat`; on two CPUs at once, those of the slower one.
    pub(super) fn run(&self, frame: &[u8], repeat: u32) -> Result<u32> {
        if !self.on_both {
            return self.run_warm(frame, repeat);
        }
        let other = || on_the_senders_core(|| self.run_warm(frame, repeat));
        let (other, this) = std::thread::scope(|scope| {
            let other = scope.spawn(other);
            let this = self.run_warm(frame, repeat);
            (other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), this)
        });
        Ok(this?.max(other?))
    }

    /// As in a capture, a small lane is in the cache before.
    fn run_warm(&self, frame: &[u8], repeat: u32) -> Result<u32> {
        let lap = self.rings.as_ref().map_or(0, |rings| match rings.reader {
            Reader::InTime => small_size(rings.size),
            Reader::Late => 0,
            Reader::LateInCache => rings.size,
        });
        for _ in 0..lap.div_ceil(frame.len() * repeat as usize) {
            self.run_cold(frame, repeat)?;
        }
        self.run_cold(frame, repeat)
    }

    fn run_cold(&self, frame: &[u8], repeat: u32) -> Result<u32> {
        if let Some(rings) = &self.rings {
            rings.empty();
        }
        let mut frame = frame.to_vec();
        if let Some((at, bytes)) = self.change {
            frame[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let mut context = [0; CONTEXT_WORDS];
        context[CB + CB_PORT] = IN;
        let nanos = bpf::test_run(self.program.as_fd(), &frame, &context, &mut [], repeat)?.nanos;
        if let Some(rings) = &self.rings {
            anyhow::ensure!(rings.drops() == 0, "the ring was full");
        }
        Ok(nanos)
    }
}

impl Rings {
    /// Frees room on this CPU, as a consumer does.
    fn empty(&self) {
        let element = sched_getcpu() * element_size(self.size);
        let heads = [offset_of!(Producer, small), offset_of!(Producer, large)];
        for (lane, head) in heads.into_iter().enumerate() {
            // In the small lane of a late reader, a record remains.
            if self.reader == Reader::InTime || lane == 1 {
                let head = self.mapping.read(element + head);
                self.mapping.write(element + CONSUMER + offset_of!(Consumer, tails) + lane * 8, head);
            }
        }
    }

    /// Lets the program believe that the small lanes have been too full, and still have something.
    fn set_late(&self, late: bool) {
        for cpu in 0..self.cpus {
            let element = cpu * element_size(self.size);
            self.mapping.write(element + offset_of!(Producer, busy), u64::from(late) << 32);
            self.mapping.write(element + offset_of!(Producer, small), u64::from(late));
        }
    }

    fn drops(&self) -> u64 {
        let at = |cpu| cpu * element_size(self.size) + offset_of!(Producer, drops);
        (0..self.cpus).map(|cpu| self.mapping.read(at(cpu))).sum()
    }
}

/// `struct bpf_insn`.
pub(super) type Instruction = [u8; 8];

/// `r0 = TCX_NEXT; exit`.
pub(super) const EXIT: [Instruction; 2] = [instruction(0xb7, 0, 0, 0, -1), instruction(0x95, 0, 0, 0, 0)];

pub(super) const fn call(function: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, function)
}

pub(super) const fn instruction(code: u8, to: u8, from: u8, offset: i16, imm: i32) -> Instruction {
    let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), imm.to_le_bytes());
    [code, to | from << 4, o0, o1, i0, i1, i2, i3]
}
