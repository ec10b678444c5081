//! Packet sockets, for promiscuous mode.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Keeps netdevs in promiscuous mode: each takes frames that are addressed to others, as a bridge needs them.
///
/// The kernel counts who wants it, so the user's own setting stays, and it ends with the process (packet(7),
/// `PACKET_MR_PROMISC`).
pub struct Promiscuous(OwnedFd);

impl Promiscuous {
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        // Protocol 0: the socket itself receives nothing.
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made a line above, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Starts or ends it for the netdev with this ifindex.
    ///
    /// # Errors
    /// What the kernel says: the netdev is gone.
    pub fn set(&self, ifindex: u32, on: bool) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: ifindex.cast_signed(),
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        let option = if on { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
        // SAFETY: the pointer and the length are those of `request`, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                std::ptr::from_ref(&request).cast(),
                size_of_val(&request) as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
