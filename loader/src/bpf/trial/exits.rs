//! Where programs send packets. In a run over one packet the kernel redirects nothing and does not say where to, so each call
//! of a helper that sends is replaced by a call of a function of ours, which notes the ifindex and then calls the helper.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use aya_obj::generated::{BPF_PSEUDO_CALL, BPF_PSEUDO_MAP_FD, bpf_cmd, bpf_insn};
use aya_obj::obj::copy_instructions;

use super::super::{MapShape, bpf, empty, map_create, map_update};

/// Bytes of the one value: how many were noted, then the ifindexes. A flood has room for one for each port.
const VALUE: usize = 4096;
const NOTES: usize = VALUE / 4 - 1;

const CALL: u8 = 0x85;
/// `bpf_map_lookup_elem` (include/uapi/linux/bpf.h, as the numbers below).
const LOOKUP: i32 = 1;

/// A helper that sends: its number, how many arguments it takes, and which one is the ifindex.
struct Helper {
    number: i32,
    arguments: u8,
    ifindex: u8,
}

/// `bpf_clone_redirect`, `bpf_redirect` and `bpf_redirect_peer`.
const HELPERS: [Helper; 3] = [
    Helper { number: 13, arguments: 3, ifindex: 1 },
    Helper { number: 23, arguments: 2, ifindex: 0 },
    Helper { number: 155, arguments: 2, ifindex: 0 },
];

/// The map of notes, if this process observes its programs, and the lock of the run that writes there.
static NOTED: OnceLock<OwnedFd> = OnceLock::new();
static RUN: Mutex<()> = Mutex::new(());

/// From now on, programs that this process loads note where they send packets. The daemon never asks for that.
///
/// # Errors
/// What the kernel says.
pub fn observe() -> io::Result<()> {
    if NOTED.get().is_none() {
        let shape = MapShape { map_type: 2, key_size: 4, value_size: VALUE as u32, max_entries: 1, flags: 0 };
        // Another thread may have been faster.
        let _ = NOTED.set(map_create("exits", shape, None)?);
    }
    Ok(())
}

/// A program that notes where it sends packets. `None` if it sends none, or is not observed.
pub(in crate::bpf) fn observed(code: &[bpf_insn]) -> Option<Vec<bpf_insn>> {
    rewritten(code, NOTED.get()?.as_raw_fd())
}

fn rewritten(code: &[bpf_insn], notes: RawFd) -> Option<Vec<bpf_insn>> {
    let mut changed = code.to_vec();
    for helper in &HELPERS {
        let function = changed.len();
        let is_call = |insn: &bpf_insn| insn.code == CALL && insn.src_reg() == 0 && insn.imm == helper.number;
        let calls: Vec<usize> = (0..code.len()).filter(|at| is_call(&code[*at])).collect();
        if calls.is_empty() {
            continue;
        }
        for at in calls {
            changed[at].set_src_reg(BPF_PSEUDO_CALL as u8);
            changed[at].imm = (function - at - 1) as i32;
        }
        changed.extend(copy_instructions(&noting(helper, notes)).ok()?);
    }
    (changed.len() > code.len()).then_some(changed)
}

/// The function that stands for a helper, of the instructions of RFC 9669.
fn noting(helper: &Helper, notes: RawFd) -> Vec<u8> {
    let insn = |code: u8, dst: u8, src: u8, offset: i16, immediate: i32| {
        let ([low, high], [a, b, c, d]) = (offset.to_le_bytes(), immediate.to_le_bytes());
        [code, dst | src << 4, low, high, a, b, c, d]
    };
    let copies = |from: u8, to: u8| (0..helper.arguments).map(move |n| insn(0xbf, to + n, from + n, 0, 0));
    let mut code: Vec<[u8; 8]> = copies(1, 6).collect();
    code.extend([
        // Key 0 on the stack, and its value.
        insn(0x62, 10, 0, -4, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x18, 1, BPF_PSEUDO_MAP_FD as u8, 0, notes),
        insn(0, 0, 0, 0, 0),
        insn(CALL, 0, 0, 0, LOOKUP),
        insn(0x15, 0, 0, 9, 0),
        // r1 = how many; beyond the room, over the rest.
        insn(0x61, 1, 0, 0, 0),
        insn(0x25, 1, 0, 7, NOTES as i32 - 1),
        insn(0xbf, 2, 1, 0, 0),
        insn(0x67, 2, 0, 0, 2),
        insn(0xbf, 3, 0, 0, 0),
        insn(0x0f, 3, 2, 0, 0),
        insn(0x63, 3, 6 + helper.ifindex, 4, 0),
        insn(0x07, 1, 0, 0, 1),
        insn(0x63, 0, 1, 0, 0),
    ]);
    code.extend(copies(6, 1));
    code.extend([insn(CALL, 0, 0, 0, helper.number), insn(0x95, 0, 0, 0, 0)]);
    code.concat()
}

/// The notes of one run. While it is there, no other run takes notes.
pub(super) struct Notes(Option<MutexGuard<'static, ()>>);

impl Notes {
    pub(super) fn begin() -> io::Result<Self> {
        let Some(notes) = NOTED.get() else { return Ok(Self(None)) };
        let lock = RUN.lock().unwrap_or_else(PoisonError::into_inner);
        map_update(notes.as_fd(), 0, &[0; VALUE])?;
        Ok(Self(Some(lock)))
    }

    /// The ifindexes that packets were sent to, in their order.
    pub(super) fn end(self) -> io::Result<Vec<u32>> {
        let Some(notes) = NOTED.get().filter(|_| self.0.is_some()) else { return Ok(Vec::new()) };
        let [count, ifindexes @ ..] = read(notes.as_fd())?;
        Ok(ifindexes[..(count as usize).min(NOTES)].to_vec())
    }
}

fn read(notes: BorrowedFd<'_>) -> io::Result<[u32; VALUE / 4]> {
    let (key, mut value) = (0_u32, [0_u32; VALUE / 4]);
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_MAP_LOOKUP_ELEM; `value` has the size of the map's values.
    let lookup = unsafe { &mut attr.__bindgen_anon_2 };
    lookup.map_fd = notes.as_raw_fd() as u32;
    lookup.key = std::ptr::from_ref(&key) as u64;
    lookup.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_a_helper_that_sends_goes_to_one_function() {
        let call = |number: i32| {
            let [a, b, c, d] = number.to_le_bytes();
            [CALL, 0, 0, 0, a, b, c, d]
        };
        let bytes = [call(23), call(5), call(13), call(23), [0x95, 0, 0, 0, 0, 0, 0, 0]].concat();
        let code = copy_instructions(&bytes).unwrap();
        let changed = rewritten(&code, 7).unwrap();
        let target = |at: usize| at + 1 + usize::try_from(changed[at].imm).unwrap();
        assert_eq!(target(2), code.len(), "the first function is that of helper 13");
        assert_eq!((target(0), target(0)), (target(3), target(3)));
        assert!(target(0) > target(2) && changed[target(0) - 1].code == 0x95, "functions end before the next");
        assert_eq!((changed[1].imm, changed[1].src_reg()), (5, 0), "other helpers stay");
        assert_eq!(changed.last().unwrap().code, 0x95);
        assert!(rewritten(&code[4..], 7).is_none(), "a program that sends nothing stays as it is");
    }
}
