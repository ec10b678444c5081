//! Sending frames whose bytes stay in separate pages, as a zero-copy driver delivers them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use anyhow::{Context, Result, ensure};
use libc::{tpacket_req, tpacket2_hdr};

use crate::lab::Interface;
use crate::packet_socket::{PacketSocket, Purpose};

/// A slot has one frame, and is a multiple of every page size in use.
const SLOT: usize = 64 << 10;
/// `TPACKET2_HDRLEN` less the address (`net/packet/af_packet.c`, `tpacket_fill_skb`).
const HEADER: usize = size_of::<tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

/// Sends every frame once, in order, through a ring shared with the kernel (`PACKET_TX_RING`). Only the Ethernet header
/// gets into the skb's linear memory: the kernel refers to the ring's pages for the rest.
///
/// # Errors
/// Fails when the kernel refuses a frame, or has no memory for a ring of that many.
pub fn send_from_pages(interface: &Interface, frames: &[Vec<u8>]) -> Result<()> {
    ensure!(frames.iter().all(|frame| frame.len() <= SLOT - HEADER), "a frame is longer than its slot");
    let request = tpacket_req {
        tp_block_size: SLOT as u32,
        tp_block_nr: frames.len() as u32,
        tp_frame_size: SLOT as u32,
        tp_frame_nr: frames.len() as u32,
    };
    let socket = PacketSocket::open(interface, Purpose::Send, |socket| {
        socket.set(libc::SOL_PACKET, libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as i32)?;
        socket.set_to(libc::SOL_PACKET, libc::PACKET_TX_RING, &request)
    })?;
    let ring = Ring::map(&socket, frames.len()).context("cannot map a ring")?;
    for (slot, frame) in frames.iter().enumerate() {
        ring.fill(slot, frame);
    }
    // SAFETY: no bytes are passed; the kernel takes them from the ring.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), ptr::null(), 0, 0) };
    let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error());
    let sent = sent.with_context(|| format!("{interface} refuses a frame"))?;
    let bytes = frames.iter().map(Vec::len).sum::<usize>();
    ensure!(sent == bytes, "{interface} took {sent} of {bytes} bytes");
    Ok(())
}

/// Slots, each used once: the kernel may read a frame's bytes even after it has returned the slot.
struct Ring {
    start: *mut u8,
    bytes: usize,
}

impl Ring {
    fn map(socket: &PacketSocket, slots: usize) -> io::Result<Self> {
        let bytes = slots * SLOT;
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, socket.as_fd().as_raw_fd());
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { start: start.cast(), bytes })
        }
    }

    /// Puts a frame that fits into a slot, and marks it for the kernel to send.
    fn fill(&self, slot: usize, frame: &[u8]) {
        assert!((slot + 1) * SLOT <= self.bytes && HEADER + frame.len() <= SLOT, "a frame outside of the ring");
        // SAFETY: the slot is within the mapping, as is asserted, and aligned for its header as mappings are. The
        // kernel does not touch it until it is marked, and then in `send`.
        unsafe {
            let slot = self.start.add(slot * SLOT);
            ptr::copy_nonoverlapping(frame.as_ptr(), slot.add(HEADER), frame.len());
            let header = slot.cast::<tpacket2_hdr>();
            (*header).tp_len = frame.len() as u32;
            (&raw mut (*header).tp_status).write_volatile(libc::TP_STATUS_SEND_REQUEST);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping of `map`, and no reference into it exists.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
