//! Copies of code in memory, which nobody else can change.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// Attempts to seal a copy, and the pause between them: with the time that the kernel takes, less than two seconds together.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// A copy of a file's bytes, from which the dynamic linker can load. It is sealed when it is complete.
pub(crate) struct CodeCopy(File);

impl CodeCopy {
    /// Makes a copy of a file of `length` bytes, so far of its first ones. Memory maps, and so debuggers and profilers, show
    /// it as `memfd:NAME`.
    ///
    /// # Errors
    /// What the kernel says: memory is short, or `vm.memfd_noexec` forbids code in memory.
    pub(crate) fn of(name: &str, first: &[u8], length: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let copy = match memfd_create(name, flags | MemfdFlags::EXEC) {
            // Kernels before 6.3 do not know the flag, and make every copy executable.
            Err(Errno::INVAL) => memfd_create(name, flags),
            copy => copy,
        }?;
        let mut copy = File::from(copy);
        copy.set_len(length)?;
        copy.write_all(first)?;
        fcntl_add_seals(&copy, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self(copy))
    }

    /// Copies what `file` has from `from` on, then puts `first` at the beginning, and seals the copy.
    ///
    /// # Errors
    /// What the kernel says, or the file has become shorter.
    pub(crate) fn complete(&self, mut file: &File, from: u64, first: &[u8]) -> io::Result<()> {
        let mut copy = &self.0;
        let missing = copy.metadata()?.len().saturating_sub(from);
        file.seek(SeekFrom::Start(from))?;
        copy.seek(SeekFrom::Start(from))?;
        // The kernel copies, without a buffer in between.
        if io::copy(&mut file.take(missing), &mut copy)? < missing {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.write_all_at(first, 0)?;
        patiently(|| fcntl_add_seals(copy, SealFlags::SEAL | SealFlags::WRITE), PAUSE)?;
        Ok(())
    }

    /// Whether it has these bytes from `at` on. Where they differ early, little is read.
    pub(crate) fn has(&self, bytes: &[u8], at: u64) -> bool {
        let mut buffer = [0; 4096];
        let mut places = (at..).step_by(buffer.len());
        bytes.chunks(buffer.len()).all(|chunk| {
            let there = &mut buffer[..chunk.len()];
            places.next().is_some_and(|place| self.0.read_exact_at(there, place).is_ok()) && there == chunk
        })
    }

    /// The path to load from, as long as the copy is kept. It has the process's id, so that a debugger finds the same file
    /// there as the process itself.
    pub(crate) fn path(&self) -> PathBuf {
        let descriptor = self.0.as_raw_fd();
        let path = PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()));
        // Where /proc is that of another PID namespace, the process has another id there.
        if path.exists() { path } else { PathBuf::from(format!("/proc/self/fd/{descriptor}")) }
    }
}

/// Does something again while the kernel is busy. It takes pages that anything else holds at the moment, such as compaction
/// of memory, for pages that may be written, and gives up after 150 ms (`memfd_wait_for_pins()` in mm/memfd.c).
fn patiently(mut attempt: impl FnMut() -> Result<(), Errno>, pause: Duration) -> Result<(), Errno> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Errno::BUSY) => thread::sleep(pause),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_busy_kernel_is_asked_again_and_no_other_error_is() {
        let check = |answers: &[Errno], expected: Result<(), Errno>, calls: usize| {
            let mut called = 0;
            let attempt = || {
                called += 1;
                answers.get(called - 1).map_or(Ok(()), |error| Err(*error))
            };
            assert_eq!(patiently(attempt, Duration::ZERO), expected, "{answers:?}");
            assert_eq!(called, calls, "{answers:?}");
        };
        check(&[], Ok(()), 1);
        check(&[Errno::BUSY; 3], Ok(()), 4);
        check(&[Errno::BUSY, Errno::PERM, Errno::BUSY], Err(Errno::PERM), 2);
        check(&[Errno::BUSY; 100], Err(Errno::BUSY), ATTEMPTS as usize);
    }

    #[test]
    fn a_copy_is_read_by_its_path_and_never_written() {
        let copy = CodeCopy::of("libpcn_x.so", b"code", 4).unwrap();
        copy.complete(&file(b"code"), 4, b"code").unwrap();
        let path = copy.path();
        assert_eq!(std::fs::read(&path).unwrap(), b"code");
        assert_eq!(std::fs::read_link(&path).unwrap().to_str(), Some("/memfd:libpcn_x.so (deleted)"));
        let write =
            |options: &mut std::fs::OpenOptions| options.open(&path).and_then(|mut file| file.write_all(b"evil"));
        assert!(write(std::fs::OpenOptions::new().write(true)).is_err());
        assert!(write(std::fs::OpenOptions::new().write(true).truncate(true)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"code");
        let other = CodeCopy::of("libpcn_x.so", b"other", 5).unwrap();
        assert_ne!(other.path(), path, "each has a path of its own");
    }

    #[test]
    fn what_follows_the_first_bytes_is_copied_later() {
        let copy = CodeCopy::of("libpcn_x.so", b"..de", 9).unwrap();
        assert_eq!(std::fs::read(copy.path()).unwrap(), b"..de\0\0\0\0\0");
        assert!(copy.has(b"de", 2) && !copy.has(b"dd", 2) && !copy.has(b"de\0\0\0\0\0\0", 2));
        copy.complete(&file(b"code+names and more"), 4, b"co").unwrap();
        assert_eq!(std::fs::read(copy.path()).unwrap(), b"code+name", "a file that has grown");
        let copy = CodeCopy::of("libpcn_x.so", b"..de", 9).unwrap();
        copy.complete(&file(b"code+"), 4, b"co").unwrap_err();
        assert_eq!(&std::fs::read(copy.path()).unwrap()[..4], b"..de", "a file that has become shorter");
    }
}
