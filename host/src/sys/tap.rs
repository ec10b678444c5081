//! A tap device: frames that are written to its descriptor come in on its netdev.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Where the kernel makes such devices.
pub(crate) const DEVICE: &str = "/dev/net/tun";

/// A tap device, which exists as long as its descriptor, or a copy of it, is open.
#[derive(Debug)]
pub(crate) struct Tap {
    pub frames: OwnedFd,
    pub name: String,
    pub ifindex: u32,
}

/// Makes one that is up, and whose name is `prefix` and a free number. Before each frame, a `struct virtio_net_hdr` says
/// which checksum is left to compute, and how the frame is to be cut.
///
/// # Errors
/// There is no [`DEVICE`], the process may not use it, or what the kernel says.
pub(crate) fn open(prefix: &str) -> io::Result<Tap> {
    let frames = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut request = request(&format!("{prefix}%d"));
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(frames.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    // SAFETY: the kernel ends the name with a zero, within the array (`tun_set_iff()` in drivers/net/tun.c).
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) }.to_owned();
    // SAFETY: a text that ends with a zero.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if ifindex == 0 {
        return Err(io::Error::last_os_error());
    }
    let name = name.to_string_lossy().into_owned();
    silence(&name);
    // Nothing asks who it is: no frame is ever answered there.
    set_flags(&name, libc::IFF_UP | libc::IFF_NOARP)?;
    Ok(Tap { frames, name, ifindex })
}

/// Keeps the kernel from sending router solicitations into it. Where /proc cannot be written, they are dropped there.
fn silence(name: &str) {
    let path = Path::new("/proc/sys/net/ipv6/conf").join(name).join("disable_ipv6");
    if let Err(error) = std::fs::write(&path, "1") {
        tracing::debug!(path = %path.display(), %error, "leaving IPv6 on");
    }
}

fn set_flags(name: &str, flags: i32) -> io::Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = request(name);
    // SAFETY: SIOCGIFFLAGS reads and writes a `struct ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the kernel has just set this member, and every value of it is valid.
    unsafe { request.ifr_ifru.ifru_flags |= flags as i16 };
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) })
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: a structure of integers and unions of them; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = CString::new(name).unwrap_or_default();
    // The last byte stays zero.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    request
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
