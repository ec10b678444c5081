//! Writes passing packets into a memory-mapped ring, as finished pcap records, and lets all of them continue.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_smp_processor_id, bpf_ktime_get_tai_ns},
    },
    macros::{classifier, map},
    maps::{Array, RingBuf},
    programs::TcContext,
};
use polycube_chain::next;
use polycube_layout::ring::{
    BELL_SIZE, CHECKSUM_NOT_READY, FORMAT_PCAP_MICROS, FORMAT_PCAPNG, HEADERS_AND_DNS, INBOUND, MAX_SNAPLEN,
    SEGMENTED_LATER, WHOLE,
};

mod frame;
mod headers;
mod lanes;
mod record;
mod ring;
mod stores;

use frame::{Extent, Frame};
use record::Record;
use ring::{Ring, Sizes};
use stores::Stores;

/// See [`polycube_layout::ring::RINGS`]. The host creates the real map, with an element for each CPU that has room
/// for the ring; this declaration only names it.
#[map]
static RINGS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// See [`polycube_layout::ring::BELL`].
#[map]
static BELL: RingBuf = RingBuf::with_byte_size(BELL_SIZE, 0);

/// See [`polycube_layout::ring::MASK`].
#[unsafe(no_mangle)]
static MASK: Global<u64> = Global::new(4095);

/// See [`polycube_layout::ring::SMALL_MASK`].
#[unsafe(no_mangle)]
static SMALL_MASK: Global<u64> = Global::new(1023);

/// See [`polycube_layout::ring::SEGMENT_BITS`].
#[unsafe(no_mangle)]
static SEGMENT_BITS: Global<u32> = Global::new(12);

/// See [`polycube_layout::ring::WEAK_ORDER`].
#[unsafe(no_mangle)]
static WEAK_ORDER: Global<u32> = Global::new(0);

/// See [`polycube_layout::ring::SNAPLEN`].
#[unsafe(no_mangle)]
static SNAPLEN: Global<u32> = Global::new(MAX_SNAPLEN);

/// See [`polycube_layout::ring::FORMAT`].
#[unsafe(no_mangle)]
static FORMAT: Global<u32> = Global::new(FORMAT_PCAP_MICROS);

/// See [`polycube_layout::ring::INTERFACE`].
#[unsafe(no_mangle)]
static INTERFACE: Global<u32> = Global::new(0);

/// See [`polycube_layout::ring::FLAGS`].
#[unsafe(no_mangle)]
static FLAGS: Global<u32> = Global::new(INBOUND);

/// See [`polycube_layout::ring::EXTENT`].
#[unsafe(no_mangle)]
static EXTENT: Global<u32> = Global::new(WHOLE);

/// See [`polycube_layout::ring::RAW_IP`].
#[unsafe(no_mangle)]
static RAW_IP: Global<u32> = Global::new(0);

/// See [`polycube_layout::ring::IP_SUMMED`].
#[unsafe(no_mangle)]
static IP_SUMMED: Global<u32> = Global::new(0);

/// What `ip_summed` is where the device is to compute the checksum (include/linux/skbuff.h).
const CHECKSUM_PARTIAL: u8 = 3;

#[classifier]
pub fn capture(ctx: TcContext) -> i32 {
    record(&ctx);
    next(&ctx)
}

#[inline(always)]
fn record(ctx: &TcContext) {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(element) = RINGS.get_ptr_mut(cpu) else { return };
    let sizes = Sizes { small: SMALL_MASK.load(), large: MASK.load(), segment_bits: SEGMENT_BITS.load() };
    let stores = if WEAK_ORDER.load() == 0 { Stores::InOrder } else { Stores::InAnyOrder };
    // SAFETY: the host sizes the elements for the lanes, and the verifier checks every access against that size.
    let ring = unsafe { Ring::new(element.cast(), cpu, sizes, stores) };
    if !ring.enter() {
        return;
    }
    // SAFETY: a helper without arguments.
    let tai = unsafe { bpf_ktime_get_tai_ns() };
    let nanos = tai.wrapping_add_signed(ring.utc_offset());
    let frame = Frame::new(ctx, extent());
    let record = Record { format: FORMAT.load(), captured: frame.captured, length: frame.length };
    let fill = match ring.reserve(record.size()) {
        Ok(place) => {
            // SAFETY: `reserve` found room for the record.
            let copied = unsafe {
                let body = record.begin(place.record, nanos, INTERFACE.load());
                let copied = frame.copy(body);
                record.end(body, FLAGS.load() | offloads(ctx));
                copied
            };
            if copied { ring.commit(&place, frame.captured) } else { ring.fault() }
        }
        Err(why) => ring.drop_packet(&why),
    };
    ring.leave();
    ring.ring_bell(fill, &BELL);
}

/// What is left to the device: a checksum, and to cut a packet into segments, each of which gets one.
#[inline(always)]
fn offloads(ctx: &TcContext) -> u32 {
    if FORMAT.load() != FORMAT_PCAPNG {
        return 0;
    }
    // SAFETY: the context is the kernel's.
    if unsafe { (*ctx.skb.skb).gso_size } != 0 {
        return CHECKSUM_NOT_READY | SEGMENTED_LATER;
    }
    let bit = IP_SUMMED.load();
    if bit == 0 {
        return 0;
    }
    // The kernel passes the packet's `struct sk_buff` itself as the context.
    // SAFETY: the helper checks the address.
    let byte = unsafe { bpf_probe_read_kernel(ctx.skb.skb.cast::<u8>().add((bit / 8) as usize)) };
    match byte {
        Ok(byte) if byte >> (bit % 8) & 0b11 == CHECKSUM_PARTIAL => CHECKSUM_NOT_READY,
        _ => 0,
    }
}

#[inline(always)]
fn extent() -> Extent {
    match EXTENT.load() {
        WHOLE => Extent::Bytes(SNAPLEN.load()),
        what => Extent::Headers { is_raw: RAW_IP.load() != 0, whole_dns: what == HEADERS_AND_DNS },
    }
}
