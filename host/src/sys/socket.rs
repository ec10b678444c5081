//! What the kernel reports about a socket.

use std::io;
use std::os::fd::AsFd;

use libc::{TIOCOUTQ, c_int};
use rustix::ioctl::{Getter, ioctl};

/// Bytes that wait for the peer: those that it has not acknowledged over TCP, not read over a Unix socket (`SIOCOUTQ`,
/// tcp(7)).
pub fn waiting(socket: impl AsFd) -> io::Result<c_int> {
    // SAFETY: for sockets, the number is that of SIOCOUTQ (include/uapi/linux/sockios.h), which stores an int.
    Ok(unsafe { ioctl(socket, Getter::<{ TIOCOUTQ as u32 }, c_int>::new()) }?)
}
