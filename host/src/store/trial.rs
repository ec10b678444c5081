//! A trial of the store's file, in a process of its own.
//!
//! redb panics at some damages, which [`super::read`] catches. At others it panics again while it unwinds, when it drops
//! a transaction: that aborts the process, and nothing can catch it. So another process opens the file first. It costs
//! some milliseconds at start, and tells whether the daemon would survive. Nothing cheaper does: redb's checksums are in
//! pages that it finds by following the very pointers that may be damaged, and a checksum of the whole file would have
//! to be written at each change.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use redb::Database;

use super::{CHAINS, CUBES, SERVICES};
use crate::sys::process;

/// The word of the command line that asks for a trial of the path after it. It is for the daemon alone.
pub(crate) const WORD: &str = "try-store";

/// The signals by which a process ends itself because of what it has read.
const FATAL: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// A trial that its process did not survive.
#[derive(Debug, thiserror::Error)]
#[error("the database ends a process that opens it, {0}")]
pub(super) struct TrialError(pub ExitStatus);

/// Has another process open the store.
///
/// # Errors
/// What became of the process, if it did not survive.
pub(super) fn in_child(path: &Path) -> Result<(), TrialError> {
    let mut command = Command::new("/proc/self/exe");
    command.args([OsString::from(WORD), path.into()]).env_remove("NOTIFY_SOCKET");
    #[cfg(debug_assertions)]
    if crate::fault::is_armed(FAULT) {
        command.env(FAULT, "");
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if is_fatal(status) => Err(TrialError(status)),
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "cannot start a process to try the store in: it is opened without a trial");
            Ok(())
        }
    }
}

/// Whether the file is to blame. A signal from elsewhere, such as that of a machine without memory, says nothing of it.
fn is_fatal(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| FATAL.contains(&signal))
}

/// The fault that makes a trial end as redb does at some damages.
#[cfg(debug_assertions)]
const FAULT: &str = "trial";

/// Panics while it unwinds.
#[cfg(debug_assertions)]
struct Twice;

#[cfg(debug_assertions)]
impl Drop for Twice {
    fn drop(&mut self) {
        panic!("fault: a panic in a drop");
    }
}

/// What that process does.
pub(crate) fn run(path: &Path) {
    if let Err(error) = process::forbid_core_files() {
        eprintln!("polycubed: a core file may be written: {error}");
    }
    #[cfg(debug_assertions)]
    if std::env::var_os(FAULT).is_some() {
        let _twice = Twice;
        panic!("fault: a panic");
    }
    // Whether it can be used is for the daemon to find out: this process only has to survive it.
    if let Ok((database, _)) = super::read(path) {
        let _ = catch_unwind(AssertUnwindSafe(|| write(&database)));
    }
}

/// Writes to each table, and takes it back.
fn write(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in [SERVICES, CUBES, CHAINS] {
        let mut table = transaction.open_table(table)?;
        table.insert("", &[][..])?;
    }
    transaction.abort()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_ended_itself_blames_the_file() {
        for (signal, expected) in [(libc::SIGABRT, true), (libc::SIGBUS, true), (libc::SIGKILL, false)] {
            assert_eq!(is_fatal(ExitStatus::from_raw(signal)), expected, "{signal}");
        }
        for code in [0, 1, 101] {
            assert!(!is_fatal(ExitStatus::from_raw(code << 8)), "{code}");
        }
    }
}
