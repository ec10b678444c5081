//! A frame as it was on the wire, with the VLAN tag that the kernel moved out of it.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use polycube_layout::ring::MAX_SNAPLEN;

use crate::headers;

/// Bytes before a tag: the two addresses.
const ADDRESSES: u32 = 12;
/// Bytes of an 802.1Q or 802.1ad tag.
const TAG: u32 = 4;
/// See [`polycube_layout::ring::PIECE`].
#[unsafe(no_mangle)]
static PIECE: aya_ebpf::Global<u32> = aya_ebpf::Global::new(polycube_layout::ring::DEFAULT_PIECE);

pub struct Frame {
    skb: *mut __sk_buff,
    tagged: bool,
    /// Bytes on the wire.
    pub length: u32,
    /// Bytes to record, 1 to [`MAX_SNAPLEN`].
    pub captured: u32,
}

/// How much of a frame to record.
#[derive(Clone, Copy)]
pub enum Extent {
    /// So many bytes, at most.
    Bytes(u32),
    /// Up to the end of its headers.
    Headers { is_raw: bool, whole_dns: bool },
}

impl Frame {
    #[inline(always)]
    pub fn new(ctx: &TcContext, extent: Extent) -> Self {
        let skb = ctx.skb.skb;
        // SAFETY: the context is the kernel's.
        let (len, tagged) = unsafe { ((*skb).len, (*skb).vlan_present != 0) };
        let tag = if tagged { TAG } else { 0 };
        let length = len + tag;
        let most = match extent {
            Extent::Bytes(bytes) => bytes,
            Extent::Headers { is_raw, whole_dns } => headers::end(skb, is_raw, whole_dns).saturating_add(tag),
        };
        Self { skb, tagged, length, captured: bounded(length.min(most)) }
    }

    /// Copies the frame's first `captured` bytes; false if the kernel refuses.
    ///
    /// # Safety
    ///
    /// `body` has room for `captured` bytes, and for 16 as far as the verifier knows.
    #[inline(always)]
    pub unsafe fn copy(&self, body: *mut u8) -> bool {
        if !self.tagged || self.captured <= ADDRESSES {
            // SAFETY: the caller's promise.
            return unsafe { self.load(0, body, self.captured) };
        }
        // SAFETY: the caller's promise: every store lies within the addresses, the tag and `captured`.
        unsafe {
            if !self.load(0, body, ADDRESSES) {
                return false;
            }
            // The protocol is already in network order; the tag control information is not.
            let tag = (*self.skb).vlan_proto & 0xffff | u32::from((((*self.skb).vlan_tci) as u16).swap_bytes()) << 16;
            if self.captured < ADDRESSES + TAG {
                // In a full ring, the oldest record begins right after this one: no store may be longer than the rest.
                asm!("*(u8 *)({0} + 12) = {1}", in(reg) body, in(reg) u64::from(tag), options(nostack));
                if self.captured > ADDRESSES + 1 {
                    asm!("*(u8 *)({0} + 13) = {1}", in(reg) body, in(reg) u64::from(tag >> 8), options(nostack));
                }
                if self.captured > ADDRESSES + 2 {
                    asm!("*(u8 *)({0} + 14) = {1}", in(reg) body, in(reg) u64::from(tag >> 16), options(nostack));
                }
                return true;
            }
            asm!("*(u32 *)({0} + 12) = {1}", in(reg) body, in(reg) u64::from(tag), options(nostack));
            if self.captured == ADDRESSES + TAG {
                return true;
            }
            self.load(ADDRESSES, body.add((ADDRESSES + TAG) as usize), bounded(self.captured - ADDRESSES - TAG))
        }
    }

    /// Copies `count` bytes from `offset`.
    ///
    /// # Safety
    ///
    /// `to` has room for `count` bytes.
    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, count: u32) -> bool {
        let piece = PIECE.load();
        if count > piece && count <= 2 * piece {
            // SAFETY: the caller's promise: the pieces are `count` bytes together.
            return unsafe {
                self.load_piece(offset, to, piece)
                    && self.load_piece(offset + piece, to.add(piece as usize), bounded(count - piece))
            };
        }
        // SAFETY: the caller's promise.
        unsafe { self.load_piece(offset, to, count) }
    }

    /// # Safety
    ///
    /// As [`Frame::load`].
    #[inline(always)]
    unsafe fn load_piece(&self, offset: u32, to: *mut u8, count: u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe { bpf_skb_load_bytes(self.skb.cast::<c_void>(), offset, to.cast(), count) == 0 }
    }
}

/// The same number, with its bounds in the register that the verifier looks at.
///
/// LLVM knows the bounds of a value that it has just compared, and would omit the comparison or use another register.
#[inline(always)]
fn bounded(bytes: u32) -> u32 {
    let mut bytes = u64::from(bytes);
    // SAFETY: changes one register.
    unsafe {
        asm!(
            "if {0} > 0 goto +1",
            "{0} = 1",
            "if {0} <= {max} goto +1",
            "{0} = {max}",
            inout(reg) bytes,
            max = const MAX_SNAPLEN,
            options(pure, nomem, nostack),
        );
    }
    bytes as u32
}
