//! What is attached to an interface according to the kernel, queried without any of the daemon's code.

mod bystander;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};

use crate::lab::{Interface, Namespace};

pub use bystander::{Bystander, Verdict};

// Commands and attach types of `linux/bpf.h`.
const BPF_PROG_GET_NEXT_ID: i64 = 11;
const BPF_PROG_GET_FD_BY_ID: i64 = 13;
const BPF_OBJ_GET_INFO_BY_FD: i64 = 15;
const BPF_PROG_QUERY: i64 = 16;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// The most programs that the kernel allows on one hook (`include/linux/bpf_mprog.h`, `BPF_MPROG_MAX`).
const MOST_PROGRAMS: usize = 64;

/// One of an interface's two TCX hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Frames that the interface received.
    Ingress,
    /// Frames that it is about to send.
    Egress,
}

/// One program on a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The hook it is on.
    pub hook: Hook,
    /// The kernel's id of the program.
    pub program: u32,
    /// The kernel's id of the link, 0 when the program was attached without one.
    pub link: u32,
    /// The program's name, at most 15 bytes of it.
    pub name: String,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
    links: u64,
    link_attach_flags: u64,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// The first members of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited_instructions: u64,
    xlated_instructions: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// The programs on an interface's TCX hooks, in the order in which they run, ingress first. Programs of
/// clsact are not included.
///
/// # Errors
/// Fails when there is no such interface, or on a kernel before 6.6.
pub fn programs_attached(namespace: &Namespace, interface: &str) -> Result<Vec<Attached>> {
    let index = Interface::find(namespace, interface)?.index();
    namespace
        .enter(|| {
            let mut attached = query(index, Hook::Ingress)?;
            attached.append(&mut query(index, Hook::Egress)?);
            Ok::<_, io::Error>(attached)
        })
        .with_context(|| format!("cannot list what is attached to {interface}"))
}

/// The kernel's ids of all programs that are loaded on this machine, in any namespace, ascending.
///
/// # Errors
/// Fails without root.
pub fn programs_loaded() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut by_id = ById::default();
    loop {
        // SAFETY: the attribute holds no pointers.
        match unsafe { bpf(BPF_PROG_GET_NEXT_ID, &mut by_id) } {
            Ok(_) => ids.push(by_id.next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error).context("cannot list the kernel's programs"),
        }
        by_id = ById { id: by_id.next, ..ById::default() };
    }
}

fn query(index: u32, hook: Hook) -> io::Result<Vec<Attached>> {
    let (mut programs, mut links) = ([0_u32; MOST_PROGRAMS], [0_u32; MOST_PROGRAMS]);
    let mut query = Query {
        target: index,
        attach_type: if hook == Hook::Ingress { BPF_TCX_INGRESS } else { BPF_TCX_EGRESS },
        programs: (&raw mut programs) as u64,
        links: (&raw mut links) as u64,
        count: MOST_PROGRAMS as u32,
        ..Query::default()
    };
    // SAFETY: `programs` and `links` have room for `count` ids each and outlive the call.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    let pairs = programs.into_iter().zip(links).take(query.count as usize);
    let named = |(program, link)| match program_name(program) {
        // It has gone since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        name => Some(name.map(|name| Attached { hook, program, link, name })),
    };
    pairs.filter_map(named).collect()
}

fn program_name(id: u32) -> io::Result<String> {
    let mut by_id = ById { id, ..ById::default() };
    // SAFETY: the attribute holds no pointers.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id) }?;
    let fd = RawFd::try_from(fd).expect("a descriptor is a small number");
    // SAFETY: the call above has just opened the descriptor, and nothing else owns it.
    let _program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = ProgramInfo::default();
    let mut by_fd =
        InfoByFd { fd: fd.cast_unsigned(), length: size_of::<ProgramInfo>() as u32, info: (&raw mut info) as u64 };
    // SAFETY: `info` has `length` bytes and outlives the call; its own pointers are null with zero lengths.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut by_fd) }?;
    let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(info.name.len());
    Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
}

/// # Safety
/// `attribute` must have the layout that `command` requires, and its pointers must be valid for what the command does.
unsafe fn bpf<T>(command: i64, attribute: &mut T) -> io::Result<i64> {
    // SAFETY: the caller vouches for the attribute, whose own size is passed.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Lab;

    #[test]
    fn an_attached_program_is_found_and_a_detached_one_is_not() -> Result<()> {
        let lab = Lab::new()?;
        let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
        assert_eq!(programs_attached(lab.host(), "veth1")?, []);
        let before = programs_loaded()?;
        let link = Bystander::attach(&wire.host, Hook::Egress, Verdict::Next)?;
        let attached = programs_attached(lab.host(), "veth1")?;
        let [only] = &attached[..] else { panic!("one program was attached, not {attached:?}") };
        assert_eq!((only.hook, only.name.as_str()), (Hook::Egress, "bystander"));
        assert!(only.program > 0 && only.link > 0, "{only:?}");
        assert!(!before.contains(&only.program) && programs_loaded()?.contains(&only.program), "{only:?}");
        drop(link);
        assert_eq!(programs_attached(lab.host(), "veth1")?, []);
        Ok(())
    }
}
