//! Interface requests that are ioctls: index, hardware address, offloads.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_char, c_ulong, ifreq};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// An offload that decides whether a packet is segmented before or after a program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// The sender leaves the checksum to the receiver. The segmentation offloads depend on it.
    TxChecksum,
    /// TCP segmentation.
    Tso,
    /// Generic segmentation, in software as late as possible.
    Gso,
    /// Generic receive: frames of one flow are merged.
    Gro,
}

impl Offload {
    /// Commands of `linux/ethtool.h`: ETHTOOL_{G,S}{TXCSUM,TSO,GSO,GRO}; the setter follows the getter.
    fn getter(self) -> u32 {
        match self {
            Self::TxChecksum => 0x16,
            Self::Tso => 0x1e,
            Self::Gso => 0x23,
            Self::Gro => 0x2b,
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

pub(super) fn set_offload(name: &str, offload: Offload, on: bool) -> io::Result<()> {
    ethtool(name, &mut Value { command: offload.getter() + 1, data: u32::from(on) })
}

pub(super) fn offload(name: &str, offload: Offload) -> io::Result<bool> {
    let mut value = Value { command: offload.getter(), data: 0 };
    ethtool(name, &mut value)?;
    Ok(value.data != 0)
}

pub(super) fn index_and_mac(name: &str) -> io::Result<(u32, [u8; 6])> {
    let mut request = named(name)?;
    ioctl(libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has filled this member of the union.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    ioctl(libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR has filled this member of the union.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    // Characters are signed on x86 alone.
    let mac = std::array::from_fn(|byte| u8::from_ne_bytes(address.sa_data[byte].to_ne_bytes()));
    Ok((index.cast_unsigned(), mac))
}

pub(super) fn is_running(name: &str) -> io::Result<bool> {
    Ok(flags(name)? & libc::IFF_RUNNING != 0)
}

pub(super) fn is_promiscuous(name: &str) -> io::Result<bool> {
    Ok(flags(name)? & libc::IFF_PROMISC != 0)
}

fn flags(name: &str) -> io::Result<i32> {
    let mut request = named(name)?;
    ioctl(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has filled this member of the union.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

fn ethtool(name: &str, value: &mut Value) -> io::Result<()> {
    let mut request = named(name)?;
    request.ifr_ifru.ifru_data = (&raw mut *value).cast::<c_char>();
    ioctl(libc::SIOCETHTOOL, &mut request)
}

fn named(name: &str) -> io::Result<ifreq> {
    // SAFETY: an ifreq of zero bytes is valid; every member is plain data.
    let mut request: ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} is longer than an interface name may be"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn ioctl(command: c_ulong, request: &mut ifreq) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: each command used here reads and writes one ifreq; where it holds a pointer, `ethtool` keeps the pointee
    // alive for the call.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), command, &raw mut *request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
