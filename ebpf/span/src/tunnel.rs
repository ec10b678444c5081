//! The outer headers of copies.
//!
//! User space has made the header. What depends on the packet is filled in here.

use core::arch::asm;

use aya_ebpf::{
    Global,
    bindings::__sk_buff,
    btf_maps::Array,
    helpers::generated::{
        bpf_get_hash_recalc, bpf_skb_change_head, bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_skb_vlan_pop,
        bpf_skb_vlan_push,
    },
    macros::btf_map,
};
use polycube_layout::span::{Destination, ETHERNET, HEADER_ROOM, kind};

use crate::KIND;

/// See [`polycube_layout::span::SEQUENCE`].
#[btf_map(name = "sequence")]
static SEQUENCE: Array<u64, 1> = Array::new();

#[unsafe(no_mangle)]
static IS_V6: Global<u32> = Global::new(0);

const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const VXLAN: usize = 8;
const GRE: usize = 4;
const GRE_KEY: usize = 4;
const GRE_SEQUENCE: usize = 4;
const ERSPAN: usize = 8;
/// Two MAC addresses, which the kernel writes.
const ADDRESSES: usize = 12;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Bytes before what an ICMP error quotes, of both versions.
const ICMP_HEADER: usize = 8;
/// Lower types of ICMPv6 are errors (RFC 4443, section 2.1).
const FIRST_INFORMATION: u8 = 128;
/// The first of the ports that IANA leaves for such uses (RFC 7348, section 5).
const FIRST_PORT: u16 = 0xc000;

/// ERSPAN's `En`, "a tag is in the frame", and `T`, "truncated" (draft-foschiano-erspan-03, section 4.1).
const TAG_IN_FRAME: u16 = 3 << 11;
const TRUNCATED: u16 = 1 << 10;

#[inline(always)]
fn ip() -> usize {
    if IS_V6.load() == 0 { IPV4 } else { IPV6 }
}

/// Length of the outer header.
#[inline(always)]
fn length() -> usize {
    let inner = match KIND.load() {
        kind::VXLAN => UDP + VXLAN,
        kind::GRE => GRE,
        kind::GRE_WITH_KEY => GRE + GRE_KEY,
        _ => GRE + GRE_SEQUENCE + ERSPAN,
    };
    ETHERNET + ip() + inner
}

/// Bytes of a frame, beside its `tag`, for which there is room on the way.
#[inline(always)]
pub fn room(destination: &Destination, tag: u32) -> u32 {
    (destination.mtu + ETHERNET as u32).saturating_sub(length() as u32 + tag)
}

/// Whether a packet is an ICMP error about a copy, such as the collector's "port unreachable" or a router's "host unreachable":
/// the copy of such an error would lead to the next. An error quotes the IP header of the packet that it is about.
#[inline(always)]
pub unsafe fn is_complaint(skb: *mut __sk_buff, destination: &Destination) -> bool {
    let outer = &destination.header;
    // SAFETY: the context is the kernel's, and the header has room for what is read of it.
    unsafe {
        if IS_V6.load() == 0 {
            let (mut ip, mut icmp) = ([0; IPV4], [0; ICMP_HEADER + IPV4]);
            (*skb).protocol == u32::from(ETH_P_IP.to_be())
                && load(skb, 0, &mut ip)
                && ip[9] == ICMP
                && load(skb, usize::from(ip[0] & 0xf) * 4, &mut icmp)
                // Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
                && matches!(icmp[0], 3 | 4 | 5 | 11 | 12)
                && icmp[ICMP_HEADER + 9] == outer[ETHERNET + 9]
                && word(&icmp, ICMP_HEADER + 16) == word(outer, ETHERNET + 16)
        } else {
            let mut bytes = [0; IPV6 + ICMP_HEADER + IPV6];
            (*skb).protocol == u32::from(ETH_P_IPV6.to_be())
                && load(skb, 0, &mut bytes)
                && bytes[6] == ICMPV6
                && bytes[IPV6] < FIRST_INFORMATION
                && bytes[IPV6 + ICMP_HEADER + 6] == outer[ETHERNET + 6]
                && (0..4)
                    .all(|at| word(&bytes, IPV6 + ICMP_HEADER + 24 + 4 * at) == word(outer, ETHERNET + 24 + 4 * at))
        }
    }
}

