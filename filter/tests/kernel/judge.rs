//! libpcap's own verdict.

use std::ffi::{c_int, c_long};

use libloading::Library;
use polycube_filter::Raw;

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    length: u32,
    instructions: *const Raw,
}

/// `struct pcap_pkthdr`.
#[repr(C)]
struct Header {
    time: [c_long; 2],
    captured: u32,
    length: u32,
}

type OfflineFilter = unsafe extern "C" fn(*const Program, *const Header, *const u8) -> c_int;

pub(crate) struct Judge {
    offline_filter: OfflineFilter,
    _library: Library,
}

impl Judge {
    pub(crate) fn new() -> Self {
        // SAFETY: libpcap's initialisers touch nothing of ours; the type is that of pcap/pcap.h.
        unsafe {
            let library = Library::new("libpcap.so.1").or_else(|_| Library::new("libpcap.so.0.8")).unwrap();
            Self { offline_filter: *library.get(b"pcap_offline_filter\0").unwrap(), _library: library }
        }
    }

    pub(crate) fn matches(&self, program: &[Raw], packet: &[u8]) -> bool {
        let length = packet.len() as u32;
        let program = Program { length: program.len() as u32, instructions: program.as_ptr() };
        let header = Header { time: [0; 2], captured: length, length };
        // SAFETY: libpcap made the program, and both lengths match what the pointers refer to.
        unsafe { (self.offline_filter)(&raw const program, &raw const header, packet.as_ptr()) != 0 }
    }
}

/// A program that decides as `program` does, made independent of libpcap's version. Scratch memory starts as zeros, as
/// in newer versions; in older ones it is undefined, and `geneve` after an `or` reads what one path has not written.
/// And loops end after more rounds than any packet here needs: libpcap may never return, because the length of an
/// authentication header leads `protochain` back to where it was.
pub(crate) fn defined(program: &[Raw]) -> Vec<Raw> {
    const STORE_A: u16 = 0x02;
    let cleared = (0..16).map(|k| Raw { code: STORE_A, k, ..Raw::default() });
    cleared.chain(unrolled(program)).collect()
}

fn unrolled(program: &[Raw]) -> Vec<Raw> {
    const ROUNDS: usize = 600;
    let is_back = |raw: &Raw| raw.code == 0x05 && raw.k.cast_signed() < 0;
    if !program.iter().any(is_back) {
        return program.to_vec();
    }
    let round = |number: usize| {
        program.iter().map(move |raw| match raw {
            raw if !is_back(raw) => *raw,
            raw if number < ROUNDS => Raw { k: raw.k.wrapping_add(program.len() as u32), ..*raw },
            _ => Raw { code: 0x06, k: 0, ..*raw },
        })
    };
    (0..=ROUNDS).flat_map(round).collect()
}
