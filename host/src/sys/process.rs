//! What the process may do and where it runs.

use std::io;
use std::path::Path;

/// The group whose members may use the socket, and read captures.
pub(crate) const GROUP: &str = "polycube";

/// `BPF_FS_MAGIC` in include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The oldest kernel that serves: the capture program calls `bpf_ktime_get_tai_ns`, which came with Linux 6.1.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Has writes beyond the limit of file sizes (`RLIMIT_FSIZE`) fail, as all others that cannot be done. By default, they end the
/// process (SIGXFSZ, signal(7)).
pub(crate) fn survive_limit_of_file_sizes() {
    // SAFETY: no handler is installed, and both values are valid.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether `path` is in a bpf filesystem.
///
/// # Errors
/// `path` cannot be looked at.
pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type as u64 == BPF_FS_MAGIC)
}

/// Mounts a bpf filesystem at `place`, in a mount namespace of this process's own: both go with its last thread. There must
/// be no other thread yet.
///
/// # Errors
/// What the kernel says: it takes CAP_SYS_ADMIN.
pub(crate) fn mount_own_bpffs(place: &Path) -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    // SAFETY: only the mount namespace becomes this thread's own, and no descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    // Otherwise the mount would appear in the namespace that this one was made from.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("bpf", place, "bpf", flags, None)?)
}

/// Allows as many descriptors as the system lets us: a capture takes about a dozen.
pub(crate) fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The running kernel's release (`6.18.44-…`).
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine's own name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Major and minor number of a release; `None` when it does not begin with them.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The id of the group called `name` in /etc/group.
pub(crate) fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Adds the group to those of this thread, and of the threads that it creates. To give a file to a group that one is in
/// takes no capability, so the daemon need not keep one for that.
///
/// # Errors
/// What the kernel says: it takes CAP_SETGID.
pub(crate) fn join_group(id: u32) -> io::Result<()> {
    let mut groups = rustix::process::getgroups()?;
    let group = rustix::process::Gid::from_raw(id);
    if rustix::process::getegid() == group || groups.contains(&group) {
        return Ok(());
    }
    groups.push(group);
    Ok(rustix::thread::set_thread_groups(&groups)?)
}

/// Ends this process at once, as `kill -9` does.
#[cfg(debug_assertions)]
pub(crate) fn kill_self() {
    // The process ends before the call returns.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// The name of the user with this id in /etc/passwd.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Has this process leave no core file when it aborts.
///
/// # Errors
/// What the kernel says.
pub(crate) fn forbid_core_files() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_whatever_follows_the_numbers() {
        for (release, version) in
            [("6.18.44-fc-v669", Some((6, 18))), ("5.4", Some((5, 4))), ("6.1-rc3", Some((6, 1))), ("linux", None)]
        {
            assert_eq!(kernel_version(release), version, "{release}");
        }
    }

    #[test]
    fn a_release_without_two_numbers_has_no_version() {
        for release in ["", "6", "6.", "6.x", ".1", "v6.1", "99999999999.1"] {
            assert_eq!(kernel_version(release), None, "{release}");
        }
        assert!(kernel_version(&kernel_release()).is_some_and(|version| version > (2, 6)), "{}", kernel_release());
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        assert_eq!(group_id("root"), Some(0));
        for name in ["", "roo", "root:x", "no-such-group-anywhere"] {
            assert_eq!(group_id(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_user_is_found_by_id() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
    }

    #[test]
    fn proc_is_not_a_bpf_filesystem() {
        assert!(!is_bpffs(Path::new("/proc")).unwrap());
        assert!(is_bpffs(Path::new("/no/such/directory")).is_err());
    }
}
