//! The kernel side of @name@: runs for each packet that comes in where a cube is attached.

#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TcContext;
use polycube_chain::{next, tc};

/// What one CPU counted.
#[repr(C)]
struct Counters {
    packets: u64,
    bytes: u64,
}

#[map(name = "counters")]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Set before the verifier sees the program: the branch that is off costs nothing.
#[unsafe(no_mangle)]
static DROP: Global<u8> = Global::new(0);

#[classifier]
pub fn @name@(ctx: TcContext) -> i32 {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the element is this CPU's, and nothing else holds a reference to it.
        unsafe {
            (*counters).packets += 1;
            (*counters).bytes += u64::from(ctx.len());
        }
    }
    if DROP.load() != 0 { tc::DROP } else { next(&ctx) }
}
