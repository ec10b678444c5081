//! Packet sockets, for promiscuous mode.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Keeps netdevs in promiscuous mode: each takes frames that are addressed to others, as a bridge needs them.
///
/// The kernel counts the sockets that ask for it, so the user's own setting stays, and it ends with the process (packet(7),
/// `PACKET_MR_PROMISC`).
///
/// Only opening the socket needs CAP_NET_RAW; without it, there is none.
pub(crate) struct Promiscuous(Option<OwnedFd>);

impl Promiscuous {
    /// # Errors
    /// What the kernel says, unless CAP_NET_RAW is missing.
    pub(crate) fn new() -> io::Result<Self> {
        // Protocol 0: the socket itself receives nothing.
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::PermissionDenied { Ok(Self(None)) } else { Err(error) };
        }
        // SAFETY: the descriptor was made above, and nothing else has it.
        Ok(Self(Some(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Starts or ends it for the netdev with this ifindex.
    ///
    /// # Errors
    /// What the kernel says: the netdev is gone. Or the daemon was started without CAP_NET_RAW.
    pub(crate) fn set(&self, ifindex: u32, on: bool) -> io::Result<()> {
        let Some(socket) = &self.0 else {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the daemon was started without CAP_NET_RAW"));
        };
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
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                std::ptr::from_ref(&request).cast(),
                size_of_val(&request) as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
