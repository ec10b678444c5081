//! bpf(2), as far as aya offers no way to do without its loader, which parses the kernel's BTF at every construction
//! (19 ms, `docs/benchmarks.md`).

mod elements;
mod pinned;
pub mod trial;
mod types;

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use aya_obj::generated::{BPF_F_AFTER, BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};

pub use elements::Elements;
pub use pinned::{
    LinkInfo, bind_map, is_attached, link_info, link_update, lookup, map_ids, map_info, open, program_id,
};
use types::{FUNCTION_SIZE, LINE_SIZE};
pub use types::{MapTypes, ProgramTypes, map_create, map_of_maps_create, types_load};

/// Bytes of a verifier log that are kept.
const LOG_SIZE: usize = 1 << 20;

/// `BPF_LOG_LEVEL1` and `BPF_LOG_STATS` of include/linux/bpf_verifier.h: reasons are in the log with both.
const LOG_INSTRUCTIONS: u32 = 1;
const LOG_STATISTICS: u32 = 4;

/// What `BPF_MAP_CREATE` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// A program that the kernel refused: the verifier's last line, and the line of source that it was at.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", last_line(log).unwrap_or("no reason given"), source_line(log))]
pub struct ProgramRefused {
    /// The whole of the verifier's log.
    pub log: String,
    #[source]
    pub source: io::Error,
}

/// The reason at the end of a log: what follows it are registers and figures (`is_state_visited()` in
/// kernel/bpf/verifier.c), and one about a loop comes after the instruction, in the same line.
fn last_line(log: &str) -> Option<&str> {
    const NO_REASON: [&str; 6] = ["processed ", ";", "cur state:", "old state:", "verification time ", "stack depth "];
    let is_reason = |line: &&str| !line.is_empty() && !NO_REASON.iter().any(|start| line.starts_with(start));
    let line = log.lines().rev().find(is_reason)?;
    Some(line.find("infinite loop detected").map_or(line, |at| &line[at..]))
}

/// Whether a program that was refused with its types might be taken without them. Where the verifier has followed it and
/// found a fault, or gave up, the next attempt would end in the same way, after as long.
fn can_be_of_types(refused: &io::Error) -> bool {
    !matches!(refused.raw_os_error(), Some(libc::E2BIG | libc::EACCES | libc::EPERM | libc::ENOMEM))
}

