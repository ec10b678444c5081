//! What the kernel reports about a socket.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use libc::{TIOCOUTQ, c_int};
use rustix::ioctl::{Getter, ioctl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Bytes that wait for the peer: those that it has not acknowledged over TCP, not read over a Unix socket (`SIOCOUTQ`,
/// tcp(7)).
pub(crate) fn waiting(socket: impl AsFd) -> io::Result<c_int> {
    // SAFETY: for sockets, the number is that of SIOCOUTQ (include/uapi/linux/sockios.h), which stores an int.
    Ok(unsafe { ioctl(socket, Getter::<{ TIOCOUTQ as u32 }, c_int>::new()) }?)
}

/// Reads what has arrived on a Unix socket, and the descriptors that came with it: not more than there is room for, and the
/// kernel closes the others. To close one can take as long as its file system likes.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
    let mut all = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    Ok((received.bytes, all))
}

/// How long a TCP connection may be silent before the kernel asks whether the peer is still there, how often it asks again,
/// and how many questions remain without an answer when it ends the connection: what a lost client left goes within 90 s.
const SILENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(10);
const QUESTIONS: u32 = 3;

/// Has the kernel end a TCP connection whose peer has vanished, even if there is nothing to send.
pub(crate) fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(&socket, SILENCE)?;
    sockopt::set_tcp_keepintvl(&socket, INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, QUESTIONS)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}

/// Opens a Unix socket that only its owner can use, from the beginning. There must be no other thread: the umask is the
/// process's.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(umask);
    listener
}

/// Sets how many connections may wait to be accepted; the kernel lowers it to net.core.somaxconn.
pub(crate) fn set_backlog(listener: impl AsFd, backlog: i32) -> io::Result<()> {
    rustix::net::listen(listener, backlog).map_err(Into::into)
}