/// Reads what stands `at` bytes after the Ethernet header.
#[inline(always)]
unsafe fn load<const N: usize>(skb: *mut __sk_buff, at: usize, bytes: &mut [u8; N]) -> bool {
    let at = (ETHERNET + at) as u32;
    // SAFETY: the context is the kernel's, and the bytes are there.
    unsafe { bpf_skb_load_bytes(skb.cast(), at, bytes.as_mut_ptr().cast(), N as u32) == 0 }
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

#[repr(C, align(8))]
struct Header([u8; HEADER_ROOM]);

impl Header {
    #[inline(always)]
    fn set(&mut self, at: usize, value: u16) {
        let [high, low] = value.to_be_bytes();
        self.0[at] = high;
        self.0[at + 1] = low;
    }

    #[inline(always)]
    fn add(&mut self, at: usize, bits: u16) {
        let [high, low] = bits.to_be_bytes();
        self.0[at] |= high;
        self.0[at + 1] |= low;
    }
}

/// Puts the outer header before a frame.
///
/// `bpf_redirect_neigh` goes by `skb->protocol`, which no helper sets for any frame, and a tag that the kernel keeps outside
/// of the frame would become one of the outer frame. To push a tag puts an earlier one into the frame, and to pop one sets
/// the protocol: where either matters, tags are pushed and popped.
#[inline(always)]
pub unsafe fn encapsulate(skb: *mut __sk_buff, destination: &Destination, (is_cut, place): (bool, u32)) -> Option<()> {
    let outer = if IS_V6.load() == 0 { ETH_P_IP } else { ETH_P_IPV6 };
    // SAFETY: the context is the kernel's.
    unsafe {
        let tag = ((*skb).vlan_present != 0).then_some((*skb).vlan_tci as u16);
        let is_foreign = tag.is_some() || (*skb).protocol != u32::from(outer.to_be());
        let hash = if KIND.load() == kind::VXLAN { bpf_get_hash_recalc(skb) } else { 0 };
        if is_foreign {
            done(bpf_skb_vlan_push(skb, ETH_P_8021Q.to_be(), 1))?;
        }
        let mut header = Header(destination.header);
        let inner = (*skb).len as u16;
        fill(&mut header, destination, inner, hash);
        if KIND.load() == kind::ERSPAN {
            erspan(&mut header, tag, is_cut, place)?;
        }
        done(bpf_skb_change_head(skb, length() as u32, 0))?;
        let mut at = ADDRESSES;
        if is_foreign {
            // The tag from above is now in the outer header: after the addresses, before the type.
            done(bpf_skb_vlan_push(skb, ETH_P_8021Q.to_be(), 1))?;
            at += 4;
        }
        let bytes = header.0.as_ptr().add(ADDRESSES).cast();
        done(bpf_skb_store_bytes(skb, at as u32, bytes, (length() - ADDRESSES) as u32, 0))?;
        if is_foreign {
            // The second, and then the first, whose type becomes the frame's.
            done(bpf_skb_vlan_pop(skb))?;
            done(bpf_skb_vlan_pop(skb))?;
        }
    }
    Some(())
}

/// Lengths, the checksum, and the source port, which spreads flows over paths.
#[inline(always)]
fn fill(header: &mut Header, destination: &Destination, inner: u16, hash: u32) {
    let total = (length() - ETHERNET) as u16 + inner;
    let payload = total - ip() as u16;
    if IS_V6.load() == 0 {
        header.set(ETHERNET + 2, total);
        let sum = destination.sum + u32::from(total);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        header.set(ETHERNET + 10, !(sum as u16));
    } else {
        header.set(ETHERNET + 4, payload);
    }
    if KIND.load() == kind::VXLAN {
        let udp = ETHERNET + ip();
        header.set(udp, FIRST_PORT | (hash ^ hash >> 16) as u16);
        header.set(udp + 4, payload);
    }
}

#[inline(always)]
fn erspan(header: &mut Header, tag: Option<u16>, is_cut: bool, place: u32) -> Option<()> {
    let gre = ETHERNET + ip();
    let sequence = number(SEQUENCE.get_ptr_mut(0)?);
    header.set(gre + GRE, (sequence >> 16) as u16);
    header.set(gre + GRE + 2, sequence as u16);
    let erspan = gre + GRE + GRE_SEQUENCE;
    if let Some(tci) = tag {
        header.add(erspan, tci & 0xfff);
        header.add(erspan + 2, tci & 0xe000 | TAG_IN_FRAME);
    }
    if is_cut {
        header.add(erspan + 2, TRUNCATED);
    }
    // Twenty bits.
    header.add(erspan + 4, (place >> 16) as u16 & 0xf);
    header.set(erspan + 6, place as u16);
    Some(())
}

/// Takes the next number: on this target, `core` has no atomic addition that returns one.
#[inline(always)]
fn number(counter: *mut u64) -> u32 {
    let mut number = 1_u64;
    // SAFETY: the counter is an aligned element of a map.
    unsafe {
        asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) number, in(reg) counter, options(nostack));
    }
    number as u32
}

#[inline(always)]
fn done(result: i64) -> Option<()> {
    (result == 0).then_some(())
}
