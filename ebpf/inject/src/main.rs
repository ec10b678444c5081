//! Stands on the ingress of the host's tap device: sends each frame of user space where its tags say.
//!
//! See [`polycube_layout::slow`] for the tags. What is sent out of a netdev passes its egress root, and what is sent into
//! one its ingress root, as any other packet does.

#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_INGRESS,
    helpers::generated::{bpf_check_mtu, bpf_redirect, bpf_skb_vlan_pop},
    macros::{classifier, map},
    maps::{Array, HashMap, PerCpuHashMap},
    programs::TcContext,
};
use polycube_chain::tc::DROP;
use polycube_layout::slow::{
    CB_KEY, CB_RESUMED, CB_SLOT, Exit, HAS_MARK, IN, MAX_EXITS, ON_EGRESS, ON_INGRESS, Outcomes, RESUMED, WAY_SHIFT,
};

/// See [`polycube_layout::slow::EXITS`].
#[map(name = "exits")]
static EXITS: HashMap<u32, Exit> = HashMap::with_max_entries(MAX_EXITS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// See [`polycube_layout::slow::OUTCOMES`].
#[map(name = "outcomes")]
static OUTCOMES: PerCpuHashMap<u32, Outcomes> =
    PerCpuHashMap::with_max_entries(MAX_EXITS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// See [`polycube_layout::slow::KEY`].
#[map(name = "key")]
static KEY: Array<u64> = Array::with_max_entries(1, 0);

#[classifier]
pub fn inject(mut ctx: TcContext) -> i32 {
    let (Some(cube), Some(tag)) = (take_tag(&ctx), take_tag(&ctx)) else { return DROP };
    let mark = if tag & HAS_MARK == 0 {
        0
    } else {
        let (Some(high), Some(low)) = (take_tag(&ctx), take_tag(&ctx)) else { return DROP };
        high << 16 | low
    };
    let Some(outcomes) = OUTCOMES.get_ptr_mut(&cube) else { return DROP };
    // SAFETY: the value is this CPU's, and nothing else holds a reference to it.
    let outcomes = unsafe { &mut *outcomes };
    // SAFETY: the kernel frees an entry after all programs that could have found it have ended (RCU).
    let Some(exit) = (unsafe { EXITS.get(&(cube << 16 | tag & !HAS_MARK)) }) else {
        outcomes.unreachable += 1;
        return DROP;
    };
    let way = tag >> WAY_SHIFT;
    let into = way == IN || way == ON_INGRESS;
    if !into && !fits(&ctx, exit.ifindex, outcomes) {
        return DROP;
    }
    ctx.set_mark(mark);
    if way == ON_INGRESS || way == ON_EGRESS {
        let key = KEY.get(0).copied().unwrap_or(0);
        let words = ctx.cb_mut();
        words[CB_KEY[0]] = key as u32;
        words[CB_KEY[1]] = (key >> 32) as u32;
        words[CB_SLOT] = exit.slot;
        words[CB_RESUMED] = RESUMED;
    }
    outcomes.sent += 1;
    // SAFETY: takes numbers; the kernel drops the frame if the netdev is gone.
    unsafe { bpf_redirect(exit.ifindex, if into { BPF_F_INGRESS.into() } else { 0 }) as i32 }
}

/// Takes off the outermost tag, which the kernel keeps beside the frame.
#[inline(always)]
fn take_tag(ctx: &TcContext) -> Option<u32> {
    // SAFETY: the context is the kernel's.
    unsafe {
        let skb = ctx.skb.skb;
        if (*skb).vlan_present == 0 {
            return None;
        }
        let tag = (*skb).vlan_tci;
        (bpf_skb_vlan_pop(skb) == 0).then_some(tag)
    }
}

/// Whether the netdev is there and takes a frame of this length; counts it if not.
#[inline(always)]
fn fits(ctx: &TcContext, ifindex: u32, outcomes: &mut Outcomes) -> bool {
    let mut mtu = 0;
    // SAFETY: the context is the kernel's, and the helper writes one word.
    match unsafe { bpf_check_mtu(ctx.as_ptr(), ifindex, &mut mtu, 0, 0) } {
        0 => true,
        error if error < 0 => {
            outcomes.unreachable += 1;
            false
        }
        _ => {
            outcomes.too_long += 1;
            false
        }
    }
}
