//! A mirror: `mirror` makes copies of packets that pass, `copy` gives them their form.
//!
//! A packet is never altered on its way, so what must change a copy cannot run where the packet is. A copy that goes to a
//! netdev whole is sent there at once. Any other is sent to the egress of the netdev that the packet is on, where `copy`
//! stands before all other programs, knows it by a mark, gives it its form and sends it on: the netdev's driver never gets
//! it. Both happen while `mirror` runs, on the same CPU.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    Global,
    bindings::__sk_buff,
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{
        bpf_clone_redirect, bpf_get_prandom_u32, bpf_redirect, bpf_redirect_neigh, bpf_skb_change_tail,
    },
    macros::{btf_map, classifier},
    programs::TcContext,
};
use polycube_chain::{next, tc::DROP};
use polycube_layout::span::{CB_ID, CB_INDEX, Counters, Destination, ETHERNET, MARK, kind};

mod tunnel;

/// See [`polycube_layout::span::DESTINATION`].
#[btf_map(name = "destination")]
static DESTINATION: Array<Destination, 1> = Array::new();

/// See [`polycube_layout::span::COUNTERS`].
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[unsafe(no_mangle)]
static ID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SAMPLE: Global<u32> = Global::new(1);
#[unsafe(no_mangle)]
static SNAPLEN: Global<u32> = Global::new(u32::MAX);
#[unsafe(no_mangle)]
static KIND: Global<u32> = Global::new(kind::DIRECT);
#[unsafe(no_mangle)]
static FLAGS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static INDEX: Global<u32> = Global::new(0);

/// A frame that is to be shorter than the kernel allows is cut to the first of these lengths that it does allow.
///
/// `__bpf_skb_min_len()` in net/core/filter.c says what must stay: the Ethernet header, the IP header if the kernel has looked
/// for what follows it, and the checksum if it is still to be computed. Headers and VLAN tags have multiples of four bytes, and
/// the last of these lengths has room for IPv6, some extension headers and TCP.
const SHORTEST: u32 = ETHERNET as u32;
const STEP: u32 = 4;
const STEPS: u32 = 30;

#[classifier]
pub fn mirror(ctx: TcContext) -> i32 {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else { return next(&ctx) };
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's. The element is this CPU's; copies that are sent meanwhile count in it too, through
    // pointers only.
    unsafe {
        let mark = (*skb).mark;
        if mark == MARK {
            if is_on_its_way(skb) {
                // It has not got its form, and must not leave without.
                (*counters).failed += 1;
                return DROP;
            }
            (*counters).again += 1;
            return next(&ctx);
        }
        let sample = u64::from(SAMPLE.load());
        if sample > 1 && u64::from(bpf_get_prandom_u32()) * sample >> 32 != 0 {
            (*counters).sampled_out += 1;
            return next(&ctx);
        }
        let Some(destination) = DESTINATION.get(0) else { return next(&ctx) };
        let ifindex = destination.ifindex;
        if ifindex == 0 {
            (*counters).no_way += 1;
            return next(&ctx);
        }
        if KIND.load() >= kind::VXLAN && tunnel::is_complaint(skb, destination) {
            (*counters).again += 1;
            return next(&ctx);
        }
        (*skb).mark = MARK;
        if KIND.load() == kind::DIRECT {
            let bytes = u64::from((*skb).len);
            if bpf_clone_redirect(skb, ifindex, FLAGS.load().into()) == 0 {
                (*counters).mirrored_packets += 1;
                (*counters).mirrored_bytes += bytes;
            } else {
                (*counters).failed += 1;
            }
        } else {
            detour(skb, counters);
        }
        (*skb).mark = mark;
    }
    next(&ctx)
}

