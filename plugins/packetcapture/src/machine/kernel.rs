//! Questions to the kernel that rustix does not ask.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Netdev;

/// The state of the kernel's clock (adjtimex(2)).
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) is_synchronised: bool,
    /// Microseconds.
    pub(super) estimated: i64,
    /// Microseconds.
    pub(super) maximum: i64,
    /// Seconds between TAI and UTC.
    pub(super) tai: i32,
}

/// The clock, if the kernel says.
pub(super) fn clock() -> Option<Clock> {
    // SAFETY: plain data, of which zeros are a value: they ask for no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        return None;
    }
    let is_synchronised = state.status & libc::STA_UNSYNC == 0;
    Some(Clock { is_synchronised, estimated: state.esterror, maximum: state.maxerror, tai: state.tai })
}

/// The addresses of all netdevs, by their names; none if the kernel does not say.
pub(super) fn addresses() -> BTreeMap<String, Netdev> {
    let mut found = BTreeMap::<String, Netdev>::new();
    let mut list = ptr::null_mut();
    // SAFETY: the function writes the list's address.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return found;
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an entry of the list, which is freed after the loop.
        let entry = unsafe { &*next };
        // SAFETY: the kernel's names end with a zero.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        if !entry.ifa_addr.is_null() {
            // SAFETY: the entry's address and mask have the size of their family, or are null.
            unsafe { add(found.entry(name.into_owned()).or_default(), entry) };
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list is getifaddrs' own, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// # Safety
///
/// The entry's address is there; it and its mask, unless that is null, have the size of their family.
unsafe fn add(found: &mut Netdev, entry: &libc::ifaddrs) {
    let (address, mask) = (entry.ifa_addr, entry.ifa_netmask);
    // SAFETY: the caller's promise, for each family.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_PACKET => {
                let link = &*address.cast::<libc::sockaddr_ll>();
                if link.sll_halen == 6 && link.sll_addr[..6] != [0; 6] {
                    found.mac = link.sll_addr.first_chunk().copied();
                }
            }
            libc::AF_INET if !mask.is_null() => {
                let bytes =
                    |address: *mut libc::sockaddr| (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr.to_ne_bytes();
                found.ipv4.push((bytes(address), bytes(mask)));
            }
            libc::AF_INET6 if !mask.is_null() => {
                let bytes = |address: *mut libc::sockaddr| (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                let length = u128::from_be_bytes(bytes(mask)).leading_ones();
                found.ipv6.push((bytes(address), length as u8));
            }
            _ => {}
        }
    }
}

/// `ETHTOOL_*` of include/uapi/linux/ethtool.h.
const GSET: u32 = 0x1;
const OFFLOADS: [(u32, &str); 5] = [
    (0x14, "rx-checksumming"),
    (0x16, "tx-checksumming"),
    (0x1e, "tcp-segmentation-offload"),
    (0x23, "generic-segmentation-offload"),
    (0x2b, "generic-receive-offload"),
];
/// `SIOCETHTOOL` of include/uapi/linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// Words of the longest answer, `struct ethtool_cmd`.
const WORDS: usize = 11;

/// The link's speed in bits per second, if it has one.
pub(super) fn speed(netdev: &str) -> Option<u64> {
    let answer = ethtool(netdev, GSET)?;
    // `speed` and `speed_hi`, in Mbit/s; all ones are `SPEED_UNKNOWN`.
    let megabits = (answer[3] & 0xffff) | (answer[7] << 16);
    (megabits != 0 && megabits != u32::MAX && megabits != 0xffff).then(|| u64::from(megabits) * 1_000_000)
}

/// The offloads that are on; `None` if the netdev does not say.
pub(super) fn offloads(netdev: &str) -> Option<Vec<&'static str>> {
    let of = |(command, name)| Some((ethtool(netdev, command)?[1] != 0, name));
    let all: Vec<(bool, &str)> = OFFLOADS.into_iter().filter_map(of).collect();
    (!all.is_empty()).then(|| all.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect())
}

fn ethtool(netdev: &str, command: u32) -> Option<[u32; WORDS]> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut u32,
        /// `struct ifreq` is longer than its pointer.
        rest: [u64; 2],
    }
    let socket: OwnedFd = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    let mut answer = [0; WORDS];
    answer[0] = command;
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: answer.as_mut_ptr(), rest: [0; 2] };
    // The last byte stays zero.
    request.name[..libc::IFNAMSIZ - 1].get_mut(..netdev.len())?.copy_from_slice(netdev.as_bytes());
    // SAFETY: a `struct ifreq` whose data has room for the answers to these commands.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (result == 0).then_some(answer)
}
