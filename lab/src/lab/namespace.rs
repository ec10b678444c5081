//! One network namespace: creating it, entering it, running commands in it.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Whether the kernel may send packets by itself in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autoconf {
    /// No IPv6 until an address is given, no router solicitation, no duplicate address detection. A capture then holds
    /// what the test sent and nothing else.
    Off,
    /// The kernel's defaults: link-local addresses, solicitations, multicast listener reports.
    On,
}

/// A network namespace; clones refer to the same one. It disappears with the last clone, including the lab's.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    file: File,
    mount: Option<PathBuf>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(path) = &self.mount {
            remove_name(path);
        }
    }
}

/// Removes a name from `/run/netns`. A name that is already gone is fine.
pub(super) fn remove_name(path: &Path) {
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}

impl Namespace {
    pub(super) fn create(name: &str, mount: Option<PathBuf>) -> Result<Self> {
        let made = thread::scope(|scope| scope.spawn(|| unshare_and_open(mount.as_deref())).join());
        let file = made.unwrap_or_else(|payload| panic::resume_unwind(payload));
        let file = file.with_context(|| format!("cannot create network namespace {name}"))?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), file, mount })))
    }

    /// What the test calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its path, for a lab that puts names on disk.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.mount.as_deref()
    }

    /// Runs `work` in this namespace, on a new thread, and passes on its result or its panic. Sockets that `work` opens
    /// stay in the namespace wherever they are used later. `/sys/class/net` still shows the outer namespace:
    /// use `/proc/thread-self/net`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter_this_thread().unwrap_or_else(|error| panic!("{error:#}"));
                    work()
                })
                .join()
        });
        done.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Moves the calling thread permanently; for threads that the caller starts and ends.
    ///
    /// # Errors
    /// Fails without root.
    pub fn enter_this_thread(&self) -> Result<()> {
        move_into_link_name_space(self.0.file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter network namespace {}", self.name()))
    }

    /// A command that will run in this namespace. Mounts stay as they are, so `/sys/fs/bpf` is the same inside and out.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let inner = Arc::clone(&self.0);
        let enter =
            move || move_into_link_name_space(inner.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into);
        // SAFETY: between fork and exec the closure makes one system call on a descriptor that the captured Arc keeps
        // open; it neither allocates nor locks.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Sets what the kernel sends by itself, for interfaces that are created here or moved here from now on.
    ///
    /// # Errors
    /// Fails when `/proc/sys` is not writable.
    pub fn set_autoconf(&self, autoconf: Autoconf) -> Result<()> {
        const QUIET: [(&str, &str, &str); 8] = [
            ("disable_ipv6", "1", "0"),
            ("accept_ra", "0", "1"),
            ("accept_dad", "0", "1"),
            ("dad_transmits", "0", "1"),
            ("router_solicitations", "0", "-1"),
            // 1 means that no address is generated (net/ipv6/addrconf.c, IN6_ADDR_GEN_MODE_NONE).
            ("addr_gen_mode", "1", "0"),
            // Listener reports cannot be turned off; an interval of milliseconds makes them come before any
            // measurement.
            ("mldv1_unsolicited_report_interval", "1", "10000"),
            ("mldv2_unsolicited_report_interval", "1", "1000"),
        ];
        if !Path::new("/proc/sys/net/ipv6").exists() {
            return Ok(());
        }
        for (key, quiet, kernel) in QUIET {
            let value = if autoconf == Autoconf::Off { quiet } else { kernel };
            self.set_sysctl(&format!("net/ipv6/conf/default/{key}"), value)?;
        }
        Ok(())
    }

    /// Writes a network setting, by its path under `/proc/sys`.
    ///
    /// # Errors
    /// Fails when there is no such setting or the value is refused.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value)).with_context(|| format!("cannot write {value} to {}", path.display()))
    }

    /// Names of all interfaces here, loopback included.
    ///
    /// # Errors
    /// Fails when `/proc` is not mounted.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let table = self.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).context("cannot list interfaces")?;
        Ok(table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

fn unshare_and_open(mount: Option<&Path>) -> Result<File> {
    // SAFETY: NEWNET leaves the descriptor table shared, and the thread ends here, so no other code runs in the new
    // namespace by accident.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("unshare(CLONE_NEWNET)")?;
    const OWN: &str = "/proc/thread-self/ns/net";
    if let Some(path) = mount {
        File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
        mount_bind(OWN, path).with_context(|| format!("cannot bind {OWN} to {}", path.display()))?;
    }
    File::open(OWN).with_context(|| format!("cannot open {OWN}"))
}
