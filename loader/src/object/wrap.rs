//! Lets a program that knows nothing of chains stand in one. Pure.
//!
//! A few instructions of ours come first: they call the program as a function, and look at its verdict. "Pass" in any of its
//! forms goes on to the next program, and every other verdict keeps its meaning. A program that replaces another
//! (`BPF_PROG_TYPE_EXT`) would need one more program and a trampoline for each; a call costs two instructions.
//!
//! The program becomes a static function: the verifier then follows it from our call, with all that is known there. A global
//! one would be verified alone, and its argument has to have a type that not every program declares. What the program does
//! with tail calls of its own stays as it was: a tail call from a function replaces the function, so that the verdict of its
//! target comes to us, too.

use std::os::fd::RawFd;

use aya_obj::generated::{BPF_PSEUDO_CALL, BPF_PSEUDO_MAP_FD, bpf_func_info, bpf_insn, bpf_line_info};
use aya_obj::obj::copy_instructions;
use aya_obj::{Function, ParseError};

/// `bpf_tail_call` of `enum bpf_func_id`.
const TAIL_CALL: i32 = 12;

/// Opcode of a call.
const CALL: u8 = 0x85;

/// Verdicts that mean "I have nothing against it": `TC_ACT_OK`, `TC_ACT_UNSPEC` and `TC_ACT_PIPE` of
/// include/uapi/linux/pkt_cls.h. TCX knows the first two, as `TCX_PASS` and `TCX_NEXT`.
const PASS: [i32; 3] = [0, -1, 3];

/// Puts our instructions before a linked program; `slots` are tried in their order when the program lets the packet pass.
///
/// # Errors
/// None that bytes of whole instructions could have.
pub(super) fn wrap(function: &mut Function, slots: &[RawFd]) -> Result<(), ParseError> {
    let mut code = copy_instructions(&entrance(slots))?;
    let length = code.len();
    code.append(&mut function.instructions);
    function.instructions = code;
    let (functions, lines) = (&mut function.func_info.func_info, &mut function.line_info.line_info);
    functions.iter_mut().for_each(|info| info.insn_off += length as u32);
    lines.iter_mut().for_each(|info| info.insn_off += length as u32);
    // The kernel wants each function of a program described, ours too: it is described as the program is.
    if let Some(&bpf_func_info { type_id, .. }) = functions.first() {
        functions.insert(0, bpf_func_info { insn_off: 0, type_id });
    }
    if let Some(&bpf_line_info { file_name_off, line_off, line_col, .. }) = lines.first() {
        lines.insert(0, bpf_line_info { insn_off: 0, file_name_off, line_off, line_col });
    }
    function.func_info.num_info = functions.len() as u32;
    function.line_info.num_info = lines.len() as u32;
    Ok(())
}

/// Whether a program makes tail calls. The kernel allows them in functions whose types it knows only
/// (`check_abnormal_return()` in kernel/bpf/verifier.c).
pub(super) fn makes_tail_calls(code: &[bpf_insn]) -> bool {
    code.iter().any(|insn| insn.code == CALL && insn.src_reg() == 0 && insn.imm == TAIL_CALL)
}

/// The instructions that come first, of RFC 9669.
fn entrance(slots: &[RawFd]) -> Vec<u8> {
    const SLOT_LENGTH: usize = 5;
    let verdicts = PASS.len();
    let length = 2 + verdicts + 1 + slots.len() * SLOT_LENGTH + 2;
    let mut code = vec![
        // r6 = the packet; a call leaves r6 to r9 as they are.
        instruction(0xbf, 6, 1, 0, 0),
        instruction(CALL, 0, BPF_PSEUDO_CALL as u8, 0, (length - 2) as i32),
    ];
    for (index, verdict) in PASS.into_iter().enumerate() {
        // if w0 == verdict: over the other verdicts and the exit. The kernel takes the lower half for the verdict, too.
        code.push(instruction(0x16, 0, 0, (verdicts - index) as i16, verdict));
    }
    code.push(instruction(0x95, 0, 0, 0, 0));
    for slot in slots {
        code.push(instruction(0xbf, 1, 6, 0, 0));
        code.extend(tail_call(*slot));
    }
    code.extend(END);
    code.concat()
}

/// A program that goes on with the one in `slot`, or ends the chain.
pub(super) fn after(slot: RawFd) -> Vec<u8> {
    let mut code = tail_call(slot).to_vec();
    code.extend(END);
    code.concat()
}

/// TCX_NEXT, as at the end of every chain: r0 = -1 · exit.
const END: [[u8; 8]; 2] = [instruction(0xb7, 0, 0, 0, -1), instruction(0x95, 0, 0, 0, 0)];

/// A tail call to the program in a slot, with the packet in r1.
fn tail_call(slot: RawFd) -> [[u8; 8]; 4] {
    [
        instruction(0x18, 2, BPF_PSEUDO_MAP_FD as u8, 0, slot),
        instruction(0, 0, 0, 0, 0),
        instruction(0xb7, 3, 0, 0, 0),
        instruction(CALL, 0, 0, 0, TAIL_CALL),
    ]
}

const fn instruction(opcode: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let ([low, high], [a, b, c, d]) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [opcode, dst | src << 4, low, high, a, b, c, d]
}

/// Makes the function called `name` a static one in BTF (Documentation/bpf/btf.rst of the kernel has its layout).
pub(super) fn make_static(btf: &mut [u8], name: &str) {
    // What is damaged is refused by the kernel.
    if let Some(info) = function_info(btf, name) {
        // The linkage is in the 16 bits that count members elsewhere.
        btf[info..info + 2].copy_from_slice(&[0, 0]);
    }
}