/// Sends a copy to [`copy`], which counts it.
#[inline(always)]
unsafe fn detour(skb: *mut __sk_buff, counters: *mut Counters) {
    let id = ID.load();
    // SAFETY: as in `mirror`. The words of `cb` are the packet's again afterwards.
    unsafe {
        let [low, high] = CB_ID;
        let words = (*skb).cb;
        (*skb).cb[low] = id as u32;
        (*skb).cb[high] = (id >> 32) as u32;
        (*skb).cb[CB_INDEX] = INDEX.load();
        if bpf_clone_redirect(skb, (*skb).ifindex, 0) < 0 {
            (*counters).failed += 1;
        }
        (*skb).cb[low] = words[low];
        (*skb).cb[high] = words[high];
        (*skb).cb[CB_INDEX] = words[CB_INDEX];
    }
}

/// Whether this is a copy of this cube's that `copy` has not had yet.
#[inline(always)]
unsafe fn is_on_its_way(skb: *const __sk_buff) -> bool {
    let id = ID.load();
    let [low, high] = CB_ID;
    // SAFETY: the context is the kernel's.
    unsafe { (*skb).cb[low] == id as u32 && (*skb).cb[high] == (id >> 32) as u32 }
}

#[classifier]
pub fn copy(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's.
    unsafe {
        if (*skb).mark != MARK || !is_on_its_way(skb) {
            return next(&ctx);
        }
        let [low, high] = CB_ID;
        (*skb).cb[low] = 0;
        (*skb).cb[high] = 0;
    }
    let (Some(counters), Some(destination)) = (COUNTERS.get_ptr_mut(0), DESTINATION.get(0)) else { return DROP };
    // SAFETY: as in `mirror`; the packet is a copy that nobody else has.
    unsafe {
        match send(skb, destination, counters) {
            Some(verdict) => verdict,
            None => {
                (*counters).failed += 1;
                DROP
            }
        }
    }
}

/// Gives a copy its form and sends it; `None` if that cannot be done.
#[inline(always)]
unsafe fn send(skb: *mut __sk_buff, destination: &Destination, counters: *mut Counters) -> Option<i32> {
    // SAFETY: as in `copy`.
    unsafe {
        let whole = (*skb).len;
        let tag = if (*skb).vlan_present == 0 { 0 } else { 4 };
        let is_tunnel = KIND.load() != kind::CUT;
        let wanted = SNAPLEN.load().saturating_sub(tag).max(1);
        let room = if is_tunnel { tunnel::room(destination, tag) } else { u32::MAX };
        let keep = wanted.min(room).min(whole);
        let is_cut = keep < whole;
        // Without a tunnel's own kind of offload, nothing could make segments of what is in a tunnel. A frame that is
        // cut has none left.
        let is_large = (*skb).gso_size != 0;
        if is_cut || is_large && is_tunnel {
            cut(skb, keep)?;
        }
        if (*skb).len > room {
            // The kernel keeps more of it than the way takes.
            return None;
        }
        let bytes = (*skb).len + tag;
        let verdict = if is_tunnel {
            let place = (*skb).cb[CB_INDEX];
            tunnel::encapsulate(skb, destination, (is_cut, place))?;
            bpf_redirect_neigh(destination.ifindex, core::ptr::null_mut(), 0, 0)
        } else {
            bpf_redirect(destination.ifindex, FLAGS.load().into())
        };
        (*counters).mirrored_packets += 1;
        (*counters).mirrored_bytes += u64::from(bytes);
        if is_cut && room < wanted {
            (*counters).shortened += 1;
        }
        Some(verdict as i32)
    }
}

/// Cuts a frame to `keep` bytes, or to the least that the kernel allows.
#[inline(always)]
unsafe fn cut(skb: *mut __sk_buff, keep: u32) -> Option<()> {
    // SAFETY: as in `copy`. A call that fails leaves the frame as it is.
    unsafe {
        if bpf_skb_change_tail(skb, keep, 0) == 0 {
            return Some(());
        }
        // What is shorter than `keep` is refused as that was. To compare them here, or with `whole`, would have the verifier
        // look at the rest of the program once for each step: what it knows of them would differ.
        for step in 0..STEPS {
            let length = SHORTEST + STEP * step;
            if bpf_skb_change_tail(skb, length.min((*skb).len), 0) == 0 {
                return Some(());
            }
        }
    }
    None
}
