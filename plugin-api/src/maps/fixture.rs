//! Maps in the real kernel, and a program that fills a ring. It takes root.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::Map;

const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;

pub(crate) const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;
pub(crate) const PERCPU_HASH: u32 = 5;
pub(crate) const PERCPU_ARRAY: u32 = 6;
pub(crate) const LRU_HASH: u32 = 9;
pub(crate) const LRU_PERCPU_HASH: u32 = 10;
pub(crate) const LPM_TRIE: u32 = 11;
pub(crate) const RINGBUF: u32 = 27;

/// `BPF_F_NO_PREALLOC`, which tries demand.
const NO_PREALLOC: u32 = 1;

/// Calls bpf(2) with 64-bit words as its attributes, two 32-bit fields in each where the kernel has them so.
fn bpf(command: u32, attr: &mut [u64]) -> io::Result<i32> {
    // SAFETY: `attr` is alive and as long as it says; the callers put addresses of live buffers into it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a descriptor that bpf(2) has just returned, and nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A new map called `m`; sizes in bytes.
#[track_caller]
pub(crate) fn map(kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> Map {
    let flags = if kind == LPM_TRIE { NO_PREALLOC } else { 0 };
    let mut attr = [pair(kind, key_size), pair(value_size, max_entries), pair(flags, 0)];
    let fd = bpf(MAP_CREATE, &mut attr).map(owned).expect("root can create maps");
    Map { name: String::from("m"), key_size, value_size, max_entries, fd }
}

/// The same map, through another descriptor.
#[track_caller]
pub(crate) fn again(map: &Map) -> Map {
    let fd = map.fd.try_clone().unwrap();
    Map { name: map.name.clone(), fd, ..*map }
}

/// A program that sends its packets' first 8 bytes through a ring.
pub(crate) struct Sender(OwnedFd);

impl Sender {
    pub(crate) fn to(ring: &Map) -> Self {
        let fd = ring.fd.as_raw_fd();
        let instruction = |code: u8, registers: u8, offset: i16, immediate: i32| {
            u64::from(code)
                | u64::from(registers) << 8
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(immediate.cast_unsigned()) << 32
        };
        // Opcodes of RFC 9669; the second register is the source, in the upper half.
        let code = [
            instruction(0xb7, 0x02, 0, 0),  // r2 = offset 0
            instruction(0xbf, 0xa3, 0, 0),  // r3 = r10
            instruction(0x07, 0x03, 0, -8), // r3 -= 8
            instruction(0xb7, 0x04, 0, 8),  // r4 = 8 bytes
            instruction(0x85, 0x00, 0, 26), // bpf_skb_load_bytes
            instruction(0x55, 0x00, 7, 0),  // if it failed, exit
            instruction(0x18, 0x11, 0, fd), // r1 = the ring
            instruction(0x00, 0x00, 0, 0),
            instruction(0xbf, 0xa2, 0, 0),   // r2 = r10
            instruction(0x07, 0x02, 0, -8),  // r2 -= 8
            instruction(0xb7, 0x03, 0, 8),   // r3 = 8 bytes
            instruction(0xb7, 0x04, 0, 0),   // r4 = no flags
            instruction(0x85, 0x00, 0, 130), // bpf_ringbuf_output
            instruction(0x95, 0x00, 0, 0),   // exit with what it says
        ];
        let license = c"GPL";
        // BPF_PROG_TYPE_SCHED_CLS.
        let mut attr = [pair(3, code.len() as u32), code.as_ptr() as u64, license.as_ptr() as u64, 0, 0, 0];
        Self(bpf(PROG_LOAD, &mut attr).map(owned).expect("root can load programs"))
    }

    /// Sends one record, and answers whether there was room for it.
    pub(crate) fn send(&self, record: u64) -> bool {
        let mut packet = [0; 64];
        packet[..8].copy_from_slice(&record.to_ne_bytes());
        let fd = self.0.as_raw_fd().cast_unsigned();
        let mut attr = [pair(fd, 0), pair(64, 0), packet.as_ptr() as u64, 0, 0, 0];
        bpf(PROG_TEST_RUN, &mut attr).expect("the program runs");
        // `retval`.
        attr[0] >> 32 == 0
    }
}
