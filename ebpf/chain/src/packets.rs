//! Packets to user space: see `docs/slow-path.md`.

use aya_ebpf::{
    EbpfContext, Global,
    helpers::generated::{
        bpf_get_hash_recalc, bpf_ktime_get_coarse_ns, bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit,
        bpf_skb_load_bytes,
    },
    maps::{PerCpuArray, RingBuf},
    programs::TcContext,
};
#[doc(no_inline)]
pub use polycube_layout::slow::{PacketCounts, RING_SIZE};
use polycube_layout::slow::{PacketRecord, ROOMS, TIME_SHIFT};

use crate::Hook;

/// Declares what [`Packets::hand_over`] needs, as `PACKETS`: the cube's ring, its counts, and the place of the program.
#[macro_export]
macro_rules! packets {
    () => {
        #[::aya_ebpf::macros::map(name = "packets")]
        static PACKET_RING: ::aya_ebpf::maps::RingBuf =
            ::aya_ebpf::maps::RingBuf::with_byte_size($crate::packets::RING_SIZE, 0);
        #[::aya_ebpf::macros::map(name = "packet_counts")]
        static PACKET_COUNTS: ::aya_ebpf::maps::PerCpuArray<$crate::packets::PacketCounts> =
            ::aya_ebpf::maps::PerCpuArray::with_max_entries(1, 0);
        #[unsafe(no_mangle)]
        static PCN_POINT: ::aya_ebpf::Global<u32> = ::aya_ebpf::Global::new($crate::NO_PORT);
        #[unsafe(no_mangle)]
        static PCN_DIRECTION: ::aya_ebpf::Global<u32> = ::aya_ebpf::Global::new(0);
        static PACKETS: $crate::packets::Packets<'static> = $crate::packets::Packets {
            ring: &PACKET_RING,
            counts: &PACKET_COUNTS,
            point: &PCN_POINT,
            direction: &PCN_DIRECTION,
        };
    };
}

/// The way to user space, as [`packets!`](crate::packets!) declares it.
pub struct Packets<'a> {
    #[doc(hidden)]
    pub ring: &'a RingBuf,
    #[doc(hidden)]
    pub counts: &'a PerCpuArray<PacketCounts>,
    #[doc(hidden)]
    pub point: &'a Global<u32>,
    #[doc(hidden)]
    pub direction: &'a Global<u32>,
}

impl Packets<'_> {
    /// Copies the packet to user space, with a number of the program's for why, and whatever else it says. Answers whether
    /// there was room; the packet itself is left to the program, which drops it if user space is to decide.
    #[inline(always)]
    pub fn hand_over(&self, ctx: &TcContext, reason: u16, metadata: [u32; 4]) -> bool {
        let length = ctx.len();
        let is_queued = if length <= ROOMS[0] {
            self.copy::<{ ROOMS[0] as usize }>(ctx, reason, metadata)
        } else if length <= ROOMS[1] {
            self.copy::<{ ROOMS[1] as usize }>(ctx, reason, metadata)
        } else if length <= ROOMS[2] {
            self.copy::<{ ROOMS[2] as usize }>(ctx, reason, metadata)
        } else {
            self.copy::<{ ROOMS[3] as usize }>(ctx, reason, metadata)
        };
        if let Some(counts) = self.counts.get_ptr_mut(0) {
            // SAFETY: the element is this CPU's.
            unsafe {
                (*counts).queued += u64::from(is_queued);
                (*counts).lost += u64::from(!is_queued);
            }
        }
        is_queued
    }

    #[inline(always)]
    fn copy<const ROOM: usize>(&self, ctx: &TcContext, reason: u16, metadata: [u32; 4]) -> bool {
        let size = size_of::<PacketRecord>() + ROOM;
        let length = ctx.len();
        let captured = length.min(ROOM as u32);
        // SAFETY: the ring is a map; the record has `size` bytes, of which the first are a `PacketRecord` and the rest take at
        // most `ROOM` bytes of the frame. It is submitted or discarded exactly once.
        unsafe {
            let ring = core::ptr::from_ref(self.ring).cast_mut().cast();
            let record = bpf_ringbuf_reserve(ring, size as u64, 0).cast::<PacketRecord>();
            if record.is_null() {
                return false;
            }
            let frame = record.add(1).cast();
            let skb = &*ctx.skb.skb;
            if captured == 0 || bpf_skb_load_bytes(ctx.as_ptr(), 0, frame, captured) != 0 {
                bpf_ringbuf_discard(record.cast(), 0);
                return false;
            }
            let point = self.point.load();
            record.write(PacketRecord {
                at: if point == crate::NO_PORT { ctx.port() } else { point },
                direction: self.direction.load() as u16,
                reason,
                metadata,
                length,
                captured,
                mark: skb.mark,
                hash: bpf_get_hash_recalc(ctx.skb.skb),
                gso_size: skb.gso_size,
                has_tag: u16::from(skb.vlan_present != 0),
                tag_tci: skb.vlan_tci as u16,
                tag_protocol: skb.vlan_proto as u16,
                zero: 0,
                time: (bpf_ktime_get_coarse_ns() >> TIME_SHIFT) as u32,
            });
            bpf_ringbuf_submit(record.cast(), 0);
        }
        true
    }
}
