//! Where the headers of a packet end, for captures that hold no payload.
//!
//! Each round of the loop passes one header. A header is passed only if the packet has its first bytes and they make sense;
//! otherwise, and at a protocol that is not known, the packet is cut before it. Nothing is read from the packet's memory
//! directly: the bytes of an IPv6 header may be anywhere, and a helper that copies a few bytes is as fast on all kernels.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

/// Headers in one packet: a frame with two tags, and IPv6 in IPv6 with four extension headers, has ten.
const MOST: u32 = 12;
/// Bytes of an Ethernet header; its last two are the type.
const ETHERNET: u32 = 14;

/// EtherTypes (IEEE 802 numbers).
const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const RARP: u32 = 0x8035;
const IPV6: u32 = 0x86dd;
const VLAN: u32 = 0x8100;
const QINQ: u32 = 0x88a8;
const OLD_QINQ: u32 = 0x9100;
const MPLS: u32 = 0x8847;
const MPLS_MULTICAST: u32 = 0x8848;
const PPPOE_SESSION: u32 = 0x8864;

/// Marks a protocol of IP, which has the lowest eight bits.
const PROTOCOL: u32 = 1 << 16;
/// Marks one that an IPv6 header is followed by: it may be an extension header.
const IN_IPV6: u32 = 1 << 17;

/// A TCP or UDP port (RFC 1035).
const DNS: u32 = 53;

/// What precedes a place in the packet, and what follows it.
#[derive(Clone, Copy)]
struct Place {
    at: u32,
    /// An EtherType, or a protocol of IP with its marks.
    next: u32,
}

/// What there is at a place.
enum Header {
    /// A header, and what follows it.
    More(Place),
    /// The last header, or something that is not known: its end.
    Last(u32),
}

/// Bytes of the packet up to the end of its headers; more than any packet has if it is to be recorded whole. A VLAN tag that
/// the kernel moved out of the frame does not count.
#[inline(always)]
pub fn end(skb: *mut __sk_buff, is_raw: bool, whole_dns: bool) -> u32 {
    let mut place = if is_raw {
        let Some(next) = version(skb, 0) else { return 0 };
        Place { at: 0, next }
    } else {
        let Some([high, low]) = load(skb, ETHERNET - 2) else { return ETHERNET };
        Place { at: ETHERNET, next: number(high, low) }
    };
    for _ in 0..MOST {
        place = Place { at: unknown(place.at), next: unknown(place.next) };
        let header = if place.next & PROTOCOL == 0 { below(skb, place) } else { transport(skb, place, whole_dns) };
        match header {
            Header::More(next) => place = next,
            Header::Last(end) => return unknown(end),
        }
    }
    unknown(place.at)
}

/// The same number, of which the verifier knows nothing.
///
/// It would follow each way to a place on its own, because what is known of the place differs: some hundred thousand
/// instructions for all ways through ten headers. If it knows nothing, one way stands for all. It follows a number into the
/// first half of an eight-byte slot of the stack, but not into the second.
#[inline(always)]
fn unknown(number: u32) -> u32 {
    let mut slot = MaybeUninit::<u64>::uninit();
    let mut number = u64::from(number);
    // SAFETY: changes the second half of the slot, and one register.
    unsafe {
        asm!(
            "*(u32 *)({slot} + 4) = {number}",
            "{number} = *(u32 *)({slot} + 4)",
            slot = in(reg) slot.as_mut_ptr(),
            number = inout(reg) number,
            options(nostack),
        );
    }
    number as u32
}

/// A header up to that of IP.
#[inline(always)]
fn below(skb: *mut __sk_buff, place: Place) -> Header {
    let Place { at, next } = place;
    match next {
        VLAN | QINQ | OLD_QINQ => {
            let Some([_, _, high, low]) = load(skb, at) else { return Header::Last(at) };
            Header::More(Place { at: at + 4, next: number(high, low) })
        }
        IPV4 => ipv4(skb, at),
        IPV6 => {
            let Some([first, _, _, _, _, _, next, _]) = load(skb, at) else { return Header::Last(at) };
            if first >> 4 != 6 {
                return Header::Last(at);
            }
            Header::More(Place { at: at + 40, next: PROTOCOL | IN_IPV6 | u32::from(next) })
        }
        // RFC 826, for IPv4 over Ethernet.
        ARP | RARP => Header::Last(at + 28),
        MPLS | MPLS_MULTICAST => {
            let Some([_, _, third, _]) = load(skb, at) else { return Header::Last(at) };
            let is_bottom = third & 1 != 0;
            let next = if is_bottom { version(skb, at + 4) } else { Some(next) };
            match next {
                Some(next) => Header::More(Place { at: at + 4, next }),
                None => Header::Last(at + 4),
            }
        }
        PPPOE_SESSION => {
            let Some([_, _, _, _, _, _, high, low]) = load(skb, at) else { return Header::Last(at) };
            match number(high, low) {
                0x21 => Header::More(Place { at: at + 8, next: IPV4 }),
                0x57 => Header::More(Place { at: at + 8, next: IPV6 }),
                _ => Header::Last(at + 8),
            }
        }
        _ => Header::Last(at),
    }
}

