//! ICMP echo through the kernel's ping sockets, without the program `ping`.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::lab::Namespace;

const TIMEOUT: Duration = Duration::from_secs(2);
/// Type 8 of ICMP (RFC 792), 128 of ICMPv6 (RFC 4443); the kernel fills in the identifier and the checksum.
const ECHO_REQUEST: [u8; 2] = [8, 128];
/// As many bytes as ping(8) sends by default.
const PAYLOAD_LEN: usize = 56;

/// Sends one echo request from a namespace and waits for the reply; returns the round-trip time.
///
/// # Errors
/// Fails when there is no route, or no reply within 2 s.
pub fn ping(from: &Namespace, address: IpAddr) -> Result<Duration> {
    // A setting of the namespace says which groups may open such sockets; the default is none (icmp(7),
    // ping_group_range).
    from.set_sysctl("net/ipv4/ping_group_range", "0 0")?;
    let (family, protocol, kind) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, ECHO_REQUEST[0]),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, ECHO_REQUEST[1]),
    };
    let socket = from
        .enter(|| socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol)))
        .context("cannot open an ICMP socket")?;
    // The standard library has no type for ICMP, but its datagram calls work on this socket as well.
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(TIMEOUT))?;
    let failure = || format!("{address} does not answer {}", from.name());
    socket.connect(SocketAddr::new(address, 0)).with_context(failure)?;
    let mut request = [0; 8 + PAYLOAD_LEN];
    request[0] = kind;
    let begin = Instant::now();
    socket.send(&request).with_context(failure)?;
    socket.recv(&mut request).with_context(failure)?;
    Ok(begin.elapsed())
}
