//! A trial of the store's file, in a process of its own.
//!
//! redb panics at some damages, and writes a backtrace to the log. At others it panics again while it unwinds, when it drops
//! a transaction: that aborts the process, and nothing can catch it. So another process opens the file first. It costs
//! some milliseconds at start, and tells whether the daemon would survive. Nothing cheaper does: redb's checksums are in
//! pages that it finds by following the very pointers that may be damaged, and a checksum of the whole file would have
//! to be written at each change.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend as _};

use super::{CHAINS, CUBES, SERVICES};
use crate::sys::{process, regular};

/// The word of the command line that asks for a trial of the path after it. It is for the daemon alone.
pub(crate) const WORD: &str = "try-store";

/// The word that asks for a trial of what is in the file now, while the daemon has it open. For the daemon alone, too.
pub(crate) const COPY: &str = "try-store-copy";

/// The signals by which a process ends itself because of what it has read.
const FATAL: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// A trial that did not go well.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrialError {
    #[error("the database ends a process that opens it, {0}")]
    Ended(ExitStatus),
    #[error("the database cannot be read")]
    Unreadable,
    #[error("the database panics at it")]
    Panicked,
}

/// Has another process open the store.
///
/// # Errors
/// What became of the process, if it did not survive.
pub(super) fn in_child(path: &Path) -> Result<(), TrialError> {
    match start(WORD, path) {
        Some(status) if is_fatal(status) => Err(TrialError::Ended(status)),
        Some(status) if status.code() == Some(UNREADABLE) => Err(TrialError::Panicked),
        _ => Ok(()),
    }
}

/// Has another process read what is in the store's file, as a copy in its memory.
///
/// # Errors
/// It cannot be read, or the process did not survive it.
pub(super) fn of_copy(path: &Path) -> Result<(), TrialError> {
    match start(COPY, path) {
        Some(status) if is_fatal(status) => Err(TrialError::Ended(status)),
        Some(status) if status.code() == Some(UNREADABLE) => Err(TrialError::Unreadable),
        _ => Ok(()),
    }
}

/// The exit code of a process that cannot read the store: `EX_DATAERR` of sysexits(3).
const UNREADABLE: i32 = 65;

/// What becomes of a process that tries a store; `None` if it cannot be started.
fn start(word: &str, path: &Path) -> Option<ExitStatus> {
    let mut command = Command::new("/proc/self/exe");
    command.args([OsString::from(word), path.into()]).env_remove("NOTIFY_SOCKET");
    #[cfg(debug_assertions)]
    if crate::fault::is_armed(FAULT) {
        command.env(FAULT, "");
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let failed = |error: &std::io::Error| {
        tracing::warn!(%error, "cannot start a process to try the store in: it is opened without a trial");
    };
    status.inspect_err(failed).ok()
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

/// What that process does. It ends with [`UNREADABLE`] where the database has panicked.
pub(crate) fn run(path: &Path) -> ExitCode {
    if let Err(error) = process::forbid_core_files() {
        eprintln!("polycubed: a core file may be written: {error}");
    }
    #[cfg(debug_assertions)]
    if std::env::var_os(FAULT).is_some() {
        let _twice = Twice;
        panic!("fault: a panic");
    }
    // Whether it can be used otherwise is for the daemon to find out, which says more of it.
    let try_it = || super::try_read(path).is_ok_and(|(opened, _)| write(&opened.database).is_ok());
    match catch_unwind(try_it) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(UNREADABLE as u8),
    }
}

/// What that process does with a copy. It ends with [`UNREADABLE`] where the daemon could not go on with the file.
pub(crate) fn run_on_copy(path: &Path) -> ExitCode {
    if let Err(error) = process::forbid_core_files() {
        eprintln!("polycubed: a core file may be written: {error}");
    }
    let try_it = || -> Result<(), redb::Error> {
        let bytes = regular::read(path)?;
        let memory = InMemoryBackend::new();
        memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes)).map_err(std::io::Error::other)?;
        let database = Database::builder().create_with_backend(memory)?;
        super::contents(&database)?;
        write(&database)
    };
    match catch_unwind(AssertUnwindSafe(try_it)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::from(UNREADABLE as u8),
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