#[inline(always)]
fn ipv4(skb: *mut __sk_buff, at: u32) -> Header {
    let Some([first, _, _, _, _, _, high, low, _, protocol]) = load(skb, at) else { return Header::Last(at) };
    let words = u32::from(first & 15);
    if first >> 4 != 4 || words < 5 {
        return Header::Last(at);
    }
    let end = at + words * 4;
    // Only the first fragment has the header of what is fragmented.
    if number(high, low) & 0x1fff != 0 {
        return Header::Last(end);
    }
    Header::More(Place { at: end, next: PROTOCOL | u32::from(protocol) })
}

/// A header after that of IP.
#[inline(always)]
fn transport(skb: *mut __sk_buff, place: Place, whole_dns: bool) -> Header {
    let Place { at, next } = place;
    let marks = next & !0xff;
    let is_in_ipv6 = next & IN_IPV6 != 0;
    match next & 0xff {
        // TCP: its ports and the length of its header (RFC 9293, section 3.1).
        6 => {
            let Some([a, b, c, d, _, _, _, _, _, _, _, _, offset]) = load(skb, at) else { return Header::Last(at) };
            if whole_dns && (number(a, b) == DNS || number(c, d) == DNS) {
                return Header::Last(u32::MAX);
            }
            let words = u32::from(offset >> 4);
            Header::Last(at + if words < 5 { 20 } else { words * 4 })
        }
        // UDP and UDP-Lite.
        17 | 136 => {
            if whole_dns
                && let Some([a, b, c, d]) = load(skb, at)
                && (number(a, b) == DNS || number(c, d) == DNS)
            {
                return Header::Last(u32::MAX);
            }
            Header::Last(at + 8)
        }
        // ICMP, IGMP, ICMPv6, and ESP up to what is encrypted.
        1 | 2 | 58 | 50 => Header::Last(at + 8),
        // SCTP's common header.
        132 => Header::Last(at + 12),
        // IP in IP.
        4 => Header::More(Place { at, next: IPV4 }),
        41 => Header::More(Place { at, next: IPV6 }),
        // AH counts its length in words of four bytes, less two (RFC 4302, section 2.2).
        51 => {
            let Some([next, length]) = load(skb, at) else { return Header::Last(at) };
            Header::More(Place { at: at + (u32::from(length) + 2) * 4, next: marks | u32::from(next) })
        }
        // Hop-by-hop and destination options, routing, mobility, HIP, Shim6 (RFC 8200, section 4, and RFC 7045).
        0 | 43 | 60 | 135 | 139 | 140 if is_in_ipv6 => {
            let Some([next, length]) = load(skb, at) else { return Header::Last(at) };
            Header::More(Place { at: at + (u32::from(length) + 1) * 8, next: marks | u32::from(next) })
        }
        44 if is_in_ipv6 => {
            let Some([next, _, high, low]) = load(skb, at) else { return Header::Last(at) };
            if number(high, low) & 0xfff8 != 0 {
                return Header::Last(at + 8);
            }
            Header::More(Place { at: at + 8, next: marks | u32::from(next) })
        }
        _ => Header::Last(at),
    }
}

/// The EtherType of the IP packet at `at`.
#[inline(always)]
fn version(skb: *mut __sk_buff, at: u32) -> Option<u32> {
    let [first] = load(skb, at)?;
    match first >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

#[inline(always)]
fn number(high: u8, low: u8) -> u32 {
    u32::from(high) << 8 | u32::from(low)
}

#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the array has room for `N` bytes.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast::<c_void>(), at, (&raw mut bytes).cast(), N as u32) };
    (failed == 0).then_some(bytes)
}
