//! One recvmsg on a packet socket: the frame, its time and direction, and the VLAN tag that comes separately.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{cmsghdr, iovec, msghdr, sockaddr_ll, timespec, tpacket_auxdata};

use super::{Direction, Seen};

/// More than the longest GSO packet (64 KiB, with IPv6 jumbograms off) and all headers.
const LONGEST_FRAME: usize = 256 * 1024;
const CONTROL_LEN: usize = 256;
/// The size of the two hardware addresses before the tag.
const ADDRESSES_LEN: usize = 12;

/// Aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

pub(super) struct Receiver {
    frame: Vec<u8>,
    control: Box<Control>,
}

#[derive(Default)]
struct Beside {
    time: Option<timespec>,
    auxdata: Option<tpacket_auxdata>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { frame: vec![0; LONGEST_FRAME], control: Box::new(Control([0; CONTROL_LEN])) }
    }
}

impl Receiver {
    /// The next frame; `None` when the buffer is empty.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<Seen>> {
        // SAFETY: a sockaddr_ll of zero bytes is valid; every member is a number.
        let mut from: sockaddr_ll = unsafe { mem::zeroed() };
        let mut vector = iovec { iov_base: self.frame.as_mut_ptr().cast(), iov_len: self.frame.len() };
        // SAFETY: a msghdr of zero bytes is valid: null pointers with zero lengths.
        let mut header: msghdr = unsafe { mem::zeroed() };
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = size_of::<sockaddr_ll>() as u32;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN;
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: each pointer in `header` comes with the length of what it points to, and all outlive the call.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if length < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                Some(libc::EINTR) => self.receive(socket),
                _ => Err(error),
            };
        }
        let length = length.cast_unsigned();
        // SAFETY: recvmsg has filled `header` and the control buffer that it points to.
        let beside = unsafe { beside(&header) };
        let time = beside.time.ok_or_else(|| io::Error::other("the kernel delivered a frame without a timestamp"))?;
        let tag = beside.auxdata.as_ref().and_then(tag);
        let mut bytes = self.frame[..length.min(LONGEST_FRAME)].to_vec();
        if let Some(tag) = tag {
            let at = ADDRESSES_LEN.min(bytes.len());
            bytes.splice(at..at, tag);
        }
        let direction = if from.sll_pkttype == libc::PACKET_OUTGOING { Direction::Out } else { Direction::In };
        let orig_len = (length + tag.map_or(0, |tag| tag.len())) as u32;
        let time_ns = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        Ok(Some(Seen { time_ns, direction, bytes, orig_len }))
    }
}

/// # Safety
/// `header` must be as a successful recvmsg left it, its control buffer still alive and aligned.
unsafe fn beside(header: &msghdr) -> Beside {
    let mut found = Beside::default();
    // SAFETY: the caller vouches for the header.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside the buffer, or null.
        let &cmsghdr { cmsg_level, cmsg_type, .. } = unsafe { &*next };
        // SAFETY: `next` is a header inside the buffer.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (cmsg_level, cmsg_type) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                // SAFETY: the kernel writes a timespec under this type.
                found.time = Some(unsafe { data.cast::<timespec>().read_unaligned() });
            }
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: the kernel writes a tpacket_auxdata under this type.
                found.auxdata = Some(unsafe { data.cast::<tpacket_auxdata>().read_unaligned() });
            }
            _ => {}
        }
        // SAFETY: `next` came from this header's own list.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// The tag that the kernel took out of the frame, as it was on the wire.
fn tag(auxdata: &tpacket_auxdata) -> Option<[u8; 4]> {
    if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = auxdata.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if known { auxdata.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
    let [p0, p1] = protocol.to_be_bytes();
    let [t0, t1] = auxdata.tp_vlan_tci.to_be_bytes();
    Some([p0, p1, t0, t1])
}
