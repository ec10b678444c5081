//! A learning switch: runs on the ingress of every port of a simplebridge cube.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::generated::{bpf_clone_redirect, bpf_ktime_get_coarse_ns, bpf_redirect},
    macros::{btf_map, classifier},
    programs::TcContext,
};
use polycube_chain::{Hook, next, tc::DROP};
use polycube_layout::{
    bridge::{DOWN, FDB_SIZE, FdbEntry, ISOLATED, NO_FLOOD, NO_LEARNING, PORT_STEP, PortCounters, STATIC},
    chain::MAX_PORTS,
};

mod address;

use address::{Address, Addresses};

/// Port id to ifindex; see [`polycube_layout::chain::PORTS`].
#[btf_map(name = "ports")]
static PORTS: Array<u32, { MAX_PORTS as usize }> = Array::new();

/// See [`polycube_layout::bridge::FDB`]. Memory is allocated as addresses are learned.
#[btf_map(name = "fdb")]
static FDB: HashMap<Address, FdbEntry, { FDB_SIZE as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// See [`polycube_layout::bridge::COUNTERS`].
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<PortCounters, { MAX_PORTS as usize }> = PerCpuArray::new();

/// See [`polycube_layout::bridge::FLAGS`].
#[btf_map(name = "flags")]
static FLAGS: Array<u32, { MAX_PORTS as usize }> = Array::new();

/// See [`polycube_layout::bridge::ANY_FLAGS`].
#[unsafe(no_mangle)]
static ANY_FLAGS: Global<u32> = Global::new(0);

/// See [`polycube_layout::bridge::FORWARD_BPDU`].
#[unsafe(no_mangle)]
static FORWARD_BPDU: Global<u32> = Global::new(1);

/// See [`polycube_layout::bridge::AGING`]. IEEE 802.1Q's recommended 300 s, unless the host says otherwise.
#[unsafe(no_mangle)]
static AGING: Global<u64> = Global::new(300_000_000_000);

/// See [`polycube_layout::bridge::PORT_LIMIT`]. The verifier and every flood visit that many ports.
#[unsafe(no_mangle)]
static PORT_LIMIT: Global<u32> = Global::new(MAX_PORTS);

/// The shortest time between two updates of an entry, in nanoseconds: its cache line stays shared while a flow runs.
const FRESH: u64 = 1_000_000_000;

/// `EEXIST`: another CPU has learned the address first.
const EXISTS: i32 = -17;

#[classifier]
pub fn bridge(ctx: TcContext) -> i32 {
    let input = ctx.port();
    let Some(counters) = COUNTERS.get_ptr_mut(input) else {
        return next(&ctx);
    };
    // SAFETY: the element is this CPU's, and nothing else holds a reference to it: copies that `flood` sends run
    // other programs, and this one counts through pointers only.
    let counters = unsafe { &mut *counters };
    counters.in_packets += 1;
    counters.in_bytes += u64::from(ctx.len());

    let Some(Addresses { destination, source }) = Addresses::of(&ctx) else {
        counters.filtered += 1;
        return DROP;
    };
    // Before anything is learned: neither a frame that no bridge may forward nor an address that no station can have
    // says where a station is.
    let is_kept = destination.is_reserved() && !(FORWARD_BPDU.load() != 0 && destination.is_of_spanning_trees());
    if is_kept || !source.is_station() {
        counters.filtered += 1;
        return DROP;
    }
    let any = ANY_FLAGS.load();
    // Without flags, nothing is looked up.
    let of_input = if any == 0 { 0 } else { flags(input) };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let learns = any & NO_LEARNING == 0 || of_input & NO_LEARNING == 0;
    if learns && !learn(source, input, now) {
        counters.fdb_full += 1;
    }
    if let Some(output) = look_up(destination, now) {
        let is_cut = any & ISOLATED != 0 && of_input & flags(output) & ISOLATED != 0;
        if output == input || is_cut {
            counters.filtered += 1;
            return DROP;
        }
        if let Some(&ifindex) = PORTS.get(output)
            && ifindex != 0
        {
            count_out(output, &ctx);
            return redirect(ifindex);
        }
    }
    let mut avoided = DOWN;
    if any & ISOLATED != 0 {
        avoided |= of_input & ISOLATED;
    }
    if any & NO_FLOOD != 0 && !destination.is_group() {
        avoided |= NO_FLOOD;
    }
    flood(&ctx, input, avoided, counters)
}

/// The flags of a port.
#[inline(always)]
fn flags(port: u32) -> u32 {
    FLAGS.get(port).copied().unwrap_or(0)
}

/// Notes that a port leads to an address; false if the database has no room.
#[inline(always)]
fn learn(source: Address, input: u32, now: u64) -> bool {
    let Some(entry) = FDB.get_ptr_mut(&source) else {
        let entry = FdbEntry { seen: now, port: input, zero: 0 };
        // Not BPF_ANY: an entry that the user has set in the meantime stays.
        return matches!(FDB.insert(&source, &entry, BPF_NOEXIST.into()), Ok(()) | Err(EXISTS));
    };
    // SAFETY: the kernel frees an entry after all programs that could have found it have ended (RCU). Other CPUs read
    // and write the same two words; each is written whole, and a mixture is at worst out of date.
    unsafe {
        let FdbEntry { seen, port, .. } = *entry;
        if seen != STATIC && (port != input || now.saturating_sub(seen) > FRESH) {
            (*entry).port = input;
            (*entry).seen = now;
        }
    }
    true
}

/// The port that leads to an address, if it is known and recent.
#[inline(always)]
fn look_up(destination: Address, now: u64) -> Option<u32> {
    if destination.is_group() {
        return None;
    }
    let entry = FDB.get_ptr(&destination)?;
    // SAFETY: as in `learn`.
    let FdbEntry { seen, port, .. } = unsafe { *entry };
    let aging = AGING.load();
    // STATIC is later than any time: its age is 0.
    let aged = aging != 0 && now.saturating_sub(seen) > aging;
    (!aged).then_some(port)
}

/// Sends a frame to every port except the one through which it came in, and those that have one of the flags `avoided`.
///
/// Each target except the last gets a copy; the last gets the frame itself, which saves a copy.
#[inline(always)]
fn flood(ctx: &TcContext, input: u32, avoided: u32, counters: &mut PortCounters) -> i32 {
    let mut last = 0;
    let limit = PORT_LIMIT.load();
    let mut port = 0;
    // Several ports in each round: the verifier recognises more states in straight code than in a loop, and needs a
    // third of the time.
    while port < limit {
        for step in 0..PORT_STEP {
            last = visit(ctx, input, avoided, port + step, last);
        }
        port += PORT_STEP;
    }
    if last == 0 {
        counters.filtered += 1;
        return DROP;
    }
    counters.flooded += 1;
    redirect(last)
}

/// Sends a copy to the last target that was found, if this port is another; returns the last target.
#[inline(always)]
fn visit(ctx: &TcContext, input: u32, avoided: u32, port: u32, last: u32) -> u32 {
    let ifindex = PORTS.get(port).copied().unwrap_or(0);
    if ifindex == 0 || same(port, input) || flags(port) & avoided != 0 {
        return last;
    }
    if last != 0 {
        // SAFETY: the context is the kernel's. If a copy cannot be sent, only its target misses it.
        let _ = unsafe { bpf_clone_redirect(ctx.skb.skb, last, 0) };
    }
    count_out(port, ctx);
    ifindex
}

/// `port == input`, as a difference in a register that the verifier does not relate to either.
///
/// After a comparison it would know the value of `input`, and check the rest of the ports once for each value.
#[inline(always)]
fn same(port: u32, input: u32) -> bool {
    let mut difference = port;
    // SAFETY: changes one register.
    unsafe { asm!("{0} ^= {1}", inout(wreg) difference, in(wreg) input, options(pure, nomem, nostack)) };
    difference == 0
}

#[inline(always)]
fn count_out(port: u32, ctx: &TcContext) {
    if let Some(counters) = COUNTERS.get_ptr_mut(port) {
        // SAFETY: the element is this CPU's.
        unsafe {
            (*counters).out_packets += 1;
            (*counters).out_bytes += u64::from(ctx.len());
        }
    }
}

#[inline(always)]
fn redirect(ifindex: u32) -> i32 {
    // SAFETY: takes numbers; the kernel drops the frame if the netdev is gone.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}
