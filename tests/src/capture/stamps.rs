//! Waits until the kernel timestamps packets as they cross.
//!
//! It begins some time after the machine's first socket has asked for it: `net_enable_timestamp` (net/core/dev.c)
//! leaves it to a work queue. Until then, a packet's time is the time at which it is read.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::message::Receiver;
use crate::lab::Namespace;
use crate::packet_socket::set_option;

const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between sending and reading: a datagram that was timestamped is older than this when it is read.
const PAUSE: Duration = Duration::from_millis(1);

/// Returns as soon as a datagram over loopback was timestamped before it was read.
pub(super) fn wait(namespace: &Namespace) -> Result<()> {
    namespace.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind to loopback")?;
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        socket.connect(socket.local_addr()?)?;
        let deadline = Instant::now() + PATIENCE;
        while !is_stamped(&socket)? {
            ensure!(Instant::now() < deadline, "the kernel does not timestamp packets after {PATIENCE:?}");
        }
        Ok(())
    })
}

fn is_stamped(socket: &UdpSocket) -> Result<bool> {
    socket.send(&[0])?;
    let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
    thread::sleep(PAUSE);
    let seen = Receiver::default().receive(socket.as_fd())?;
    let seen = seen.ok_or_else(|| io::Error::other("loopback lost a datagram"))?;
    Ok(Duration::from_nanos(seen.time_ns) <= sent)
}