/// The last line of source in a log. The verifier shows one before the instructions that it became, if it knows the
/// program's lines: `; return *nowhere; @ typed.bpf.c:66` (`verbose_linfo()` in kernel/bpf/log.c).
fn source_line(log: &str) -> String {
    let line = log.lines().rev().find_map(|line| Some(line.strip_prefix(';')?.trim()));
    line.filter(|line| !line.is_empty()).map(|line| format!(", at `{line}`")).unwrap_or_default()
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<c_long> {
    // SAFETY: `attr` is a whole bpf_attr, zeroed but for the fields of `command`; the pointers in it are to buffers
    // that the callers below keep alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn empty() -> bpf_attr {
    // SAFETY: bpf_attr is a union of plain structs; all zeroes is each one's neutral value.
    unsafe { std::mem::zeroed() }
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: the callers pass what a successful bpf(2) returned: a descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Copies at most 15 bytes of a name, as `BPF_OBJ_NAME_LEN` allows, and makes the rest what `bpf_obj_name_cpy()` takes.
fn object_name(name: &str) -> [libc::c_char; 16] {
    let mut to = [0; 16];
    for (to, from) in to.iter_mut().zip(name.bytes()).take(15) {
        *to =
            if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' { from as libc::c_char } else { b'_' as _ };
    }
    to
}

/// Sets the 4-byte `key` to `value`, which has the map's value size.
///
/// # Errors
/// What the kernel says.
pub fn map_update(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_MAP_UPDATE_ELEM.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd() as u32;
    update.key = std::ptr::from_ref(&key) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Clears the slot `key` of a map that can have empty ones. It may be empty already.
///
/// # Errors
/// What the kernel says.
pub fn map_clear(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_MAP_DELETE_ELEM.
    let delete = unsafe { &mut attr.__bindgen_anon_2 };
    delete.map_fd = map.as_raw_fd() as u32;
    delete.key = std::ptr::from_ref(&key) as u64;
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// Makes a map's content constant, so that the verifier prunes by it.
///
/// # Errors
/// What the kernel says.
pub fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Loads a TC program, with its types if the kernel takes them.
///
/// # Errors
/// [`ProgramRefused`] with the verifier's log, which another attempt fetches: where the program is too complex, without the
/// instructions that the verifier followed, because to write them takes several times as long as to follow them.
pub fn load_classifier(
    name: &str,
    instructions: &[bpf_insn],
    license: &CStr,
    types: Option<&ProgramTypes<'_>>,
) -> Result<OwnedFd, ProgramRefused> {
    let attempt_of = |instructions: &[bpf_insn], types: Option<&ProgramTypes<'_>>, (log, level): (&mut [u8], u32)| {
        let mut attr = empty();
        // SAFETY: writing the union's member for BPF_PROG_LOAD.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = license.as_ptr() as u64;
        load.prog_name = object_name(name);
        if let Some(ProgramTypes { types, functions, lines }) = types {
            load.prog_btf_fd = types.as_raw_fd() as u32;
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = (functions.len() / FUNCTION_SIZE) as u32;
            load.func_info_rec_size = FUNCTION_SIZE as u32;
            load.line_info = lines.as_ptr() as u64;
            load.line_info_cnt = (lines.len() / LINE_SIZE) as u32;
            load.line_info_rec_size = LINE_SIZE as u32;
        }
        if !log.is_empty() {
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
            load.log_level = level;
        }
        bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
    };
    let attempt = |types: Option<&ProgramTypes<'_>>| attempt_of(instructions, types, (&mut [], 0));
    let loaded = match attempt(types) {
        Err(refused) if types.is_some() && can_be_of_types(&refused) => attempt(None),
        loaded => loaded,
    };
    // What a test observes is what the kernel takes as it is, too.
    let loaded = loaded.map(|program| {
        let observed = trial::observed(instructions).and_then(|code| attempt_of(&code, None, (&mut [], 0)).ok());
        observed.unwrap_or(program)
    });
    loaded.or_else(|refused| {
        let mut log = vec![0; LOG_SIZE];
        let level = if refused.raw_os_error() == Some(libc::E2BIG) { LOG_STATISTICS } else { LOG_INSTRUCTIONS };
        attempt_of(instructions, types, (&mut log, level)).map_err(|source| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let mut log = String::from_utf8_lossy(&log[..end]).into_owned();
            // The program may be sound, and something else was short: descriptors, memory.
            if last_line(&log).is_none() {
                log.push_str(&source.to_string());
            }
            ProgramRefused { log, source }
        })
    })
}

/// The hooks of a netdev.
#[derive(Clone, Copy, Debug)]
pub enum Tcx {
    Ingress,
    Egress,
}

/// Where a program goes among those that are on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    First,
    Last,
}

/// Attaches `program` to a netdev's hook. The program runs at once, and the call returns when no CPU reads the hook as it
/// was before.
///
/// # Errors
/// What the kernel says.
pub fn link_create(program: BorrowedFd<'_>, ifindex: u32, hook: Tcx, order: Order) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_LINK_CREATE.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    create.__bindgen_anon_2.target_ifindex = ifindex;
    // Relative to no program, which is to all of them (`bpf_mprog_pos_before()` in kernel/bpf/mprog.c).
    create.flags = match order {
        Order::First => BPF_F_BEFORE,
        Order::Last => BPF_F_AFTER,
    };
    create.attach_type = match hook {
        Tcx::Ingress => bpf_attach_type::BPF_TCX_INGRESS as u32,
        Tcx::Egress => bpf_attach_type::BPF_TCX_EGRESS as u32,
    };
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Detaches what [`link_create`] attached, even if the link is held elsewhere too. When it returns, no CPU runs the
/// program, nor what came after it (`tcx_entry_sync()` in include/net/tcx.h is `synchronize_rcu()`).
///
/// # Errors
/// What the kernel says.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// Pins a program, map or link at `path`, which must be in a bpf filesystem and free.
///
/// # Errors
/// What the kernel says.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    // SAFETY: writing the union's member for BPF_OBJ_PIN.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = object.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Waits until no CPU runs a program that it entered before the call.
///
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu()` (kernel/sched/membarrier.c), and TC programs run in an RCU read-side
/// section. With one CPU it returns at once, and rightly but for PREEMPT_RT: a TC program runs with bottom halves off, so
/// none is under way while this thread runs. Where the kernel refuses it (CPUs without ticks), time has to do: a program
/// runs for microseconds.
pub fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    const LONG: Duration = Duration::from_millis(200);
    // SAFETY: membarrier(2) takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 {
        std::thread::sleep(LONG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts what is said of a program with this log.
    #[track_caller]
    fn check(log: &str, expected: &str) {
        let source = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(ProgramRefused { log: log.to_owned(), source }.to_string(), expected);
    }

    #[test]
    fn a_refusal_has_the_last_line_and_the_line_of_source() {
        check("", "no reason given");
        check("0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n", "R0 !read_ok");
        let log = "; one @ a.c:1\n0: (b7) r0 = 0\n; return *nowhere; @ a.c:9\n5: (61) r0 = *(u32 *)(r6 +0)\n\
                   R6 invalid mem access 'scalar'\nprocessed 6 insns\n\n";
        check(log, "R6 invalid mem access 'scalar', at `return *nowhere; @ a.c:9`");
        check(";  @ main.rs:7\nR1 unknown", "R1 unknown, at `@ main.rs:7`");
        check("; only a line of source @ a.c:1", "no reason given, at `only a line of source @ a.c:1`");
        let log = "; while (x) @ loop.c:6\n7: (b7) r3 = 1\n8: (56) if w3 != 0x0 goto pc-3 infinite loop detected at insn 6\n\
                   cur state: R1=ctx() R3=1\nold state: R1=ctx() R3=1\nprocessed 9 insns (limit 1000000)\n";
        check(log, "infinite loop detected at insn 6, at `while (x) @ loop.c:6`");
        let log = "BPF program is too large. Processed 1000001 insn\nverification time 601 usec\nstack depth 0\n\
                   processed 1000001 insns (limit 1000000)\n";
        check(log, "BPF program is too large. Processed 1000001 insn");
    }

    #[test]
    fn what_the_verifier_finds_is_not_verified_again_without_types() {
        let of = |code: i32| can_be_of_types(&io::Error::from_raw_os_error(code));
        assert!([libc::EINVAL, libc::ENOENT, libc::EBADF].into_iter().all(of));
        assert!(![libc::E2BIG, libc::EACCES, libc::EPERM, libc::ENOMEM].into_iter().any(of));
    }
}
