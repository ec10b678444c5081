//! The programs that are compared.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::generated::bpf_insn;
use polycube_layout::bridge::FDB;
use polycube_layout::chain::PORTS;
use polycube_layout::ring::{CONSUMER, Consumer, MASK, Producer, RINGS, element_size};
use polycube_tests::traffic::Flow;

use super::kernel::{self, Mapping};
use super::object::{self, Loaded};

static CAPTURE: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");
static BRIDGE: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");

/// `BPF_FUNC_ktime_get_tai_ns` (include/uapi/linux/bpf.h).
const KTIME_GET_TAI_NS: i32 = 208;
/// The ports that the bridge has here. Nothing is sent: a test run ends with the verdict.
const IN: u32 = 1;
const OUT: u32 = 2;
const IFINDEX: u32 = 1;

/// A loaded program, and what its runs leave to put away.
pub(super) struct Subject {
    name: String,
    program: OwnedFd,
    /// Held: programs use them.
    _maps: Vec<OwnedFd>,
    rings: Option<Rings>,
}

struct Rings {
    mapping: Mapping,
    size: usize,
    cpus: usize,
}

impl Subject {
    /// `return TCX_NEXT`.
    pub(super) fn empty() -> Result<Self> {
        Self::raw("empty", &EXIT)
    }

    /// The same after a look at the clock.
    pub(super) fn timestamp() -> Result<Self> {
        // `call KTIME_GET_TAI_NS`
        Self::raw("timestamp alone", &[instruction(0x85, KTIME_GET_TAI_NS), EXIT[0], EXIT[1]])
    }

    fn raw(name: &str, instructions: &[bpf_insn]) -> Result<Self> {
        let program = kernel::load(instructions, c"Dual MIT/GPL").with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), program, _maps: Vec::new(), rings: None })
    }

    /// The capture program, whole frames, with a ring of `size` bytes for each CPU.
    pub(super) fn capture(size: usize) -> Result<Self> {
        let cpus = possible_cpus()?;
        let mask = (size as u64 - 1).to_ne_bytes();
        let loaded = object::load(CAPTURE, "capture", &[(MASK, &mask)], |name, shape| {
            if name == RINGS {
                shape.value_size = element_size(size) as u32;
                shape.max_entries = cpus as u32;
            }
        })?;
        let rings = loaded.maps.get(RINGS).context("no rings")?;
        let mapping = Mapping::new(rings, element_size(size) * cpus).context("the rings cannot be mapped")?;
        let rings = Rings { mapping, size, cpus };
        Ok(Self::with(format!("capture, ring of {} MiB", size >> 20), loaded, Some(rings)))
    }

    /// The bridge, which knows both ends of `flow`.
    pub(super) fn bridge(flow: &Flow) -> Result<Self> {
        let loaded = object::load(BRIDGE, "bridge", &[], |_, _| {})?;
        let ports = loaded.maps.get(PORTS).context("no ports")?;
        kernel::update(ports.as_fd(), &OUT.to_ne_bytes(), &IFINDEX.to_ne_bytes())?;
        let fdb = loaded.maps.get(FDB).context("no fdb")?;
        for (end, port) in [(flow.from, IN), (flow.to, OUT)] {
            let entry = [polycube_layout::bridge::STATIC, u64::from(port)].map(u64::to_ne_bytes).concat();
            kernel::update(fdb.as_fd(), &[&end.mac[..], &[0; 2]].concat(), &entry)?;
        }
        Ok(Self::with(String::from("bridge, both known"), loaded, None))
    }

    fn with(name: String, loaded: Loaded, rings: Option<Rings>) -> Self {
        Self { name, program: loaded.program, _maps: loaded.maps.into_values().collect(), rings }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Nanoseconds of one of `repeat` runs.
    pub(super) fn run(&self, frame: &[u8], repeat: u32) -> Result<u32> {
        if let Some(rings) = &self.rings {
            rings.empty();
        }
        let nanos = kernel::test_run(self.program.as_fd(), frame, IN, repeat)?;
        if let Some(rings) = &self.rings {
            anyhow::ensure!(rings.drops() == 0, "the ring was full");
        }
        Ok(nanos)
    }
}

impl Rings {
    /// Gives all room back, as a consumer does.
    fn empty(&self) {
        for cpu in 0..self.cpus {
            let element = cpu * element_size(self.size);
            let head = self.mapping.read(element + std::mem::offset_of!(Producer, head));
            self.mapping.write(element + CONSUMER + std::mem::offset_of!(Consumer, tail), head);
        }
    }

    fn drops(&self) -> u64 {
        let at = |cpu| cpu * element_size(self.size) + std::mem::offset_of!(Producer, drops);
        (0..self.cpus).map(|cpu| self.mapping.read(at(cpu))).sum()
    }
}

/// `r0 = TCX_NEXT; exit`.
const EXIT: [bpf_insn; 2] = [instruction(0xb7, -1), instruction(0x95, 0)];

const fn instruction(code: u8, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: aya_obj::generated::__BindgenBitfieldUnit::new([0]),
        off: 0,
        imm,
    }
}

fn possible_cpus() -> Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse::<usize>().ok());
    Ok(last.context("no CPUs")? + 1)
}
