//! A packet socket (packet(7)) bound to one interface; sending and capturing are built on it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use anyhow::{Context, Result};
use libc::{c_int, sockaddr_ll, socklen_t};

use crate::lab::Interface;

#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Send,
    /// Takes every protocol, both directions.
    Capture,
}

impl PacketSocket {
    /// Opens a socket in the interface's namespace. `prepare` runs before the first packet can arrive.
    pub fn open(
        interface: &Interface,
        purpose: Purpose,
        prepare: impl FnOnce(&Self) -> io::Result<()> + Send,
    ) -> Result<Self> {
        let open = || {
            // SAFETY: the call takes no pointers. Protocol 0 receives nothing until `bind` names one.
            let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` was opened on the line above and nothing else owns it.
            let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
            prepare(&socket)?;
            socket.bind(interface.index(), purpose)?;
            Ok(socket)
        };
        interface.namespace().enter(open).with_context(|| format!("cannot open a packet socket on {interface}"))
    }

    fn bind(&self, index: u32, purpose: Purpose) -> io::Result<()> {
        // SAFETY: a sockaddr_ll of zero bytes is valid; every member is a number.
        let mut address: sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index.cast_signed();
        if purpose == Purpose::Capture {
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        }
        let length = size_of::<sockaddr_ll>() as socklen_t;
        // SAFETY: pointer and length describe `address`, which outlives the call.
        let answer = unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub fn set(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        set_option(self.as_fd(), level, option, value)
    }

    /// Sets an option whose value is a kernel structure.
    pub fn set_to<T: Copy>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        set_option_to(self.as_fd(), level, option, value)
    }

    /// Packets that found the receive buffer full since the last call (PACKET_STATISTICS clears as it reads).
    pub fn drops(&self) -> io::Result<u32> {
        // SAFETY: a tpacket_stats of zero bytes is valid; every member is a number.
        let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
        // SAFETY: pointer and length describe `stats`, which outlives the call.
        let answer = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(stats.tp_drops) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sets an option of any socket whose value is a number.
pub fn set_option(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_option_to(socket, level, option, &value)
}

fn set_option_to<T: Copy>(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: pointer and length describe `value`, which outlives the call.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