/// Where the word `info` of a function's type is.
fn function_info(btf: &[u8], name: &str) -> Option<usize> {
    const FUNC: usize = 12;
    let word = |at: usize| Some(u32::from_le_bytes(btf.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize);
    let header = word(4)?;
    let (mut at, types, strings) = (header + word(8)?, word(12)?, header + word(16)?);
    let end = at.checked_add(types)?;
    while at < end {
        let (name_at, info) = (strings + word(at)?, word(at + 4)?);
        let (kind, members) = (info >> 24 & 0x1f, info & 0xffff);
        let has_name = |text: &[u8]| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
        if kind == FUNC && has_name(btf.get(name_at..)?) {
            return Some(at + 4);
        }
        at += 12 + more_bytes(kind, members)?;
    }
    None
}

/// Bytes after the twelve that each type has, by its kind (`btf_type_size()` of libbpf).
fn more_bytes(kind: usize, members: usize) -> Option<usize> {
    match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => Some(4),
        // Array.
        3 => Some(12),
        // Structure, union, section, 64-bit enumeration.
        4 | 5 | 15 | 19 => Some(12 * members),
        // Enumeration, prototype.
        6 | 13 => Some(8 * members),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use object::{Object as _, ObjectSection as _};

    use super::super::parse;
    use super::super::tests::BRIDGE;
    use super::*;

    /// What a packet's way through our instructions is, for a verdict of the program: the slots that are tried, and whether
    /// it then ends with `TCX_NEXT`. Without slots it ends with the program's own verdict.
    fn way(code: &[bpf_insn], verdict: i32) -> (Vec<i32>, bool) {
        let (mut at, mut slots) = (2, Vec::new());
        loop {
            let insn = code[at];
            at += 1;
            match insn.code {
                0x16 if insn.imm == verdict => at += usize::try_from(insn.off).unwrap(),
                0x18 => {
                    slots.push(insn.imm);
                    at += 1;
                }
                0x95 => return (slots, code[at - 2].code == 0xb7 && code[at - 2].imm == -1),
                _ => {}
            }
        }
    }

    #[test]
    fn what_passes_tries_each_slot_and_what_does_not_keeps_its_verdict() {
        for slots in [&[7][..], &[5, 7]] {
            let code = copy_instructions(&entrance(slots)).unwrap();
            for verdict in PASS {
                assert_eq!(way(&code, verdict), (slots.to_vec(), true), "{verdict}");
            }
            for verdict in [1, 2, 4, 5, 6, 7, 8, i32::MAX, i32::MIN] {
                assert_eq!(way(&code, verdict), (Vec::new(), false), "{verdict}");
            }
            let call = 1 + 1 + usize::try_from(code[1].imm).unwrap();
            assert_eq!((code[1].code, code[1].src_reg(), call), (CALL, 1, code.len()), "it calls what follows");
        }
    }

    #[test]
    fn functions_and_lines_move_with_their_instructions() {
        let mut object = parse("bridge", BRIDGE).unwrap();
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_calls(&text).unwrap();
        let key = object.programs["bridge"].function_key();
        let before = object.functions[&key].clone();
        let mut after = before.clone();
        wrap(&mut after, &[7]).unwrap();
        let moved = (after.instructions.len() - before.instructions.len()) as u32;
        assert_eq!(moved as usize * 8, entrance(&[7]).len());
        let places = |function: &Function| {
            let functions: Vec<_> = function.func_info.func_info.iter().map(|f| (f.insn_off, f.type_id)).collect();
            let lines: Vec<_> = function.line_info.line_info.iter().map(|l| (l.insn_off, l.line_col)).collect();
            (functions, lines)
        };
        let ((functions, lines), (moved_functions, moved_lines)) = (places(&before), places(&after));
        assert_eq!((moved_functions[0], moved_lines[0].0), (functions[0], 0));
        for (from, to) in [(functions, moved_functions), (lines, moved_lines)] {
            assert!(!from.is_empty());
            assert_eq!(from.iter().map(|(at, what)| (at + moved, *what)).collect::<Vec<_>>(), to[1..]);
        }
        assert_eq!(after.func_info.num_info as usize, after.func_info.len());
    }

    #[test]
    fn a_function_becomes_static_and_nothing_else_changes() {
        let file = object::File::parse(BRIDGE).unwrap();
        let types = file.section_by_name(".BTF").unwrap().data().unwrap();
        let info = function_info(types, "bridge").unwrap();
        let mut changed = types.to_vec();
        make_static(&mut changed, "bridge");
        assert_eq!(changed[info..info + 2], [0, 0]);
        assert!((0..types.len()).all(|at| changed[at] == types[at] || (info..info + 2).contains(&at)));
        for (types, name) in [(types, "bridg"), (types, ""), (&types[..90], "bridge"), (&[][..], "bridge")] {
            assert_eq!(function_info(types, name), None, "{name}");
        }
    }

    #[test]
    fn tail_calls_are_seen() {
        let code = |bytes: &[[u8; 8]]| copy_instructions(&bytes.concat()).unwrap();
        assert!(makes_tail_calls(&code(&[instruction(CALL, 0, 0, 0, TAIL_CALL)])));
        assert!(!makes_tail_calls(&code(&[instruction(CALL, 0, 1, 0, TAIL_CALL), instruction(CALL, 0, 0, 0, 1)])));
    }
}
